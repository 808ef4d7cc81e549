"""The API is killed after each request that it makes of bucket and cluster; then one sweep settles it."""

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from api.launchers.kubernetes.launcher import KubernetesLauncher
from api.service import Service
from api.settings import ApiSettings
from api.sweep import Sweep
from api.sweep.old import CLAIM_STAYS
from contract import clock
from contract.job import JobSpec
from contract.layout import job_key
from contract.stages import Status
from contract.stores import Store, open_store
from tests.api.conftest import add_job, job_record
from tests.api.forked import Forge, kill
from tests.audio import song
from tests.contract.stores.gateway import Answer, Gateway, Request
from tests.testbed.cluster import Cluster
from tests.testbed.gcs import GcsServer

SONG = song(0.5)
CALLBACK = "http://127.0.0.1:9/told"
SETTINGS = {
    "STEMJOB_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    "STEMJOB_CALLBACK_HOSTS": "127.0.0.1",
}


@dataclass
class Steps:
    """Counts what a server asks of others, and kills it when enough has been done."""

    pid: int = 0
    fatal: int = 0
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lead(self, pid: int, fatal: int) -> None:
        self.pid, self.fatal, self.asked = pid, fatal, []

    def done(self, request: Request) -> bool:
        """Notes that a request has taken effect. False: the server that waits for the answer is dead."""
        with self.lock:
            self.asked.append(f"{request.method} {request.path}")
            if len(self.asked) == self.fatal:
                kill(self.pid)
            return self.fatal == 0 or len(self.asked) < self.fatal


