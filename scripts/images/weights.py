"""Downloads weights into a folder: `weights.py FOLDER [URL#sha256=HEX ...]`.

A file that is not the one that was meant is refused, and compared with the SHA256SUMS written here once more
when it is converted.
"""

import hashlib
import re
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urldefrag, urlsplit


def fetch(address: str, folder: Path) -> str:
    """Downloads one file. Its line for SHA256SUMS.

    Raises:
        ValueError: the address has no checksum, or the file has another; it is not kept.
    """
    url, fragment = urldefrag(address)
    expected = re.fullmatch("sha256=([0-9a-f]{64})", fragment)
    name = Path(urlsplit(url).path).name
    if not expected or not name:
        raise ValueError(f"{address}: after the address of a file comes #sha256= and 64 hex digits.")
    with urllib.request.urlopen(url, timeout=60) as answer:
        content = answer.read()
    found = hashlib.sha256(content).hexdigest()
    if found != expected[1]:
        raise ValueError(f"{url} has the SHA-256 {found}, not {expected[1]}.")
    (folder / name).write_bytes(content)
    return f"{found}  {name}\n"


def main(folder: Path, addresses: list[str]) -> None:
    """Fills the folder; it is there and empty when there is nothing to download."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [fetch(address, folder) for address in addresses]
    if lines:
        (folder / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except (OSError, ValueError) as error:
        sys.exit(f"weights: {error}")
