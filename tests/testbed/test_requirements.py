"""A missing counterpart skips with a sentence that says how to get it; with CI=true it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed import packages
from tests.testbed.cluster import Cluster
from tests.testbed.requirements import require, require_node

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def nothing_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, on a visitor's machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.usefixtures("nothing_built")
def test_a_missing_program_skips_and_names_the_command() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"etcd, kubectl not built: `make testbed` builds it"):
        require("etcd", "kubectl")


@pytest.mark.usefixtures("nothing_built")
def test_a_missing_program_fails_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="etcd not built"):
        require("etcd")


@pytest.mark.usefixtures("nothing_built")
def test_missing_packages_are_named_in_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(packages.NEEDED, "/no/such/program", "containerd")
    with pytest.raises(pytest.skip.Exception, match=r"apt-get install -y .* containerd"):
        require_node()


@pytest.mark.usefixtures("nothing_built")
def test_a_real_node_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        require_node()


def test_somebodys_cluster_is_used_as_far_as_it_goes(cluster: Cluster) -> None:
    environment = {**os.environ, "STEMJOB_TEST_KUBECONFIG": str(cluster.kubeconfig), "CI": ""}
    tests = "test_a_token_knows_the_pod or test_an_api_server_that_hangs"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.testbed.fixtures", "-p", "no:cacheprovider"),
            *("-rs", "-k", tests, "tests/testbed/test_cluster.py"),
        ],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "only on the testbed's own control plane: unset STEMJOB_TEST_KUBECONFIG" in done.stdout
