"""What the endpoints share: their service and transfers, and how OpenAPI describes refusals."""

from typing import Annotated, Any

from fastapi import Depends, Request

from api.errors import HTTP_STATUS, ErrorAnswer, RefusalCode
from api.service import Service
from api.transfers import Transfers


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _transfers(request: Request) -> Transfers:
    transfers: Transfers = request.app.state.transfers
    return transfers


TheService = Annotated[Service, Depends(_service)]
TheTransfers = Annotated[Transfers, Depends(_transfers)]


def refusals(*codes: RefusalCode) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these refusals, by status."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, RefusalCode.INTERNAL_ERROR):
        entry = by_status.setdefault(HTTP_STATUS[code], {"model": ErrorAnswer, "description": ""})
        entry["description"] += f"{', ' if entry['description'] else ''}`{code}`"
    return by_status
