"""The score of a synthesized song: tempo, key, chords, bars in which each part plays."""

from dataclasses import dataclass

import numpy as np

STEMS = ("drums", "bass", "other", "vocals")
"""Names of the stems, in the order of demucs' models."""

STEPS_PER_BEAT = 4

_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}

# Scale degrees (0 is the tonic) of one chord per bar.
_PROGRESSIONS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 4),
    (0, 3, 0, 4),
    (1, 4, 0, 0),
    (0, 6, 5, 4),
    (0, 2, 3, 4),
    (0, 0, 3, 0, 4, 3, 0, 4),
    (0, 4, 5, 2, 3, 0, 3, 4),
)


@dataclass(frozen=True)
class Note:
    """One note: `start` and `duration` in seconds, `pitch` as MIDI number, `velocity` 0 to 1."""

    start: float
    duration: float
    pitch: float
    velocity: float


@dataclass(frozen=True)
class Song:
    """What all the parts of one song share."""

    seconds: float
    tempo: float
    """Beats per minute."""
    beats_per_bar: int
    swing: float
    """Delay of each second 16th step, as a share of a step (0 to 0.34)."""
    root: int
    """MIDI pitch class of the tonic, 0 (C) to 11 (B)."""
    scale: tuple[int, ...]
    progression: tuple[int, ...]
    sevenths: bool
    resting: dict[str, frozenset[int]]
    """For each stem the bars in which it rests."""

    @property
    def steps(self) -> int:
        """16th steps in one bar."""
        return self.beats_per_bar * STEPS_PER_BEAT

    @property
    def step_seconds(self) -> float:
        """Length of one 16th step in seconds."""
        return 60.0 / self.tempo / STEPS_PER_BEAT

    @property
    def bar_seconds(self) -> float:
        """Length of one bar in seconds."""
        return self.steps * self.step_seconds

    @property
    def bars(self) -> int:
        """Number of bars, the last of which may be cut by the end of the song."""
        return int(np.ceil(self.seconds / self.bar_seconds))

    def time(self, bar: int, step: float) -> float:
        """Seconds at which 16th step `step` (from 0) of bar `bar` (from 0) sounds, swing included."""
        late = self.swing if int(step) % 2 == 1 else 0.0
        return bar * self.bar_seconds + (step + late) * self.step_seconds

    def playing(self, stem: str) -> list[int]:
        """The bars in which a stem plays."""
        return [bar for bar in range(self.bars) if bar not in self.resting[stem]]

    def degree(self, index: int) -> int:
        """MIDI pitch of scale degree `index` (0 is the tonic in the octave of C4; any integer)."""
        octave, position = divmod(index, len(self.scale))
        return 60 + self.root + 12 * octave + self.scale[position]

    def chord(self, bar: int) -> list[int]:
        """MIDI pitches of the chord of a bar in root position, beginning in the octave of C4."""
        first = self.progression[bar % len(self.progression)]
        return [self.degree(first + third) for third in ((0, 2, 4, 6) if self.sevenths else (0, 2, 4))]


def near(pitch: float, centre: float) -> float:
    """The pitch moved by octaves until it lies within half an octave of `centre` (both MIDI)."""
    return pitch - 12.0 * round((pitch - centre) / 12.0)


def _rests(rng: np.random.Generator, bars: int) -> dict[str, frozenset[int]]:
    """Breaks of four bars for some stems; the first four bars are always complete."""
    resting: dict[str, set[int]] = {stem: set() for stem in STEMS}
    for first in range(4, bars, 4):
        silent = [stem for stem in STEMS if rng.random() < 0.12]
        for stem in silent[:2]:
            resting[stem].update(range(first, first + 4))
    return {stem: frozenset(pause) for stem, pause in resting.items()}


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Draws the score of a song of `seconds` length."""
    tempo = float(rng.uniform(72.0, 168.0))
    beats = 3 if rng.random() < 0.1 else 4
    bars = int(np.ceil(seconds / (beats * 60.0 / tempo)))
    return Song(
        seconds=seconds,
        tempo=tempo,
        beats_per_bar=beats,
        swing=float(rng.uniform(0.1, 0.34)) if rng.random() < 0.25 else 0.0,
        root=int(rng.integers(12)) - 6,
        scale=_SCALES[str(rng.choice(list(_SCALES)))],
        progression=_PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))],
        sevenths=bool(rng.random() < 0.35),
        resting=_rests(rng, bars),
    )
