"""Uploads and downloads: how many at once, on which threads, and how long one may stand still."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from api.errors import Refusal, RefusalCode

Result = TypeVar("Result")

_THREADS = 16


class Transfers:
    """A limit on open transfers, and threads of their own: slow clients can't starve the polls."""

    def __init__(self, slots: int, idle_seconds: float) -> None:
        """`slots` transfers at once; one that moves no byte for `idle_seconds` is ended."""
        self.idle_seconds = idle_seconds
        self._slots, self._open = slots, 0
        self._threads: CapacityLimiter | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One transfer. Raises Refusal `busy` when all are taken. Only for the event loop's thread."""
        if self._open >= self._slots:
            raise Refusal(RefusalCode.BUSY, "Too many uploads and downloads are under way; try again soon.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def run(self, function: Callable[[], Result]) -> Result:
        """A blocking function on one of the transfers' threads."""
        if self._threads is None:  # it belongs to the event loop, which runs only by now
            self._threads = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(function, limiter=self._threads)

    async def blocks(self, source: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
        """The blocks of a blocking generator, which is closed at the end in any case."""
        try:
            while (block := await self.run(lambda: next(source, None))) is not None:
                yield block
        finally:
            with anyio.CancelScope(shield=True):
                await self.run(source.close)
