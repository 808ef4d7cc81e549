"""Objects of several chunks, written and read in one go."""

from contract.stores import Store

TEXT = "text/plain"
CHUNK = 8 << 20
LARGE = bytes(range(251)) * 80_000
"""20 MB: three chunks, all different."""


def stream(store: Store, key: str, content: bytes, if_generation: int | None = None) -> int:
    """Writes it in parts. The generation."""
    with store.writer(key, content_type=TEXT, if_generation=if_generation) as writer:
        writer.write(content)
        return writer.commit().generation


def content_of(store: Store, key: str) -> bytes:
    """Reads it in parts."""
    return b"".join(store.read(key))
