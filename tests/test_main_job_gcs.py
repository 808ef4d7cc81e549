"""The main job again, with a bucket in place of the folder: the embedded default, for all but its store."""

import io
import zipfile
from collections.abc import Iterator

import pytest

from contract.stores import open_store
from contract.tracks import Track
from tests.api.buckets import send
from tests.api.conftest import Server
from tests.audio import song
from tests.test_main_job import download, separate, wait_for_the_end
from tests.testbed.gcs import GcsServer


@pytest.fixture(scope="module")
def bucket_url(gcs_server: GcsServer) -> str:
    return f"gs://{gcs_server.make_bucket()}/some/prefix"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer, bucket_url: str
) -> Iterator[Server]:
    environment = {"STORAGE_EMULATOR_HOST": gcs_server.url, "STEMJOB_STORE": bucket_url}
    server = Server(tmp_path_factory.mktemp("main-job-gcs"), environment).start()
    yield server
    server.stop()


def test_a_song_goes_through_the_bucket_and_nine_tracks_come_back(
    server: Server, gcs_server: GcsServer, bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = song(2.0)

    job = separate(server, "song.wav", content)

    assert job["status"] == "completed", job
    tracks = download(server, job)
    assert {samples.shape for samples in tracks.values()} == {(88_200, 2)}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    store = open_store(bucket_url)
    found = {store.uri(info.key): info.key for info in store.list(f"jobs/{job['job_id']}/")}
    assert set(job["outputs"]) == set(Track)
    assert all(uri.startswith(f"{bucket_url}/jobs/{job['job_id']}/") for uri in job["outputs"].values())
    others = {key.rpartition("/")[2] for uri, key in found.items() if uri not in job["outputs"].values()}
    assert set(job["outputs"].values()) <= set(found)
    assert others == {"job.json", "input.wav", "manifest.json"}
    assert b"".join(store.read(f"jobs/{job['job_id']}/input.wav")) == content
    assert list(server.folder.rglob("*.wav")) == []


def test_a_song_sent_straight_to_the_bucket_is_separated_and_streams_out_of_it(server: Server) -> None:
    content = song(1.0)
    with server.client() as client:
        offer = client.post("/uploads", json={"filename": "song.wav", "size": len(content)}).json()
        assert send(offer, content) == 200
        job = wait_for_the_end(
            client, client.post("/process", files={"upload_id": (None, offer["upload_id"])})
        )

        address = f"/download/{job['job_id']}/vocals"
        whole = client.get(address)
        part = client.get(address, headers={"Range": "bytes=1000-1999"})
        archive = zipfile.ZipFile(io.BytesIO(client.get(job["links"]["all"]).content))

    assert (part.status_code, part.content) == (206, whole.content[1000:2000])
    assert archive.testzip() is None
    assert archive.read("vocals.wav") == whole.content
    assert len(archive.namelist()) == 9


def test_a_bucket_that_is_missing_is_named_to_whoever_uploads(
    gcs_server: GcsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {"STORAGE_EMULATOR_HOST": gcs_server.url, "STEMJOB_STORE": "gs://no-such-bucket/prefix"}
    server = Server(tmp_path_factory.mktemp("no-bucket"), environment).start()
    try:
        with server.client() as client:
            answer = client.post("/process", files={"file": ("song.wav", song(0.5))})
    finally:
        server.stop()

    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert answer.json()["detail"] == "There is no bucket no-such-bucket in Google Cloud Storage."
