"""What matters of a Job and its pods, taken from the JSON of Kubernetes. Pure functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from api.launchers.kubernetes.stamp import RUNNER

Json = Mapping[str, Any]

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class End:
    """How a Job ended: `reason` and `message` are Kubernetes' own words."""

    complete: bool
    reason: str = ""
    message: str = ""
    at: datetime = _NEVER


@dataclass(frozen=True)
class JobFacts:
    """One Job. `deadline` in seconds, `failed` counts tries, `suspended` is the reason if it is.

    `failing`: it will fail as soon as its pods have ended.
    """

    annotations: Mapping[str, str] = field(default_factory=dict)
    end: End | None = None
    failed: int = 0
    deadline: int | None = None
    suspended: str | None = None
    failing: bool = False

    @property
    def ended_well(self) -> bool:
        """Then its pods have nothing to tell."""
        return self.end is not None and self.end.complete

    @classmethod
    def of(cls, job: Json) -> Self:
        """From the JSON of a Job."""
        spec, status = job.get("spec") or {}, job.get("status") or {}
        # FailureTarget and SuccessCriteriaMet come first, while pods still end: they are not the end.
        ends = [each for each in _true(status) if each["type"] in ("Complete", "Failed")]
        return cls(
            annotations=job["metadata"].get("annotations") or {},
            end=_end(ends[0]) if ends else None,
            failed=status.get("failed") or 0,
            deadline=spec.get("activeDeadlineSeconds"),
            suspended=_suspended(spec, status),
            failing=any(each["type"] == "FailureTarget" for each in _true(status)),
        )


@dataclass(frozen=True)
class PodFacts:
    """One pod. `waits` is a container's reason and message for not running yet.

    `exit_*` is how the runner's container ended, `unschedulable` and `disrupted` are messages of conditions.
    """

    uid: str = ""
    order: tuple[datetime, int] = (_NEVER, 0)
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    began: bool = False
    waits: tuple[str, str] | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    exit_message: str = ""
    unschedulable: str | None = None
    disrupted: str | None = None

    @classmethod
    def of(cls, pod: Json) -> Self:
        """From the JSON of a pod."""
        metadata, status = pod["metadata"], pod.get("status") or {}
        containers = status.get("containerStatuses") or []
        states = [each.get("state") or {} for each in containers if each["name"] == RUNNER]
        ended: Json = next((state["terminated"] for state in states if state.get("terminated")), {})
        return cls(
            uid=metadata["uid"],
            order=(moment(metadata.get("creationTimestamp")), int(metadata.get("resourceVersion") or 0)),
            phase=status.get("phase") or "Pending",
            reason=status.get("reason") or "",
            message=(status.get("message") or "").strip(),
            began=any(state.get("running") or state.get("terminated") for state in states),
            waits=next(_waits(status), None),
            exit_code=ended.get("exitCode"),
            exit_reason=ended.get("reason") or "",
            exit_message=ended.get("message") or "",
            unschedulable=_unschedulable(status),
            disrupted=next((_words(c) for c in _true(status) if c["type"] == "DisruptionTarget"), None),
        )


def moment(text: str | None) -> datetime:
    """A time as Kubernetes writes it; 1970 when there is none."""
    return datetime.fromisoformat(text) if text else _NEVER


def _true(status: Json) -> list[Json]:
    """The conditions that hold. One that held once stays there with the status False."""
    return [condition for condition in status.get("conditions") or [] if condition["status"] == "True"]


def _end(condition: Json) -> End:
    return End(
        complete=condition["type"] == "Complete",
        reason=condition.get("reason") or "",
        message=condition.get("message") or "",
        at=moment(condition.get("lastTransitionTime")),
    )


def _suspended(spec: Json, status: Json) -> str | None:
    for condition in _true(status):
        if condition["type"] == "Suspended":
            return _words(condition)
    return "Job suspended" if spec.get("suspend") else None


def _unschedulable(status: Json) -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _words(condition)
    return None


def _waits(status: Json) -> Iterator[tuple[str, str]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            waiting = (container.get("state") or {}).get("waiting")
            if waiting:
                yield waiting.get("reason") or "", (waiting.get("message") or "").strip()


def _words(condition: Json) -> str:
    return condition.get("message") or condition.get("reason") or ""
