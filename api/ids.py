"""The ids that this API gives away."""

import uuid


def is_uuid4(text: str) -> bool:
    """Whether it is an id as this API writes them; anything else need not be looked for."""
    try:
        return str(uuid.UUID(text, version=4)) == text
    except ValueError:
        return False
