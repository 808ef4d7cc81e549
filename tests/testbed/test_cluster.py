"""The testbed's control plane is a real one: who may do what, what is refused, what survives."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from tests.testbed import objects
from tests.testbed.cluster import Cluster, key_of
from tests.testbed.fake_node import FakeNode
from tests.testbed.waiting import wait_for

RESTRICTED_LEVEL = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Label of a namespace that takes restricted pods only."""


def make_pod(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> client.V1Pod:
    body: Any = pod
    return cluster.core.create_namespaced_pod(namespace, body)


def refused(error: pytest.ExceptionInfo[ApiException]) -> str:
    """The sentence of a 403."""
    assert error.value.status == 403
    return str(error.value.body)


def test_client_and_kubectl_reach_the_same_cluster(cluster: Cluster, namespace: str) -> None:
    assert client.VersionApi(cluster.api).get_code().major == "1"
    assert cluster.kubectl("get", "namespace", namespace, "-o", "name") == f"namespace/{namespace}\n"


def test_the_testbeds_own_cluster_is_kubernetes_1_37(cluster: Cluster) -> None:
    cluster.require_control("the version is known")
    assert client.VersionApi(cluster.api).get_code().git_version.startswith("v1.37.")


def test_a_role_allows_what_it_names_and_nothing_else(cluster: Cluster, namespace: str) -> None:
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}
    cluster.apply(
        *objects.role_for("reader", namespace, rule), objects.job("song", **SUSPENDED), namespace=namespace
    )
    reader = client.BatchV1Api(cluster.client_for(cluster.token(namespace, "reader")))

    wait_for("the role to work", lambda: can_read(reader, namespace))
    with pytest.raises(ApiException) as error:
        reader.delete_namespaced_job("song", namespace)
    assert "cannot delete resource" in refused(error)


SUSPENDED: dict[str, Any] = {"suspend": True}


def can_read(reader: client.BatchV1Api, namespace: str) -> bool:
    """The authorizer learns of a new role a moment after it is made."""
    try:
        reader.read_namespaced_job("song", namespace)
    except ApiException:
        return False
    return True


def test_a_role_in_one_namespace_is_worth_nothing_in_another(cluster: Cluster, namespace: str) -> None:
    other = cluster.make_namespace()
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}
    for each in (namespace, other):
        cluster.apply(objects.job("song", **SUSPENDED), namespace=each)
    cluster.apply(*objects.role_for("reader", namespace, rule), namespace=namespace)
    reader = client.BatchV1Api(cluster.client_for(cluster.token(namespace, "reader")))
    wait_for("the role to work", lambda: can_read(reader, namespace))

    with pytest.raises(ApiException) as error:
        reader.read_namespaced_job("song", other)

    assert "cannot get resource" in refused(error)
    cluster.remove_namespace(other)


def test_a_node_may_change_itself_and_no_other(cluster: Cluster, make_node: Callable[..., FakeNode]) -> None:
    control = cluster.require_control("a node's certificate is made")
    node, other = make_node(), make_node()
    certificate = control.authority.client("node", f"system:node:{node.name}", "system:nodes")
    kubeconfig = control.authority.kubeconfig("node", cluster.url, certificate)
    core = client.CoreV1Api(cluster.client_from(kubeconfig))
    note = {"metadata": {"annotations": {"note": "mine"}}}

    core.patch_node(node.name, note)
    with pytest.raises(ApiException) as error:
        core.patch_node(other.name, note)

    assert "is not allowed to modify node" in refused(error)


def test_a_removed_namespace_takes_its_objects_along(cluster: Cluster) -> None:
    name = cluster.make_namespace()
    cluster.apply(objects.job("song", **SUSPENDED), objects.pod("alone"), namespace=name)

    cluster.remove_namespace(name)

    wait_for(
        "the namespace to be gone", lambda: name not in cluster.kubectl("get", "namespaces", "-o", "name")
    )


