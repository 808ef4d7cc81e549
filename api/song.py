"""What an upload is, and the judgement of its name and its first and last bytes."""

from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from api.errors import Refusal, RefusalCode
from contract.audio_header import AudioHeader, BadAudio, read_header
from contract.job import SUPPORTED_FORMATS, InputObject, JobOptions
from contract.limits import MAX_CHANNELS, SAMPLE_RATES

_MAX_NAME = 255
"""As on every common file system. Headers and links hold the name, percent-encoded."""

MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}


@dataclass(frozen=True)
class Upload:
    """An upload that lies in the store.

    `sha256` is the song's, in hex; None for one that was sent straight to the bucket, past this process.
    """

    job_id: str
    file_name: str
    options: JobOptions
    input: InputObject
    sha256: str | None


def name_and_extension(file_name: str | None) -> tuple[str, str]:
    """The name without its path, and its extension.

    Raises Refusal `no_filename`, `unsupported_format`, and `invalid_request` for a name that is too long.
    """
    name = _base_name(file_name or "")
    if not name:
        raise Refusal(RefusalCode.NO_FILENAME, "No filename provided")
    if len(name) > _MAX_NAME:
        raise Refusal(RefusalCode.INVALID_REQUEST, f"A file's name has at most {_MAX_NAME} characters.")
    return name, _extension(name)


def check_size(size: int, max_megabytes: int) -> None:
    """Refuses a song of more bytes than the limit in MB of 1,000,000 bytes. Raises Refusal `too_large`."""
    if size > max_megabytes * 1_000_000:
        raise Refusal(RefusalCode.TOO_LARGE, f"The file is larger than {max_megabytes} MB.")


def judge(head: bytes, tail: bytes, size: int, extension: str, max_seconds: float) -> None:
    """Refuses what cannot be a song by its first and last `HEAD_BYTES` and its size in bytes.

    Raises Refusal `invalid_audio`, `duration_exceeded`.
    """
    try:
        header = read_header(head, tail, size)
    except BadAudio as error:
        raise Refusal(RefusalCode.INVALID_AUDIO, str(error)) from error
    _check(header, extension, max_seconds)


def _base_name(file_name: str) -> str:
    """The last part of a name that may be a path of any system, without control characters."""
    last = PurePosixPath(PureWindowsPath(file_name).as_posix()).name
    return "".join(character for character in last if character.isprintable()).strip()


def _extension(file_name: str) -> str:
    """The extension without the dot, in lower case. Raises Refusal `unsupported_format`."""
    suffix = PurePosixPath(file_name).suffix
    if suffix.lower().removeprefix(".") not in SUPPORTED_FORMATS:
        what = suffix or file_name
        raise Refusal(RefusalCode.UNSUPPORTED_FORMAT, f"Unsupported audio format: {what}")
    return suffix.lower().removeprefix(".")


def _check(header: AudioHeader, extension: str, max_seconds: float) -> None:
    """Refuses what the header alone shows to be impossible. Raises Refusal."""
    if header.container != extension:
        raise Refusal(
            RefusalCode.INVALID_AUDIO,
            f"The file is named .{extension} but its content is {header.container.upper()}.",
        )
    if header.channels > MAX_CHANNELS:
        raise Refusal(
            RefusalCode.INVALID_AUDIO,
            f"The file has {header.channels} channels; songs have one or two.",
        )
    if header.sample_rate not in SAMPLE_RATES:
        raise Refusal(
            RefusalCode.INVALID_AUDIO,
            f"A sample rate of {header.sample_rate} Hz is not supported; it must be "
            f"{SAMPLE_RATES.start} to {SAMPLE_RATES.stop - 1} Hz.",
        )
    if header.frames == 0:
        raise Refusal(RefusalCode.INVALID_AUDIO, "The file holds no audio.")
    if header.frames is not None and header.frames > max_seconds * header.sample_rate:
        seconds = header.frames / header.sample_rate
        raise Refusal(
            RefusalCode.DURATION_EXCEEDED,
            f"The song lasts {seconds:.0f} seconds; the limit is {max_seconds:.0f}.",
        )
