"""One attempt at one job: read it, work, store the results, and leave with the code that says how it went."""

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from contract.failures import EXITS, Failure, FailureCode, JobFailed
from contract.job import JobRecord, JobSpec
from contract.layout import job_key, manifest_key
from contract.logs import configure_logs
from contract.stages import StageName
from contract.stores import (
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    Store,
    StoreError,
    StoreFull,
    open_store,
)
from contract.tombstone import living
from contract.tracks import Track
from runner import last_words
from runner.cancelled import Cancelled
from runner.progress import ProgressReport, open_reporter
from runner.settings import RunnerSettings
from runner.workspace import work_folder

if TYPE_CHECKING:
    from runner.pipeline import Finished

log = structlog.get_logger(__name__)

DONE = 0
_STORE_RETRY_SECONDS = 600  # nobody waits for an answer, and a song's worth of work would be lost

_UPLOADS = 3
"""How often the tracks are stored when another attempt writes them at the same time."""


class JobGone(Exception):  # noqa: N818
    """Nobody waits for this job any more: it was deleted, or it has ended already."""


def run() -> int:
    """Works on the job that the environment names. Returns the exit code, 0 when there is nothing to do."""
    configure_logs()
    try:
        spec = JobSpec.from_env(os.environ)
        report = ProgressReport(open_reporter(spec.report))
    except ValueError as error:  # pydantic's ValidationError is one
        log.error("runner_misconfigured", reason=str(error))  # noqa: TRY400
        last_words.leave(Failure(code=FailureCode.RUNNER_ERROR, error="The runner is set up wrongly."))
        return EXITS[FailureCode.RUNNER_ERROR].code
    structlog.contextvars.bind_contextvars(job_id=spec.job_id)
    attempt = Attempt(spec, report)
    try:
        attempt.work()
    except JobGone as gone:
        log.info("nothing_to_do", reason=str(gone))
    except BaseException as error:
        return attempt.end(error)
    finally:
        report.close()
    return DONE


def read_settings() -> RunnerSettings:
    """The operator's settings. Raises JobFailed runner_error, naming the setting that is wrong."""
    try:
        return RunnerSettings()
    except ValidationError as error:
        problem = error.errors()[0]
        name = "_".join(str(part) for part in problem["loc"]).upper()
        raise JobFailed(
            FailureCode.RUNNER_ERROR, f"The runner's setting STEMJOB_{name} is not right: {problem['msg']}."
        ) from error


