"""The API as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from api.cors import Cors
from api.errors import add_error_handlers
from api.middleware import LastResort, RequestMiddleware
from api.openapi import describe
from api.readiness import Readiness
from api.routes import buffered, downloads, events, jobs, system, uploads
from api.transfers import Transfers
from api.version import VERSION
from api.watching import Watches
from api.wiring import Backend

_DESCRIPTION = "Upload a song, get nine tracks back. Every refusal is `{detail, code}`; see each answer."


def create_app(backend: Backend) -> FastAPI:
    """The API over what `api.wiring` opened; the application's end closes it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(backend.close)

    settings = backend.settings
    app = FastAPI(
        title="stemjob", version=VERSION, description=_DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    app.state.settings = settings
    app.state.service = backend.service
    app.state.readiness = Readiness(backend.service.store, backend.launcher)
    app.state.watches = Watches(backend.service, settings.event_streams)
    app.state.transfers = Transfers(settings.transfers, settings.transfer_idle_seconds)
    add_error_handlers(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.include_router(system.router)
    if settings.body_limit_mb is not None:
        app.include_router(buffered.router)  # first: it stands for what others have at its addresses
    else:
        app.include_router(events.router)  # no stream where answers leave in one piece
    app.include_router(uploads.router)
    app.include_router(jobs.router)
    app.include_router(downloads.router)
    app.add_middleware(LastResort)
    app.add_middleware(Cors, origins=settings.origins)
    app.add_middleware(RequestMiddleware)
    return app
