"""One song through four stages: from a file on disk to nine files on disk."""

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from contract.failures import FailureCode, JobFailed
from contract.job import JobOptions
from contract.stages import StageName
from contract.tracks import ENCODINGS, OutputFormat, Track
from runner import device as devices
from runner.analysis import Analysis, Measured
from runner.audio_files import SongReader
from runner.loudness import Level, decide_gains
from runner.mixdown import Mixdown, WrittenTrack
from runner.progress import ProgressReport
from runner.separation import Separator
from runner.settings import Dsp, RunnerSettings
from runner.spool import SPOOLED, SPOOLED_BYTES, Spool
from runner.stems import StemSplitter, measure_mix
from runner.weights import LoadedModel, load_model
from runner.workspace import check_room

log = structlog.get_logger(__name__)

_MIX_MEASURED, _ANALYSED, _WRITTEN = 0.02, 0.90, 0.98
"""How far the whole job is, 0 to 1, after each of the passes; the rest is storing."""

NO_GPU_MEMORY = "The GPU had too little memory for this song, so it was separated on the CPU."
NO_BFLOAT16 = "float32 in place of `fast`: this CPU is not known to have instructions for bfloat16"


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
    fallback: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Analysed:
    """What the first pass leaves; `device` and `fallback` as in `contract.manifest.Manifest`."""

    spool: Spool
    measured: Measured
    device: str
    fallback: tuple[str, ...]


class Pipeline:
    """Works on one song in a folder of its own, and reports what it does."""

    def __init__(self, settings: RunnerSettings, report: ProgressReport, folder: Path) -> None:
        """`folder` exists, is empty, and has room for six float tracks and nine results."""
        self._settings, self._report, self._folder = settings, report, folder
        devices.wake(settings)

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
        needed = bytes_needed(song.frames, song.channels, options.output_format)
        check_room(self._folder, needed, self._settings.disk_bytes)
        model = load_model(options.model, self._settings.weights_dir)
        log.info("song", rate=song.sample_rate, channels=song.channels, frames=song.frames, model=model.name)
        self._report.begin(StageName.SEPARATION)
        mix = measure_mix(song, model.sample_rate)
        self._report.advance(_MIX_MEASURED)
        analysed = self._analyse(song, model, mix, options)
        measured = analysed.measured
        gains = decide_gains(measured.levels, options.normalization, options.target_lufs)
        files = self._write(song, analysed.spool, gains, options)
        slow = (NO_GPU_MEMORY,) if analysed.device == "cpu" and analysed.fallback else ()
        return Finished(
            sample_rate=song.sample_rate,
            channels=song.channels,
            frames=song.frames,
            files=files,
            levels=measured.levels,
            gains=gains,
            residual_db=measured.residual_db,
            model=model,
            device=analysed.device,
            fallback=(*analysed.fallback, *self._not_as_fast(analysed.device)),
            warnings=(*model.warnings, *slow, *clipping_warnings(files, options)),
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
    ) -> _Analysed:
        """The first pass. Where the GPU's memory does not do: one segment at a time, then on the CPU."""
        device = devices.prepare(self._settings)
        tries = [(device, batch) for batch in devices.batches(device)]
        fallback: list[str] = []
        if device != "cpu":
            tries += [("cpu", batch) for batch in devices.batches("cpu")]
        for on, batch in tries[:-1]:
            try:
                spool, measured = self._analyse_on(on, batch, song, model, mix, options)
                return _Analysed(spool, measured, devices.describe(on), tuple(fallback))
            except Exception as error:
                if not devices.is_out_of_gpu_memory(error):
                    raise
                log.warning("out_of_gpu_memory", batch=batch, exc_info=True)
            fallback.append(f"out of GPU memory with {batch} segments at once")
            gc.collect()
            devices.free_gpu_memory()
        on, batch = tries[-1]
        if on != device:
            devices.choose_cpu_kernels()
        spool, measured = self._analyse_on(on, batch, song, model, mix, options)
        return _Analysed(spool, measured, on, tuple(fallback))

    def _analyse_on(
        self,
        device: str,
        batch: int,
        song: SongReader,
        model: LoadedModel,
        mix: tuple[float, float],
        options: JobOptions,
    ) -> tuple[Spool, Measured]:
        plain = self._settings.dsp is Dsp.REFERENCE
        spool = Spool(self._folder, song.channels)
        with spool, devices.helpers(device, self._settings.threads) as helpers:
            analysis = Analysis(
                song, spool, self._report, self._settings.dsp, options.other_method, helpers, device
            )
            separator = Separator(
                model.model,
                device,
                *mix,
                precision=devices.feasible(self._settings.precision, device),
                batch=1 if plain and device == "cpu" else batch,  # as demucs does it
                plain=plain,
            )
            splitter = StemSplitter(song, separator, model.sample_rate)
            self._follow(analysis.run(splitter), _MIX_MEASURED, _ANALYSED)
        return spool, analysis.result()

    def _not_as_fast(self, device: str) -> tuple[str, ...]:
        asked = self._settings.precision
        return () if devices.feasible(asked, device) is asked else (NO_BFLOAT16,)

    def _write(
        self, song: SongReader, spool: Spool, gains: Mapping[Track, float], options: JobOptions
    ) -> Mapping[Track, WrittenTrack]:
        self._report.begin(StageName.NORMALIZATION)
        mixdown = Mixdown(song, spool, gains, options.output_format, self._folder, self._settings.threads)
        self._follow(mixdown.run(), _ANALYSED, _WRITTEN)
        spool.remove()
        return mixdown.result()

    def _follow(self, shares: Iterator[float], start: float, end: float) -> None:
        for share in shares:
            self._report.advance(start + (end - start) * share)


def bytes_needed(frames: int, channels: int, wanted: OutputFormat) -> int:
    """Most that the spool and nine finished files take together: FLAC as if it did not compress."""
    sample_bytes = len(SPOOLED) * SPOOLED_BYTES + len(Track) * ENCODINGS[wanted].bits // 8
    return frames * channels * sample_bytes


def clipping_warnings(files: Mapping[Track, WrittenTrack], options: JobOptions) -> tuple[str, ...]:
    """One sentence for each track that an integer format had to limit."""
    bits = ENCODINGS[options.output_format].bits
    return tuple(
        f"{written.clipped} samples of {track} were beyond full scale and limited by the {bits}-bit format."
        for track, written in files.items()
        if written.clipped
    )
