"""The real Helm, and the example values that come with the chart."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kubernetes.client import ApiException

from tests.api.conftest import serve as serve
from tests.helm.chart import EXAMPLES, Helm
from tests.testbed.cluster import Cluster
from tests.testbed.requirements import require
from tests.testbed.waiting import wait_for


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    [program] = require("helm")
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Path | None:
    """A file of values that comes with the chart; None for the defaults."""
    path: Path | None = EXAMPLES[request.param]
    return path


@pytest.fixture
def stemjob_namespace(cluster: Cluster) -> Iterator[str]:
    """The namespace that page, scripts and manifests name, for this test alone, which makes it."""

    def gone() -> bool:
        with suppress(ApiException):
            return not cluster.core.read_namespace("stemjob")
        return True

    wait_for("the last test's namespace to be gone", gone, 60)
    yield "stemjob"
    cluster.remove_namespace("stemjob")
    for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
        names = [f"{policy}.stemjob.stemjob" for policy in ("runner-own-job", "api-runner-jobs")]
        cluster.kubectl("delete", kind, *names, "--ignore-not-found", "--wait=false")
