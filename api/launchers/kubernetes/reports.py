"""What a runner has written on its Job: one annotation for each stage, progress, attempt. Pure functions."""

from collections.abc import Mapping

from contract.progress import Progress
from contract.stages import StageRecord, pending_stages

PREFIX = "stemjob.dev/"
PROGRESS = f"{PREFIX}progress"
ATTEMPT = f"{PREFIX}attempt"


def progress_of(annotations: Mapping[str, str]) -> Progress | None:
    """The report; None before the first. What cannot be understood counts as not yet said."""
    if not any(f"{PREFIX}{stage.name}" in annotations for stage in pending_stages()):
        return None
    stages = tuple(_record(annotations.get(f"{PREFIX}{stage.name}"), stage) for stage in pending_stages())
    return Progress(
        attempt=annotations.get(ATTEMPT, ""), progress=_fraction(annotations.get(PROGRESS, "")), stages=stages
    )


def attempt_pod(annotations: Mapping[str, str]) -> str:
    """UID of the pod that has reported last; empty before the first report."""
    return annotations.get(ATTEMPT, "").partition(" ")[2]


def _record(text: str | None, pending: StageRecord) -> StageRecord:
    try:
        record = StageRecord.model_validate_json(text or "")
    except ValueError:
        return pending
    return record if record.name is pending.name else pending


def _fraction(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))  # of NaN: 0
    except ValueError:
        return 0.0
