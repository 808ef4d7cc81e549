"""Downloads: one track, or all of them as a ZIP."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.archive import archive_download
from api.downloads import DownloadResponse, track_download
from api.errors import Refusal, RefusalCode
from api.redirects import archive_link, redirected, track_link
from api.routes.shared import TheService, TheTransfers, refusals
from contract.tracks import ENCODINGS, Track

router = APIRouter(tags=["downloads"])


def _binary(*media_types: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}


_AUDIO = sorted({encoding.media_type for encoding in ENCODINGS.values()})
_ARCHIVE_ANSWERS = refusals(
    RefusalCode.JOB_NOT_FOUND,
    RefusalCode.NOT_READY,
    RefusalCode.RANGE_NOT_SATISFIABLE,
    RefusalCode.STORE_UNAVAILABLE,
    RefusalCode.BUSY,
) | {
    200: {"content": _binary("application/zip"), "description": "All tracks."},
    206: {"content": _binary("application/zip"), "description": "The asked range of the ZIP."},
    304: {"description": "The client has it already."},
    307: {"description": "The ZIP lies at the address in Location (`STEMJOB_DOWNLOADS=redirect`)."},
}
_TRACK_ANSWERS = refusals(
    RefusalCode.JOB_NOT_FOUND,
    RefusalCode.TRACK_NOT_FOUND,
    RefusalCode.RANGE_NOT_SATISFIABLE,
    RefusalCode.STORE_UNAVAILABLE,
    RefusalCode.BUSY,
) | {
    200: {"content": _binary(*_AUDIO), "description": "The whole track."},
    206: {"content": _binary(*_AUDIO), "description": "The asked range of the track."},
    304: {"description": "The client has it already."},
    307: {"description": "The track lies at the address in Location (`STEMJOB_DOWNLOADS=redirect`)."},
}


@router.head("/download/{job_id}/all", response_class=Response, responses=_ARCHIVE_ANSWERS)
@router.get("/download/{job_id}/all", response_class=Response, responses=_ARCHIVE_ANSWERS)
def download_all(job_id: str, request: Request, service: TheService, transfers: TheTransfers) -> Response:
    """All tracks of a completed job as a ZIP."""
    manifest = service.completed(job_id)
    if manifest is None:
        raise Refusal(RefusalCode.NOT_READY, "The job is not completed, so there is nothing to download yet.")
    store, download = service.store, archive_download(service.store, manifest)
    answer = redirected(
        request.method, service.settings, download, lambda: archive_link(store, download, manifest)
    )
    return answer or DownloadResponse(request, download, transfers)


@router.head("/download/{job_id}/{track_name}", response_class=Response, responses=_TRACK_ANSWERS)
@router.get("/download/{job_id}/{track_name}", response_class=Response, responses=_TRACK_ANSWERS)
def download_track(
    job_id: str, track_name: str, request: Request, service: TheService, transfers: TheTransfers
) -> Response:
    """One track of a completed job, whole or a range of it."""
    manifest = service.completed(job_id)
    if manifest is None or track_name not in manifest.tracks:
        raise Refusal(RefusalCode.TRACK_NOT_FOUND, "Track not found")
    track = Track(track_name)
    store, record = service.store, manifest.tracks[track]
    download = track_download(store, manifest, track, record)
    answer = redirected(
        request.method, service.settings, download, lambda: track_link(store, download, record)
    )
    return answer or DownloadResponse(request, download, transfers)
