"""Health and configuration: `async`, so they never wait for a thread, a store or a cluster. And readiness."""

from fastapi import APIRouter, Request

from api.answers import Configuration, Health, Ready
from api.errors import RefusalCode
from api.readiness import Readiness
from api.routes.shared import refusals
from api.settings import ApiSettings
from api.version import VERSION
from contract.job import SUPPORTED_FORMATS

router = APIRouter(tags=["system"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> Health:
    """Says that the API runs."""
    return Health(version=VERSION)


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=refusals(RefusalCode.STORE_UNAVAILABLE, RefusalCode.CLUSTER_UNAVAILABLE))
def ready(request: Request) -> Ready:
    """Says whether store and cluster answer, as of the last few seconds."""
    readiness: Readiness = request.app.state.readiness
    readiness.check()
    return Ready()


@router.head("/config", include_in_schema=False)
@router.get("/config")
async def config(request: Request) -> Configuration:
    """Says what an upload may be."""
    settings: ApiSettings = request.app.state.settings
    return Configuration(
        max_file_size_mb=settings.max_file_size_mb,
        supported_formats=SUPPORTED_FORMATS,
        models=settings.models,
        max_duration_seconds=settings.max_duration_seconds,
        body_limit_mb=settings.body_limit_mb,
    )
