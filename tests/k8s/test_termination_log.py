"""Where a runner leaves its last words, on a real node: a container of the restricted level may write."""

import base64
from typing import Any

from contract.failures import Failure, FailureCode
from runner.last_words import TERMINATION_LOG, message_of
from tests.testbed import objects
from tests.testbed.node import NodeCluster

FAILURE = Failure(code=FailureCode.INVALID_AUDIO, error="Пісня is cut short. " * 300)


def test_last_words_of_4096_bytes_come_out_whole(node_cluster: NodeCluster, node_namespace: str) -> None:
    text = base64.b64encode(message_of(FAILURE)).decode()
    script = f"test -f {TERMINATION_LOG} && echo {text} | base64 -d > {TERMINATION_LOG}; echo a log; exit 65"
    container = objects.container(
        node_cluster.busybox_image,
        ["sh", "-c", script],
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    job: Any = objects.job("song", container)
    node_cluster.batch.create_namespaced_job(node_namespace, job)
    node_cluster.wait_for_end(node_namespace, "song")

    [pod] = node_cluster.pods_of(node_namespace, "song")
    assert pod.status
    assert pod.status.container_statuses
    state = pod.status.container_statuses[0].state
    assert state
    assert state.terminated
    assert state.terminated.exit_code == 65
    left = Failure.model_validate_json(state.terminated.message or "")
    assert left.code is FailureCode.INVALID_AUDIO
    assert FAILURE.error.startswith(left.error.removesuffix("…"))
