"""The chart as Helm sees it: rendered, linted, installed by the real program."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm" / "stemjob"
EXAMPLES = {
    "default": None,
    "kind": CHART / "values-kind.yaml",
    "k8s": REPOSITORY / "k8s" / "values.yaml",
    **{path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))},
}
"""Every file of values that comes with the chart, by name, and none."""

Object = dict[str, Any]


class Helm:
    """The program, with nothing of this machine's own Helm settings."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self._rendered: dict[str, Rendered] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))},
            **{f"HELM_{kind}_HOME": str(folder) for kind in ("CACHE", "CONFIG", "DATA")},
        }

    def __call__(self, *arguments: str | Path, values: Object | None = None) -> str:
        """What it prints. When it fails: CalledProcessError with `stderr`."""
        given = ["--values", "-"] if values else []
        done = subprocess.run(
            [self.program, *arguments, *given],
            input=yaml.safe_dump(values) if values else "",
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, arguments, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        printed: str = done.stdout
        return printed

    def template(self, *files: Path | None, values: Object | None = None, namespace: str = "stemjob") -> str:
        """The manifests of a release named stemjob."""
        chosen = [f"--values={path}" for path in files if path]
        return self("template", "stemjob", CHART, "--namespace", namespace, *chosen, values=values)

    def render(self, *files: Path | None, values: Object | None = None) -> "Rendered":
        """The same as objects, which nobody changes."""
        asked = f"{files} {values}"
        if asked not in self._rendered:
            self._rendered[asked] = Rendered(yaml.safe_load_all(self.template(*files, values=values)))
        return self._rendered[asked]

    def refusal(self, *arguments: str | Path, values: Object | None = None) -> str:
        """What it says when it refuses, as it must."""
        try:
            self(*arguments, values=values)
        except subprocess.CalledProcessError as error:
            return str(error.stderr)
        raise AssertionError("Helm took it")

    def notes(self, **values: Any) -> str:
        """What an installation would print."""
        printed = self("install", "stemjob", CHART, "-n", "music", "--dry-run=client", values=values)
        return printed.partition("\nNOTES:\n")[2]


class Rendered:
    """Objects by kind and name."""

    def __init__(self, objects: Iterator[Object | None]) -> None:
        self.objects = [each for each in objects if each]

    def get(self, kind: str, name: str) -> Object:
        [found] = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    @property
    def template_text(self) -> str:
        """The Job template, as the API will read it."""
        [found] = [each for each in self.of("ConfigMap") if "runner-job.yaml" in each["data"]]
        return str(found["data"]["runner-job.yaml"])

    @property
    def job(self) -> Object:
        """The Job template."""
        job: Object = yaml.safe_load(self.template_text)
        return job

    @property
    def runner_pod(self) -> Object:
        """The pod of a runner."""
        pod: Object = self.job["spec"]["template"]["spec"]
        return pod

    @property
    def runner(self) -> Object:
        """The runner's container."""
        container: Object = self.runner_pod["containers"][0]
        return container

    @property
    def api_pod(self) -> Object:
        """The pod of the API."""
        pod: Object = self.get("Deployment", "stemjob-api")["spec"]["template"]["spec"]
        return pod

    @property
    def sweep_pod(self) -> Object:
        """The pod of the sweep."""
        pod: Object = self.get("CronJob", "stemjob-sweep")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        return pod

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod that the chart makes or lets be made, with a name for it."""
        yield "runner", self.runner_pod
        for each in self.objects:
            name, spec = f"{each['kind']}/{each['metadata']['name']}", each.get("spec", {})
            if each["kind"] in ("Deployment", "DaemonSet"):
                yield name, spec["template"]["spec"]
            if each["kind"] == "CronJob":
                yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
            if each["kind"] == "Pod":
                yield name, spec


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's variables that stand there with their value."""
    named = [each["name"] for each in container["env"]]
    assert len(named) == len(set(named)), named
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}
