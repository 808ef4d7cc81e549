"""Signatures of webhooks, by the Standard Webhooks specification 1.0 (standardwebhooks.com)."""

import base64
import binascii
from datetime import datetime

from standardwebhooks import Webhook

_KEY_BYTES = range(24, 65)
"""Length of a symmetric key, as the specification has it."""


def check_secrets(secrets: str) -> None:
    """Raises ValueError with a sentence unless `secrets` are one or more keys, separated by white space."""
    keys = [_key(secret) for secret in secrets.split()]
    if not keys or any(key is None or len(key) not in _KEY_BYTES for key in keys):
        raise ValueError(
            "it must be whsec_ and 24 to 64 random bytes in Base64, as `openssl rand -base64 32` makes them"
        )


def signed_headers(secrets: str, message_id: str, body: bytes, sent_at: datetime) -> dict[str, str]:
    """The three headers of a message: its id, the second it is sent, and a signature by each of the secrets.

    `message_id` stays the same when a message is sent again; `sent_at` is in UTC.
    """
    signatures = [
        Webhook(secret).sign(msg_id=message_id, timestamp=sent_at, data=body.decode())
        for secret in secrets.split()
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _key(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
