"""`k8s/`, for those without Helm, is what the chart makes of its values."""

import yaml  # type: ignore[import-untyped]

from scripts.render_manifests import FOLDER, WRITTEN_BY_HAND, render
from tests.helm.chart import Helm


def test_the_manifests_are_rendered_from_the_chart(helm: Helm) -> None:
    there = {
        path.name: path.read_text() for path in FOLDER.glob("*.yaml") if path.name not in WRITTEN_BY_HAND
    }

    assert there == render(helm.program), "renew them with: make manifests"


def test_kustomize_takes_all_of_them() -> None:
    taken = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "values.yaml"}

    assert set(taken) == files
