"""The whole product as a team runs it: both images on a real node, the chart, a song through its Service.

What `make kind-up` and `make kind-demo` do, but for making the cluster and loading the images, is done by the
very same commands: `scripts/kind.sh install` and `scripts.demo` with the address of the node's port.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import soundfile

from contract.manifest import Manifest
from contract.stores import open_store
from contract.tracks import Track
from tests.helm.chart import REPOSITORY, Helm
from tests.helm.release import RELEASE
from tests.testbed import binaries, image_store, objects
from tests.testbed.images import write_image
from tests.testbed.node import NodeCluster
from tests.testbed.requirements import require
from tests.testbed.waiting import wait_for

SONG = Path(__file__).parent / "data" / "lets_go_fishin.ogg"
KIND = REPOSITORY / "scripts" / "kind.sh"
BUCKET_IMAGE = "docker.io/fsouza/fake-gcs-server:1.56.1"
COLUMNS = r"STAGE:.metadata.labels.stemjob\.dev/stage,PROGRESS:.metadata.annotations.stemjob\.dev/progress"
IMAGES_TIMEOUT = 1800
"""Seconds; the first build of the images downloads gigabytes."""

pytestmark = pytest.mark.timeout(IMAGES_TIMEOUT)


@dataclass(frozen=True)
class Site:
    """The chart, installed."""

    cluster: NodeCluster
    namespace: str
    helm: Helm

    @property
    def where(self) -> tuple[str, ...]:
        """Arguments of Helm's."""
        return ("--namespace", self.namespace, "--kubeconfig", str(self.cluster.kubeconfig))

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def address(self, service: str) -> str:
        """Where a Service answers."""
        found = json.loads(self.kubectl("get", "service", service, "-o", "json"))["spec"]
        return f"http://{found['clusterIP']}:{found['ports'][0]['port']}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address(RELEASE), timeout=30, trust_env=False)

    def answers(self) -> bool:
        """Whether the Service leads to the API yet: the node learns of both a moment after they are made."""
        with self.client() as client, suppress(httpx.ConnectError):
            return client.get("/health").is_success
        return False

    @contextmanager
    def watched(self, path: Path) -> Iterator[None]:
        """`kubectl get jobs --watch` meanwhile; what it prints is in the file afterwards."""
        kubectl = binaries.program("kubectl")
        command = [kubectl, "--kubeconfig", self.cluster.kubeconfig, "-n", self.namespace, "get", "jobs"]
        selector = "app.kubernetes.io/component=runner"
        with path.open("w") as output:
            watch = subprocess.Popen(
                [*map(str, command), "--watch", "-l", selector, "-o", f"custom-columns={COLUMNS}"],
                stdout=output,
            )
            try:
                yield
            finally:
                watch.terminate()
                watch.wait()


@pytest.fixture(scope="module")
def site(
    node_cluster: NodeCluster, api_image: str, runner_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    put_bucket_image(node_cluster, folder)
    for image in (api_image, runner_image):
        node_cluster.use_built_image(image, image)
    helm, kubectl = require("helm", "kubectl")
    site = Site(node_cluster, "stemjob", Helm(helm, folder))
    programs = {"HELM": str(helm), "KUBECTL": str(kubectl), "KUBECONFIG": str(node_cluster.kubeconfig)}
    try:
        subprocess.run(["sh", KIND, "install"], env=site.helm.environment | programs, check=True)
        wait_for("the Service to answer", site.answers)
        yield site
        site.helm("uninstall", RELEASE, *site.where)
    finally:
        node_cluster.remove_namespace(site.namespace)


def put_bucket_image(cluster: NodeCluster, folder: Path) -> None:
    """The emulator of the bucket as an image, made of the testbed's own program."""
    [program] = require("fake-gcs-server")
    root = folder / "bucket"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "fake-gcs-server").hardlink_to(program)
    cluster.import_image(write_image(folder / "bucket.tar", BUCKET_IMAGE, root))


def separated(client: httpx.Client, site: Site) -> dict[str, Any]:
    """The last answer about a song that was uploaded."""
    with SONG.open("rb") as file:
        answer = client.post("/process", files={"file": (SONG.name, file)}, data={"model": "bundled"})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()

    def look() -> dict[str, Any] | None:
        told: dict[str, Any] = client.get(f"/job/{job['job_id']}").json()
        return None if told["status"] == "processing" else told

    return wait_for("the end of the song", look, timeout=240, every=0.5)


