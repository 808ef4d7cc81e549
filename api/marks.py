"""Marks by which the sweep finds what it must look at: small objects beside the jobs."""

from datetime import datetime

from contract.job import JobRecord
from contract.layout import deleted_key, index_key, link_key, unsettled_key
from contract.stores import Store
from contract.tombstone import Tombstone


def mark_unsettled(store: Store, job_id: str, *, link: bool = False) -> None:
    """Before anything else of a job is written. With a `link` its song may still arrive for a week.

    Raises StoreError.
    """
    store.put(unsettled_key(job_id), b"link" if link else b"", content_type="text/plain")


def mark_link(store: Store, job_id: str, until: datetime) -> None:
    """This upload will be no job, but its song may arrive until then. Again: it was looked at just now.

    Raises StoreError.
    """
    store.put(link_key(job_id, until), b"", content_type="text/plain")


def mark_deleted(store: Store, job_id: str) -> None:
    """Before the tombstone of a job is written. Raises StoreError."""
    store.put(deleted_key(job_id), b"", content_type="text/plain")


def enter(store: Store, record: JobRecord) -> None:
    """Puts a job among its owner's. Again: nothing changes. Raises StoreError."""
    key = index_key(record.owner, record.created_at, record.job_id)
    store.put(key, b"", content_type="text/plain")


def strike(store: Store, job: JobRecord | Tombstone) -> None:
    """Takes a job from among its owner's. Raises StoreError."""
    store.delete(index_key(job.owner, job.created_at, job.job_id))
