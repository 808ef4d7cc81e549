"""Wait for something to become true, with a sentence when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], timeout: float = 15, every: float = 0.05) -> T:
    """Look again and again until there is something true to see, and give that.

    Args:
        what: what is waited for, for the error's sentence.
        look: gives something true, or None or something false to go on waiting.
        timeout: how many seconds to go on.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout} s still not: {what} (last seen: {seen!r})")
        time.sleep(every)
