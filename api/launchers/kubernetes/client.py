"""Talks to the API server. Its exceptions end here: what leaves this module are those of `api.launchers`."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import structlog
from kubernetes.client import ApiClient, ApiException
from urllib3.exceptions import HTTPError

from api.launchers import LauncherUnavailable, LaunchRefused, QuotaExceeded
from api.launchers.kubernetes.access import Access, way_in

log = structlog.get_logger(__name__)

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""Who waits for an HTTP answer waits for the API server no longer than this."""
CREATE_SECONDS, LOOK_SECONDS = 3.0, 2.0
"""The same time, shared out: to create, and to look whether a create without an answer has landed."""

_TRANSIENT = {0, 401, 408, 429, 500, 502, 503, 504}
"""Statuses of which another try may get rid; 0 is the client's own, 401 a token that is just renewed."""
_JSON, _MERGE_PATCH = "application/json", "application/merge-patch+json"
_JOBS, _PODS, _EVENTS = "/apis/batch/v1/{}/jobs", "/api/v1/{}/pods", "/api/v1/{}/events"
_PAGE = 100


class NoAnswer(LauncherUnavailable):
    """The API server did not answer: nobody knows whether it has done what it was asked."""


class ClusterClient:
    """Jobs, pods and events of one namespace, as plain JSON.

    Of the client library only its connection: BatchV1Api and CoreV1Api take half a second and 24 MiB to
    import, for classes of which nothing here makes an object.
    """

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._api = api

    def create_job(self, job: dict[str, Any]) -> None:
        """Creates a Job, or finds one of this name.

        Raises:
            QuotaExceeded, LaunchRefused: the API server refuses.
            NoAnswer: it may have been created or not.
        """

        def send(timeout: tuple[float, float]) -> None:
            try:
                self._call("POST", _JOBS, timeout, body=job)
            except ApiException as error:
                if error.status in _TRANSIENT or _is_conflict(error):
                    raise
                if error.status != 409:
                    raise _refusal(error) from error

        _ask(send, CREATE_SECONDS)

    def read_job(self, name: str, seconds: float = ANSWER_SECONDS) -> dict[str, Any] | None:
        """The Job; None when there is none. Raises LauncherUnavailable."""

        def send(timeout: tuple[float, float]) -> dict[str, Any] | None:
            try:
                return self._call("GET", _JOBS, timeout, name)
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

        return _ask(send, seconds)

    def pods(self, label_selector: str, *, exact: bool = True) -> list[dict[str, Any]]:
        """The pods with these labels that are still there. Raises LauncherUnavailable."""
        answer = self._list(_PODS, labelSelector=label_selector, resourceVersion=_version(exact))
        pods: list[dict[str, Any]] = answer["items"]
        return pods

    def refusals(self, name: str | None = None) -> dict[str, list[str]]:
        """By Job, of one or of all: why its pods could not be made, newest last.

        Raises LauncherUnavailable.
        """
        selector = "involvedObject.kind=Job,reason=FailedCreate"
        if name is not None:
            selector += f",involvedObject.name={name}"
        answer = self._list(_EVENTS, fieldSelector=selector)
        told: dict[str, list[str]] = {}
        for event in sorted(answer["items"], key=lambda event: event.get("lastTimestamp") or ""):
            told.setdefault(event["involvedObject"]["name"], []).append(event.get("message") or "")
        return told

    def jobs(self, label_selector: str, *, exact: bool = True) -> Iterator[dict[str, Any]]:
        """All Jobs with these labels, page by page. Raises LauncherUnavailable."""
        more: str | None = None
        while more != "":
            version = _version(exact) if more is None else None
            selection = {"continue": more, "labelSelector": label_selector, "limit": _PAGE}
            page = self._list(_JOBS, **selection, resourceVersion=version)
            yield from page["items"]
            more = (page.get("metadata") or {}).get("continue") or ""

    def mark(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Merges into a Job's metadata. Of an unknown Job: nothing. Raises LauncherUnavailable."""

        def send(timeout: tuple[float, float]) -> None:
            try:
                self._call("PATCH", _JOBS, timeout, name, body={"metadata": dict(metadata)})
            except ApiException as error:
                if error.status != 404:
                    raise

        _ask(send)

    def delete_job(self, name: str) -> None:
        """Deletes a Job, and in the background its pods. Of an unknown Job: nothing.

        Raises LauncherUnavailable.
        """

        def send(timeout: tuple[float, float]) -> None:
            try:
                self._call("DELETE", _JOBS, timeout, name, query=[("propagationPolicy", "Background")])
            except ApiException as error:
                if error.status != 404:
                    raise

        _ask(send)

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()  # type: ignore[no-untyped-call]

    def _list(self, kind: str, **selection: Any) -> dict[str, Any]:
        query = [(name, value) for name, value in selection.items() if value is not None]
        return _ask(lambda timeout: self._call("GET", kind, timeout, query=query))

    def _call(
        self,
        method: str,
        kind: str,
        timeout: tuple[float, float],
        name: str | None = None,
        *,
        query: list[tuple[str, Any]] | None = None,
        body: Any = None,
    ) -> dict[str, Any]:
        """One request for objects of a kind, or for the one of this name; the answer's JSON.

        Raises ApiException with the status of a refusal, or 0 where the answer is no JSON; HTTPError without
        an answer.
        """
        headers = {"Accept": _JSON}
        if body is not None:
            headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else _JSON
        request = self._api.param_serialize(
            method,
            kind.format("namespaces/{namespace}") + ("" if name is None else "/{name}"),
            path_params={"namespace": self.namespace, "name": name},
            query_params=query or [],
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._api.call_api(*request, _request_timeout=timeout)
        content: bytes = answer.read()  # type: ignore[no-untyped-call]
        if not 200 <= answer.status <= 299:
            raise ApiException.from_response(http_resp=answer, body=None, data=None)
        try:
            parsed: dict[str, Any] = json.loads(content)
        except ValueError as error:  # a proxy's page
            raise ApiException(
                status=0, reason=f"{method} was answered with something else than JSON"
            ) from error
        return parsed


def connect(namespace: str | None, access: Access = Access()) -> ClusterClient:
    """A client of the cluster that `access` leads into.

    Args:
        namespace: where Jobs are made; by default the kubeconfig's, or the pod's own.
        access: the way in.

    Raises:
        ValueError: there is no way into a cluster; the message is a sentence.
    """
    settings, own = way_in(access)
    settings.retries = 0  # this module has its own, bounded by time
    return ClusterClient(ApiClient(settings), namespace or own)


def _ask(send: Callable[[tuple[float, float]], T], seconds: float = ANSWER_SECONDS) -> T:
    """Sends until there is an answer, for so many seconds.

    `send` gets the timeouts to connect and to read: the client has none of its own.
    """
    end, pause = time.monotonic() + seconds, 0.1
    while True:
        left = max(0.1, end - time.monotonic())
        try:
            return send((min(2.0, left), left))
        except ApiException as error:
            if error.status not in _TRANSIENT and not _is_conflict(error):
                log.error("cluster_refuses", status=error.status, answer=_message(error))  # noqa: TRY400
                raise LauncherUnavailable("The cluster does not let the API look after its jobs.") from error
            failure: Exception = error
        except HTTPError as error:
            failure = error
        if time.monotonic() + pause >= end:
            log.error("cluster_unavailable", error=str(failure)[:500])
            raise NoAnswer("The cluster does not answer at present.") from failure
        time.sleep(pause)
        pause *= 2


def _version(exact: bool) -> str | None:
    """An exact list waits, up to a tenth of a second, until the API server's cache is sure to hold all."""
    return None if exact else "0"


def _is_conflict(error: ApiException) -> bool:
    """A race inside the API server (quota counts so), which is over in a moment. Not AlreadyExists."""
    return error.status == 409 and _body(error).get("reason") == "Conflict"


def _refusal(error: ApiException) -> LaunchRefused:
    message = _message(error)
    log.error("job_refused", status=error.status, answer=message)
    if error.status == 403 and "exceeded quota" in message:
        return QuotaExceeded("The cluster's quota of jobs is used up; try again when others have ended.")
    return LaunchRefused("The cluster refused the job; the API's log says why.")


def _message(error: ApiException) -> str:
    return str(_body(error).get("message") or error.reason or "")


def _body(error: ApiException) -> Mapping[str, Any]:
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
