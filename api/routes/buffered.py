"""What cannot be where answers are passed on in one piece (`STEMJOB_BODY_LIMIT_MB`), as on AWS Lambda."""

from fastapi import APIRouter

from api.errors import Refusal, RefusalCode
from api.routes.shared import refusals

router = APIRouter(tags=["jobs"])


@router.get("/job/{job_id}/events", responses=refusals(RefusalCode.EVENTS_UNAVAILABLE))
async def no_events(job_id: str) -> None:
    """Events would arrive when it is too late."""
    raise Refusal(
        RefusalCode.EVENTS_UNAVAILABLE,
        f"There are no event streams on this server; ask GET /job/{job_id} again and again.",
    )
