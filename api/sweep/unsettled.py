"""Jobs that are not over: started if that was missed, recorded if they died, cleared away if deleted."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from api.deletion import clear
from api.ids import is_uuid4
from api.launchers import Launcher, LaunchRefused, Observation
from api.marks import enter, mark_link
from api.status import fold
from api.webhooks import cancel
from contract.job import JobRecord, JobSpec
from contract.layout import (
    DELETED,
    LINKS,
    UNSETTLED,
    deleted_key,
    job_key,
    job_prefix,
    linked,
    manifest_key,
    unsettled_key,
)
from contract.manifest import Manifest
from contract.stores import CREATE_ONLY, ObjectInfo, PreconditionFailed, Store
from contract.tombstone import Tombstone, living

log = structlog.get_logger(__name__)

UPLOAD_ABANDONED_AFTER = timedelta(hours=1)
LINK_LIVES = timedelta(days=8)
"""So long something may still arrive through a link of POST /uploads: a week, and a day to be sure."""
RUNNER_MAY_WRITE = timedelta(hours=1)
"""So long after a job was deleted the sweep looks for what its runner still wrote."""
TOMBSTONE_STAYS = timedelta(days=1)
_AT_ONCE = 100


class Settlement:
    """One look at every unsettled job."""

    def __init__(self, store: Store, launcher: Launcher, store_url: str, now: datetime) -> None:
        self._store, self._launcher = store, launcher
        self._store_url, self._now = store_url, now

    def settle_jobs(self, *, everything: bool, stopped: Callable[[], bool]) -> None:
        """Settles what can be settled. Raises StoreError, LauncherUnavailable."""
        marks = {info.key.removeprefix(UNSETTLED): info for info in self._store.list(UNSETTLED)}
        known = dict.fromkeys([*marks, *self._launcher.finished()])
        if everything:
            known |= dict.fromkeys(info.key.split("/")[1] for info in self._store.list("jobs/"))
        job_ids = [job_id for job_id in known if is_uuid4(job_id)]
        for first in range(0, len(job_ids), _AT_ONCE):
            some = job_ids[first : first + _AT_ONCE]
            seen = self._launcher.observe_all(some, exact=True)
            for job_id in some:
                if stopped():
                    return
                self._settle(job_id, seen.get(job_id), marks.get(job_id))

    def _settle(self, job_id: str, seen: Observation | None, mark: ObjectInfo | None) -> None:
        if seen is not None and not seen.finished:
            return
        found = self._store.get(job_key(job_id))
        try:
            record = None if found is None else living(found[0])
        except ValueError:  # the other jobs must not suffer
            log.exception("job_cannot_be_settled", job_id=job_id)
            return
        if found is None:
            self._clear_abandoned(job_id, mark)
            if seen is not None:
                self._launcher.forget(job_id)
        elif record is None:  # deleted: that is looked after elsewhere
            self._store.delete(unsettled_key(job_id))
        else:
            self._settle_job(record, seen)

    def _settle_job(self, record: JobRecord, seen: Observation | None) -> None:
        """A job that no runner works on: it has ended, or it never began."""
        enter(self._store, record)
        if self._store.stat(manifest_key(record.job_id)) is None:
            if seen is None:
                self._launch(record.job_id)
                return
            self._record_failure(record, seen)
        if seen is not None:
            self._launcher.forget(record.job_id)
        self._store.delete(unsettled_key(record.job_id))

    def _launch(self, job_id: str) -> None:
        log.info("missing_runner_launched", job_id=job_id)
        try:
            self._launcher.launch(JobSpec(job_id=job_id, store=self._store_url))
        except LaunchRefused as refused:  # a full quota; the next pass may do better
            log.warning("launch_refused", job_id=job_id, reason=str(refused))

    def _record_failure(self, record: JobRecord, seen: Observation) -> None:
        """The manifest is the record of a finished job: writes the missing one of a job that died."""
        answer = fold(record, None, seen, self._now)
        manifest = Manifest(answer=answer, file_name=record.file_name, finished_at=self._now)
        try:
            self._store.put(
                manifest_key(record.job_id),
                manifest.to_json(),
                content_type="application/json",
                if_generation=CREATE_ONLY,
            )
            log.warning("job_recorded_as_failed", job_id=record.job_id, code=answer.code)
        except PreconditionFailed:
            pass  # somebody else was faster

    def _clear_abandoned(self, job_id: str, mark: ObjectInfo | None) -> None:
        """An upload that did not become a job, or not yet."""
        there = [*self._store.list(job_prefix(job_id)), *([mark] if mark else [])]
        if not there or self._now - max(info.updated for info in there) < UPLOAD_ABANDONED_AFTER:
            return
        if mark is not None and mark.size:
            mark_link(self._store, job_id, mark.updated + LINK_LIVES)
        self._store.delete_prefix(job_prefix(job_id))
        cancel(self._store, job_id)
        self._store.delete(unsettled_key(job_id))
        log.info("abandoned_upload_deleted", job_id=job_id)


def clear_late_songs(store: Store, now: datetime) -> None:
    """Removes what arrived by links whose uploads were given up. Raises StoreError.

    Each is looked at once an hour: anybody can have links made, and a week of passes is long.
    """
    for mark in store.list(LINKS):
        if now - mark.updated < UPLOAD_ABANDONED_AFTER:
            continue
        job_id, until = linked(mark.key)
        store.delete_prefix(job_prefix(job_id))
        if now > until:
            store.delete(mark.key)
        else:
            mark_link(store, job_id, until)


def clear_deleted_jobs(store: Store, launcher: Launcher, now: datetime) -> None:
    """Removes what still appeared of deleted jobs, and after a day the last sign of them.

    Raises StoreError, LauncherUnavailable.
    """
    for mark in store.list(DELETED):
        age = now - mark.updated
        job_id = mark.key.removeprefix(DELETED)
        if RUNNER_MAY_WRITE < age < TOMBSTONE_STAYS:
            continue
        found = store.get(job_key(job_id))
        stone = None if found is None else _tombstone(found[0])
        if stone is not None:
            clear(store, launcher, stone)
        if age >= TOMBSTONE_STAYS:
            if stone is not None:
                store.delete(job_key(job_id))
            store.delete(deleted_key(job_id))


def _tombstone(content: bytes) -> Tombstone | None:
    """None for the record of a job whose deletion got no further than its mark."""
    try:
        return Tombstone.model_validate_json(content)
    except ValueError:
        return None
