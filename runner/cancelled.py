"""SIGTERM as an exception, so that whatever is open is closed on the way out."""

import signal
import sys
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGTERM
"""What `contract.failures.EXITS` says of `cancelled`. The first signal may come before that is imported."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)

_ONCE_MORE_SECONDS = 0.01


class Cancelled(BaseException):
    """Somebody wants this runner to end. No `except Exception` holds it up."""


def cancel_on_signals() -> None:
    """The first SIGTERM or SIGINT raises `Cancelled` in the main thread, even in here; later ones do nothing.

    An exception that is raised where Python can't pass it on (a `__del__`, or a weak reference's callback, of
    which each import runs one) is printed and forgotten. `Cancelled` is raised again a moment later.
    """
    sys.unraisablehook = _once_more
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _cancel)


def ignore_signals() -> None:
    """From now on no signal raises `Cancelled`; one that has just come may, in here."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _cancel(_number: int, _frame: FrameType | None) -> NoReturn:
    ignore_signals()
    raise Cancelled


def _once_more(lost: "sys.UnraisableHookArgs") -> None:
    if not issubclass(lost.exc_type, Cancelled):
        sys.__unraisablehook__(lost)
        return
    # Not in here, where it would be lost as well. A timer that meets such a place again is set again.
    signal.signal(signal.SIGALRM, _cancel)
    signal.setitimer(signal.ITIMER_REAL, _ONCE_MORE_SECONDS)
