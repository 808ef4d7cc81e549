"""The operator's template: where it comes from, what is refused, and what the API adds to it."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from api.launchers.kubernetes.stamp import stamp
from api.launchers.kubernetes.template import load_template
from contract.failures import EXITS
from contract.job import JobSpec
from tests.api.launchers.conftest import SHIPPED, shipped

SPEC = JobSpec(job_id="0b9f7d3e-6a52-4a7b-9d0c-2f8f8a1c5d11", store="gs://bucket/prefix")


def written(tmp_path: Path, template: Any) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(template if isinstance(template, str) else json.dumps(template))
    return str(path)


def runner_of(template: dict[str, Any]) -> dict[str, Any]:
    [container] = template["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def with_runner(**fields: Any) -> dict[str, Any]:
    template = shipped()
    runner_of(template).update(fields)
    return template


def with_pod(**fields: Any) -> dict[str, Any]:
    template = shipped()
    template["spec"]["template"]["spec"] |= fields
    return template


MISTAKES: dict[str, tuple[Any, str]] = {
    "a typo in the Job": (shipped(backofLimit=2), "spec.backofLimit: Kubernetes knows no such field"),
    "a typo in the pod": (with_pod(tolerationz=[]), "spec.template.spec.tolerationz: Kubernetes knows no"),
    "a typo in the container": (
        with_runner(imagePullPolice="Never"),
        "spec.template.spec.containers[0].imagePullPolice: Kubernetes knows no such field",
    ),
    "a number for a quantity": (
        with_runner(resources={"limits": {"nvidia.com/gpu": 1}}),
        "spec.template.spec.containers[0].resources.limits.nvidia.com/gpu: this must be a text; put it in",
    ),
    "a text for a number": (shipped(backoffLimit="two"), "spec.backoffLimit: "),
    "no deadline": (shipped(activeDeadlineSeconds=None), "spec.activeDeadlineSeconds: without it"),
    "another controller": (shipped(managedBy="example.com/x"), "neither managedBy"),
    "many pods": (shipped(parallelism=2), "parallelism and completions are 1"),
    "restarts in place": (with_pod(restartPolicy="OnFailure"), "restartPolicy: it must be Never"),
    "no runner": (with_runner(name="song"), "one must be named runner"),
    "an identity of its own": (
        with_runner(env=[{"name": "STEMJOB_JOB_ID", "value": "x"}]),
        "STEMJOB_JOB_ID is given by the API",
    ),
    "a name of its own": (shipped() | {"metadata": {"name": "song"}}, "metadata.name: the API gives it"),
    "not a Job": ({"apiVersion": "batch/v1", "kind": "CronJob"}, "kind: it must be a Job of batch/v1"),
    "a list": ([1], "it is not a mapping"),
    "nothing": ("", "it is not a mapping"),
    "no YAML": ("spec: [", "is not YAML"),
    "a field given twice": ("kind: Job\nkind: Job\n", "'kind' stands there twice"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_template_is_an_error_that_names_the_field(tmp_path: Path, mistake: str) -> None:
    template, sentence = MISTAKES[mistake]
    path = written(tmp_path, template)

    with pytest.raises(ValueError) as error:
        load_template(path)

    assert sentence in str(error.value)
    assert path in str(error.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"spec\.backofLimit.*spec\.ttl: |spec\.ttl: .*spec\.backofLimit"):
        load_template(written(tmp_path, shipped(backofLimit=2, ttl=1)))


def test_a_template_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"/nowhere/job\.yaml cannot be read: No such file"):
        load_template("/nowhere/job.yaml")


def test_an_operators_template_is_taken_as_it_is(tmp_path: Path) -> None:
    own = with_pod(nodeSelector={"cloud.google.com/gke-accelerator": "nvidia-l4"})

    assert load_template(written(tmp_path, own)) == own


def test_the_permanent_exit_codes_of_the_runner_fail_a_job_at_once() -> None:
    [_, permanent] = SHIPPED["spec"]["podFailurePolicy"]["rules"]

    assert set(permanent["onExitCodes"]["values"]) == {
        each.code for each in EXITS.values() if not each.retryable
    }


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value of a nested structure by its path."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if not children:
        return {path: value}
    found: dict[str, Any] = {}
    for key, child in children:
        found |= leaves(child, f"{path}/{key}")
    return found


def test_only_identity_is_stamped() -> None:
    before = deepcopy(SHIPPED)
    stamped = leaves(stamp(SHIPPED, SPEC, "songs"))
    pod = "/spec/template/metadata/labels"
    name = f"stemjob-{SPEC.job_id}"
    environment = "/spec/template/spec/containers/0/env/{}/{}".format
    first = len(runner_of(SHIPPED)["env"])
    told = [
        ("STEMJOB_JOB_ID", SPEC.job_id),
        ("STEMJOB_JOB_STORE", "gs://bucket/prefix"),
        ("STEMJOB_JOB_REPORT", f"kubernetes://songs/{name}"),
    ]

    added = {
        "/metadata/name": name,
        "/metadata/namespace": "songs",
        "/metadata/labels/app.kubernetes.io/name": "stemjob",
        "/metadata/labels/app.kubernetes.io/component": "runner",
        "/metadata/labels/app.kubernetes.io/managed-by": "stemjob-api",
        "/metadata/labels/stemjob.dev/job-id": SPEC.job_id,
        "/metadata/labels/stemjob.dev/stage": "queued",
        f"{pod}/app.kubernetes.io/name": "stemjob",
        f"{pod}/app.kubernetes.io/component": "runner",
        f"{pod}/app.kubernetes.io/managed-by": "stemjob-api",
        f"{pod}/stemjob.dev/job-id": SPEC.job_id,
    }
    for place, (variable, value) in enumerate(told, first):
        added |= {environment(place, "name"): variable, environment(place, "value"): value}
    assert stamped == leaves(SHIPPED) | added
    assert before == SHIPPED
    assert len(name) <= 57  # longer names are cut in pods' names


def test_the_operators_labels_stay() -> None:
    own = shipped() | {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "songs", "team": "a"}}}

    labels = stamp(own, SPEC, "songs")["metadata"]["labels"]

    assert labels["kueue.x-k8s.io/queue-name"] == "songs"
    assert labels["stemjob.dev/stage"] == "queued"


def test_a_second_container_is_told_nothing() -> None:
    own = shipped()
    own["spec"]["template"]["spec"]["containers"].insert(0, {"name": "helper", "image": "x"})

    helper, runner = stamp(own, SPEC, "songs")["spec"]["template"]["spec"]["containers"]

    assert helper == {"name": "helper", "image": "x"}
    assert {"name": "STEMJOB_JOB_ID", "value": SPEC.job_id} in runner["env"]
