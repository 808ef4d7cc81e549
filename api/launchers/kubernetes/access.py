"""The ways into a cluster: a kubeconfig in a file, a text or a secret, an AWS role, the pod's account."""

import os
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kubernetes import config
from kubernetes.client import Configuration

from api.launchers import LauncherUnavailable

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TOKEN_SECONDS = 600.0
"""An EKS token is good for a quarter of an hour."""


@dataclass(frozen=True)
class Access:
    """The way in. With nothing set it is kubectl's: KUBECONFIG or ~/.kube/config, else the pod's own account.

    Attributes:
        kubeconfig: a kubeconfig itself, as YAML.
        kubeconfig_secret: name or ARN of the secret in AWS Secrets Manager that holds one.
        eks_cluster: name of an EKS cluster, to be entered as the role whose AWS credentials are found.
    """

    kubeconfig: str | None = field(default=None, repr=False)
    kubeconfig_secret: str | None = None
    eks_cluster: str | None = None


def way_in(access: Access) -> tuple[Configuration, str]:
    """The client's configuration, and the namespace that goes with it.

    Raises:
        ValueError: there is no way into a cluster; the message is a sentence.
    """
    chosen = [name for name, value in vars(access).items() if value is not None]
    match chosen:
        case []:
            return _as_kubectl()
        case ["eks_cluster"]:
            return _eks(access.eks_cluster or ""), "default"
        case ["kubeconfig"]:
            return _from_text(access.kubeconfig or "", "STEMJOB_KUBECONFIG")
        case ["kubeconfig_secret"]:
            return _from_secret(access.kubeconfig_secret or "")
        case _:
            names = " and ".join(f"STEMJOB_{name.upper()}" for name in chosen)
            raise ValueError(f"{names} are ways into the cluster; there can be only one.")


def _as_kubectl() -> tuple[Configuration, str]:
    settings = Configuration()
    try:
        file = os.environ.get("KUBECONFIG") or None  # the client would look only when it is imported
        config.load_kube_config(file, client_configuration=settings)  # type: ignore[no-untyped-call]
        _, context = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
        return settings, context["context"].get("namespace") or "default"
    except config.ConfigException as no_kubeconfig:
        try:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            return settings, _NAMESPACE_FILE.read_text().strip()
        except (config.ConfigException, OSError):
            raise ValueError(
                "STEMJOB_LAUNCHER is kubernetes, but there is no way into a cluster: "
                f"neither a kubeconfig ({no_kubeconfig}) nor a pod's ServiceAccount."
            ) from no_kubeconfig


def _from_text(text: str, origin: str) -> tuple[Configuration, str]:
    settings = Configuration()
    try:
        content: Any = yaml.safe_load(text)
        config.load_kube_config_from_dict(content, client_configuration=settings)  # type: ignore[no-untyped-call]
        current = content["current-context"]
        [context] = [entry["context"] for entry in content["contexts"] if entry["name"] == current]
    except (config.ConfigException, yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError):
        # Without a cause: it may show what the kubeconfig holds.
        raise ValueError(f"What {origin} holds is no kubeconfig.") from None
    return settings, context.get("namespace") or "default"


def _from_secret(name: str) -> tuple[Configuration, str]:
    _need_aws("STEMJOB_KUBECONFIG_SECRET")
    from api.launchers.kubernetes import aws

    try:
        text = aws.secret(name)
    except aws.AwsUnavailable as error:
        raise ValueError(f"STEMJOB_KUBECONFIG_SECRET cannot be read: {error}") from error
    return _from_text(text, "the secret of STEMJOB_KUBECONFIG_SECRET")


def _eks(name: str) -> Configuration:
    _need_aws("STEMJOB_EKS_CLUSTER")
    from api.launchers.kubernetes import aws

    settings = Configuration()
    try:
        settings.host, authority = aws.eks_cluster(name)
        token = aws.eks_token(name)
    except aws.AwsUnavailable as error:
        raise ValueError(f"The way into STEMJOB_EKS_CLUSTER is not found: {error}") from error
    settings.ca_cert_data = authority
    settings.api_key["BearerToken"] = f"Bearer {token}"
    made = time.time()  # of the wall clock, as a token's end is: a function may be frozen for minutes

    def renew(current: Configuration) -> None:
        nonlocal made
        if time.time() - made < _TOKEN_SECONDS:
            return
        try:
            current.api_key["BearerToken"] = f"Bearer {aws.eks_token(name)}"
        except aws.AwsUnavailable as error:
            raise LauncherUnavailable("The cluster cannot be entered: AWS gives no credentials.") from error
        made = time.time()

    settings.refresh_api_key_hook = renew  # type: ignore[assignment]
    return settings


def _need_aws(setting: str) -> None:
    if find_spec("awscrt") is None:
        raise ValueError(f"{setting} needs more packages: install stemjob[lambda].")
