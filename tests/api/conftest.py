"""A real server on a free port, started as its user starts it, and jobs that are already finished."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx2 as httpx
import pytest

from api.marks import enter, mark_unsettled
from contract import clock
from contract.job import InputObject, JobOptions, JobRecord
from contract.layout import input_key, job_key, manifest_key, track_key, unsettled_key
from contract.manifest import JobAnswer, Manifest, ModelRecord, TrackRecord
from contract.stages import StageName, Status, begin, complete, pending_stages
from contract.stores import Store, open_store
from contract.tracks import Track

REPOSITORY = Path(__file__).resolve().parents[2]
_SETTINGS = ("STEMJOB_", "GOOGLE_")  # a developer's own


@dataclass
class Server:
    """A running `python -m api` with a store and a state folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def store_url(self) -> str:
        return f"file://{self.folder}/store"

    @property
    def store(self) -> Store:
        return open_store(self.store_url)

    @property
    def jobs_folder(self) -> Path:
        return self.folder / "state" / "jobs"

    @property
    def log_file(self) -> Path:
        return self.folder / "api.log"

    def start(self) -> "Server":
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("STEMJOB_", "GOOGLE_"))
            },
            "STEMJOB_STORE": self.store_url,
            "STEMJOB_STATE_DIR": str(self.folder / "state"),
            "STEMJOB_MODEL": "bundled",
            "HOST": "127.0.0.1",
            "PORT": "0",
            **self.environment,
        }
        said = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api"], cwd=REPOSITORY, env=environment, stderr=log, stdout=log
            )
        for _ in range(300):
            lines = self.log_file.read_bytes()[said:].decode().splitlines()
            for line in lines:
                if line.startswith("stemjob serves on "):
                    self.url = line.removeprefix("stemjob serves on ")
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(self.log_file.read_text())

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends the server and the runners that it left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        for started in self.jobs_folder.glob("*/started"):
            if is_locked(started.with_name("lock")):
                with suppress(ProcessLookupError):
                    os.kill(int(started.read_text()), signal.SIGKILL)

    def runner_pid(self, job_id: str) -> int:
        return int((self.jobs_folder / job_id / "started").read_text())

    def log_lines(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers with the settings that a test names; each ends with the test."""
    servers: list[Server] = []

    def start(folder: str = "", **environment: str) -> Server:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        server = Server(place, environment)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a module that leave it as it was."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def job_record(
    job_id: str | None = None, file_name: str = "song.wav", age: timedelta = timedelta()
) -> JobRecord:
    job_id = job_id or str(uuid.uuid4())
    return JobRecord(
        job_id=job_id,
        created_at=clock.now() - age,
        file_name=file_name,
        options=JobOptions(),
        input=InputObject(key=input_key(job_id, "wav"), generation=1, size=1),
    )


def add_job(store: Store, record: JobRecord) -> str:
    """A job as the API leaves it when it dies before it starts a runner."""
    mark_unsettled(store, record.job_id)
    store.put(job_key(record.job_id), record.to_json(), content_type="application/json")
    enter(store, record)
    return record.job_id


def add_finished_job(
    store: Store, file_name: str = "song.wav", track_bytes: int = 10_000, record: JobRecord | None = None
) -> str:
    """A completed job that is settled, with tracks of known content (`track_content`)."""
    record = record or job_record(file_name=file_name)
    file_name = record.file_name
    stages = pending_stages()
    for name in StageName:
        stages = complete(begin(stages, name, clock.now()), name, clock.now())
    tracks = {}
    for track in Track:
        content = track_content(track, track_bytes)
        info = store.put(track_key(record.job_id, track, "wav"), content, content_type="audio/wav")
        tracks[track] = TrackRecord(
            key=info.key,
            media_type="audio/wav",
            size=info.size,
            crc32=crc32(content),
            sha256=sha256(content).hexdigest(),
            generation=info.generation,
            loudness_before=-20.0,
            loudness_after=-14.0,
            true_peak_before=-8.0,
            true_peak_after=-2.0,
            gain_db=6.0,
            clipped_samples=0,
        )
    answer = JobAnswer(
        job_id=record.job_id,
        status=Status.COMPLETED,
        created_at=record.created_at,
        stages=stages,
        outputs={track: store.uri(tracks[track].key) for track in Track},
        progress=1.0,
    )
    manifest = Manifest(
        answer=answer,
        file_name=file_name,
        finished_at=clock.now(),
        sample_rate=44_100,
        channels=2,
        frames=44_100,
        tracks=tracks,
        model=ModelRecord(asked="auto", name="bundled", sha256="0" * 64),
        device="cpu",
    )
    add_job(store, record)
    store.put(manifest_key(record.job_id), manifest.to_json(), content_type="application/json")
    store.delete(unsettled_key(record.job_id))
    return record.job_id


def track_content(track: Track, size: int = 10_000) -> bytes:
    return (f"the track {track} ".encode() * (size // 10 + 1))[:size]
