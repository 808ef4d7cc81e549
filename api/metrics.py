"""What the API counts, in Prometheus' words, and the port where that can be read."""

from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import Counter, Histogram, start_http_server

log = structlog.get_logger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})

_requests = Histogram(
    "stemjob_request_seconds",
    "Time from a request's headers to the last byte of its answer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
_refusals = Counter("stemjob_refusals", "Requests that were refused, by the code of the refusal.", ["code"])
_jobs = Counter("stemjob_jobs_created", "Uploads that have become a job.")
_uploaded = Counter("stemjob_uploaded_bytes", "Bytes of the songs that have become a job.")


def serve_metrics(host: str, port: int) -> None:
    """Serves /metrics from a thread of its own until the process ends; the log says where.

    Raises:
        OSError: the port is taken; the message is a sentence.
    """
    try:
        server, _ = start_http_server(port, host)
    except OSError as error:
        raise OSError(
            f"Cannot serve metrics on {host}:{port}: {error.strerror}. Set STEMJOB_METRICS_PORT to another."
        ) from error
    log.info("metrics_served", port=server.server_port)


def count_request(scope: Mapping[str, Any], status: int, seconds: float) -> None:
    """A request has been answered; status 0: its client went before that.

    It is counted under the template of its path, and strange methods and paths under one name, so that
    nobody can make up labels without end.
    """
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = getattr(scope.get("route"), "path", "none")
    _requests.labels(method, route, str(status or "none")).observe(seconds)


def count_refusal(code: str) -> None:
    """A request is refused."""
    _refusals.labels(code).inc()


def count_job(size: int) -> None:
    """A song of so many bytes has become a job."""
    _jobs.inc()
    _uploaded.inc(size)
