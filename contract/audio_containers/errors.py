"""The one error of the header readers."""


class BadAudio(ValueError):  # noqa: N818 - it reads as what it is
    """Not a readable audio file; the message is a sentence for the person who uploaded it."""
