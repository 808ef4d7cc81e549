"""From finished files to a finished job: tracks into the store, and the manifest as the last word."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from contract.clock import now
from contract.failures import Failure
from contract.job import JobRecord
from contract.layout import manifest_key, track_key
from contract.manifest import JobAnswer, Manifest, ModelRecord, TrackRecord
from contract.progress import Progress
from contract.stages import Status
from contract.stores import CREATE_ONLY, ObjectInfo, Store
from contract.tracks import ENCODINGS, Track
from runner.loudness import decibels
from runner.pipeline import Finished

_PACKAGES = ("stemjob", "torch", "demucs", "numpy", "soundfile")


def generations(store: Store, job: JobRecord) -> dict[Track, int]:
    """What lies at the tracks' keys before this attempt writes there. Raises StoreError."""
    found = {track: store.stat(_key(job, track)) for track in Track}
    return {track: CREATE_ONLY if info is None else info.generation for track, info in found.items()}


def upload(
    store: Store, job: JobRecord, finished: Finished, before: Mapping[Track, int]
) -> dict[Track, ObjectInfo]:
    """Puts the nine files where they belong.

    Raises:
        PreconditionFailed: somebody else has written a track since `before` was taken.
        StoreError: the store cannot take them.
    """
    media_type = ENCODINGS[job.options.output_format].media_type
    return {
        track: store.put_file(
            _key(job, track), written.file.path, content_type=media_type, if_generation=before[track]
        )
        for track, written in finished.files.items()
    }


def put_manifest(store: Store, manifest: Manifest) -> None:
    """Ends the job. Raises PreconditionFailed when it has ended already, StoreError."""
    key = manifest_key(manifest.answer.job_id)
    store.put(key, manifest.to_json(), content_type="application/json", if_generation=CREATE_ONLY)


def success_manifest(
    store: Store, job: JobRecord, finished: Finished, stored: Mapping[Track, ObjectInfo], progress: Progress
) -> Manifest:
    """The record of a job whose files are all in the store."""
    answer = JobAnswer(
        job_id=job.job_id,
        status=Status.COMPLETED,
        created_at=job.created_at,
        stages=progress.stages,
        outputs={track: store.uri(stored[track].key) for track in Track},
        progress=1.0,
        warnings=finished.warnings,
    )
    model = finished.model
    return Manifest(
        answer=answer,
        file_name=job.file_name,
        finished_at=now(),
        attempt=progress.attempt,
        sample_rate=finished.sample_rate,
        channels=finished.channels,
        frames=finished.frames,
        tracks={track: _track_record(job, finished, track, stored[track]) for track in Track},
        model=ModelRecord(asked=job.options.model, name=model.name, sha256=model.sha256),
        device=finished.device,
        fallback=finished.fallback,
        residual_db=finished.residual_db,
        versions=versions(),
    )


def failure_manifest(job: JobRecord, failure: Failure, progress: Progress) -> Manifest:
    """The record of a job that no other attempt can save; `progress` is the report with the failure."""
    answer = JobAnswer(
        job_id=job.job_id,
        status=Status.FAILED,
        created_at=job.created_at,
        stages=progress.stages,
        progress=progress.progress,
        code=failure.code,
        error=failure.error,
    )
    return Manifest(
        answer=answer,
        file_name=job.file_name,
        finished_at=now(),
        attempt=progress.attempt,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Of everything that the sound depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "unknown"
    return found


def _key(job: JobRecord, track: Track) -> str:
    return track_key(job.job_id, track, ENCODINGS[job.options.output_format].extension)


def _track_record(job: JobRecord, finished: Finished, track: Track, stored: ObjectInfo) -> TrackRecord:
    written, level, gain = finished.files[track], finished.levels[track], finished.gains[track]
    peak = decibels(level.true_peak) if level.true_peak > 0 else None
    return TrackRecord(
        key=stored.key,
        media_type=ENCODINGS[job.options.output_format].media_type,
        size=written.file.size,
        crc32=written.file.crc32,
        sha256=written.file.sha256,
        generation=stored.generation,
        loudness_before=level.loudness,
        # A gain moves loudness and true peak by just itself, so nothing is measured twice.
        loudness_after=None if level.loudness is None else level.loudness + gain,
        true_peak_before=peak,
        true_peak_after=None if peak is None else peak + gain,
        gain_db=gain,
        clipped_samples=written.clipped,
    )
