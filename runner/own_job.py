"""The runner's own Job in the cluster: the only module of the runner that talks to Kubernetes.

`patch` is the only verb that the runner's Role has. An empty patch changes nothing; its answer is the Job.
"""

import base64
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.job_annotations import JobMetadata

if TYPE_CHECKING:  # the client takes a second to load
    from kubernetes.client import BatchV1Api, Configuration

_REQUEST_SECONDS = (2.0, 5.0)
"""To connect, and for an answer. The client by itself would wait for ever."""

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Of the Job only its metadata is sent, which every version of Kubernetes has in the same form."""


class Refused(Exception):  # noqa: N818
    """The API server cannot be reached or does not want to; the message says why."""


class Conflict(Refused):
    """The Job is not any more as it was seen."""


class JobGone(Refused):
    """There is no such Job."""


class OwnJob:
    """A Job that is patched in the name of the pod that this process runs in. For one thread."""

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace, self._name = namespace, name
        self._api: BatchV1Api | None = None
        self.pod_uid = ""
        """Who patches; known after the first request."""

    def patch(self, metadata: Mapping[str, Any]) -> JobMetadata:
        """Merges `metadata` into the Job's and gives what the Job's is then.

        Raises:
            Conflict: `metadata` names a resourceVersion that the Job does not have any more.
            JobGone: there is no such Job.
            Refused: anything else.
        """
        try:
            status, content = self._request({"metadata": metadata} if metadata else {})
        except Exception as error:  # whatever the client and its libraries raise: no answer was to be had
            raise Refused(f"{type(error).__name__}: {error}") from error
        match status:
            case 200:
                return JobMetadata.of(json.loads(content))
            case 404:
                raise JobGone(_message(content))
            case 409:
                raise Conflict(_message(content))
            case _:
                raise Refused(f"{status}: {_message(content)}")

    def close(self) -> None:
        """Closes the connections."""
        if self._api is not None:
            self._api.api_client.close()

    def _request(self, body: dict[str, Any]) -> tuple[int, str | bytes]:
        """HTTP status and content of the answer."""
        from kubernetes.client import ApiException

        if self._api is None:
            self._api = self._connect()
        try:
            answer: Any = self._api.patch_namespaced_job(
                self._name,
                self._namespace,
                body,
                field_manager="stemjob-runner",
                _content_type="application/merge-patch+json",
                _headers={"Accept": _METADATA},
                # The client's models refuse what a newer cluster's answer may hold.
                _preload_content=False,
                _request_timeout=_REQUEST_SECONDS,
            )
        except ApiException as error:
            return int(error.status or 0), str(error.body or error.reason)
        return 200, answer.data

    def _connect(self) -> "BatchV1Api":
        from kubernetes import client

        settings = _configuration()
        settings.retries = False  # when to try again is the reporter's business
        self.pod_uid = pod_uid_of(settings.get_api_key_with_prefix("BearerToken", "authorization") or "")
        return client.BatchV1Api(client.ApiClient(settings))


def pod_uid_of(token: str) -> str:
    """The UID of the pod that a token (a JWT) is bound to; a new one for a token of another kind."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["kubernetes.io"]["pod"]["uid"])
    except (IndexError, KeyError, TypeError, ValueError):
        return str(uuid.uuid4())


def _configuration() -> "Configuration":
    """As the pod's ServiceAccount; outside a cluster as `KUBECONFIG` says."""
    from kubernetes import client, config
    from kubernetes.config import incluster_config

    settings = client.Configuration()
    if incluster_config.SERVICE_HOST_ENV_NAME not in os.environ:
        # Named, because the client reads the variable when it is imported.
        config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)  # type: ignore[no-untyped-call]
        return settings
    config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
    token = Path(incluster_config.SERVICE_TOKEN_FILENAME)

    def read_token(changed: "Configuration") -> None:
        """The kubelet replaces the token long before its end; nobody tells."""
        changed.api_key["BearerToken"] = f"Bearer {token.read_text()}"

    settings.refresh_api_key_hook = read_token  # type: ignore[assignment]
    return settings


def _message(content: str | bytes) -> str:
    """What a Status object of Kubernetes says."""
    try:
        return str(json.loads(content)["message"])
    except (KeyError, TypeError, ValueError):
        return str(content[:200])
