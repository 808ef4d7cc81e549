"""Where everything lies in the store. The same keys in a bucket and in a folder, under one prefix."""

from datetime import UTC, datetime, timedelta

from contract.tracks import FOLDERS, Track


def job_prefix(job_id: str) -> str:
    """Everything of one job lies under this."""
    return f"jobs/{job_id}/"


def job_key(job_id: str) -> str:
    """The job's own record (`JobRecord`), written once, before anything is started."""
    return f"{job_prefix(job_id)}job.json"


def input_key(job_id: str, extension: str) -> str:
    """The uploaded song; `extension` without the dot."""
    return f"{job_prefix(job_id)}input.{extension}"


def track_key(job_id: str, track: Track, extension: str) -> str:
    """One of the nine tracks; `extension` without the dot."""
    return f"{job_prefix(job_id)}{FOLDERS[track]}/{track}.{extension}"


def manifest_key(job_id: str) -> str:
    """The record of a finished job (`Manifest`), written last, once."""
    return f"{job_prefix(job_id)}manifest.json"


def upload_key(job_id: str) -> str:
    """What was announced of a song that its owner sends straight to the bucket, as `input_key`."""
    return f"{job_prefix(job_id)}upload.json"


def archive_key(job_id: str) -> str:
    """All tracks as a ZIP, where somebody has asked for it."""
    return f"{job_prefix(job_id)}tracks.zip"


def archive_parts_prefix(job_id: str, token: str) -> str:
    """The ZIP's parts between the tracks while it is put together; `token` is that attempt's own."""
    return f"{job_prefix(job_id)}tracks.zip.{token}/"


def archive_part_key(prefix: str, number: int) -> str:
    """One of these parts."""
    return f"{prefix}{number:02}"


def idempotency_key(owner: str, digest: str) -> str:
    """Which job an `Idempotency-Key` made; `digest` is the SHA-256 of the key in hex."""
    return f"{IDEMPOTENCY}{owner}/{digest}"


def webhooks_prefix() -> str:
    """Every webhook that has not arrived lies under this."""
    return "webhooks/"


def webhook_key(job_id: str) -> str:
    """How far the webhook of a job is."""
    return f"{webhooks_prefix()}{job_id}.json"


def webhook_id(key: str) -> str:
    """The inverse of `webhook_key`."""
    return key.removeprefix(webhooks_prefix()).removesuffix(".json")


UNSETTLED = "unsettled/"
"""An empty object for each job, and each upload that may become one, at which the sweep must still look."""

LINKS = "links/"
"""An empty object for each upload that was given up while a song may still arrive by its link."""

DELETED = "deleted/"
"""An empty object for each job that was deleted lately: the sweep removes what a runner still writes."""

INDEX = "index/"
"""An empty object for each job, under its owner: GET /jobs lists them, and the sweep finds the old ones."""

IDEMPOTENCY = "idempotency/"
"""Which job an Idempotency-Key made, for a day."""

_END_OF_TIME = 9_999_999_999_999_999
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


def unsettled_key(job_id: str) -> str:
    """Written before anything else of a job, removed when its manifest is there and its launcher knows."""
    return f"{UNSETTLED}{job_id}"


def link_key(job_id: str, until: datetime) -> str:
    """Until then something may arrive by the link of this upload. Rewritten with every look."""
    return f"{LINKS}{until.astimezone(UTC):%Y%m%dT%H%M%SZ}-{job_id}"


def linked(key: str) -> tuple[str, datetime]:
    """The inverse of `link_key`, to the second."""
    until, _, job_id = key.removeprefix(LINKS).partition("-")
    return job_id, datetime.strptime(until, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def deleted_key(job_id: str) -> str:
    """Written before the tombstone of a job, removed a day later."""
    return f"{DELETED}{job_id}"


def index_prefix(owner: str) -> str:
    """All jobs of an owner, newest first."""
    return f"{INDEX}{owner}/"


def index_key(owner: str, created_at: datetime, job_id: str) -> str:
    """A job among its owner's: the time is inverted, so that the newest is listed first."""
    return f"{index_start(owner, created_at)}-{job_id}"


def index_start(owner: str, created_at: datetime) -> str:
    """From this key on lie the jobs that were created then or earlier."""
    inverted = _END_OF_TIME - (created_at - _EPOCH) // _MICROSECOND
    return f"{index_prefix(owner)}{inverted:016}"


def indexed(key: str) -> tuple[str, str]:
    """Owner and job id of an `index_key`."""
    _, owner, name = key.split("/")
    return owner, name.partition("-")[2]
