"""What a song may be, where both sides say the same."""

SAMPLE_RATES = range(4_000, 384_001)
"""In Hz. Below, the loudness filter is not defined; above, FLAC is not."""

MAX_CHANNELS = 2

DEFAULT_MAX_DURATION_SECONDS = 7200.0

DEFAULT_MODELS = ("auto", "htdemucs", "bundled")


def split_names(value: object) -> object:
    """`a, b` as `("a", "b")`; anything but text as it is. For settings that hold a list of names."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value
