"""What a runner may do in the cluster, asked with tokens bound to its pod, as a kubelet mounts them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from contract.progress import Progress
from contract.stages import StageName
from runner.job_annotations import STAGE_LABEL, AttemptId, annotations_of
from tests.k8s.site import MERGE_PATCH, Runner, Site, patch
from tests.testbed.cluster import key_of

REPORT = annotations_of(Progress(), AttemptId(1, "someone"))
DONE = (200, "")
APPLY: dict[str, Any] = {
    "content_type": "application/apply-patch+yaml",
    "field_manager": "runner",
    "force": True,
}


@pytest.fixture(scope="module")
def runner(site: Site) -> Iterator[Runner]:
    """A runner whose Job has labels, annotations and a finalizer of others."""
    job = site.job()
    job["metadata"] |= {
        "annotations": {"note": "the operator's", "stemjob.dev/diagnosis": "the API's"},
        "labels": {**job["metadata"]["labels"], "team": "songs"},
        "finalizers": ["example.org/held"],
    }
    [made] = site.start(job)
    yield made
    patch(
        site.cluster.batch, site, made.job, {"metadata": {"finalizers": None}}
    )  # it would hold the namespace


def metadata(**parts: Any) -> dict[str, Any]:
    return {"metadata": parts}


def test_six_annotations_are_reports() -> None:
    assert len(REPORT) == 6


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MERGE_PATCH, metadata(annotations=REPORT)),
        (MERGE_PATCH, {}),
        ("application/strategic-merge-patch+json", metadata(annotations=REPORT)),
        (
            "application/json-patch+json",
            [{"op": "add", "path": "/metadata/annotations/stemjob.dev~1progress", "value": "0.5"}],
        ),
    ],
    ids=["merge", "empty", "strategic merge", "json patch"],
)
def test_a_runner_may_report_on_its_own_job(runner: Runner, content_type: str, body: Any) -> None:
    assert runner.patches(body, content_type=content_type) == DONE


@pytest.mark.parametrize("key", REPORT)
def test_each_of_the_six_may_hold_4096_characters(runner: Runner, key: str) -> None:
    assert runner.patches(metadata(annotations={key: "x" * 4096})) == DONE
    status, sentence = runner.patches(metadata(annotations={key: "x" * 4097}))
    assert status == 422
    assert "limited to 4096 characters" in sentence


@pytest.mark.parametrize("stage", ["queued", *StageName, "completed", "failed"])
def test_a_runner_may_say_every_stage(runner: Runner, stage: str) -> None:
    assert runner.patches(metadata(labels={STAGE_LABEL: stage})) == DONE
    assert runner.site.stage(runner.job) == stage


def test_a_runner_may_apply_on_the_server_and_try_dry(runner: Runner) -> None:
    progress = metadata(name=runner.job, annotations={"stemjob.dev/progress": "0.75"})
    assert runner.patches({"apiVersion": "batch/v1", "kind": "Job", **progress}, **APPLY) == DONE
    assert runner.patches(metadata(annotations={"stemjob.dev/progress": "0.8"}), dry_run="All") == DONE
    assert runner.site.annotations(runner.job)["stemjob.dev/progress"] == "0.75"


LABELS = "no label but stemjob.dev/stage"
ANNOTATIONS = "no annotations but its four stages, progress and attempt"
DOES = "not change what its Job does"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (metadata(annotations={"note": "mine"}), ANNOTATIONS),
        (metadata(annotations={"stemjob.dev/owner": "me"}), ANNOTATIONS),
        (metadata(annotations={"stemjob.dev/diagnosis": "none"}), ANNOTATIONS),
        (metadata(annotations={"stemjob.dev/progress": None}), ANNOTATIONS),
        (metadata(annotations={"note": None}), ANNOTATIONS),
        (metadata(labels={"team": "mine"}), LABELS),
        (metadata(labels={"new": "label"}), LABELS),
        (metadata(labels={"team": None}), LABELS),
        (metadata(labels={STAGE_LABEL: "mastering"}), LABELS),
        (metadata(labels={STAGE_LABEL: None}), LABELS),
        ({"spec": {"suspend": True}}, DOES),
        ({"spec": {"parallelism": 5}}, DOES),
        ({"spec": {"activeDeadlineSeconds": 1}}, DOES),
        (metadata(finalizers=[]), DOES),
        (
            metadata(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]),
            DOES,
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_runner_may_change_nothing_else(runner: Runner, body: Any, sentence: str) -> None:
    assert runner.patches(metadata(annotations={"stemjob.dev/progress": "0"})) == DONE
    status, said = runner.patches(body)
    assert status == 403
    assert sentence in said


def test_a_stale_patch_is_a_conflict(runner: Runner) -> None:
    stale = metadata(resourceVersion="1", annotations={"stemjob.dev/progress": "0.9"})
    assert runner.patches(stale)[0] == 409


@pytest.mark.parametrize("body", [metadata(annotations=REPORT), {}], ids=["report", "look"])
def test_a_runner_may_not_even_look_at_the_job_of_another(runner: Runner, body: Any) -> None:
    other = runner.site.start_one()
    status, sentence = runner.patches(body, job=other.job)
    assert status == 403
    assert "may only report on the Job it belongs to" in sentence


def test_a_pod_of_a_job_whose_name_begins_like_another_s_may_not_touch_that_one(site: Site) -> None:
    short = site.start_one()
    [longer] = site.start(site.job(f"{short.job}-b"))
    assert longer.patches({}) == DONE
    assert longer.patches({}, job=short.job)[0] == 403


def test_both_pods_of_a_job_may_report(site: Site) -> None:
    for each in site.start_two():
        assert each.patches({}) == DONE


def test_a_token_that_is_bound_to_no_pod_is_worth_nothing(runner: Runner) -> None:
    unbound = Runner(runner.site, runner.job, None)
    status, sentence = unbound.patches(metadata(annotations=REPORT))
    assert status == 403
    assert "not bound to a pod" in sentence


def test_a_runner_has_no_right_but_patch(runner: Runner) -> None:
    name, namespace, jobs = runner.job, runner.site.namespace, runner.api
    core = client.CoreV1Api(jobs.api_client)
    new: Any = runner.site.job()
    for request in (
        lambda: jobs.read_namespaced_job(name, namespace),
        lambda: jobs.list_namespaced_job(namespace),
        lambda: jobs.create_namespaced_job(namespace, new),
        lambda: patch(jobs, runner.site, new["metadata"]["name"], new, **APPLY),
        lambda: jobs.delete_namespaced_job(name, namespace),
        lambda: jobs.patch_namespaced_job_status(name, namespace, {"status": {}}, _content_type=MERGE_PATCH),
        lambda: core.list_namespaced_pod(namespace),
        lambda: core.list_namespaced_secret(namespace),
        lambda: core.list_namespaced_config_map(namespace),
    ):
        status, sentence = runner.site.answer(request)
        assert status == 403
        assert "cannot" in sentence  # RBAC's word: the Role refuses, not the policy


def test_others_are_not_held_by_the_policies(runner: Runner) -> None:
    patch(runner.site.cluster.batch, runner.site, runner.job, metadata(annotations={"anything": "goes"}))
    assert runner.site.annotations(runner.job)["anything"] == "goes"


def test_a_pod_of_the_longest_name_that_can_be_told_apart_may_report(site: Site) -> None:
    name = "j" * 57
    [longest] = site.start(site.job(name))
    assert longest.pod
    assert key_of(longest.pod).name.startswith(f"{name}-")
    assert longest.patches({}) == DONE
