"""What the API adds to the operator's template: who the Job is, and nothing else."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from contract.job import JobSpec

RUNNER = "runner"
"""Name of the container that works on the song."""

IDENTITY_PREFIX = "STEMJOB_JOB_"
JOB_ID_LABEL = "stemjob.dev/job-id"
STAGE_LABEL = "stemjob.dev/stage"
MANAGED_BY = "app.kubernetes.io/managed-by=stemjob-api"
"""Selects the Jobs that a stemjob API made."""


def job_name(job_id: str) -> str:
    """The Job of a job. One name for one id: that makes creating it twice harmless."""
    return f"stemjob-{job_id}"


def stamp(template: Mapping[str, Any], spec: JobSpec, namespace: str) -> dict[str, Any]:
    """The Job of one song: the template with name, namespace, labels and `STEMJOB_JOB_*`.

    The template stays as it is. Labels of the operator stay too, except those that stemjob itself sets.
    """
    name = job_name(spec.job_id)
    identity = {
        "app.kubernetes.io/name": "stemjob",
        "app.kubernetes.io/component": "runner",
        "app.kubernetes.io/managed-by": "stemjob-api",
        JOB_ID_LABEL: spec.job_id,
    }
    job: dict[str, Any] = deepcopy(dict(template))
    _label(job, {**identity, STAGE_LABEL: "queued"})
    job["metadata"] |= {"name": name, "namespace": namespace}
    pod = job["spec"]["template"]
    _label(pod, identity)
    told = spec.model_copy(update={"report": f"kubernetes://{namespace}/{name}"}).to_env()
    for container in pod["spec"]["containers"]:
        if container["name"] == RUNNER:
            variables = [{"name": name, "value": value} for name, value in told.items()]
            container["env"] = [*(container.get("env") or []), *variables]
    return job


def _label(thing: dict[str, Any], labels: Mapping[str, str]) -> None:
    metadata = thing["metadata"] = dict(thing.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
