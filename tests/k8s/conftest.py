"""What the tests of the manifests and of the runner's reports share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from runner.annotations import KubernetesReporter
from tests.k8s.site import Runner, Site, running_site
from tests.testbed.cluster import Cluster
from tests.testbed.waiting import wait_for

Open = Callable[..., KubernetesReporter]


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    """A namespace with rights and policies of `k8s/` in force. Each test makes Jobs of its own.

    It goes with the module: its pods wait for a node, and would be put on the nodes that other tests make.
    """
    with running_site(cluster, ["runner-rbac.yaml", "api-rbac.yaml", "admission-policies.yaml"]) as running:
        yield running


@pytest.fixture
def open_reporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the reporter of a pod, with its token; closed at the end."""
    with ExitStack() as opened:

        def open_as(runner: Runner, wait: bool = True, **named: Any) -> KubernetesReporter:
            monkeypatch.setenv("KUBECONFIG", str(runner.kubeconfig))
            reporter = KubernetesReporter(runner.url, **named)
            opened.callback(reporter.close)
            if wait:
                wait_for("the first look", lambda: reporter.attempt)
            return reporter

        yield open_as
