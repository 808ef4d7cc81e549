"""What a kubelet writes into a pod's status in each situation. Pure functions that give patches.

The situations are those of a real kubelet, word for word where programs look at the words.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes.client import V1Pod

Patch = dict[str, Any]


def running(pod: V1Pod) -> Patch:
    """All containers run."""
    state = {"running": {"startedAt": now()}}
    return {
        "phase": "Running",
        "startTime": now(),
        **conditions(ready=True),
        **containers(pod, state, ready=True),
    }


def ended(
    pod: V1Pod, exit_code: int, reason: str | None = None, message: str | None = None, seconds_ago: float = 0
) -> Patch:
    """The containers have ended. Nothing but the exit code decides between Succeeded and Failed.

    Args:
        reason: `Completed` or `Error` by default; `OOMKilled` when the kernel killed for memory.
        message: the termination message.
        seconds_ago: when it was. From that moment the Job controller waits 10 s before it tries again, 20 s
            the next time …: with 600 it tries at once.
    """
    reason = reason or ("Completed" if exit_code == 0 else "Error")
    moment = now(seconds_ago)
    terminated = {"exitCode": exit_code, "reason": reason, "startedAt": moment, "finishedAt": moment}
    if message is not None:
        terminated["message"] = message
    return {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        **conditions(ready=False),
        **containers(pod, {"terminated": terminated}),
    }


def evicted(pod: V1Pod, message: str, *, node_pressure: bool, seconds_ago: float = 0) -> Patch:
    """The kubelet ended the pod for want of space.

    Args:
        node_pressure: the node ran out (a disruption), not the pod over its own limit (its own failure).
    """
    status = {**ended(pod, 137, seconds_ago=seconds_ago), "reason": "Evicted", "message": message}
    if node_pressure:
        status["conditions"].append(disruption("TerminationByKubelet", message))
    return status


def image_pull_back_off(pod: V1Pod, message: str) -> Patch:
    """An image can't be had; the kubelet tries again and again."""
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    return {"phase": "Pending", "startTime": now(), **conditions(ready=False), **containers(pod, waiting)}


def rejected(reason: str, message: str) -> Patch:
    """The node did not take the pod: no container ever existed."""
    return {"phase": "Failed", "reason": reason, "message": message, "startTime": now()}


def disruption(reason: str, message: str) -> dict[str, str]:
    """The condition that says: ended for reasons that are none of the pod's own."""
    return condition("DisruptionTarget", "True") | {"reason": reason, "message": message}


def conditions(*, ready: bool) -> dict[str, list[dict[str, str]]]:
    """What a kubelet says about a pod as a whole."""
    state = "True" if ready else "False"
    kinds = {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": state,
        "ContainersReady": state,
    }
    return {"conditions": [condition(kind, value) for kind, value in kinds.items()]}


def condition(kind: str, status: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": now()}


def containers(pod: V1Pod, state: dict[str, Any], *, ready: bool = False) -> dict[str, list[dict[str, Any]]]:
    """The same state for each container of a pod."""
    assert pod.spec
    return {
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "" if "waiting" in state else f"sha256:{'0' * 64}",
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
                "lastState": {},
            }
            for container in pod.spec.containers
        ]
    }


def now(seconds_ago: float = 0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
