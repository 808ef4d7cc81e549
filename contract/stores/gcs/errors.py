"""Google's exceptions end here: each becomes one sentence that an operator can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    RetryError,
    TooManyRequests,
    Unauthorized,
    from_http_response,
)
from google.auth.exceptions import (
    DefaultCredentialsError,
    GoogleAuthError,
    InvalidOperation,
    TransportError,
)
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from requests.exceptions import RequestException, Timeout

from contract.stores import StoreError, StoreFull

NO_CREDENTIALS = (
    "No usable credentials for Google Cloud Storage were found: bind a service account to the pod, run "
    "`gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name a key file."
)
DAMAGED = "The bytes were damaged on the way to or from Google Cloud Storage."


@contextmanager
def translated(bucket: str) -> Iterator[None]:
    """Raises StoreError with a sentence in place of anything that the library raises.

    A 404 that comes as far as here is the bucket's: whoever asks for an object catches its own before.
    Google's own words stay in `__cause__`, for the log: they name accounts, which not everybody may read.
    """
    try:
        yield
    except RetryError as error:
        raise _sentence(error.cause or error, bucket) from error
    except (GoogleAPICallError, InvalidResponse, DataCorruption, GoogleAuthError, RequestException) as error:
        raise _sentence(error, bucket) from error
    except OSError as error:  # after RequestException, which is one too: this is the local disk
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise StoreFull("The local disk is full.") from error
        raise StoreError(f"A local file cannot be used: {error.strerror or error}.") from error


def _sentence(error: BaseException, bucket: str) -> StoreError:
    if isinstance(error, InvalidResponse):  # what uploads and downloads raise in place of the others
        error = from_http_response(error.response)
    match error:
        case NotFound():
            return StoreError(f"There is no bucket {bucket} in Google Cloud Storage.")
        case Unauthorized() | InvalidOperation():  # the latter: a 401 to somebody anonymous
            return StoreError("Google Cloud Storage does not accept the credentials.")
        case Forbidden():
            return StoreError(f"The credentials have no permission to do this in the bucket {bucket}.")
        case DefaultCredentialsError():
            return StoreError(NO_CREDENTIALS)
        case TransportError():
            return StoreError("Google's servers for credentials cannot be reached.")
        case GoogleAuthError():
            return StoreError("Google does not accept the credentials for its storage.")
        case DataCorruption():
            return StoreError(DAMAGED)
        case Timeout():
            return StoreError("Google Cloud Storage did not answer in time.")
        case RequestException():
            return StoreError("Google Cloud Storage cannot be reached.")
        case TooManyRequests():
            return StoreError(
                f"Google Cloud Storage takes no more requests for the bucket {bucket} just now."
            )
        case _:
            return StoreError(f"Google Cloud Storage failed with status {getattr(error, 'code', error)}.")