class Attempt:
    """The edge of the runner: everything that touches the store is here and in `runner.publish`."""

    def __init__(self, spec: JobSpec, report: ProgressReport) -> None:
        self._spec, self._report = spec, report
        self._store: Store | None = None
        self._job: JobRecord | None = None

    def work(self) -> None:
        """From `job.json` to `manifest.json`.

        Raises:
            JobGone: there is nothing to do.
            Exception: anything, see `failure_of`.
        """
        settings = read_settings()
        configure_logs(settings.log_level)
        self._store = store = open_store(self._spec.store, retry_seconds=_STORE_RETRY_SECONDS)
        self._job = job = read_job(store, self._spec.job_id)
        self._report.start()
        from runner import publish
        from runner.pipeline import Pipeline  # torch and Demucs, which take seconds

        before = publish.generations(store, job)
        with work_folder(settings.work_dir) as folder:
            pipeline = Pipeline(settings, self._report, folder)
            finished = pipeline.run(self._fetch(job, folder), job.options)
            stored = self._upload(store, job, finished, before)
            self._check_still_ours(store, job)
            self._report.advance(1.0)
            self._report.complete(StageName.NORMALIZATION)
            progress = self._report.progress
            try:
                publish.put_manifest(store, publish.success_manifest(store, job, finished, stored, progress))
            except PreconditionFailed:
                read_job(store, job.job_id)  # another attempt has ended the job
                raise
        log.info("completed", model=finished.model.name, device=finished.device, warnings=finished.warnings)

    def end(self, error: BaseException) -> int:
        """Tells launcher and log and, when no other attempt can help, the store. Returns the exit code."""
        failure = failure_of(error)
        known = isinstance(error, JobFailed | StoreError | Cancelled)
        log.error("failed", code=failure.code.value, reason=failure.error, exc_info=None if known else error)
        last_words.leave(failure)
        self._report.fail(failure)
        if not EXITS[failure.code].retryable:
            self._store_failure(failure)
        return EXITS[failure.code].code

    def _fetch(self, job: JobRecord, folder: Path) -> Path:
        assert self._store is not None
        song = folder / f"input{PurePosixPath(job.input.key).suffix}"
        try:
            self._store.fetch(job.input.key, song, generation=job.input.generation)
        except ObjectNotFound as error:
            read_job(self._store, job.job_id)  # deleted with its song
            raise JobFailed(
                FailureCode.STORAGE_UNAVAILABLE, "The uploaded song is not in the store any more."
            ) from error
        return song

    def _upload(
        self, store: Store, job: JobRecord, finished: "Finished", before: Mapping[Track, int]
    ) -> dict[Track, ObjectInfo]:
        """Stores the tracks, and again when an earlier attempt wrote some meanwhile: the later one counts."""
        from runner import publish

        for _ in range(_UPLOADS - 1):
            self._check_still_ours(store, job)
            try:
                return publish.upload(store, job, finished, before)
            except PreconditionFailed:
                log.warning("another_attempt_writes", exc_info=True)
            before = publish.generations(store, job)
        self._check_still_ours(store, job)
        return publish.upload(store, job, finished, before)

    def _check_still_ours(self, store: Store, job: JobRecord) -> None:
        """Raises JobGone for a job that was deleted or has ended, JobFailed for one with a later attempt."""
        read_job(store, job.job_id)
        if self._report.overtaken():
            # Not an end in peace: a pod that exits with 0 completes the Job and ends the later attempt's pod.
            raise JobFailed(FailureCode.CANCELLED, "A later attempt has taken over.")

    def _store_failure(self, failure: Failure) -> None:
        if self._store is None or self._job is None:
            return
        from runner import publish

        try:
            self._check_still_ours(self._store, self._job)
            manifest = publish.failure_manifest(self._job, failure, self._report.progress)
            publish.put_manifest(self._store, manifest)
        except (JobGone, JobFailed, StoreError):
            log.warning("failure_not_stored", exc_info=True)


def read_job(store: Store, job_id: str) -> JobRecord:
    """The record of a job that is still to be done.

    Raises:
        JobGone: there is no such job, it was replaced by a tombstone, or it has a manifest.
        JobFailed: runner_error: the record cannot be understood.
        StoreError: the store cannot be read.
    """
    found = store.get(job_key(job_id))
    if found is None:
        raise JobGone("there is no job.json")
    content, _ = found
    try:
        job = living(content)
    except ValueError as error:
        raise JobFailed(FailureCode.RUNNER_ERROR, "The job's record cannot be understood.") from error
    if job is None:
        raise JobGone("the job was deleted")
    if store.stat(manifest_key(job_id)) is not None:
        raise JobGone("the job has ended already")
    return job


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception means, with one sentence for people; details are for the log."""
    match error:
        case JobFailed():
            return error.failure
        case Cancelled() | KeyboardInterrupt():
            return Failure(code=FailureCode.CANCELLED, error="The job was cancelled.")
        case StoreFull():
            return Failure(code=FailureCode.DISK_FULL, error=str(error))
        case StoreError():
            return Failure(code=FailureCode.STORAGE_UNAVAILABLE, error=str(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return Failure(code=FailureCode.DISK_FULL, error="The runner's disk is full.")
    if _is_out_of_memory(error):
        return Failure(
            code=FailureCode.OUT_OF_MEMORY, error="The runner has too little memory for this song."
        )
    return Failure(
        code=FailureCode.RUNNER_ERROR, error="Something went wrong in the runner; its log says what."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from runner import device

    return device.is_out_of_memory(error)
