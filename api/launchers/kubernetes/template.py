"""The operator's template of a Job: found, read, and checked before the first song comes."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from api.launchers.kubernetes.job_fields import unfit_fields
from api.launchers.kubernetes.stamp import IDENTITY_PREFIX, RUNNER

_IN_REPOSITORY = Path(__file__).resolve().parents[3] / "helm" / "stemjob" / "files" / "runner-job.yaml"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain YAML that refuses a key given twice, of which YAML would silently drop the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(None, None, f"{key!r} stands there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def load_template(path: str | None) -> dict[str, Any]:
    """The template in a file; of None, the one that comes with stemjob.

    Raises:
        ValueError: the file cannot be read or is no usable template; the message names file and field.
    """
    try:
        text = Path(path).read_text() if path else _default_text()
        template = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ValueError(f"The Job template {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The Job template {path or ''} is not YAML: {error}") from error
    problems = list(problems_of(template))
    if problems:
        raise ValueError(f"The Job template {path or ''} is not right: {'; '.join(problems)}.")
    checked: dict[str, Any] = template
    return checked


def problems_of(template: Any) -> Iterator[str]:
    """What keeps a parsed template from being a Job of stemjob, each as `field: what is wrong`."""
    if not isinstance(template, dict):
        yield "it is not a mapping"
        return
    unfit = list(unfit_fields(template))
    yield from unfit or _missing_rules(template)


def _default_text() -> str:
    """A wheel carries the file beside this module; a source tree has it where the chart needs it."""
    packed = files("api.launchers.kubernetes") / "runner-job.yaml"
    return packed.read_text() if packed.is_file() else _IN_REPOSITORY.read_text()


def _missing_rules(template: Mapping[str, Any]) -> Iterator[str]:
    """What Kubernetes would take and stemjob could not work with."""
    job = template.get("spec") or {}
    pod = (job.get("template") or {}).get("spec") or {}
    runners = [each for each in pod.get("containers") or [] if each.get("name") == RUNNER]
    if (template.get("apiVersion"), template.get("kind")) != ("batch/v1", "Job"):
        yield "kind: it must be a Job of batch/v1"
    for field in ("name", "generateName", "namespace"):
        if (template.get("metadata") or {}).get(field):
            yield f"metadata.{field}: the API gives it"
    if not job.get("activeDeadlineSeconds"):
        yield "spec.activeDeadlineSeconds: without it a song that nothing can run waits for ever"
    if job.get("managedBy") or job.get("completionMode", "NonIndexed") != "NonIndexed":
        yield "spec: neither managedBy nor an Indexed completionMode can be used"
    if any(job.get(field, 1) != 1 for field in ("parallelism", "completions")):
        yield "spec: a song is one pod, so parallelism and completions are 1"
    if pod.get("restartPolicy") != "Never":
        yield "spec.template.spec.restartPolicy: it must be Never"
    if len(runners) != 1:
        yield f"spec.template.spec.containers: one must be named {RUNNER}"
    for variable in (each["name"] for runner in runners for each in runner.get("env") or []):
        if variable.startswith(IDENTITY_PREFIX):
            yield f"spec.template.spec.containers: {variable} is given by the API"
