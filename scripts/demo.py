"""`make demo`: starts the API, uploads a song, watches its stages, downloads its tracks, prints a table.

`make kind-demo` does the same with an API that runs already: its address is the second argument.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx

from api.launchers.local.folder import JobFolder, State
from contract.tracks import Track

OUTPUT = Path("demo-output")
_SONG_SECONDS = 20.0
_SONG_SEED = 20
_START_SECONDS = 60.0


class DemoFailed(Exception):  # noqa: N818
    """The demo cannot go on; the message is a sentence."""


def main(arguments: list[str]) -> int:
    """Runs the demo with the song that is named, or with one that the project synthesizes.

    Arguments: the song's path or nothing, and the address of an API or nothing.
    """
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # also where a shell lets us ignore Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    song_name, url, *_ = *arguments, "", ""
    named = Path(song_name) if song_name else None
    if named is not None and not named.is_file():
        print(f"There is no song at {named}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="stemjob-demo-") as folder:
        try:
            song = named or _synthesized(Path(folder))
            with _client(url) if url else _server(Path(folder)) as client:
                job = _separate(client, song)
                files = _download(client, job)
        except DemoFailed as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return 130
    _print_table(job, files)
    return 0


def _synthesized(folder: Path) -> Path:
    """A short song with drums, bass, other and vocals, made from nothing but arithmetic."""
    import soundfile

    from training.synthesis import synthesize

    print(f"No SONG was named, so here is one of {_SONG_SECONDS:.0f} seconds that the project synthesizes.")
    stems = synthesize(_SONG_SEED, _SONG_SECONDS)
    path = folder / "synthesized.wav"
    soundfile.write(path, sum(stems.values()).T, 44_100, subtype="PCM_24")  # type: ignore[union-attr]
    return path


@contextmanager
def _server(folder: Path) -> Iterator[httpx.Client]:
    """A running API with the embedded default, and a client of it. Ends with everything it started."""
    environment = {
        **os.environ,
        "STEMJOB_STORE": f"file://{folder}/store",
        "STEMJOB_STATE_DIR": f"{folder}/state",
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=environment, stdout=output, stderr=output
        )
    try:
        with _client(_url(process, log)) as client:
            yield client
    finally:
        process.terminate()
        process.wait()
        _stop_runners(folder / "state" / "jobs")


@contextmanager
def _client(url: str) -> Iterator[httpx.Client]:
    """A client of an API that runs."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        try:
            client.get("/health")
        except httpx.TransportError as error:
            raise DemoFailed(f"No stemjob answers at {url}: {error}.") from error
        yield client


def _stop_runners(jobs: Path) -> None:
    """A runner outlives its API; the demo's must not outlive the demo."""
    for job in map(JobFolder, jobs.glob("*")):
        if job.state() is State.RUNNING:
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int((job.path / "started").read_text()), signal.SIGTERM)
        while job.state() is State.RUNNING:
            time.sleep(0.1)


def _url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    announcement = "stemjob serves on "
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith(announcement):
                print(line)
                return line.removeprefix(announcement)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise DemoFailed(f"The API did not start: {log.read_text().strip()}")


def _separate(client: httpx.Client, song: Path) -> dict[str, Any]:
    """Uploads the song and shows its stages until the job has ended."""
    print(f"POST /process  {song.name} ({song.stat().st_size / 1e6:.1f} MB)")
    with song.open("rb") as file:
        answer = client.post("/process", files={"file": (song.name, file)})
    job: dict[str, Any] = answer.json()
    if answer.status_code != 200:
        raise DemoFailed(f"The upload was refused: {job['detail']}")
    print(f"GET  {job['links']['self']}")
    shown = {stage["name"]: "pending" for stage in job["stages"]}
    percent = 0
    while job["status"] == "processing":
        time.sleep(0.2)
        job = client.get(job["links"]["self"]).json()
        percent = _show_changes(job, shown, percent)
    if job["status"] == "failed":
        raise DemoFailed(f"The job failed ({job['code']}): {job['error']}")
    return job


def _show_changes(job: dict[str, Any], shown: dict[str, str], percent: int) -> int:
    """Prints what has changed since the last look; returns the percentage that was printed last."""
    for stage in job["stages"]:
        if stage["status"] != shown[stage["name"]]:
            seconds = stage["duration_seconds"]
            took = f" in {seconds:.1f} s" if seconds is not None else ""
            print(f"  {stage['name']:<32} {stage['status']}{took}", flush=True)
            shown[stage["name"]] = stage["status"]
    now = int(job["progress"] * 10) * 10
    if now > percent and job["status"] == "processing":
        print(f"  {now:>3} %", flush=True)
    return max(now, percent)


def _download(client: httpx.Client, job: dict[str, Any]) -> dict[str, Path]:
    OUTPUT.mkdir(exist_ok=True)
    files = {}
    for track in Track:
        with client.stream("GET", f"/download/{job['job_id']}/{track}") as answer:
            if answer.status_code != 200:
                raise DemoFailed(f"The download of {track} was refused ({answer.status_code}).")
            extension = "flac" if answer.headers["Content-Type"] == "audio/flac" else "wav"
            files[track.value] = OUTPUT / f"{track}.{extension}"
            with files[track.value].open("wb") as file:
                for block in answer.iter_bytes():
                    file.write(block)
    return files


def _print_table(job: dict[str, Any], files: dict[str, Path]) -> None:
    result = job["result"]
    print()
    print(f"{'track':<16}{'seconds':>9}{'LUFS':>8}{'dBTP':>8}{'gain dB':>9}  file")
    for name, path in files.items():
        track = result["tracks"][name]
        loudness, peak = _decimal(track["loudness_after"]), _decimal(track["true_peak_after"])
        gain = _decimal(track["gain_db"])
        print(f"{name:<16}{result['seconds']:>9.2f}{loudness:>8}{peak:>8}{gain:>9}  {path}")
    print(f"\nModel {result['model']['name']}, computed on {result['device']}.")
    for warning in job["warnings"]:
        print(f"Note: {warning}")


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
