"""Takes an upload in: a form's events in, a judged song in the store and the options out. Blocking."""

import hashlib

from api.direct_uploads import referred
from api.errors import Refusal, RefusalCode
from api.form import Event, MultipartForm, PartBegin, PartData, PartEnd
from api.marks import mark_unsettled
from api.options import read_options
from api.settings import ApiSettings
from api.song import MEDIA_TYPES, Upload, check_size, judge, name_and_extension
from contract.audio_header import HEAD_BYTES
from contract.job import InputObject
from contract.layout import input_key
from contract.stores import CREATE_ONLY, ObjectInfo, Store, Writer

_UPLOAD_ID = "upload_id"
_MAX_OPTION_BYTES = 4096


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
        self._upload_id: str | None = None

    def feed(self, content: bytes) -> None:
        """Takes the next bytes of the body. Raises Refusal, StoreError."""
        for event in self._form.feed(content):
            self._take(event)

    def finish(self) -> Upload:
        """Judges the song and makes it visible in the store. Raises Refusal, StoreError."""
        if not self._form.finished:
            raise Refusal(RefusalCode.INVALID_REQUEST, "The upload ended in the middle of the form.")
        options = read_options(self._fields, self._settings)
        if self._upload_id is not None:
            return referred(self._store, self._settings, self._upload_id, options)
        if self._song is None:
            raise Refusal(RefusalCode.NO_FILENAME, "No filename provided")
        self._song.judge(self._settings.max_duration_seconds)
        mark_unsettled(self._store, self._job_id)
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
        name, extension = name_and_extension(file_name)
        key = input_key(self._job_id, extension)
        writer = self._store.writer(key, content_type=MEDIA_TYPES[extension], if_generation=CREATE_ONLY)
        self._song = _Song(name, extension, writer, self._settings)
        self._in_song = True
        self._expect_one()

    def _end_option(self) -> None:
        assert self._option is not None
        if self._option == _UPLOAD_ID:
            self._upload_id = self._option_bytes.decode("utf-8", "replace")
            self._expect_one()
            return
        self._fields[self._option] = self._option_bytes.decode("utf-8", "replace")
        read_options(self._fields, self._settings)  # a typo is refused before the song is on its way

    def _expect_one(self) -> None:
        if self._song is not None and self._upload_id is not None:
            raise Refusal(RefusalCode.INVALID_REQUEST, "Send a file or the upload_id of one, not both.")


class _Song:
    """The file part: counted, hashed, its two ends kept, and written to the store as it comes."""

    def __init__(self, file_name: str, extension: str, writer: Writer, settings: ApiSettings) -> None:
        self.file_name, self._extension = file_name, extension
        self._writer = writer.__enter__()
        self._settings = settings
        self._size = 0
        self._head = self._tail = b""
        self.sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._size += len(content)
        check_size(self._size, self._settings.max_file_size_mb)
        limit = self._settings.body_limit_mb
        if limit is not None and self._size > limit * 1_000_000:
            raise Refusal(
                RefusalCode.TOO_LARGE,
                f"Files of more than {limit:g} MB cannot be sent here: announce the file to POST /uploads, "
                "send it straight to the bucket, and POST its upload_id here.",
            )
        self._head += content[: HEAD_BYTES - len(self._head)]
        self._tail = (self._tail + content)[-HEAD_BYTES:]
        self.sha256.update(content)
        self._writer.write(content)

    def judge(self, max_seconds: float) -> None:
        judge(self._head, self._tail, self._size, self._extension, max_seconds)

    def commit(self) -> ObjectInfo:
        return self._writer.commit()

    def close(self) -> None:
        self._writer.__exit__(None, None, None)
