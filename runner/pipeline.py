"""One song through four stages: from a file on disk to nine files on disk."""

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from contract.failures import FailureCode, JobFailed
from contract.job import JobOptions
from contract.stages import StageName
from contract.tracks import ENCODINGS, Track
from runner import device as devices
from runner.analysis import Analysis, Measured
from runner.audio_files import SongReader
from runner.loudness import Level, decide_gains
from runner.mixdown import Mixdown, WrittenTrack
from runner.progress import ProgressReport
from runner.settings import RunnerSettings
from runner.spool import Spool
from runner.stems import StemSplitter, measure_mix
from runner.weights import LoadedModel, load_model

log = structlog.get_logger(__name__)

_MIX_MEASURED, _ANALYSED, _WRITTEN = 0.02, 0.90, 0.98
"""How far the whole job is, 0 to 1, after each of the passes; the rest is storing."""

NO_GPU_MEMORY = "The GPU had too little memory for this song, so it was separated on the CPU."


@dataclass(frozen=True)
class Finished:
    """Nine files and what is known of them. Gains in dB; `levels` are those before the gains."""

    sample_rate: int
    channels: int
    frames: int
    files: Mapping[Track, WrittenTrack]
    levels: Mapping[Track, Level]
    gains: Mapping[Track, float]
    residual_db: float | None
    model: LoadedModel
    device: str
    warnings: tuple[str, ...]


class Pipeline:
    """Works on one song in a folder of its own, and reports what it does."""

    def __init__(self, settings: RunnerSettings, report: ProgressReport, folder: Path) -> None:
        """`folder` exists, is empty, and has room for six float tracks and nine results."""
        self._settings, self._report, self._folder = settings, report, folder

    def run(self, song_file: Path, options: JobOptions) -> Finished:
        """All passes. The stage `normalization` is left open: it ends when the files are where they belong.

        Raises:
            JobFailed: whatever ends the job, by name.
        """
        if options.model not in self._settings.models:
            raise JobFailed(
                FailureCode.UNSUPPORTED_MODEL, f"The model {options.model} is not offered by this runner."
            )
        song = SongReader(song_file)
        self._check_duration(song)
        model = load_model(options.model, self._settings.weights_dir)
        log.info("song", rate=song.sample_rate, channels=song.channels, frames=song.frames, model=model.name)
        self._report.begin(StageName.SEPARATION)
        mix = measure_mix(song, model.sample_rate)
        self._report.advance(_MIX_MEASURED)
        spool, measured, device, warnings = self._analyse(song, model, mix, options)
        gains = decide_gains(measured.levels, options.normalization, options.target_lufs)
        files = self._write(song, spool, gains, options)
        return Finished(
            sample_rate=song.sample_rate,
            channels=song.channels,
            frames=song.frames,
            files=files,
            levels=measured.levels,
            gains=gains,
            residual_db=measured.residual_db,
            model=model,
            device=device,
            warnings=(*model.warnings, *warnings, *clipping_warnings(files, options)),
        )

    def _check_duration(self, song: SongReader) -> None:
        limit = self._settings.max_duration_seconds
        if song.frames > limit * song.sample_rate:
            seconds = song.frames / song.sample_rate
            raise JobFailed(
                FailureCode.DURATION_EXCEEDED,
                f"The song is {seconds:.0f} seconds long; at most {limit:.0f} seconds are allowed.",
            )

    def _analyse(
        self, song: SongReader, model: LoadedModel, mix: tuple[float, float], options: JobOptions
    ) -> tuple[Spool, Measured, str, tuple[str, ...]]:
        """The first pass, on the CPU when the GPU's memory does not suffice."""
        device = devices.prepare(self._settings)
        try:
            return *self._analyse_on(device, song, model, mix, options), devices.describe(device), ()
        except Exception as error:
            if device == "cpu" or not devices.is_out_of_gpu_memory(error):
                raise
            log.warning("out_of_gpu_memory", exc_info=True)
        gc.collect()
        devices.free_gpu_memory()
        return *self._analyse_on("cpu", song, model, mix, options), "cpu", (NO_GPU_MEMORY,)

    def _analyse_on(
        self, device: str, song: SongReader, model: LoadedModel, mix: tuple[float, float], options: JobOptions
    ) -> tuple[Spool, Measured]:
        spool = Spool(self._folder, song.channels)
        analysis = Analysis(song, spool, self._report, self._settings.dsp, options.other_method)
        splitter = StemSplitter(song, model, device, mix)
        with spool:
            self._follow(analysis.run(splitter), _MIX_MEASURED, _ANALYSED)
        return spool, analysis.result()

    def _write(
        self, song: SongReader, spool: Spool, gains: Mapping[Track, float], options: JobOptions
    ) -> Mapping[Track, WrittenTrack]:
        self._report.begin(StageName.NORMALIZATION)
        mixdown = Mixdown(song, spool, gains, options.output_format, self._folder)
        self._follow(mixdown.run(), _ANALYSED, _WRITTEN)
        spool.remove()
        return mixdown.result()

    def _follow(self, shares: Iterator[float], start: float, end: float) -> None:
        for share in shares:
            self._report.advance(start + (end - start) * share)


def clipping_warnings(files: Mapping[Track, WrittenTrack], options: JobOptions) -> tuple[str, ...]:
    """One sentence for each track that an integer format had to limit."""
    bits = ENCODINGS[options.output_format].bits
    return tuple(
        f"{written.clipped} samples of {track} were beyond full scale and limited by the {bits}-bit format."
        for track, written in files.items()
        if written.clipped
    )
