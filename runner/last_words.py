"""Why a container failed, for whoever looks at its pod: Kubernetes' termination message."""

from contextlib import suppress
from pathlib import Path

from contract.failures import Failure

TERMINATION_LOG = Path("/dev/termination-log")
"""Where a kubelet reads the message; it puts an empty file there. Outside of a container there is none."""

_LIMIT_BYTES = 4096
"""A kubelet cuts what is longer (kubernetes/pkg/kubelet/container/runtime.go), and half a JSON is none."""


def leave(failure: Failure) -> None:
    """Writes the failure as JSON where a kubelet reads it; does nothing where there is no such place."""
    with suppress(OSError):
        if TERMINATION_LOG.exists():
            TERMINATION_LOG.write_bytes(message_of(failure))


def message_of(failure: Failure) -> bytes:
    """The failure as JSON of at most 4096 bytes; a sentence that is too long loses its end."""
    message = failure.to_json()
    error = failure.error
    while len(message) > _LIMIT_BYTES:
        error = error[: len(error) * 3 // 4]
        message = failure.model_copy(update={"error": f"{error}…"}).to_json()
    return message
