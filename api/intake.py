"""Takes an upload in: a form's events in, a judged song in the store and the options out. Blocking."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from api.errors import Refusal, RefusalCode
from api.form import Event, MultipartForm, PartBegin, PartData, PartEnd
from api.options import read_options
from api.settings import ApiSettings
from contract.audio_header import HEAD_BYTES, AudioHeader, BadAudio, read_header
from contract.job import SUPPORTED_FORMATS, InputObject, JobOptions
from contract.layout import input_key
from contract.limits import MAX_CHANNELS, SAMPLE_RATES
from contract.stores import CREATE_ONLY, ObjectInfo, Store, Writer

_MAX_OPTION_BYTES = 4096
MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}


@dataclass(frozen=True)
class Upload:
    """An upload that lies in the store. `sha256` is the song's, in hex."""

    job_id: str
    file_name: str
    options: JobOptions
    input: InputObject
    sha256: str


class Intake:
    """Feed it the body as it comes, then `finish`. Leaving the context before that leaves nothing behind."""

    def __init__(self, store: Store, settings: ApiSettings, job_id: str, content_type: str) -> None:
        """Raises Refusal when the body cannot be a form with a file."""
        self._store, self._settings, self._job_id = store, settings, job_id
        self._form = MultipartForm(content_type)
        self._fields: dict[str, str] = {}
        self._option: str | None = None
        self._option_bytes = b""
        self._song: _Song | None = None
        self._in_song = False

    def feed(self, content: bytes) -> None:
        """Takes the next bytes of the body. Raises Refusal, StoreError."""
        for event in self._form.feed(content):
            self._take(event)

    def finish(self) -> Upload:
        """Judges the song and makes it visible in the store. Raises Refusal, StoreError."""
        if not self._form.finished:
            raise Refusal(RefusalCode.INVALID_REQUEST, "The upload ended in the middle of the form.")
        if self._song is None:
            raise Refusal(RefusalCode.NO_FILENAME, "No filename provided")
        options = read_options(self._fields, self._settings)
        self._song.judge(self._settings.max_duration_seconds)
        info = self._song.commit()
        return Upload(
            job_id=self._job_id,
            file_name=self._song.file_name,
            options=options,
            input=InputObject(key=info.key, generation=info.generation, size=info.size),
            sha256=self._song.sha256.hexdigest(),
        )

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, *_: object) -> None:
        if self._song is not None:
            self._song.close()

    def _take(self, event: Event) -> None:
        match event:
            case PartBegin(name="file"):
                self._begin_song(event.file_name)
            case PartBegin():
                self._option, self._option_bytes = event.name, b""
            case PartData() if self._in_song and self._song is not None:
                self._song.write(event.content)
            case PartData():
                self._option_bytes += event.content
                if len(self._option_bytes) > _MAX_OPTION_BYTES:
                    raise Refusal(RefusalCode.INVALID_OPTION, f"The option {self._option} is too long.")
            case PartEnd() if self._in_song:
                self._in_song = False
            case PartEnd():
                self._end_option()

    def _begin_song(self, file_name: str | None) -> None:
        if self._song is not None:
            raise Refusal(RefusalCode.INVALID_REQUEST, "One upload holds one file.")
        name = base_name(file_name or "")
        if not name:
            raise Refusal(RefusalCode.NO_FILENAME, "No filename provided")
        extension = extension_of(name)
        key = input_key(self._job_id, extension)
        writer = self._store.writer(key, content_type=MEDIA_TYPES[extension], if_generation=CREATE_ONLY)
        self._song = _Song(name, extension, writer, self._settings.max_file_size_mb)
        self._in_song = True

    def _end_option(self) -> None:
        assert self._option is not None
        self._fields[self._option] = self._option_bytes.decode("utf-8", "replace")
        read_options(self._fields, self._settings)  # a typo is refused before the song is on its way


class _Song:
    """The file part: counted, hashed, its two ends kept, and written to the store as it comes."""

    def __init__(self, file_name: str, extension: str, writer: Writer, max_megabytes: int) -> None:
        self.file_name, self._extension = file_name, extension
        self._writer = writer.__enter__()
        self._max_megabytes = max_megabytes
        self._size = 0
        self._head = self._tail = b""
        self.sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._max_megabytes * 1_000_000:
            raise Refusal(RefusalCode.TOO_LARGE, f"The file is larger than {self._max_megabytes} MB.")
        self._head += content[: HEAD_BYTES - len(self._head)]
        self._tail = (self._tail + content)[-HEAD_BYTES:]
        self.sha256.update(content)
        self._writer.write(content)

    def judge(self, max_seconds: float) -> None:
        try:
            header = read_header(self._head, self._tail, self._size)
        except BadAudio as error:
            raise Refusal(RefusalCode.INVALID_AUDIO, str(error)) from error
        check_header(header, self._extension, max_seconds)

    def commit(self) -> ObjectInfo:
        return self._writer.commit()

    def close(self) -> None:
        self._writer.__exit__(None, None, None)


def base_name(file_name: str) -> str:
    """The last part of a name that may be a path of any system, without control characters."""
    last = PurePosixPath(PureWindowsPath(file_name).as_posix()).name
    return "".join(character for character in last if character.isprintable()).strip()


def extension_of(file_name: str) -> str:
    """The extension without the dot, in lower case. Raises Refusal `unsupported_format`."""
    suffix = PurePosixPath(file_name).suffix
    if suffix.lower().removeprefix(".") not in SUPPORTED_FORMATS:
        what = suffix or file_name
        raise Refusal(RefusalCode.UNSUPPORTED_FORMAT, f"Unsupported audio format: {what}")
    return suffix.lower().removeprefix(".")


def check_header(header: AudioHeader, extension: str, max_seconds: float) -> None:
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
