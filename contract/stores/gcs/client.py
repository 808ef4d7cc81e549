"""The connection to Google Cloud Storage: credentials, time limits, and one pool of HTTP connections."""

import os
from dataclasses import dataclass

import google.auth
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

# The library otherwise reads the bucket's own metadata in a thread at first use when OpenTelemetry is
# installed. That needs the permission storage.buckets.get, which nothing here has use for.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

TRANSFER_TIMEOUT_SECONDS = 60.0
"""For a request that carries 8 MiB: the time for sending it, and the longest silence of the server."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # signBlob wants it; IAM roles set the real limit
_LONGEST_PAUSE_SECONDS = 10.0
_CONNECTIONS = 128  # more than the API has threads; the default of 10 makes the others reconnect every time


@dataclass(frozen=True)
class Connection:
    """What every request needs.

    Attributes:
        credentials: what signs download URLs, if it can.
        retry: wraps one request; which errors are worth another attempt is the library's knowledge.
        timeout: of a request without much content, in seconds.
    """

    client: storage.Client
    session: AuthorizedSession
    bucket: storage.Bucket
    credentials: Credentials
    retry: Retry
    timeout: float


def connect(bucket: str, retry_seconds: float) -> Connection:
    """Finds the credentials; nothing is asked of the bucket yet.

    With STORAGE_EMULATOR_HOST set, everything goes to that address without credentials, and the key file
    that GOOGLE_APPLICATION_CREDENTIALS names, if any, serves for signing alone.

    Raises:
        ValueError: STORAGE_EMULATOR_HOST is not a URL.
        GoogleAuthError: there are no credentials, or they cannot be read.
    """
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator and not emulator.startswith(("http://", "https://")):
        raise ValueError(
            f"STORAGE_EMULATOR_HOST is {emulator!r}, but it must begin with http:// or https://."
        )
    found = _credentials(emulator)
    credentials = AnonymousCredentials() if emulator else found
    session = AuthorizedSession(credentials)
    session.trust_env = not emulator  # no proxy stands between this machine and an emulator
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    client = storage.Client(project=None, credentials=credentials, _http=session)
    return Connection(
        client=client,
        session=session,
        bucket=client.bucket(bucket),
        credentials=found,
        # The default goes on for 120 s, after a first pause of 1 s. Pauses are short against the whole, since
        # the library stops as soon as the next pause would end too late.
        retry=DEFAULT_RETRY.with_delay(
            initial=0.2, maximum=min(retry_seconds / 4, _LONGEST_PAUSE_SECONDS), multiplier=2
        ).with_timeout(retry_seconds),
        # The retry's clock is looked at between attempts only: one attempt must not outlast it by much.
        timeout=min(retry_seconds, TRANSFER_TIMEOUT_SECONDS),
    )


def _credentials(emulator: str | None) -> Credentials:
    if emulator and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return AnonymousCredentials()
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    return credentials
