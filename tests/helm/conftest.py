"""The real Helm, and the example values that come with the chart."""

from pathlib import Path

import pytest

from tests.api.conftest import serve as serve
from tests.helm.chart import EXAMPLES, Helm
from tests.testbed.requirements import require


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    [program] = require("helm")
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Path | None:
    """A file of values that comes with the chart; None for the defaults."""
    path: Path | None = EXAMPLES[request.param]
    return path
