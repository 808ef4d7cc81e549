"""Jobs on a file store, as a launcher would start them: `python -m runner` in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from contract.job import InputObject, JobOptions, JobRecord, JobSpec
from contract.layout import input_key, job_key, manifest_key, track_key
from contract.manifest import Manifest
from contract.progress import Progress
from contract.stores import CREATE_ONLY, Store, open_store
from contract.tracks import Track
from runner.waveform import Block
from tests.runner.signals import music

JOB_ID = "11111111-2222-4333-8444-555555555555"


@dataclass
class Ended:
    """A runner that has left."""

    code: int
    log: str
    peak_bytes: int


class Job:
    """One job in a store of its own, made for the model in `model_file`."""

    def __init__(self, folder: Path, model_file: Path) -> None:
        self.folder, self.model_file = folder, model_file
        self.store_url = f"file://{folder / 'store'}"
        self.store: Store = open_store(self.store_url)
        self.report_file = folder / "status.json"
        self.work_dir = folder / "work"

    def create(self, song: Path, **options: Any) -> "Job":
        """Uploads the song and writes job.json."""
        key = input_key(JOB_ID, song.suffix[1:])
        info = self.store.put_file(key, song, content_type="audio/wav")
        record = JobRecord(
            job_id=JOB_ID,
            created_at=datetime.now(UTC),
            file_name=song.name,
            options=JobOptions(**{"model": str(self.model_file), **options}),
            input=InputObject(key=key, generation=info.generation, size=info.size),
        )
        self.store.put(
            job_key(JOB_ID), record.to_json(), content_type="application/json", if_generation=CREATE_ONLY
        )
        return self

    def start(self, **settings: str) -> "subprocess.Popen[str]":
        """Starts the runner, without waiting for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "runner"],
            env=self.environment(**settings),
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        """What the runner is started with."""
        spec = JobSpec(job_id=JOB_ID, store=self.store_url, report=f"file://{self.report_file}")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("STEMJOB_")},
            **spec.to_env(),
            "STEMJOB_MODELS": f"auto,htdemucs,bundled,{self.model_file}",
            "STEMJOB_WORK_DIR": str(self.work_dir),
            "STEMJOB_DEVICE": "cpu",
            "STEMJOB_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.folder / "no-cache"),
            "TORCH_HOME": str(self.folder / "no-cache"),
            **settings,
        }

    def run(self, **settings: str) -> Ended:
        """Starts the runner and waits for its end."""
        process = self.start(**settings)
        log: list[str] = []
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: log.append(process.stderr.read()))  # type: ignore[union-attr]
        reader.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
        process.stderr.close()
        return Ended(process.returncode, log[0], usage.ru_maxrss * 1024)

    def manifest(self) -> Manifest | None:
        """The manifest that lies in the store."""
        found = self.store.get(manifest_key(JOB_ID))
        return None if found is None else Manifest.model_validate_json(found[0])

    def progress(self) -> Progress:
        """The last report."""
        return Progress.model_validate_json(self.report_file.read_bytes())

    def track(self, track: Track, extension: str = "wav") -> Block:
        """A track as float64-exact float32 numbers, `(channels, frames)`."""
        path = self.path(track, extension)
        return np.ascontiguousarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)

    def path(self, track: Track, extension: str = "wav") -> Path:
        """Where a track's file lies."""
        return Path(self.store.uri(track_key(JOB_ID, track, extension)))

    def tracks(self, extension: str = "wav") -> dict[Track, Block]:
        """All nine."""
        return {track: self.track(track, extension) for track in Track}

    def bytes_of_tracks(self, extension: str = "wav") -> dict[Track, bytes]:
        """The files of all nine."""
        return {track: self.path(track, extension).read_bytes() for track in Track}

    def leftovers(self) -> list[Path]:
        """What is left of the runner's temporary files."""
        return list(self.work_dir.rglob("*")) if self.work_dir.exists() else []


def write_song(path: Path, song: Block, rate: int = 44_100, subtype: str = "FLOAT") -> Path:
    """A song as a file; the extension says the format."""
    soundfile.write(path, song.T, rate, subtype=subtype)
    return path


def short_song(job: Job, seconds: float = 0.3) -> Path:
    """A song in the job's folder."""
    return write_song(job.folder / "song.wav", music(round(seconds * 44_100)))


def catches_sigterm(process: "subprocess.Popen[str]") -> bool:
    """Whether the process has come as far as to handle SIGTERM (the kernel's mask of caught signals)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def terminate(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> int:
    """Sends a signal and gives the exit code. What the process said stands next to a test that fails."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    sys.stderr.write(said)
    return process.returncode