def test_a_song_goes_through_the_service_and_nine_tracks_come_back(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.client() as client, site.watched(tmp_path / "watched"):
        job = separated(client, site)
        assert job["status"] == "completed", (job, site.kubectl("get", "pods,events"))
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"/download/{job['job_id']}/all").content))
        vocals = client.get(f"/download/{job['job_id']}/vocals").content

    assert archive.testzip() is None
    assert sorted(archive.namelist()) == sorted(f"{track}.wav" for track in Track)
    assert archive.read("vocals.wav") == vocals
    song = soundfile.info(SONG)
    for track in Track:
        info = soundfile.info(io.BytesIO(archive.read(f"{track}.wav")))
        assert (info.frames, info.samplerate, info.channels) == (song.frames, song.samplerate, song.channels)

    seen = [line.split() for line in (tmp_path / "watched").read_text().splitlines()[1:]]
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    shown = [float(progress) for _, progress in seen if progress != "<none>"]
    assert stages[0] == "queued"
    assert stages[-1] == "completed"
    assert "audio_separation" in stages
    assert len(set(shown)) >= 2
    assert shown == sorted(shown)

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.address("stemjob-bucket"))
    store = open_store("gs://songs/stemjob")
    folder = f"jobs/{job['job_id']}"
    lies = {info.key: info.size for info in store.list(f"{folder}/")}
    tracks = {key for key in lies if key.endswith(".wav")}
    assert {job["outputs"][track].rpartition("/")[2] for track in Track} == {
        key.rpartition("/")[2] for key in tracks
    }
    assert lies.keys() - tracks == {f"{folder}/{name}" for name in ("job.json", "input.ogg", "manifest.json")}
    manifest = Manifest.model_validate_json(b"".join(store.read(f"{folder}/manifest.json")))
    assert manifest.device == "cpu"
    assert manifest.versions["stemjob"] == "1.0.0"


def test_helm_test_and_kind_demo_separate_songs_at_once(site: Site, tmp_path: Path) -> None:
    """The demo comes in by the node's port, as it would from the machine on which kind runs."""
    port = json.loads(site.kubectl("get", "service", RELEASE, "-o", "json"))["spec"]["ports"][0]["nodePort"]
    url = f"http://{site.cluster.network.node}:{port}"
    command = [sys.executable, "-m", "scripts.demo", str(SONG), url]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        tested = site.helm("test", RELEASE, "--logs", "--timeout", "250s", *site.where)
        assert demo.stdout
        shown = demo.stdout.read()

    assert "Nine tracks came of it." in tested
    assert demo.returncode == 0, shown
    assert "Model bundled, computed on cpu." in shown
    assert len(list((tmp_path / "demo-output").iterdir())) == 9


def test_the_api_is_healthy_and_ready_behind_its_service(site: Site) -> None:
    with site.client() as client:
        health, ready = client.get("/health"), client.get("/ready")

    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    assert ready.status_code == 200, ready.text


def test_the_sweep_runs_in_the_apis_image(site: Site) -> None:
    site.kubectl("create", "job", "sweep-now", f"--from=cronjob/{RELEASE}-sweep")

    assert site.cluster.wait_for_end(site.namespace, "sweep-now") == "Complete"


def test_containers_are_user_10001_and_cannot_write_to_their_image(site: Site) -> None:
    tried = (
        "import errno, os\n"
        "try: open('/var/tmp/file', 'w')\n"
        "except OSError as error: print(os.getuid(), os.getgid(), errno.errorcode[error.errno])"
    )

    said = site.kubectl("exec", "deployment/stemjob-api", "--", "python", "-c", tried)

    assert said.split() == ["10001", "10001", "EROFS"]


def test_the_runners_image_has_what_the_reference_needs(site: Site) -> None:
    """librosa compiles some of its code when it is first used, where its home is: the image is read-only."""
    script = (
        "import numpy, os\n"
        "from librosa.effects import hpss\n"
        "from pyloudnorm import Meter\n"
        "noise = numpy.random.default_rng(0).normal(0, 0.1, 44_100).astype('float32')\n"
        "parts = hpss(noise)\n"
        "print(os.getuid(), len(parts), Meter(44_100).integrated_loudness(noise) < 0)"
    )
    home = {"name": "home", "mountPath": "/scratch"}
    container = objects.container(
        image_store.RUNNER,
        ["python", "-c", script],
        env=[{"name": "XDG_CACHE_HOME", "value": "/scratch/cache"}, {"name": "HOME", "value": "/scratch"}],
        volumeMounts=[home],
    )
    site.cluster.apply(
        objects.pod("reference", container, volumes=[{"name": "home", "emptyDir": {}}]),
        namespace=site.namespace,
    )

    def ended() -> bool:
        return site.kubectl("get", "pod", "reference", "-o", "jsonpath={.status.phase}") in (
            "Succeeded",
            "Failed",
        )

    wait_for("the end of the reference", ended, timeout=240, every=1)

    assert site.kubectl("logs", "reference").split() == ["10001", "2", "True"]
