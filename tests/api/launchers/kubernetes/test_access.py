"""Ways into a cluster other than kubectl's: a kubeconfig in a variable or a secret, and an AWS role."""

import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from api.launchers import LauncherUnavailable
from api.launchers.kubernetes.access import Access, way_in
from api.launchers.kubernetes.aws import eks_token
from api.launchers.kubernetes.client import connect
from tests.api.launchers.kubernetes.aws_services import CREDENTIALS, KEY_ID, aws_services, signature
from tests.testbed.cluster import Cluster

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:stemjob/kubeconfig-AbCdEf"


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS role's credentials, as Lambda gives them to a function."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws(role: None, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS knows one cluster, the testbed's, and one secret, its kubeconfig."""
    settings, _ = way_in(Access(kubeconfig=cluster.kubeconfig.read_text()))
    clusters = {"songs": (settings.host, Path(settings.ssl_ca_cert or "").read_bytes())}
    with aws_services({SECRET: cluster.kubeconfig.read_text(), "text": "- no"}, clusters) as address:
        for service in ("EKS", "SECRETS_MANAGER"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", address)
        yield


def opened(token: str) -> str:
    """The link in an EKS token."""
    assert re.fullmatch(r"k8s-aws-v1\.[A-Za-z0-9_-]+", token)
    text = token.removeprefix("k8s-aws-v1.")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def test_a_kubeconfig_in_a_variable_leads_into_the_cluster(cluster: Cluster, namespace: str) -> None:
    client = connect(namespace, Access(kubeconfig=cluster.kubeconfig.read_text()))

    assert client.read_job("no-such-job") is None
    client.close()


@pytest.mark.usefixtures("aws")
def test_a_kubeconfig_in_a_secret_leads_into_the_cluster(namespace: str) -> None:
    client = connect(namespace, Access(kubeconfig_secret=SECRET))

    assert client.read_job("no-such-job") is None
    client.close()


@pytest.mark.usefixtures("role")
def test_an_eks_token_is_a_signed_question_who_the_role_is() -> None:
    link = opened(eks_token("songs"))

    parts, fields = (
        urlsplit(link),
        {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()},
    )
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://sts.eu-central-1.amazonaws.com/"
    assert (fields["Action"], fields["Version"]) == ("GetCallerIdentity", "2011-06-15")
    assert fields["X-Amz-Credential"].startswith(f"{KEY_ID}/")
    assert fields["X-Amz-Expires"] == "60"
    assert fields["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"
    for name, valid in {"songs": True, "others": False}.items():
        headers = {"host": parts.netloc, "x-k8s-aws-id": name}
        expected = signature("GET", link, headers, "host;x-k8s-aws-id", b"", "sts", fields["X-Amz-Date"])
        assert (fields["X-Amz-Signature"] == expected) is valid


@pytest.mark.usefixtures("role")
def test_a_region_of_china_has_another_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "cn-north-1")

    assert opened(eks_token("songs")).startswith("https://sts.cn-north-1.amazonaws.com.cn/?")


@pytest.mark.usefixtures("aws")
def test_a_token_is_sent_and_renewed_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, namespace = way_in(Access(eks_cluster="songs"))
    began = time.time()

    def sent() -> str:
        return settings.auth_settings()["BearerToken"]["value"] or ""

    first = sent()
    assert namespace == "default"
    assert opened(first.removeprefix("Bearer ")).startswith("https://sts.")
    monkeypatch.setattr("time.time", lambda: began + 590)
    assert sent() == first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER")  # AWS renews a role's credentials, too
    monkeypatch.setattr("time.time", lambda: began + 610)
    second = sent()
    assert "ANOTHER" in opened(second.removeprefix("Bearer "))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A-THIRD")
    assert sent() == second


@pytest.mark.usefixtures("aws")
def test_the_clusters_own_authority_is_trusted_and_its_answer_heard() -> None:
    """The testbed's API server knows nobody of AWS: 401 is what shows that it was asked, over its own TLS."""
    client = connect(None, Access(eks_cluster="songs"))

    with pytest.raises(LauncherUnavailable) as refused:
        client.read_job("any", seconds=0.5)

    client.close()
    assert getattr(refused.value.__cause__, "status", None) == 401


@pytest.mark.usefixtures("aws")
def test_credentials_that_are_gone_are_a_cluster_that_cannot_be_entered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, _ = way_in(Access(eks_cluster="songs"))
    monkeypatch.delenv("AWS_REGION")
    began = time.time()
    monkeypatch.setattr("time.time", lambda: began + 700)

    with pytest.raises(
        LauncherUnavailable, match=r"^The cluster cannot be entered: AWS gives no credentials\.$"
    ):
        settings.auth_settings()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            Access(kubeconfig="a: b", eks_cluster="songs"),
            "STEMJOB_KUBECONFIG and STEMJOB_EKS_CLUSTER are ways",
        ),
        (Access(kubeconfig="{"), r"^What STEMJOB_KUBECONFIG holds is no kubeconfig\.$"),
        (Access(kubeconfig="just text"), r"^What STEMJOB_KUBECONFIG holds is no kubeconfig\.$"),
        (
            Access(kubeconfig_secret="text"),
            r"^What the secret of STEMJOB_KUBECONFIG_SECRET holds is no kubec",
        ),
        (
            Access(kubeconfig_secret="other"),
            "KUBECONFIG_SECRET cannot be read: AWS's service secretsmanager ref",
        ),
        (
            Access(eks_cluster="other"),
            "STEMJOB_EKS_CLUSTER is not found: AWS's service eks refuses with status 404",
        ),
    ],
)
def test_a_way_that_leads_nowhere_is_named(wrong: Access, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        way_in(wrong)


@pytest.mark.usefixtures("role")
def test_without_a_region_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")

    with pytest.raises(ValueError, match="AWS_REGION is not set"):
        way_in(Access(eks_cluster="songs"))
