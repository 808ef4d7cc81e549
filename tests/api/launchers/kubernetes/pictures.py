"""Jobs and pods as the API server shows them, and their parts, for tables."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from api.launchers.kubernetes.diagnosis import DIAGNOSIS, Diagnosis
from api.launchers.kubernetes.facts import JobFacts, PodFacts
from contract.failures import FailureCode
from contract.stages import StageName, begin, pending_stages

BORN = datetime(2026, 1, 1, tzinfo=UTC)
FAILED_AT = BORN + timedelta(minutes=5)
STARTED = begin(pending_stages(), StageName.SEPARATION, BORN)
REPORTED = {f"stemjob.dev/{stage.name}": stage.to_json().decode() for stage in STARTED}


def job(
    *conditions: dict[str, str], failed: int = 0, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "stemjob-x", "annotations": annotations or {}},
        "spec": {"activeDeadlineSeconds": 60, **spec},
        "status": {"failed": failed, "conditions": list(conditions)},
    }


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> dict[str, str]:
    moment = FAILED_AT.isoformat().replace("+00:00", "Z")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": moment,
    }


def failed_job(reason: str = "BackoffLimitExceeded", **more: Any) -> dict[str, Any]:
    return job(condition("FailureTarget", reason), condition("Failed", reason), **more)


def pod(
    phase: str = "Failed",
    state: dict[str, Any] | None = None,
    *,
    uid: str = "a",
    age: int = 0,
    conditions: Sequence[dict[str, str]] = (),
    container: str = "runner",
    **status: str,
) -> dict[str, Any]:
    containers = [{"name": container, "state": state}] if state else []
    born = (BORN - timedelta(seconds=age)).isoformat()
    return {
        "metadata": {"uid": uid, "creationTimestamp": born, "resourceVersion": "7"},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": containers, **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def kept(code: str, pod: str = "") -> dict[str, str]:
    return {DIAGNOSIS: Diagnosis(code=FailureCode(code), message="kept words", pod=pod).to_json().decode()}


RUNNING = pod("Running", {"running": {}}, uid="b")
NO_IMAGE = {"name": "first", "state": waiting("ErrImagePull", "no such image")}
OOM = pod(state=ended(137, "OOMKilled"))
DRAINED = condition("DisruptionTarget", "EvictionByEvictionAPI", "drained")
SAID = '{"code": "disk_full", "error": "Full."}'
PERMANENT = '{"code": "invalid_audio", "error": "No song."}'


def facts(a_job: dict[str, Any], pods: Sequence[dict[str, Any]]) -> tuple[JobFacts, list[PodFacts]]:
    return JobFacts.of(a_job), [PodFacts.of(each) for each in pods]
