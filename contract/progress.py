"""What a runner reports while it works."""

from contract.failures import Failure
from contract.record import Record
from contract.stages import Stages, pending_stages


class Progress(Record):
    """A whole report; each replaces the one before. `progress` is 0 to 1; `failure` ends a failed attempt."""

    attempt: str = ""
    progress: float = 0.0
    stages: Stages = pending_stages()
    failure: Failure | None = None