class Gate(Gateway):
    """Lets everything pass, and the server hear the answer if it still lives."""

    def __init__(self, target: str, steps: Steps, authority: str | None = None) -> None:
        super().__init__(target)
        self._steps, self._place = steps, urlsplit(target)
        self._tls = ssl.create_default_context(cafile=authority) if authority else None

    def answer(self, request: Request, body: bytes) -> Answer | None:
        answer = self._passed_on(request, body)
        return answer if self._steps.done(request) else None

    def _passed_on(self, request: Request, body: bytes) -> Answer:
        if self._tls is None:
            return self._forward(request, body)
        connection = http.client.HTTPSConnection(self._place.netloc, timeout=30, context=self._tls)
        try:
            connection.request(request.method, request.path, body, request.headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


@dataclass
class Scene:
    """A namespace and a bucket, servers that can be killed on the way to them, and one that is not."""

    cluster: Cluster
    namespace: str
    gcs: GcsServer
    forge: Forge
    steps: Steps
    environment: dict[str, str]
    launcher: KubernetesLauncher
    bucket: str = ""

    def begin(self) -> None:
        """From here on with an empty bucket, and without Jobs."""
        self.bucket = f"gs://{self.gcs.make_bucket()}/stemjob"
        for job_id in self.jobs():
            self.launcher.delete(job_id)

    @property
    def store(self) -> Store:
        return open_store(self.bucket)

    @property
    def service(self) -> Service:
        return Service(ApiSettings(), self.store, self.launcher, self.bucket)

    def server(self, fatal: int) -> str:
        """The address of a server that dies after so many requests; 0: it lives on."""
        pid, url = self.forge.start({**self.environment, "STEMJOB_STORE": self.bucket})
        self.steps.lead(pid, fatal)
        return url

    def sweep(self, later: float = 0.0) -> None:
        sweep = Sweep(ApiSettings(), self.store, self.launcher, self.bucket)
        sweep.run(clock.now() + later * CLAIM_STAYS)

    def there(self) -> list[str]:
        return [re.sub(r"[0-9a-f]{64}|\d{16}", "…", info.key) for info in self.store.list("")]

    def jobs(self) -> list[str]:
        names = self.cluster.kubectl("-n", self.namespace, "get", "jobs", "-o", "name").split()
        return [name.removeprefix("job.batch/stemjob-") for name in names]


@pytest.fixture
def scene(
    cluster: Cluster,
    jobs_namespace: str,
    api_kubeconfig: Path,
    gcs_server: GcsServer,
    open_launcher: Callable[..., KubernetesLauncher],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    steps = Steps()
    authority = str(cluster.api.configuration.ssl_ca_cert)
    with (
        Gate(gcs_server.url, steps) as bucket_gate,
        Gate(cluster.url, steps, authority) as cluster_gate,
        Forge(tmp_path) as forge,
    ):
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(api_kubeconfig.read_text().replace(cluster.url, cluster_gate.url))
        environment = {
            **SETTINGS,
            "STEMJOB_LAUNCHER": "kubernetes",
            "STEMJOB_NAMESPACE": jobs_namespace,
            "STEMJOB_SWEEP_SECONDS": "0",
            "STORAGE_EMULATOR_HOST": bucket_gate.url,
            "KUBECONFIG": str(kubeconfig),
        }
        launcher = open_launcher()
        yield Scene(cluster, jobs_namespace, gcs_server, forge, steps, environment, launcher)


def post(url: str) -> httpx.Response:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        return client.post(
            "/process",
            files={"file": ("song.wav", SONG)},
            data={"callback_url": CALLBACK},
            headers={"Idempotency-Key": "once"},
        )


def test_an_api_that_is_killed_between_any_two_steps_of_an_upload_leaves_a_job_or_nothing(
    scene: Scene,
) -> None:
    scene.begin()
    assert post(scene.server(fatal=0)).status_code == 200
    steps = list(scene.steps.asked)
    whole = [key.replace(scene.jobs()[0], "ID") for key in scene.there()]
    ends: list[str] = []
    for fatal in range(1, len(steps) + 1):
        scene.begin()
        with pytest.raises(httpx.TransportError):
            post(scene.server(fatal))
        scene.sweep()
        if (made := scene.jobs()) == []:
            scene.sweep(1.1)
            assert (steps[fatal - 1], scene.there()) == (steps[fatal - 1], [])
            ends.append("nothing")
            continue
        [job_id] = made
        assert [key.replace(job_id, "ID") for key in scene.there()] == whole
        assert scene.service.status(job_id).status is Status.PROCESSING
        again = post(scene.server(fatal=0))
        assert (again.status_code, again.json()["job_id"], scene.jobs()) == (200, job_id, [job_id])
        ends.append("job")
    assert ends == sorted(ends, reverse=True)
    assert set(ends) == {"nothing", "job"}


def test_an_api_that_is_killed_between_any_two_steps_of_a_deletion_has_deleted_all_or_nothing(
    scene: Scene,
) -> None:
    def made() -> str:
        scene.begin()
        job_id = add_job(scene.store, job_record())
        scene.store.put(f"jobs/{job_id}/composite/main.wav", b"x", content_type="audio/wav")
        scene.launcher.launch(JobSpec(job_id=job_id, store=scene.bucket))
        return job_id

    def delete(url: str, job_id: str) -> int:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            return client.delete(f"/job/{job_id}").status_code

    job_id = made()
    before = [key.replace(job_id, "ID") for key in scene.there()]
    assert delete(scene.server(fatal=0), job_id) == 204
    steps = len(scene.steps.asked)
    ends: list[str] = []
    for fatal in range(1, steps + 1):
        job_id = made()
        with pytest.raises(httpx.TransportError):
            delete(scene.server(fatal), job_id)
        scene.sweep()
        left = [key for key in scene.there() if not key.startswith("deleted/")]
        if job_id in scene.jobs():
            assert [key.replace(job_id, "ID") for key in left] == before
            assert scene.service.status(job_id).status is Status.PROCESSING
            ends.append("nothing")
        else:
            assert left == [job_key(job_id)]
            ends.append("all")
    assert ends == sorted(ends, reverse=True)
    assert set(ends) == {"nothing", "all"}
