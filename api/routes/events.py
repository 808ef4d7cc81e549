"""The status of a job as a stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse

from api.answers import JobView
from api.errors import RefusalCode
from api.routes.shared import refusals
from api.watching import Watches

router = APIRouter(tags=["jobs"])


async def _watches(request: Request) -> AsyncIterator[Watches]:
    """Takes one of the places, until the answer has ended."""
    watches: Watches = request.app.state.watches
    async with watches.slot():
        yield watches


TheWatches = Annotated[Watches, Depends(_watches)]


async def _first_look(job_id: str, watches: TheWatches) -> JobView:
    """Apart from the stream, where an error would come too late for an answer of its own."""
    return await watches.look(job_id)


@router.get(
    "/job/{job_id}/events",
    response_class=EventSourceResponse,
    responses=refusals(
        RefusalCode.JOB_NOT_FOUND,
        RefusalCode.STORE_UNAVAILABLE,
        RefusalCode.CLUSTER_UNAVAILABLE,
        RefusalCode.BUSY,
    ),
)
async def events(
    watches: TheWatches, first: Annotated[JobView, Depends(_first_look)]
) -> AsyncIterator[JobView]:
    """The status of a job, now and at every change, as server-sent events; the stream ends when the job does.

    An `EventSource` takes that for a broken connection and comes again: close it when `status` is no longer
    `processing`.
    """
    async for view in watches.changes(first):
        yield view
