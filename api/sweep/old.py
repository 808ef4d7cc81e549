"""What has grown old: jobs past the operator's retention, and idempotency keys."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog

from api.launchers import Launcher
from api.webhooks import cancel
from contract.layout import (
    IDEMPOTENCY,
    INDEX,
    index_prefix,
    index_start,
    indexed,
    job_key,
    job_prefix,
    manifest_key,
)
from contract.stores import Store

log = structlog.get_logger(__name__)

CLAIM_STAYS = timedelta(days=1)
"""So long an Idempotency-Key is remembered."""
JOBS_A_PASS = 500
"""The other duties must not wait for thousands of old jobs."""


def delete_old_jobs(store: Store, launcher: Launcher, days: int | None, now: datetime) -> None:
    """Deletes jobs that were created more than so many days ago and are finished; None: keeps all.

    Raises StoreError, LauncherUnavailable.
    """
    if days is None:
        return
    for owner in _owners(store):
        start = index_start(owner, now - timedelta(days=days))
        for entry in store.list(index_prefix(owner), start, JOBS_A_PASS):
            _, job_id = indexed(entry.key)
            if store.stat(manifest_key(job_id)) is not None:
                _delete(store, launcher, job_id)
            elif store.stat(job_key(job_id)) is not None:
                continue  # it goes on, or waits
            store.delete(entry.key)


def forget_old_claims(store: Store, now: datetime) -> None:
    """Deletes what is known of idempotency keys after a day. Raises StoreError."""
    for claim in store.list(IDEMPOTENCY):
        if now - claim.updated > CLAIM_STAYS:
            store.delete(claim.key)


def _delete(store: Store, launcher: Launcher, job_id: str) -> None:
    """A finished job needs no tombstone: no runner writes any more. Its index entry goes last."""
    store.delete(job_key(job_id))
    cancel(store, job_id)
    launcher.delete(job_id)
    store.delete_prefix(job_prefix(job_id))
    log.info("old_job_deleted", job_id=job_id)


def _owners(store: Store) -> Iterator[str]:
    """Everybody who has jobs: the first entry of each, and on from the key after all of theirs."""
    start = INDEX
    while (first := next(iter(store.list(INDEX, start, 1)), None)) is not None:
        owner, _ = indexed(first.key)
        yield owner
        start = index_prefix(owner)[:-1] + "0"  # follows "/"
