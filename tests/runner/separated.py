"""A song through the pipeline in this process, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from contract.job import JobOptions
from contract.progress import Progress
from contract.tracks import Track
from runner.pipeline import Finished, Pipeline
from runner.progress import LogReporter, ProgressReport
from runner.settings import RunnerSettings
from runner.waveform import Block
from tests.runner.jobs import write_song


@dataclass
class Result:
    """What a run gave: the record, the samples of the nine files, and everything that was reported."""

    finished: Finished
    tracks: Mapping[Track, Block]
    reports: list[Progress]


class Recorder(LogReporter):
    """Keeps every report."""

    interval = 0.0

    def __init__(self) -> None:
        self.reports: list[Progress] = []

    def write(self, progress: Progress) -> None:
        self.reports.append(progress)


Separate = Callable[..., Result]


def read(path: Path) -> Block:
    return np.ascontiguousarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


def separator_of_songs(tmp_path: Path, tiny_model: Path) -> Separate:
    """Runs the pipeline on samples; the rest are options (`output_format` is wav32f) and `settings`."""

    def run(
        song: Block,
        rate: int = 44_100,
        settings: Mapping[str, Any] | None = None,
        file: tuple[str, str] = ("wav", "FLOAT"),
        **options: Any,
    ) -> Result:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        path = write_song(folder / f"song.{file[0]}", song, rate, file[1])
        recorder = Recorder()
        values = {"models": (str(tiny_model),), "device": "cpu", "threads": 1, **(settings or {})}
        wanted = JobOptions(**{"model": str(tiny_model), "output_format": "wav32f", **options})
        finished = Pipeline(RunnerSettings(**values), ProgressReport(recorder), folder).run(path, wanted)
        tracks = {track: read(written.file.path) for track, written in finished.files.items()}
        return Result(finished, tracks, recorder.reports)

    return run
