"""Who watches jobs: how many at once, how often they look, and when a watch ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio import CapacityLimiter, to_thread

from api.answers import JobView
from api.errors import Refusal, RefusalCode
from api.launchers import LauncherUnavailable
from api.service import Service
from contract.stages import Status
from contract.stores import StoreError

log = structlog.get_logger(__name__)

_THREADS = 4
_PAUSE_SECONDS = 1.0
"""Between two looks of a watch. Runners report every two seconds at most."""


class Watches:
    """A limit on open watches, and a few threads for their looks: they can't starve other requests."""

    def __init__(self, service: Service, most: int) -> None:
        """`most` watches at once."""
        self._service, self._most, self._open = service, most, 0
        self._threads: CapacityLimiter | None = None
        self.stopping: Callable[[], bool] = lambda: False
        """Whether the server is about to end, and watches with it."""

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One watch. Raises Refusal `busy` when there are too many. Only for the event loop's thread."""
        if self._open >= self._most:
            raise Refusal(RefusalCode.BUSY, "Too many jobs are being watched; try again soon, or ask for it.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def look(self, job_id: str) -> JobView:
        """The status of a job. Raises as `Service.status` does."""
        if self._threads is None:  # it belongs to the event loop, which runs only by now
            self._threads = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(self._service.status, job_id, limiter=self._threads)

    async def changes(self, view: JobView) -> AsyncIterator[JobView]:
        """`view`, and then the job's status whenever it has become another, until the job has ended.

        It ends early when the job is deleted or the server stops. While store or cluster cannot be reached,
        nothing changes.
        """
        yield view
        while view.status is Status.PROCESSING and not self.stopping():
            await anyio.sleep(_PAUSE_SECONDS)
            try:
                now = await self.look(view.job_id)
            except Refusal:  # deleted
                return
            except (StoreError, LauncherUnavailable) as error:
                log.warning("watch_saw_nothing", job_id=view.job_id, error=str(error))
                continue
            if now != view:
                view = now
                yield view
