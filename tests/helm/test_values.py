"""The values: documented, checked, and what each of them does to the manifests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from api.launchers.kubernetes.stamp import stamp
from api.launchers.kubernetes.template import load_template
from api.settings import ApiSettings
from api.version import VERSION
from contract.job import JobSpec
from runner.settings import RunnerSettings
from tests.helm.chart import CHART, Helm, Object, environment

DEFAULTS: Object = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())


def strict_objects(schema: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Object]]:
    """Every object whose names the schema lists, references followed."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        yield path, schema
        for name, each in schema["properties"].items():
            yield from strict_objects(each, (*path, name))


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def test_the_chart_passes_helm_s_lint(helm: Helm, example: Path | None) -> None:
    assert "0 chart(s) failed" in helm(
        "lint", "--strict", CHART, *([f"--values={example}"] if example else [])
    )


def test_schema_and_values_know_the_same_names() -> None:
    for path, schema in strict_objects(SCHEMA):
        assert schema["additionalProperties"] is False, path
        assert set(schema["properties"]) - {"global"} == set(at(DEFAULTS, path)), path


def test_every_line_of_the_values_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if line.strip() and not line.lstrip().startswith("#") and not before.lstrip().startswith("#")
    ]

    # What only opens a section is explained line by line below.
    assert [line for line in bare if not line.endswith(":")] == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"buckett": "songs"}, "additional properties 'buckett' not allowed"),
        ({"runner": {"gup": {"enabled": False}}}, "at '/runner': additional properties 'gup' not allowed"),
        ({"api": {"image": {"name": "x"}}}, "at '/api/image': additional properties 'name' not allowed"),
        ({"api": {"resources": {"limit": {}}}}, "additional properties 'limit' not allowed"),
        ({"api": {"replicas": "two"}}, "at '/api/replicas': got string, want integer"),
        ({"bucket": "gs://songs"}, "at '/bucket'"),
        ({"runner": {"image": {"digest": "latest"}}}, "at '/runner/image/digest'"),
        ({"runner": {"gpu": {"resource": "gpu"}}}, "at '/runner/gpu/resource'"),
        ({"settings": {"model": "mdx"}}, 'settings.model is "mdx", which is not in settings.models'),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "needs metrics.enabled"),
        ({"emulator": {"enabled": True}}, "emulator.enabled needs bucket"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(helm: Helm, values: Object, says: str) -> None:
    assert says in helm.refusal("template", "stemjob", CHART, values=values)


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    assert "requires kubeVersion: >=1.31.0-0" in helm.refusal(
        "template", "stemjob", CHART, "--kube-version", "1.30"
    )


def test_chart_and_code_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_without_a_bucket_the_notes_refuse_and_say_how_to_name_one(helm: Helm) -> None:
    notes = helm.notes()

    assert "stemjob has no bucket, so its API refuses to start." in notes
    assert (
        "helm upgrade stemjob helm/stemjob --namespace music --reset-then-reuse-values --set bucket=" in notes
    )


def test_the_notes_say_what_to_do_next(helm: Helm) -> None:
    notes = helm.notes(bucket="songs", admissionPolicy={"create": False}, jobs={"namespace": "work"})

    assert "helm test stemjob --namespace music" in notes
    assert "kubectl --namespace music port-forward service/stemjob 8000:80" in notes
    assert "Without the admission policies a runner may change every Job in the namespace work" in notes


def test_the_default_template_is_the_file_and_what_both_sides_are_told(helm: Helm) -> None:
    shipped, rendered = load_template(None), helm.render().job
    told = ["STEMJOB_MODELS", "STEMJOB_MAX_DURATION_SECONDS", "STEMJOB_LOG_LEVEL"]
    container = rendered["spec"]["template"]["spec"]["containers"][0]
    assert [each["name"] for each in container["env"][-3:]] == told
    del container["env"][-3:]

    assert rendered == shipped


def test_the_api_takes_the_template_of_every_example(
    helm: Helm, example: Path | None, tmp_path: Path
) -> None:
    path = tmp_path / "runner-job.yaml"
    path.write_text(helm.render(example).template_text)

    load_template(str(path))


def test_every_pod_is_on_its_own_as_far_as_it_goes(helm: Helm, example: Path | None) -> None:
    """What no Pod Security level asks for: no token but those mounted, no neighbours, and bounds."""
    for name, pod in helm.render(example).pods():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert {"memory", "ephemeral-storage"} <= set(container["resources"]["limits"]), name
            assert ":latest" not in container["image"], name
            assert ":" in container["image"].rpartition("/")[2], name


def test_a_gpu_s_resource_has_the_name_that_the_operator_gives(helm: Helm) -> None:
    gpu = {"resource": "nvidia.com/mig-1g.10gb", "count": 2}
    limits = helm.render(values={"runner": {"gpu": gpu}}).runner["resources"]["limits"]

    assert limits == {"memory": "6Gi", "ephemeral-storage": "25Gi", "nvidia.com/mig-1g.10gb": "2"}


def test_without_a_gpu_none_is_asked_for(helm: Helm) -> None:
    assert "nvidia" not in json.dumps(helm.render(CHART / "values-kind.yaml").runner_pod)


def test_images_are_named_by_registry_tag_or_digest_and_the_policy_follows(helm: Helm) -> None:
    digest = f"sha256:{'0' * 64}"
    rendered = helm.render(
        values={
            "api": {"image": {"registry": "example.org/music", "digest": digest, "tag": "9"}},
            "runner": {
                "image": {"registry": "example.org", "tag": "2"},
                "template": {"spec": {"template": {"spec": {"initContainers": [{"image": "fetch:1"}]}}}},
            },
        }
    )

    assert rendered.api_pod["containers"][0]["image"] == f"example.org/music/stemjob-api@{digest}"
    assert rendered.runner["image"] == "example.org/stemjob-runner:2"
    [policy] = [
        each for each in rendered.of("ValidatingAdmissionPolicy") if "api-" in each["metadata"]["name"]
    ]
    [allowed] = [each["expression"] for each in policy["spec"]["variables"] if each["name"] == "images"]
    assert allowed == "['example.org/stemjob-runner:2', 'fetch:1']"


def test_a_runner_s_own_variable_replaces_the_template_s(helm: Helm) -> None:
    given = [{"name": "STEMJOB_DEVICE", "value": "cuda"}, {"name": "STEMJOB_LOG_LEVEL", "value": "DEBUG"}]
    variables = environment(helm.render(values={"runner": {"env": given}}).runner)

    assert (variables["STEMJOB_DEVICE"], variables["STEMJOB_LOG_LEVEL"]) == ("cuda", "DEBUG")
    assert variables["STEMJOB_WORK_DIR"] == "/scratch"


def test_the_api_s_own_variable_replaces_the_chart_s(helm: Helm) -> None:
    given = [{"name": "STEMJOB_SWEEP_SECONDS", "value": "60"}]
    rendered = helm.render(values={"api": {"env": given}})

    assert environment(rendered.api_pod["containers"][0])["STEMJOB_SWEEP_SECONDS"] == "60"


def test_anything_of_the_job_can_be_said_last(helm: Helm) -> None:
    pod = {"terminationGracePeriodSeconds": 5, "tolerations": [{"operator": "Exists"}]}
    rendered = helm.render(
        values={"runner": {"template": {"spec": {"suspend": True, "template": {"spec": pod}}}}}
    )

    assert rendered.job["spec"]["suspend"] is True
    assert rendered.job["spec"]["backoffLimit"] == 2
    assert rendered.runner_pod["tolerations"] == [{"operator": "Exists"}]
    assert rendered.runner_pod["serviceAccountName"] == "stemjob-runner"


def test_secrets_are_named_and_never_given(helm: Helm) -> None:
    rendered = helm.render(
        values={
            "gcsKey": {"existingSecret": "stemjob-gcs"},
            "webhooks": {"existingSecret": "stemjob-webhooks", "key": "signing"},
            "imagePullSecrets": [{"name": "registry"}],
        }
    )

    for pod in (rendered.api_pod, rendered.sweep_pod, rendered.runner_pod):
        assert {"name": "gcs-key", "secret": {"secretName": "stemjob-gcs"}} in pod["volumes"]
        assert (
            environment(pod["containers"][0])["GOOGLE_APPLICATION_CREDENTIALS"] == "/etc/stemjob/gcs/key.json"
        )
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
    reference = {"secretKeyRef": {"name": "stemjob-webhooks", "key": "signing"}}
    for pod in (rendered.api_pod, rendered.sweep_pod):
        assert {"name": "STEMJOB_WEBHOOK_SECRET", "valueFrom": reference} in pod["containers"][0]["env"]
    assert "WEBHOOK" not in rendered.template_text
    assert rendered.of("Secret") == []


def test_every_variable_that_the_chart_sets_is_a_setting(helm: Helm) -> None:
    rendered = helm.render(CHART / "examples" / "everything.yaml")

    for pod, settings in ((rendered.api_pod, ApiSettings), (rendered.runner_pod, RunnerSettings)):
        named = {each["name"] for each in pod["containers"][0]["env"]}
        ours = {name.removeprefix("STEMJOB_").lower() for name in named if name.startswith("STEMJOB_")}
        assert ours - set(settings.model_fields) == set()


def test_jobs_may_live_in_a_namespace_of_their_own(helm: Helm) -> None:
    rendered = helm.render(values={"jobs": {"namespace": "work"}})

    there = {
        (each["kind"], each["metadata"]["name"])
        for each in rendered.objects
        if each["metadata"].get("namespace") == "work"
    }
    assert there == {
        ("ServiceAccount", "stemjob-runner"),
        *((kind, f"stemjob-{who}") for kind in ("Role", "RoleBinding") for who in ("api", "runner")),
        ("NetworkPolicy", "stemjob-runner"),
    }
    assert environment(rendered.api_pod["containers"][0])["STEMJOB_NAMESPACE"] == "work"
    for binding in rendered.of("ValidatingAdmissionPolicyBinding"):
        assert binding["spec"]["matchResources"]["namespaceSelector"] == {
            "matchLabels": {"kubernetes.io/metadata.name": "work"}
        }


def test_what_is_switched_off_is_not_there(helm: Helm) -> None:
    rendered = helm.render(
        values={
            "admissionPolicy": {"create": False},
            "networkPolicy": {"enabled": False},
            "serviceAccount": {"create": False, "name": "ours"},
            "runner": {"serviceAccount": {"create": False, "name": "theirs"}},
            "podDisruptionBudget": {"enabled": False},
        }
    )

    kinds = {each["kind"] for each in rendered.objects}
    assert kinds == {"ConfigMap", "CronJob", "Deployment", "Pod", "Role", "RoleBinding", "Service"}
    assert (rendered.api_pod["serviceAccountName"], rendered.runner_pod["serviceAccountName"]) == (
        "ours",
        "theirs",
    )


def test_with_autoscaling_nobody_else_says_how_many_apis_run(helm: Helm) -> None:
    fixed, scaled = helm.render(), helm.render(values={"autoscaling": {"enabled": True}})

    assert fixed.get("Deployment", "stemjob-api")["spec"]["replicas"] == 2
    assert "replicas" not in scaled.get("Deployment", "stemjob-api")["spec"]
    [scaler] = scaled.of("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "stemjob-api"


def test_a_drain_may_take_the_only_api(helm: Helm) -> None:
    assert helm.render(values={"api": {"replicas": 1}}).of("PodDisruptionBudget") == []


def test_runners_take_no_connection_and_reach_only_some_ports(helm: Helm) -> None:
    policy = helm.render(values={"networkPolicy": {"egressPorts": [443]}}).get(
        "NetworkPolicy", "stemjob-runner"
    )
    reached = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}

    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    assert reached == {53, 443}
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= runner_labels().items()


def runner_labels() -> dict[str, str]:
    """The labels of a runner's pod, as the API makes it."""
    spec = JobSpec(job_id="0b9f0000-0000-4000-8000-000000000000", store="gs://songs")
    labels: dict[str, str] = stamp(load_template(None), spec, "stemjob")["spec"]["template"]["metadata"][
        "labels"
    ]
    return labels


def test_a_number_with_many_digits_stays_one(helm: Helm) -> None:
    rendered = helm.render(values={"settings": {"maxFileSizeMb": 1000000, "maxDurationSeconds": 1000000}})

    variables = environment(rendered.api_pod["containers"][0])
    assert variables["STEMJOB_MAX_FILE_SIZE_MB"] == "1000000"
    assert variables["STEMJOB_MAX_DURATION_SECONDS"] == "1000000"
