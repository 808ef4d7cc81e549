"""Throw-away keys of service accounts that nobody has."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

EMAIL = "tests@nowhere.iam.gserviceaccount.com"


def key_file(path: Path, token_uri: str = "https://127.0.0.1:9/token") -> RSAPublicKey:
    """Writes the key file of a service account. The public half of its key."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    content = {
        "type": "service_account",
        "project_id": "nowhere",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(content))
    return key.public_key()
