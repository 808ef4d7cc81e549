"""The fixtures of the testbed. A conftest takes them with `pytest_plugins = ["tests.testbed.fixtures"]`.

Every test run imports this module, and most tests need no cluster: what takes seconds to import is imported
by the fixture that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.testbed import image_store
from tests.testbed.gcs import GcsServer, running_gcs_server
from tests.testbed.requirements import require, require_image_builder

if TYPE_CHECKING:
    from tests.testbed.cluster import Cluster
    from tests.testbed.fake_node import FakeNode
    from tests.testbed.node import NodeCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane for the whole session, without any node: see `make_node`. Or somebody's cluster."""
    from tests.testbed.cluster import running_cluster

    with running_cluster() as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a namespace for this test alone, in `cluster`."""
    name = cluster.make_namespace()
    yield name
    cluster.remove_namespace(name)


@pytest.fixture
def make_node(cluster: Cluster) -> Iterator[Callable[..., FakeNode]]:
    """Makes nodes whose kubelet the test plays: `make_node({"nvidia.com/gpu": "1"})`. Gone after the test."""
    from tests.testbed.fake_node import FakeNode

    with ExitStack() as nodes:
        yield lambda *args, **named: nodes.enter_context(FakeNode(cluster, *args, **named))


@pytest.fixture
def fake_node(make_node: Callable[..., FakeNode]) -> FakeNode:
    """One such node, with a GPU, the only node in the cluster."""
    return make_node({"nvidia.com/gpu": "1"})


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[NodeCluster]:
    """A cluster of its own with a real node on this machine, which runs containers. For few tests."""
    from tests.testbed.node import running_node_cluster

    with running_node_cluster() as running:
        yield running


@pytest.fixture
def node_namespace(node_cluster: NodeCluster) -> Iterator[str]:
    """The name of a namespace for this test alone, in `node_cluster`."""
    name = node_cluster.make_namespace()
    yield name
    node_cluster.remove_namespace(name)


@pytest.fixture(scope="session")
def api_image() -> str:
    """The name of the API's image in `image_store`, built from the repository as it is."""
    return product_image(image_store.API)


@pytest.fixture(scope="session")
def runner_image() -> str:
    """The same of the runner's. The first time it takes minutes; its tests need a time-out that allows it."""
    return product_image(image_store.RUNNER)


@pytest.fixture(scope="session")
def lambda_image() -> str:
    """The same of the image for AWS Lambda."""
    return product_image(image_store.LAMBDA)


def product_image(name: str) -> str:
    """Builds one of the product's images."""
    require_image_builder()
    image_store.build(image_store.PRODUCT[name], name)
    return name


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """A Google Cloud Storage emulator for the whole session. Each test makes a bucket of its own."""
    [program] = require("fake-gcs-server")
    with running_gcs_server(program) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server_for_pods(node_cluster: NodeCluster) -> Iterator[GcsServer]:
    """Another emulator, on an address that the real node's pods reach, and this machine too."""
    [program] = require("fake-gcs-server")
    with running_gcs_server(program, node_cluster.host_address) as server:
        yield server


@pytest.fixture
def gcs_bucket(gcs_server: GcsServer) -> str:
    """The name of an empty bucket for this test alone."""
    return gcs_server.make_bucket()
