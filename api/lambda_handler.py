"""The API on AWS Lambda: `handler` answers HTTP events, `sweep` belongs on a schedule.

HTTP events are those of API Gateway (REST and HTTP APIs), function URLs and load balancers. Store and cluster
are opened by the first event and kept as long as Lambda keeps the process.
"""

from functools import cache
from typing import Any, Literal

from mangum import Mangum
from pydantic import Field, ValidationError

from api.app import create_app
from api.settings import ApiSettings, problem_of
from api.wiring import open_backend, opened_sweep
from contract import clock
from contract.logs import configure_logs


class LambdaSettings(ApiSettings):
    """The API's settings, with other defaults: no process and no folder outlives an event."""

    launcher: Literal["kubernetes"] = "kubernetes"
    downloads: Literal["redirect"] = "redirect"  # what streams must fit into one answer
    body_limit_mb: float | None = Field(
        default=4.5, gt=0, description="Lambda's 6 MB, which count in Base64."
    )
    sweep_seconds: float = Field(default=0, ge=0, le=0, description="The sweep is a function of its own.")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers one HTTP event.

    Raises ValueError, StoreError: a setting is wrong, or store or cluster cannot be opened.
    """
    return _application()(event, context)


def sweep(event: dict[str, Any], context: Any) -> None:
    """One pass of the sweep, whatever the event says. Raises as `handler` does, and LauncherUnavailable."""
    del event, context
    with opened_sweep(_settings()) as opened:
        opened.run(clock.now())


@cache
def _application() -> Mangum:
    # Without the lifespan: Mangum would start and stop the application with every event.
    return Mangum(create_app(open_backend(_settings())), lifespan="off")


@cache
def _settings() -> LambdaSettings:
    try:
        settings = LambdaSettings()
    except ValidationError as error:
        raise ValueError(problem_of(error)) from None  # its own text shows values, which may be secrets
    configure_logs(settings.log_level)
    return settings
