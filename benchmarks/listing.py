"""How long a page of GET /jobs takes with 1,000 Jobs in the namespace: `python -m benchmarks.listing`.

A real control plane with the rights that the API has there, and a bucket emulator; one client. Every tenth
job is finished and its Job gone, so that only its manifest tells of it; the others wait for a node.
Baseline, in the same run: the same page put together by asking for each of its jobs. Target: a page of 20
under 100 ms.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx

from api.launchers.kubernetes.stamp import stamp
from api.launchers.kubernetes.template import load_template
from contract.job import JobSpec
from contract.stores import Store, open_store
from tests.api.conftest import Server, add_finished_job, add_job, job_record
from tests.k8s.site import API, Site, running_site
from tests.testbed.cluster import running_cluster
from tests.testbed.gcs import running_gcs_server
from tests.testbed.requirements import require
from tests.testbed.waiting import wait_for

JOBS = 1000
TIMES = 30


def main() -> None:
    """Prints a table of times in milliseconds."""
    with _place() as (site, server):
        _fill(site, open_store(server.environment["STEMJOB_STORE"]))
        print(f"{f'{JOBS} Jobs in the namespace':<44}{'n':>7}{'p50':>8}{'p99':>8}{'max':>8}  ms")
        for limit in (20, 100):
            _row(f"page of {limit}, never seen before", _every_page(server, limit))
            with _started(server) as client:
                times = [_ask(client, f"/jobs?limit={limit}")[0] for _ in range(TIMES + 1)]
                _row(f"page of {limit}, asked for again", times[1:])
        with _started(server) as client:
            asked = [_ask(client, "/jobs?status=completed&limit=20")[0] for _ in range(TIMES)]
            _row("20 completed ones among 200", asked)
            _, page = _ask(client, "/jobs?limit=20")
            one_by_one = [
                sum(_ask(client, job["links"]["self"])[0] for job in page["jobs"]) for _ in range(TIMES)
            ]
            _row("baseline: 20 jobs, one by one", one_by_one)


@contextmanager
def _place() -> Iterator[tuple[Site, Server]]:
    """A namespace, a bucket, and a server that is not started yet."""
    [program] = require("fake-gcs-server")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster())
        gcs = stack.enter_context(running_gcs_server(program))
        site = stack.enter_context(running_site(cluster, ["runner-rbac.yaml", "api-rbac.yaml"]))
        os.environ["STORAGE_EMULATOR_HOST"] = gcs.url
        environment = {
            "STEMJOB_STORE": f"gs://{gcs.make_bucket()}/stemjob",
            "STORAGE_EMULATOR_HOST": gcs.url,
            "STEMJOB_LAUNCHER": "kubernetes",
            "STEMJOB_NAMESPACE": site.namespace,
            "KUBECONFIG": str(site.kubeconfig(API)),
            "STEMJOB_SWEEP_SECONDS": "0",
            "STEMJOB_LOG_LEVEL": "WARNING",
        }
        yield site, Server(folder, environment)


def _fill(site: Site, store: Store) -> None:
    template = load_template(None)

    def add(number: int) -> None:
        record = job_record(age=timedelta(seconds=number))
        if number % 10 == 0:
            add_finished_job(store, record=record, track_bytes=10)
            return
        add_job(store, record)
        body: Any = stamp(template, JobSpec(job_id=record.job_id, store="gs://bucket"), site.namespace)
        site.cluster.batch.create_namespaced_job(site.namespace, body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(JOBS * 10 // 9 + 1)))

    def settled() -> bool:
        pods = site.cluster.core.list_namespaced_pod(site.namespace, field_selector="status.phase=Pending")
        return len(pods.items) >= JOBS

    wait_for("the pods", settled, 600)


@contextmanager
def _started(server: Server) -> Iterator[httpx.Client]:
    """A client of the server, started anew: it has seen nothing yet, but is warm."""
    server.start()
    try:
        with server.client() as client:
            _ask(client, "/jobs?limit=1")
            yield client
    finally:
        server.stop()


def _every_page(server: Server, limit: int) -> list[float]:
    """The time of each page, one after the other, of which each job is read for the first time."""
    times: list[float] = []
    cursor: str | None = ""
    with _started(server) as client:
        while cursor is not None and len(times) < TIMES:
            seconds, page = _ask(client, f"/jobs?limit={limit}{cursor}")
            times.append(seconds)
            cursor = f"&cursor={page['next']}" if page["next"] else None
    return times


def _ask(client: httpx.Client, address: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = client.get(address)
    seconds = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    return seconds, answer.json()


def _row(name: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    p50, p99, most = (1000 * value for value in (cuts[49], cuts[98], max(times)))
    print(f"{name:<44}{len(times):>7}{p50:>8.1f}{p99:>8.1f}{most:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
