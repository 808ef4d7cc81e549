"""The bucket emulator behaves like a bucket where the stores rely on it, over plain HTTP."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.testbed.gcs import GcsServer
from tests.testbed.processes import direct


def upload(server: GcsServer, bucket: str, name: str, content: bytes, **conditions: int) -> dict[str, Any]:
    """Make an object in one request. What the emulator says about it."""
    query = urllib.parse.urlencode({"uploadType": "media", "name": name, **conditions})
    request = urllib.request.Request(f"{server.url}/upload/storage/v1/b/{bucket}/o?{query}", data=content)
    with direct().open(request, timeout=5) as answer:
        made: dict[str, Any] = json.load(answer)
        return made


def test_an_object_is_read_back(gcs_server: GcsServer, gcs_bucket: str) -> None:
    upload(gcs_server, gcs_bucket, "jobs/1/job.json", b"a song")

    with direct().open(f"{gcs_server.url}/{gcs_bucket}/jobs/1/job.json", timeout=5) as answer:
        assert answer.read() == b"a song"


def test_create_only_refuses_what_exists(gcs_server: GcsServer, gcs_bucket: str) -> None:
    first = upload(gcs_server, gcs_bucket, "manifest.json", b"one", ifGenerationMatch=0)

    with pytest.raises(urllib.error.HTTPError) as error:
        upload(gcs_server, gcs_bucket, "manifest.json", b"two", ifGenerationMatch=0)
    error.value.close()
    assert error.value.code == 412

    second = upload(gcs_server, gcs_bucket, "manifest.json", b"two", ifGenerationMatch=first["generation"])
    assert second["generation"] != first["generation"]


def test_a_resumable_upload_goes_on_at_the_same_address(gcs_server: GcsServer, gcs_bucket: str) -> None:
    start = f"{gcs_server.url}/upload/storage/v1/b/{gcs_bucket}/o?uploadType=resumable&name=song.wav"
    with direct().open(urllib.request.Request(start, data=b""), timeout=5) as answer:
        session = answer.headers["Location"]
    assert session.startswith(gcs_server.url)

    with direct().open(urllib.request.Request(session, data=b"a song", method="PUT"), timeout=5) as answer:
        assert json.load(answer)["size"] == "6"


def test_buckets_of_two_tests_differ(gcs_server: GcsServer, gcs_bucket: str) -> None:
    assert gcs_server.make_bucket() != gcs_bucket


def test_a_bucket_that_hangs_can_be_had(gcs_server: GcsServer, gcs_bucket: str) -> None:
    gcs_server.processes.pause("gcs")
    try:
        with pytest.raises(TimeoutError):
            direct().open(f"{gcs_server.url}/storage/v1/b/{gcs_bucket}", timeout=0.3)
    finally:
        gcs_server.processes.resume("gcs")
    direct().open(f"{gcs_server.url}/storage/v1/b/{gcs_bucket}", timeout=5).close()
