"""`make manifests`: renders `k8s/`, the manifests for those without Helm, from the chart."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.testbed import binaries

REPOSITORY = Path(__file__).resolve().parents[1]
CHART = REPOSITORY / "helm" / "stemjob"
FOLDER = REPOSITORY / "k8s"
WRITTEN_BY_HAND = {"kustomization.yaml", "namespace.yaml", "values.yaml"}
_SAYS_HELM = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: stemjob/templates/(.+)\n", re.MULTILINE)


def main() -> int:
    """Writes the files; those that the chart has no more go."""
    rendered = render(helm())
    for path in FOLDER.glob("*.yaml"):
        if path.name not in {*WRITTEN_BY_HAND, *rendered}:
            path.unlink()
    for name, text in rendered.items():
        (FOLDER / name).write_text(text)
    return 0


def helm() -> Path:
    """HELM, the one on the PATH, or the testbed's. Without one it ends the program with a sentence."""
    found = os.environ.get("HELM") or shutil.which("helm") or binaries.program("helm")
    if not found:
        sys.exit("There is no helm: install it, or run `make testbed`.")
    return Path(found)


def render(program: Path) -> dict[str, str]:
    """The text of every manifest that comes from the chart, by file name: one for each template."""
    command: list[str | Path] = [
        program,
        "template",
        "stemjob",
        CHART,
        "--namespace",
        "stemjob",
        "--skip-tests",
    ]
    done = subprocess.run(
        [*command, "--values", FOLDER / "values.yaml"], capture_output=True, text=True, check=True
    )
    files: dict[str, list[str]] = {}
    for document in re.split(r"^---\n", done.stdout, flags=re.MULTILINE):
        source = _SOURCE.search(document)
        if source:
            text = _SAYS_HELM.sub("", _SOURCE.sub("", document)).strip()
            files.setdefault(source[1], []).append(text + "\n")
    return {name: "---\n".join(documents) for name, documents in files.items()}


if __name__ == "__main__":
    sys.exit(main())