def test_the_restricted_level_refuses_a_privileged_pod(cluster: Cluster) -> None:
    name = cluster.make_namespace(labels=RESTRICTED_LEVEL)
    privileged = objects.container(securityContext={"privileged": True})

    with pytest.raises(ApiException) as error:
        make_pod(cluster, name, objects.pod("bad", privileged))

    assert 'violates PodSecurity \\"restricted:latest\\"' in refused(error)
    make_pod(cluster, name, objects.pod("good"))
    cluster.remove_namespace(name)


def test_a_token_knows_the_pod_that_it_was_made_for(cluster: Cluster, namespace: str) -> None:
    pod = make_pod(cluster, namespace, objects.pod("runner"))

    def who(token: str) -> dict[str, list[str]]:
        review: Any = {}
        api = client.AuthenticationV1Api(cluster.client_for(token))
        status = api.create_self_subject_review(review).status
        assert status
        assert status.user_info
        assert status.user_info.username == f"system:serviceaccount:{namespace}:default"
        return status.user_info.extra or {}

    bound = who(cluster.token(namespace, pod=pod))
    assert bound["authentication.kubernetes.io/pod-name"] == ["runner"]
    assert bound["authentication.kubernetes.io/pod-uid"] == [key_of(pod).uid]
    assert "authentication.kubernetes.io/pod-name" not in who(cluster.token(namespace))


def test_a_validating_policy_refuses_by_expression(cluster: Cluster, namespace: str) -> None:
    cluster.apply(*no_suspended_jobs(namespace))
    suspended: Any = objects.job("song", **SUSPENDED)

    def rejection() -> str | None:
        try:
            cluster.batch.create_namespaced_job(namespace, suspended, dry_run="All")
        except ApiException as error:
            return str(error.body) if error.status == 422 else None
        return None  # a new policy works after a moment

    assert "songs don't wait" in wait_for("the policy to refuse", rejection)
    plain: Any = objects.job("song")
    cluster.batch.create_namespaced_job(namespace, plain)
    cluster.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", namespace)


def no_suspended_jobs(namespace: str) -> list[dict[str, Any]]:
    """A policy, and where it holds."""
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    group = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": namespace}}
    only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [
            {"expression": "!object.spec.?suspend.orValue(false)", "message": "songs don't wait"}
        ],
    }
    binding = {"policyName": namespace, "validationActions": ["Deny"], "matchResources": only_here}
    return [
        {**group, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**group, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    ]


def test_the_audit_log_tells_which_rights_were_used(cluster: Cluster, namespace: str) -> None:
    cluster.require_control("the audit log is read")
    api = client.BatchV1Api(cluster.client_for(cluster.token(namespace)))
    with pytest.raises(ApiException):
        api.read_namespaced_job("song", namespace)

    user = f"system:serviceaccount:{namespace}:default"
    [request] = wait_for("the record of the request", lambda: cluster.requests_of(user))
    assert (request["verb"], request["objectRef"]["resource"]) == ("get", "jobs")
    assert request["responseStatus"]["code"] == 403


def test_an_api_server_that_hangs_can_be_had(cluster: Cluster, namespace: str) -> None:
    processes = cluster.require_control("servers are stopped").processes
    processes.pause("kube-apiserver")
    try:
        with pytest.raises(HTTPError, match="timed out"):
            cluster.core.read_namespace(namespace, _request_timeout=0.3)
    finally:
        processes.resume("kube-apiserver")
    cluster.core.read_namespace(namespace)


def test_an_api_server_that_was_killed_comes_back_with_everything(cluster: Cluster, namespace: str) -> None:
    control = cluster.require_control("servers are stopped")
    control.stop_apiserver()
    with pytest.raises(HTTPError):
        cluster.core.read_namespace(namespace)
    control.start_apiserver()
    assert cluster.core.read_namespace(namespace).metadata
