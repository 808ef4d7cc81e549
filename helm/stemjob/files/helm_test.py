"""`helm test`: uploads a second of audio and waits for nine tracks. It runs in the API's image.

Arguments: the API's URL, and the seconds to wait. Ends with 1 and a sentence when a track is missing.
"""

import io
import json
import math
import sys
import time
import urllib.error
import urllib.request
import wave
from typing import Any

TRACKS = {
    *("vocals", "drums", "bass", "other", "harmonic", "percussive"),
    *("main", "main_harmonic", "main_percussive"),
}
BOUNDARY = "a-second-of-audio"


def main(url: str, seconds: float) -> int:
    """0 when all nine tracks can be downloaded."""
    deadline = time.monotonic() + seconds
    try:
        job = upload(url, song())
        print(f"Job {job['job_id']}", flush=True)
        while job["status"] == "processing":
            if time.monotonic() > deadline:
                return failed(f"not done within {seconds:.0f} s; it waits for: {job.get('waiting')}")
            time.sleep(1)
            job = json.loads(get(f"{url}/job/{job['job_id']}"))
        if job["status"] != "completed":
            return failed(f"{job['code']}: {job['error']}")
        if set(job["outputs"]) != TRACKS:
            return failed(f"these tracks came: {', '.join(job['outputs'])}")
        for track in sorted(TRACKS):
            content = get(f"{url}/download/{job['job_id']}/{track}")
            print(f"{track:<16} {len(content):>8} bytes")
    except urllib.error.HTTPError as error:
        return failed(f"{error.url} answered {error.code}: {error.read().decode(errors='replace')}")
    except OSError as error:
        return failed(f"{url} cannot be reached: {error}")
    print("Nine tracks came of it.")
    return 0


def song() -> bytes:
    """A second of a chord, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 44_100, 0, "NONE", ""))
        for frame in range(44_100):
            level = sum(math.sin(2 * math.pi * tone * frame / 44_100) for tone in (110, 220, 277, 330))
            writer.writeframesraw(int(4000 * level).to_bytes(2, "little", signed=True))
    return file.getvalue()


def upload(url: str, content: bytes) -> Any:
    """The new job's answer."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="test.wav"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return json.loads(get(urllib.request.Request(f"{url}/process", body, headers)))


def get(request: str | urllib.request.Request) -> bytes:
    """The answer's body. Raises OSError."""
    with urllib.request.urlopen(request, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def failed(why: str) -> int:
    """Says why, and the status for it."""
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
