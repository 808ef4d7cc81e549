"""Audio files as streams of blocks: the song that is read, the tracks that are written. Over libsndfile.

A block is float32 of shape `(channels, samples)`, full scale ±1.
"""

import ctypes
import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from contract.audio_header import HEAD_BYTES, AudioHeader, BadAudio, read_header
from contract.failures import FailureCode, JobFailed
from contract.tracks import ENCODINGS, OutputFormat
from runner.checksums import WrittenFile, fingerprint
from runner.kernels import LENGTH, POINTER, ROWS, kernel, rows
from runner.mp3_length import EndlessFile
from runner.waveform import BLOCK_FRAMES, Block, interleaved

MIN_SAMPLE_RATE = 4_000
"""Hz. K-weighting has a shelf at 1500 Hz, which must lie well below half the rate."""
MAX_SAMPLE_RATE = 384_000
"""Hz. FLAC ends at 655,350."""
MAX_AMPLITUDE = 1e10
"""Float files may pass full scale (1.0), even hold 32-bit integers, but squares must stay finite."""
MAX_RIFF_BYTES = 2**32 - 2**16
"""More audio data than this is written as RF64 (EBU Tech 3306): RIFF counts its bytes with 32 bits."""

_SFC_SET_ADD_PEAK_CHUNK = 0x1050  # sndfile.h
_SUBTYPES = {(16, True): "PCM_16", (24, True): "PCM_24", (32, False): "FLOAT"}
_quantise = kernel("quantise", *ROWS, LENGTH, LENGTH, ctypes.c_float, LENGTH, POINTER, result=LENGTH)
_DISK_TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is untyped
    """A file that is only read or written forwards.

    soundfile seeks after each block of a seekable file. In a damaged file that jumps over the damage, and
    the missing samples are never noticed; in a FLAC file of unknown length it fails.
    """

    def seekable(self) -> bool:
        return False


