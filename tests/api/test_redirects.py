"""Downloads straight from the bucket: tracks by link, the ZIP put together there."""

import io
import zipfile
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest

from api.archive import archive_download, compose_archive
from api.ranges import ByteRange
from contract.layout import archive_key, job_prefix, manifest_key, track_key
from contract.manifest import Manifest
from contract.stores import DirectStore, open_store
from contract.tracks import Track
from tests.api.buckets import bucket_of, bucket_settings, fetched, serving_from_a_bucket
from tests.api.conftest import Server, add_finished_job, track_content
from tests.contract.stores.gateway import Answer, Forward, Gateway, Request
from tests.testbed.gcs import GcsServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer) -> Iterator[Server]:
    with serving_from_a_bucket(
        tmp_path_factory.mktemp("redirects"), gcs_server, STEMJOB_DOWNLOADS="redirect"
    ) as server:
        yield server


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> DirectStore:
    return bucket_of(server.environment, monkeypatch)


@pytest.fixture
def job_id(bucket: DirectStore) -> str:
    return add_finished_job(bucket, 'Пісня "x".wav')


def test_the_longest_name_fits_into_a_link(client: httpx.Client, bucket: DirectStore) -> None:
    job_id = add_finished_job(bucket, "П" * 251 + ".wav")

    _, headers = follow(client.get(f"/download/{job_id}/vocals"))

    assert headers["Content-Disposition"].count("%D0%9F") == 251


def manifest_of(store: DirectStore, job_id: str) -> Manifest:
    found = store.get(manifest_key(job_id))
    assert found is not None
    return Manifest.model_validate_json(found[0])


def follow(answer: httpx.Response) -> tuple[bytes, dict[str, str]]:
    """Content and headers of what the answer leads to."""
    assert answer.status_code == 307, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return fetched(answer.headers["Location"])


def test_a_track_is_downloaded_from_the_bucket_under_its_own_name(
    client: httpx.Client, bucket: DirectStore, job_id: str
) -> None:
    answer = client.get(f"/download/{job_id}/vocals")

    content, headers = follow(answer)
    assert content == track_content(Track.VOCALS)
    assert headers["Content-Type"] == "audio/wav"
    assert headers["Content-Disposition"].endswith(
        "%D0%9F%D1%96%D1%81%D0%BD%D1%8F%20%22x%22%20-%20vocals.wav"
    )
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["generation"] == [str(manifest_of(bucket, job_id).tracks[Track.VOCALS].generation)]
    assert query["X-Goog-Expires"] == ["3600"]


def test_the_zip_is_put_together_in_the_bucket_once(
    client: httpx.Client, bucket: DirectStore, job_id: str
) -> None:
    answer = client.get(f"/download/{job_id}/all")

    content, headers = follow(answer)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"{track}.wav": track_content(track) for track in Track
        }
    assert headers["Content-Type"] == "application/zip"
    assert "tracks.zip" in headers["Content-Disposition"]
    made = bucket.stat(archive_key(job_id))
    again = client.get(f"/download/{job_id}/all")
    assert made is not None
    assert bucket.stat(archive_key(job_id)) == made
    for link in (answer, again):
        assert parse_qs(urlsplit(link.headers["Location"]).query)["generation"] == [str(made.generation)]
    left = [info.key for info in bucket.list(job_prefix(job_id)) if ".zip" in info.key]
    assert left == [archive_key(job_id)]


@pytest.mark.parametrize("name", ["drums", "all"])
def test_head_tells_of_what_get_leads_to(client: httpx.Client, job_id: str, name: str) -> None:
    head = client.head(f"/download/{job_id}/{name}")

    content, headers = follow(client.get(f"/download/{job_id}/{name}"))
    assert head.status_code == 200
    assert head.headers["Content-Length"] == str(len(content))
    assert head.headers["Content-Disposition"] == headers["Content-Disposition"]


def test_the_zip_is_the_same_bytes_whether_it_is_streamed_or_put_together(
    bucket: DirectStore, job_id: str
) -> None:
    manifest = manifest_of(bucket, job_id)
    download = archive_download(bucket, manifest)

    compose_archive(bucket, manifest)

    whole = b"".join(bucket.read(archive_key(job_id)))
    assert b"".join(download.read(None)) == whole
    assert len(whole) == download.size
    for start, length in [(0, 1), (30, 60), (10_039, 1), (download.size - 1, 1), (5_000, 55_555)]:
        part = b"".join(download.read(ByteRange(start, length, download.size)))
        assert part == whole[start : start + length]


def test_of_two_that_put_it_together_at_once_the_slower_takes_what_is_there(
    gcs_server: GcsServer, gcs_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(request: Request, body: bytes, forward: Forward) -> Answer:
        forward(request, body)  # the other one's; Google looks at the precondition, the emulator does not
        return Answer(412, [("Content-Length", "0")], b"")

    with Gateway(gcs_server.url) as gateway:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gateway.url)
        store = open_store(f"gs://{gcs_bucket}")
        assert isinstance(store, DirectStore)
        job_id = add_finished_job(store)
        gateway.spoil("POST", "/compose", too_late)

        made = compose_archive(store, manifest_of(store, job_id))

        assert made == store.stat(archive_key(job_id))
        assert zipfile.ZipFile(io.BytesIO(b"".join(store.read(made.key)))).testzip() is None


def test_credentials_that_cannot_sign_let_downloads_stream(
    tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("no-key")
    settings = bucket_settings(folder, gcs_server)
    store = bucket_of(settings, monkeypatch)
    job_id = add_finished_job(store)
    del settings["GOOGLE_APPLICATION_CREDENTIALS"]
    limits = {"STEMJOB_DOWNLOADS": "redirect", "STEMJOB_BODY_LIMIT_MB": "0.05"}
    server = Server(folder, settings | limits).start()
    try:
        with server.client() as client:
            track = client.get(f"/download/{job_id}/vocals")
            too_large = client.get(f"/download/{job_id}/all")
    finally:
        server.stop()

    assert (track.status_code, track.content) == (200, track_content(Track.VOCALS))
    assert any(line["event"] == "download_not_redirected" for line in server.log_lines())
    assert (too_large.status_code, too_large.json()["code"]) == (503, "store_unavailable")
    assert too_large.json()["detail"].startswith("The credentials cannot sign download links")
    assert store.stat(archive_key(job_id)) is None


def test_a_job_without_a_manifest_has_nothing_to_lead_to(client: httpx.Client, bucket: DirectStore) -> None:
    job_id = add_finished_job(bucket)
    bucket.delete(manifest_key(job_id))

    assert client.get(f"/download/{job_id}/all").status_code == 409
    assert client.get(f"/download/{job_id}/vocals").status_code == 404
    assert bucket.stat(track_key(job_id, Track.VOCALS, "wav")) is not None


def test_redirects_need_a_store_that_others_can_reach(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("folder"), {"STEMJOB_DOWNLOADS": "redirect"})

    with pytest.raises(RuntimeError, match=r"only a gs:// store can be reached by others"):
        server.start()
