"""SIGTERM as an exception, so that whatever is open is closed on the way out."""

import signal
from types import FrameType
from typing import NoReturn


class Cancelled(BaseException):
    """Somebody wants this runner to end. No `except Exception` holds it up."""


def cancel_on_signals() -> None:
    """The first SIGTERM or SIGINT raises `Cancelled` in the main thread; later ones do nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _cancel)


def _cancel(_number: int, _frame: FrameType | None) -> NoReturn:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise Cancelled
