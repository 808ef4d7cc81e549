"""Health and configuration. `async`, so that they never wait for a thread, and never touch the store."""

from fastapi import APIRouter, Request

from api.answers import Configuration, Health
from api.settings import ApiSettings
from api.version import VERSION
from contract.job import SUPPORTED_FORMATS

router = APIRouter(tags=["system"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> Health:
    """Says that the API runs."""
    return Health(version=VERSION)


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
    )
