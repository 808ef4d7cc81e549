"""One idempotent pass over what died, was left behind or never began. Two at once do no harm."""

import threading
from datetime import datetime, timedelta

import structlog

from api.launchers import Launcher, LaunchRefused
from api.status import fold
from contract import clock
from contract.job import JobRecord, JobSpec
from contract.layout import job_key, job_prefix, manifest_key
from contract.manifest import Manifest
from contract.stages import Status
from contract.stores import CREATE_ONLY, PreconditionFailed, Store

log = structlog.get_logger(__name__)

UPLOAD_ABANDONED_AFTER = timedelta(hours=1)


def sweep(store: Store, launcher: Launcher, store_url: str, now: datetime) -> None:
    """Records jobs that died silently, starts jobs that never began, deletes uploads without a job."""
    for job_id in launcher.finished():
        try:
            _settle(store, launcher, job_id, now)
        except ValueError:  # a record that is no JobRecord; the other jobs must not suffer
            log.exception("job_cannot_be_settled", job_id=job_id)
    for job_id, keys in _jobs(store).items():
        if manifest_key(job_id) in keys:
            continue
        if job_key(job_id) not in keys:
            if now - max(keys.values()) > UPLOAD_ABANDONED_AFTER:
                log.info("abandoned_upload_deleted", job_id=job_id)
                store.delete_prefix(job_prefix(job_id))
        elif launcher.observe(job_id) is None and store.stat(manifest_key(job_id)) is None:
            log.info("missing_runner_launched", job_id=job_id)
            try:
                launcher.launch(JobSpec(job_id=job_id, store=store_url))
            except LaunchRefused as refused:  # a full quota; the next pass may do better
                log.warning("launch_refused", job_id=job_id, reason=str(refused))


def _settle(store: Store, launcher: Launcher, job_id: str, now: datetime) -> None:
    """The manifest is the record of a finished job: writes the missing one of a job that failed."""
    found = store.get(job_key(job_id))
    if found is not None and store.stat(manifest_key(job_id)) is None:
        record = JobRecord.model_validate_json(found[0])
        answer = fold(record, None, launcher.observe(job_id), now)
        if answer.status is not Status.FAILED:
            return
        manifest = Manifest(answer=answer, file_name=record.file_name, finished_at=now)
        try:
            store.put(
                manifest_key(job_id),
                manifest.to_json(),
                content_type="application/json",
                if_generation=CREATE_ONLY,
            )
            log.warning("job_recorded_as_failed", job_id=job_id, code=answer.code)
        except PreconditionFailed:
            pass  # somebody else was faster
    launcher.forget(job_id)


def _jobs(store: Store) -> dict[str, dict[str, datetime]]:
    """Of every job its keys, with the time of each."""
    jobs: dict[str, dict[str, datetime]] = {}
    for info in store.list("jobs/"):
        jobs.setdefault(info.key.split("/")[1], {})[info.key] = info.updated
    return jobs


class SweepThread:
    """Sweeps at once and then every `seconds`, until closed: the embedded default's CronJob."""

    def __init__(self, store: Store, launcher: Launcher, store_url: str, seconds: float) -> None:
        self._closed = threading.Event()
        self._arguments = (store, launcher, store_url)
        self._seconds = seconds
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                sweep(*self._arguments, clock.now())
            except Exception:
                log.exception("sweep_failed")  # the next one may go better
            self._closed.wait(self._seconds)

    def close(self) -> None:
        """Ends the thread after the pass that may be under way."""
        self._closed.set()
        self._thread.join()
