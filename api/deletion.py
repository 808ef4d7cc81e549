"""The end of a job for good: a tombstone in place of its record, then everything else goes."""

import structlog

from api.launchers import Launcher, LauncherUnavailable
from api.marks import mark_deleted, strike
from api.webhooks import cancel
from contract import clock
from contract.job import JobRecord
from contract.layout import job_key, job_prefix, unsettled_key
from contract.stores import Store, StoreError
from contract.tombstone import Tombstone

log = structlog.get_logger(__name__)


def delete_job(store: Store, launcher: Launcher, record: JobRecord, generation: int) -> None:
    """Deletes a job, whatever its state.

    The tombstone decides: from then on there is no such job, for clients and for its runner. What cannot be
    removed at once, or is written by a runner that still ends, the sweep removes.

    Args:
        store: where it lies.
        launcher: who may run it.
        record: the job.
        generation: of its `job.json`, as it was read.

    Raises:
        PreconditionFailed: somebody else has just deleted it.
        StoreError: the store failed before the job was deleted.
    """
    stone = Tombstone(
        job_id=record.job_id, owner=record.owner, created_at=record.created_at, deleted_at=clock.now()
    )
    mark_deleted(store, record.job_id)
    store.put(
        job_key(record.job_id), stone.to_json(), content_type="application/json", if_generation=generation
    )
    log.info("job_deleted", job_id=record.job_id)
    try:
        clear(store, launcher, stone)
    except (StoreError, LauncherUnavailable) as error:
        log.warning("deletion_left_to_the_sweep", job_id=record.job_id, reason=str(error))


def clear(store: Store, launcher: Launcher, stone: Tombstone) -> None:
    """Removes all of a deleted job but its tombstone; can be repeated.

    Raises StoreError, LauncherUnavailable.
    """
    job_id = stone.job_id
    strike(store, stone)
    cancel(store, job_id)
    launcher.delete(job_id)
    for info in list(store.list(job_prefix(job_id))):
        if info.key != job_key(job_id):
            store.delete(info.key)
    store.delete(unsettled_key(job_id))
