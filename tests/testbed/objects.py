"""Small objects of Kubernetes for tests, as dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

RESTRICTED: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A container's securityContext that the restricted Pod Security level accepts."""


def container(
    image: str = "testbed.local/nothing:1", command: Sequence[str] = ("true",), **more: Any
) -> dict[str, Any]:
    """A container that never asks a registry. `more` goes in as it is."""
    return {
        "name": "runner",
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command),
        "securityContext": dict(RESTRICTED),
        **more,
    }


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod that is not started again."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": list(containers) or [container()], **spec},
    }


def job(
    name: str, *containers: dict[str, Any], pod_spec: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A Job that tries once, unless `spec` says otherwise."""
    made = pod(name, *containers, **(pod_spec or {}))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": made["spec"]}, **spec},
    }


def role_for(account: str, namespace: str, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    """A ServiceAccount with a Role of these rules."""
    metadata = {"name": account, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        },
    ]
