"""Where everything lies in the store. The same keys in a bucket and in a folder, under one prefix."""

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


def idempotency_key(owner: str, digest: str) -> str:
    """Which job an `Idempotency-Key` made; `digest` is the SHA-256 of the key in hex."""
    return f"idempotency/{owner}/{digest}"
