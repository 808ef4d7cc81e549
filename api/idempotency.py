"""Idempotency-Key: the same key and the same upload make one job, however often they are sent."""

import hashlib
from datetime import timedelta

from api.errors import Refusal, RefusalCode
from api.song import Upload
from contract import clock
from contract.layout import idempotency_key, job_key
from contract.record import Record
from contract.stores import CREATE_ONLY, PreconditionFailed, Store
from contract.tombstone import is_tombstone

_CREATION_TAKES_AT_MOST = timedelta(minutes=1)
MAX_KEY_LENGTH = 255


class Claim(Record):
    """Which upload a key stands for, and the job it made."""

    job_id: str
    fingerprint: str


def claim(store: Store, owner: str, key: str, upload: Upload) -> str:
    """The id of the job that `key` stands for: the upload's own if the key is new.

    Raises:
        Refusal: `invalid_request` for a key that is empty or too long, `idempotency_key_reused` when it
            stands for another upload, `busy` while its first request has not ended.
    """
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise Refusal(
            RefusalCode.INVALID_REQUEST, f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} characters."
        )
    place = _place(owner, key)
    own = Claim(job_id=upload.job_id, fingerprint=_fingerprint(upload))
    generation = CREATE_ONLY
    if (found := store.get(place)) is not None:
        earlier, info = Claim.model_validate_json(found[0]), found[1]
        if earlier.fingerprint != own.fingerprint:
            raise Refusal(
                RefusalCode.IDEMPOTENCY_KEY_REUSED, "This Idempotency-Key was used for another upload."
            )
        job = store.get(job_key(earlier.job_id))
        if job is not None and not is_tombstone(job[0]):
            return earlier.job_id
        if job is None and clock.now() - info.updated < _CREATION_TAKES_AT_MOST:
            raise _under_way()
        generation = (
            info.generation
        )  # its job was deleted, or whoever made the claim died before: take it over
    try:
        store.put(place, own.to_json(), content_type="application/json", if_generation=generation)
    except PreconditionFailed:
        raise _under_way() from None
    return own.job_id


def release(store: Store, owner: str, key: str) -> None:
    """Forgets a key whose job was not made after all. Raises StoreError."""
    store.delete(_place(owner, key))


def _place(owner: str, key: str) -> str:
    return idempotency_key(owner, hashlib.sha256(key.encode()).hexdigest())


def _under_way() -> Refusal:
    return Refusal(
        RefusalCode.BUSY, "A request with this Idempotency-Key is under way; ask again in a moment."
    )


def _fingerprint(upload: Upload) -> str:
    parts = f"{upload.sha256}\n{upload.file_name}\n{upload.options.model_dump_json()}"
    return hashlib.sha256(parts.encode()).hexdigest()
