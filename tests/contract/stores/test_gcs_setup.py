"""What stands before the first request to a bucket: its URL, the library, the credentials."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contract.stores import Store, StoreError, absolute_url, open_store
from tests.contract.stores.gateway import Gateway, refused
from tests.contract.stores.keys import key_file

LOADED_AFTER_A_FOLDER = """
import sys
from contract.stores import open_store
open_store(sys.argv[1])
print([name for name in sys.modules if name.startswith(("google", "requests"))])
"""


@pytest.mark.parametrize(
    "url", ["gs://", "gs://ab", "gs://Bucket", "gs://user@bucket", "gs://bucket/../other", "gs://bucket/a//b"]
)
def test_a_url_without_a_possible_bucket_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^STEMJOB_STORE is 'gs://.*', .* gs://<bucket>/<prefix>$"):
        open_store(url)


def test_an_unknown_scheme_is_told_which_ones_are_known() -> None:
    with pytest.raises(ValueError, match="begins with file:// or gs://"):
        open_store("s3://bucket")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("gs://{}", "gs://{}/a/b"),
        ("gs://{}/", "gs://{}/a/b"),
        ("gs://{}/some/prefix/", "gs://{}/some/prefix/a/b"),
        ("gs://{}/odd #1?", "gs://{}/odd #1?/a/b"),
    ],
)
def test_objects_lie_under_the_prefix_of_the_url(
    gateway: Gateway, gcs_bucket: str, url: str, place: str
) -> None:
    store = open_store(url.format(gcs_bucket))
    store.put("a/b", b"x", content_type="text/plain")
    whole = open_store(f"gs://{gcs_bucket}")

    assert store.uri("a/b") == place.format(gcs_bucket)
    assert [whole.uri(info.key) for info in whole.list("")] == [place.format(gcs_bucket)]
    assert [info.key for info in store.list("")] == ["a/b"]
    assert absolute_url(url) == url


def test_a_prefix_is_none_of_its_neighbours_business(gateway: Gateway, gcs_bucket: str) -> None:
    one, other = open_store(f"gs://{gcs_bucket}/app"), open_store(f"gs://{gcs_bucket}/app2")
    other.put("a", b"x", content_type="text/plain")

    one.delete_prefix("")

    assert list(one.list("")) == []
    assert [info.key for info in other.list("")] == ["a"]


def test_the_library_is_loaded_for_buckets_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADED_AFTER_A_FOLDER, f"file://{tmp_path}"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "[]\n"


def test_a_missing_library_is_told_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("contract.stores.gcs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)

    with pytest.raises(StoreError, match=r"install stemjob\[gcs\]"):
        open_store("gs://bucket")


def test_an_emulator_without_scheme_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")

    with pytest.raises(ValueError, match="must begin with http://"):
        open_store("gs://bucket")


UNUSABLE_KEY = json.dumps(
    {
        "type": "service_account",
        "client_email": "a@example.com",
        "token_uri": "http://127.0.0.1:9",
        "private_key": "-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n",
    }
)


@pytest.mark.parametrize("content", [None, "not JSON", "{}", UNUSABLE_KEY])
def test_credentials_that_cannot_be_read_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    if content is not None:
        (tmp_path / "key.json").write_text(content)

    with pytest.raises(StoreError, match=r"^No usable credentials for Google Cloud Storage were found"):
        open_store("gs://bucket")


def test_no_credentials_at_all_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    with pytest.raises(StoreError, match=r"^No usable credentials for Google Cloud Storage were found"):
        open_store("gs://bucket")


def test_a_key_that_google_has_revoked_is_one_sentence(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    key_file(tmp_path / "key.json", token_uri=f"{gateway.url}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    gateway.spoil("POST", "/token", refused(400, "invalid_grant: Invalid JWT Signature."), times=9)
    store: Store = open_store("gs://bucket", retry_seconds=2)

    with pytest.raises(StoreError, match=r"^Google does not accept the credentials for its storage\.$"):
        store.stat("a")

    assert {request.path for request in gateway.requests} == {"/token"}
