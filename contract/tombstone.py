"""What deleting a job leaves in place of its `job.json` for a day, so that nothing brings it back."""

import json

from pydantic import ValidationError

from contract.clock import Timestamp
from contract.job import JobRecord
from contract.record import Record


class Tombstone(Record):
    """The job that was here, whose it was, and since when it is deleted."""

    job_id: str
    owner: str
    created_at: Timestamp
    deleted_at: Timestamp


def living(content: bytes) -> JobRecord | None:
    """What a `job.json` says; None when it is a tombstone: a JSON object that names no input.

    Raises:
        ValueError: it is neither.
    """
    try:
        return JobRecord.model_validate_json(content)
    except ValidationError:
        if is_tombstone(content):
            return None
        raise


def is_tombstone(content: bytes) -> bool:
    """Whether a `job.json` is what deleting a job leaves."""
    try:
        stored = json.loads(content)
    except ValueError:
        return False
    return isinstance(stored, dict) and "input" not in stored
