"""Songs that are sent straight to the bucket: announced here, then taken as uploads by their id.

The id is that of the job to come, and the song's place is the job's own. So nothing is copied, a second
request with the same id finds the job that the first one made, and what is never taken goes as every upload
without a job does.
"""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from api.errors import Refusal, RefusalCode
from api.ids import is_uuid4
from api.marks import mark_unsettled
from api.settings import ApiSettings
from api.song import MEDIA_TYPES, Upload, check_size, judge, name_and_extension
from contract import clock
from contract.audio_header import HEAD_BYTES
from contract.clock import Timestamp
from contract.job import InputObject, JobOptions
from contract.layout import input_key, job_key, upload_key
from contract.record import Record
from contract.stores import DirectStore, Store

USABLE_FOR = timedelta(minutes=55)
"""A little less than the hour after which the sweep deletes what has not become a job."""


class UploadRequest(BaseModel):
    """What POST /uploads wants to know of a song: the name of its file, its size in bytes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filename": "song.wav", "size": 31752044}]})

    filename: str = ""
    size: NonNegativeInt


class UploadOffer(BaseModel):
    """Where the song is to be sent, and how. Until `expires_at` POST /process takes it by its `upload_id`."""

    upload_id: str
    url: str = Field(description="The whole file goes here, or parts of it as Google describes it.")
    method: str = "PUT"
    headers: Mapping[str, str]
    expires_at: Timestamp


class Announcement(Record):
    """What was said of a song before it was sent."""

    file_name: str
    size: int


def offer(store: Store, settings: ApiSettings, request: UploadRequest, origin: str | None) -> UploadOffer:
    """A place for a song; web pages of `origin` may use it.

    Raises:
        Refusal: the name or the size is none that a song may have, or the store takes no direct uploads.
        StoreError: the store failed.
    """
    if not isinstance(store, DirectStore):
        raise Refusal(
            RefusalCode.UPLOADS_UNAVAILABLE,
            "Songs cannot be sent straight to this server's store; send the file to POST /process.",
        )
    file_name, extension = name_and_extension(request.filename)
    check_size(request.size, settings.max_file_size_mb)
    if request.size == 0:
        raise Refusal(RefusalCode.INVALID_AUDIO, "The file is empty.")
    upload_id, media_type = str(uuid.uuid4()), MEDIA_TYPES[extension]
    mark_unsettled(store, upload_id, link=True)
    announced = store.put(
        upload_key(upload_id),
        Announcement(file_name=file_name, size=request.size).to_json(),
        content_type="application/json",
    )
    url = store.upload_url(
        input_key(upload_id, extension), content_type=media_type, size=request.size, origin=origin
    )
    return UploadOffer(
        upload_id=upload_id,
        url=url,
        headers={"Content-Type": media_type},
        expires_at=announced.updated + USABLE_FOR,
    )


def referred(store: Store, settings: ApiSettings, upload_id: str, options: JobOptions) -> Upload:
    """The upload of this id, judged by its first and last bytes and pinned as it is.

    Raises:
        Refusal: `upload_not_found`, `upload_incomplete`, and what any other song is refused for.
        StoreError: the store failed.
    """
    found = store.get(upload_key(upload_id)) if is_uuid4(upload_id) else None
    if found is None or _is_expired(store, upload_id, found[1].updated):
        raise Refusal(
            RefusalCode.UPLOAD_NOT_FOUND, "There is no such upload, or it has expired; announce it again."
        )
    announcement = Announcement.model_validate_json(found[0])
    _, extension = name_and_extension(announcement.file_name)
    song = store.stat(input_key(upload_id, extension))
    if song is None:
        raise Refusal(RefusalCode.UPLOAD_INCOMPLETE, "The song has not arrived; send all of it to its url.")
    check_size(song.size, settings.max_file_size_mb)
    head = _read(store, song.key, song.generation, 0)
    tail = _read(store, song.key, song.generation, max(0, song.size - HEAD_BYTES))
    judge(head, tail, song.size, extension, settings.max_duration_seconds)
    if song.size != announcement.size:
        raise Refusal(
            RefusalCode.INVALID_AUDIO,
            f"The song has {song.size} bytes, but {announcement.size} were announced; announce it again.",
        )
    return Upload(
        job_id=upload_id,
        file_name=announcement.file_name,
        options=options,
        input=InputObject(key=song.key, generation=song.generation, size=song.size),
        sha256=None,
    )


def _is_expired(store: Store, upload_id: str, announced: Timestamp) -> bool:
    """What has become a job can be asked for at any time."""
    return clock.now() - announced > USABLE_FOR and store.stat(job_key(upload_id)) is None


def _read(store: Store, key: str, generation: int, start: int) -> bytes:
    return b"".join(store.read(key, generation=generation, start=start, length=HEAD_BYTES))
