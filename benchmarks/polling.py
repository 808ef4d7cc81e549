"""How long a poll takes while 20 clients poll: `python -m benchmarks.polling`.

Baseline: GET /health in the same run, which touches neither store nor launcher nor the thread pool.
Two loads: every client polls twice a second; every client asks again as soon as it has its answer (clients
and server then share the machine's cores). Targets: polls twice a second under 50 ms at the 99th percentile,
/health under 10 ms with one client.
"""

import http.client
import statistics
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from contract.job import JobSpec
from tests.api.conftest import Server, add_finished_job, add_job, job_record

CLIENTS = 20
SECONDS = 10.0


def main() -> None:
    """Prints a table of answer times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), {"STEMJOB_LOG_LEVEL": "WARNING"}).start()
        try:
            finished = add_finished_job(server.store)
            queued = add_job(server.store, job_record())
            _queue(server, queued)
            print(f"{'':<44}{'n':>7}{'p50':>8}{'p99':>8}{'max':>8}  ms")
            for what, path in (
                ("/health", "/health"),
                ("poll of a finished job", f"/job/{finished}"),
                ("poll of a waiting job", f"/job/{queued}"),
            ):
                _row(f"{what}, one client", measure(server.url, path, clients=1, pause=0.02))
                _row(f"{what}, {CLIENTS} clients, twice a second", measure(server.url, path, CLIENTS, 0.5))
                _row(f"{what}, {CLIENTS} clients, without pause", measure(server.url, path, CLIENTS, 0.0))
        finally:
            server.stop()


def _queue(server: Server, job_id: str) -> None:
    """Leaves the job waiting for good: a folder of the launcher without a runner that could be started."""
    from api.launchers.local.folder import JobFolder, Order

    folder = JobFolder(server.jobs_folder / job_id)
    far_future = 2**62
    folder.enqueue(Order(spec=JobSpec(job_id=job_id, store="file:///nowhere"), queued_at=far_future))


def measure(url: str, path: str, clients: int, pause: float) -> list[float]:
    """Answer times in seconds of `clients` that ask for `path` for a while, each with a pause in between."""
    place = urlsplit(url)
    times: list[float] = []
    deadline = time.monotonic() + SECONDS

    def poll(delay: float) -> None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
        time.sleep(delay)  # clients do not beat in time
        while time.monotonic() < deadline:
            began = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - began)
            assert answer.status == 200
            time.sleep(pause)
        connection.close()

    threads = [threading.Thread(target=poll, args=(pause * n / clients,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def _row(name: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=100)
    p50, p99, most = (1000 * value for value in (cuts[49], cuts[98], max(times)))
    print(f"{name:<44}{len(times):>7}{p50:>8.1f}{p99:>8.1f}{most:>8.1f}")


if __name__ == "__main__":
    main()