class SongReader:
    """A song on disk: wav, flac, ogg or mp3 with 1 or 2 channels.

    `sample_rate` is in Hz; `frames` is the number of samples per channel that `blocks` gives, exactly.

    Raises:
        JobFailed: `invalid_audio`, with a sentence for the person who uploaded it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        header = _header(path)
        if not header.complete:
            raise _cut_short()
        self._uncounted_mp3 = header.container == "mp3" and header.frames is None
        with self._opened() as file:
            self.sample_rate: int = file.samplerate
            self.channels: int = file.channels
            self.frames: int = file.frames
        if self.channels not in (1, 2):
            raise _invalid(f"The song has {self.channels} channels; only mono and stereo are supported.")
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise _invalid(
                f"The song's sample rate is {self.sample_rate:,} Hz;"
                f" {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,} Hz are supported."
            )
        if header.frames is None:
            self.frames = sum(block.shape[1] for block in self._decoded(BLOCK_FRAMES))
        if self.frames == 0:
            raise _invalid("The song is empty: it has no samples.")

    def blocks(self, frames_per_block: int = BLOCK_FRAMES) -> Iterator[Block]:
        """Decodes the song from its beginning; every pass gives the same samples.

        Raises:
            JobFailed: `invalid_audio`: the data is damaged or ends early, or a sample is not a number.
        """
        missing = self.frames
        for block in self._decoded(frames_per_block):
            wanted = block[:, :missing]
            _check_samples(wanted)
            missing -= wanted.shape[1]
            yield wanted
            if missing == 0:
                return
        raise _cut_short()

    @contextmanager
    def _opened(self) -> Iterator[_ForwardFile]:
        with ExitStack() as stack:
            path = self._path
            source = stack.enter_context(EndlessFile(path)) if self._uncounted_mp3 else path
            try:
                yield stack.enter_context(_ForwardFile(source))
            except soundfile.LibsndfileError as error:
                raise _invalid(f"The song can't be decoded: {error.error_string.rstrip('.')}.") from error

    def _decoded(self, frames_per_block: int) -> Iterator[Block]:
        with self._opened() as file:
            while len(samples := file.read(frames_per_block, dtype="float32", always_2d=True)):
                yield np.ascontiguousarray(samples.T)


def _header(path: Path) -> AudioHeader:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, size - HEAD_BYTES))
        tail = file.read(HEAD_BYTES)
    try:
        return read_header(head, tail, size)
    except BadAudio as error:
        raise _invalid(str(error)) from error


def _check_samples(block: Block) -> None:
    if block.size == 0:
        return
    peak = max(block.max(), -block.min())  # NaN if any sample is
    if not peak <= MAX_AMPLITUDE:
        if np.isfinite(peak):
            raise _invalid("The song holds samples far beyond any audio level.")
        raise _invalid("The song holds samples that are not numbers (NaN or infinity).")


def _invalid(sentence: str) -> JobFailed:
    return JobFailed(FailureCode.INVALID_AUDIO, sentence)


def _cut_short() -> JobFailed:
    return _invalid("The song is damaged or was cut short: it ends before its header says.")


class TrackWriter:
    """Writes one track of `frames` samples per channel; the same samples always give the same bytes.

    Integer formats are rounded to the nearest step, without dither. Samples outside their range are limited
    and counted in `clipped`.

    Raises:
        JobFailed: `disk_full` when the disk takes no more; `runner_error` for samples that are not numbers.
    """

    def __init__(
        self,
        path: Path,
        output_format: OutputFormat,
        sample_rate: int,
        channels: int,
        frames: int,
        factor: float = 1.0,
    ) -> None:
        """All samples are multiplied by `factor`, in float32."""
        encoding = ENCODINGS[output_format]
        self.clipped = 0
        self._path, self._factor = path, np.float32(factor)
        self._bits = encoding.bits if encoding.integer else None
        container = _container(encoding.extension, frames * channels * encoding.bits // 8)
        with _writing():
            path.touch()  # libsndfile would not say why it can't create a file
            self._file = _ForwardFile(
                path,
                "w",
                sample_rate,
                channels,
                subtype=_SUBTYPES[encoding.bits, encoding.integer],
                format=container,
            )
        _omit_time_stamp(self._file)

    def write(self, block: Block) -> None:
        """Appends samples."""
        samples = self._float(block) if self._bits is None else self._quantised(block, self._bits)
        with _writing():
            self._file.write(samples)

    def close(self) -> WrittenFile:
        """Ends the file and says what lies in it."""
        with _writing():
            self._file.close()
        return fingerprint(self._path)

    def _float(self, block: Block) -> Block:
        samples = interleaved(block * self._factor)
        if not np.isfinite(samples).all():
            raise _not_numbers()
        return samples

    def _quantised(self, block: Block, bits: int) -> NDArray[np.signedinteger]:
        """The block in integers, as libsndfile wants them: 24 bits stand at the top of 32."""
        samples = np.empty(block.shape[::-1], np.int16 if bits == 16 else np.int32)
        # What was interleaved is one row already.
        row = block.T.reshape(1, -1) if block.T.flags.c_contiguous else block
        limited = _quantise(*rows(row), *row.shape, self._factor, bits, samples.ctypes.data)
        if limited < 0:
            raise _not_numbers()
        self.clipped += limited
        return samples


def _not_numbers() -> JobFailed:
    return JobFailed(FailureCode.RUNNER_ERROR, "A track came out with samples that are not numbers.")


def _container(extension: str, data_bytes: int) -> str:
    """libsndfile's name for the container of `data_bytes` of audio."""
    if extension == "wav" and data_bytes > MAX_RIFF_BYTES:
        return "RF64"
    return extension.upper()


def _omit_time_stamp(file: _ForwardFile) -> None:
    """Leaves out the PEAK chunk of float files: it names the second in which it was written."""
    # soundfile wraps no sf_command of its own for this, so its handle of the library is used.
    library, ffi = soundfile._snd, soundfile._ffi
    library.sf_command(file._file, _SFC_SET_ADD_PEAK_CHUNK, ffi.NULL, library.SF_FALSE)


@contextmanager
def _writing() -> Iterator[None]:
    """libsndfile says no more than "system error" when the disk takes no more."""
    try:
        yield
    except (soundfile.LibsndfileError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _DISK_TAKES_NO_MORE:
            raise
        sentence = "The runner's disk is full: a track can't be written."
        raise JobFailed(FailureCode.DISK_FULL, sentence) from error
