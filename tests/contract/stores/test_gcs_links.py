"""Links with which others reach a bucket by themselves."""

import base64
import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth import iam
from google.auth.compute_engine import Credentials, _metadata

from contract.stores import CannotSign, DirectStore, ObjectNotFound, PreconditionFailed, Store, open_store
from contract.stores.gcs.signing import signer
from tests.contract.stores.gateway import Answer, Forward, Gateway, Request, refused
from tests.contract.stores.keys import EMAIL, key_file
from tests.testbed.gcs import GcsServer
from tests.testbed.processes import direct

TEXT = "text/plain"


@pytest.fixture
def public_key(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RSAPublicKey:
    """Of the key that stores sign with from now on."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    return key_file(tmp_path / "key.json")


@pytest.fixture
def direct_store(public_key: RSAPublicKey, gcs_bucket: str) -> DirectStore:
    store = open_store(f"gs://{gcs_bucket}/prefix", retry_seconds=2)
    assert isinstance(store, DirectStore)
    return store


def signed_link(store: DirectStore, key: str, generation: int) -> str:
    return store.download_url(
        key,
        generation=generation,
        disposition='attachment; filename="a b.txt"',
        content_type=TEXT,
        seconds=60,
    )


def verify(url: str, key: RSAPublicKey) -> None:
    """Google's V4 signing process, from its documentation. Raises InvalidSignature."""
    parts = urlsplit(url)
    query, _, signature = parts.query.partition("&X-Goog-Signature=")
    fields = parse_qs(query)
    request = "\n".join(
        ["GET", parts.path, query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"]
    ).encode()
    account, _, scope = fields["X-Goog-Credential"][0].partition("/")
    assert account == EMAIL
    assert query.split("&") == sorted(query.split("&"))
    text = "\n".join(
        ["GOOG4-RSA-SHA256", fields["X-Goog-Date"][0], scope, hashlib.sha256(request).hexdigest()]
    )
    key.verify(bytes.fromhex(signature), text.encode(), PKCS1v15(), SHA256())


def test_a_link_downloads_without_credentials(
    gcs_server: GcsServer, public_key: RSAPublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not through the gateway: the emulator takes such requests under its own address alone.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    store = open_store(f"gs://{gcs_server.make_bucket()}/prefix")
    assert isinstance(store, DirectStore)
    written = store.put("a/Пісня 1.txt", b"content", content_type="audio/wav")

    url = signed_link(store, "a/Пісня 1.txt", written.generation)

    with direct().open(url, timeout=10) as answer:
        assert answer.read() == b"content"
        assert answer.headers["Content-Type"] == TEXT
        assert answer.headers["Content-Disposition"] == 'attachment; filename="a b.txt"'


def test_a_link_is_signed_for_everything_that_it_says(
    direct_store: DirectStore, public_key: RSAPublicKey
) -> None:
    url = signed_link(direct_store, "a b", 7)

    verify(url, public_key)
    fields = parse_qs(urlsplit(url).query)
    assert fields["X-Goog-Algorithm"] == ["GOOG4-RSA-SHA256"]  # V2, the library's default, has none
    assert fields["X-Goog-Expires"] == ["60"]
    assert fields["generation"] == ["7"]
    assert fields["response-content-disposition"] == ['attachment; filename="a b.txt"']
    assert fields["response-content-type"] == [TEXT]
    for changed in [
        url.replace("generation=7", "generation=8"),
        url.replace("Expires=60", "Expires=6000"),
        url.replace("a%20b?", "other?"),
    ]:
        assert changed != url
        with pytest.raises(InvalidSignature):
            verify(changed, public_key)


def test_a_link_lasts_seven_days_at_most(direct_store: DirectStore) -> None:
    with pytest.raises(ValueError, match="seven days"):
        direct_store.download_url(
            "a", generation=1, disposition="inline", content_type=TEXT, seconds=7 * 86400 + 1
        )


def test_a_folder_has_no_links(tmp_path: Path) -> None:
    assert not isinstance(open_store(f"file://{tmp_path}"), DirectStore)


def test_credentials_that_cannot_sign_say_so(bucket_store: Store) -> None:
    assert isinstance(bucket_store, DirectStore)
    with pytest.raises(CannotSign, match=r"^The credentials cannot sign download links"):
        signed_link(bucket_store, "a", 1)


def json_answer(content: object) -> Answer:
    headers = [("Metadata-Flavor", "Google"), ("Content-Type", "application/json")]
    return Answer(200, headers, json.dumps(content).encode())


@pytest.fixture
def pod(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    """What a pod under workload identity has: a metadata server, whose part the gateway plays, and no key."""
    host = urlsplit(gateway.url).netloc
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    monkeypatch.setattr(iam, "_IAM_SIGN_ENDPOINT", f"{gateway.url}/sign/{{}}:signBlob")

    def metadata(request: Request, body: bytes, forward: Forward) -> Answer:
        if "token" in request.path:
            return json_answer({"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"})
        if "universe" in request.path:
            return Answer(404, [("Metadata-Flavor", "Google")], b"")
        return json_answer({"email": EMAIL, "scopes": [], "aliases": ["default"]})

    gateway.spoil("GET", "computeMetadata", metadata, times=99)
    return Credentials()


def test_a_pod_without_a_key_has_its_links_signed_by_google(gateway: Gateway, pod: Credentials) -> None:
    signed: list[bytes] = []

    def sign(request: Request, body: bytes, forward: Forward) -> Answer:
        assert unquote(request.path) == f"/sign/{EMAIL}:signBlob"
        assert request.headers["authorization"] == "Bearer secret"
        signed.append(base64.b64decode(json.loads(body)["payload"]))
        return json_answer({"signedBlob": base64.b64encode(b"signature").decode()})

    gateway.spoil("POST", "signBlob", sign)

    pods = signer(pod, timeout=2)

    assert pods.signer_email == EMAIL
    assert pods.sign_bytes(b"message") == b"signature"
    assert signed == [b"message"]


def test_a_pod_that_may_not_sign_is_told_which_role_is_missing(gateway: Gateway, pod: Credentials) -> None:
    gateway.spoil(
        "POST", "signBlob", refused(403, "Permission 'iam.serviceAccounts.signBlob' denied"), times=9
    )

    with pytest.raises(CannotSign, match=r"roles/iam\.serviceAccountTokenCreator on itself"):
        signer(pod, timeout=2).sign_bytes(b"message")


def sent(url: str, content: bytes, **headers: str) -> int:
    request = urllib.request.Request(url, data=content, method="PUT", headers=headers)
    try:
        with direct().open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def upload_link(store: DirectStore, size: int) -> str:
    return store.upload_url("a.wav", content_type="audio/wav", size=size, origin="https://page.example")


def test_a_link_takes_an_upload_without_credentials(gateway: Gateway, direct_store: DirectStore) -> None:
    url = upload_link(direct_store, 7)
    assert direct_store.stat("a.wav") is None

    assert sent(url, b"content") == 200

    found = direct_store.get("a.wav")
    assert found is not None
    assert found[0] == b"content"
    begin = gateway.requests[0].headers
    assert begin["x-upload-content-length"] == "7"
    assert begin["x-upload-content-type"] == "audio/wav"
    assert begin["origin"] == "https://page.example"


def test_a_link_takes_an_upload_in_parts(direct_store: DirectStore) -> None:
    part = 256 * 1024
    url = upload_link(direct_store, part + 1)

    status = sent(url, b"1" * part, **{"Content-Range": f"bytes 0-{part - 1}/{part + 1}"})
    assert status == 308
    assert direct_store.stat("a.wav") is None
    assert sent(url, b"2", **{"Content-Range": f"bytes {part}-{part}/{part + 1}"}) == 200

    assert b"".join(direct_store.read("a.wav")) == b"1" * part + b"2"


def test_an_upload_by_link_replaces_nothing(gateway: Gateway, direct_store: DirectStore) -> None:
    url = upload_link(direct_store, 7)
    direct_store.put("a.wav", b"first", content_type="audio/wav")

    assert sent(url, b"content") == 412

    assert b"".join(direct_store.read("a.wav")) == b"first"
    gateway.spoil("POST", "resumable", refused(412))  # as Google answers, already at the beginning
    with pytest.raises(PreconditionFailed, match=r"^a\.wav exists already\.$"):
        upload_link(direct_store, 7)


def compose_request(gateway: Gateway) -> list[dict[str, Any]]:
    """Of the next compose: its body, once it has been asked."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request, body: bytes, forward: Forward) -> Answer:
        bodies.append(json.loads(body))
        return forward(request, body)

    gateway.spoil("POST", "/compose", note)
    return bodies


def test_objects_are_joined_inside_the_bucket(gateway: Gateway, direct_store: DirectStore) -> None:
    first = direct_store.put("a/1", b"first ", content_type=TEXT)
    second = direct_store.put("b", b"second", content_type="audio/wav")
    asked = compose_request(gateway)

    joined = direct_store.compose(
        "c", [("b", second.generation), ("a/1", first.generation)], content_type="application/zip"
    )

    assert direct_store.get("c") == (b"secondfirst ", joined)
    # The emulator does not look at these; Google does.
    assert asked[0]["destination"] == {"contentType": "application/zip"}
    assert [source["generation"] for source in asked[0]["sourceObjects"]] == [
        second.generation,
        first.generation,
    ]
    assert "ifGenerationMatch=0" in gateway.asked("POST", "/compose")[0].path


@pytest.mark.parametrize(("status", "error"), [(412, PreconditionFailed), (404, ObjectNotFound)])
def test_joining_replaces_nothing_and_leaves_nothing_out(
    gateway: Gateway, direct_store: DirectStore, status: int, error: type[Exception]
) -> None:
    part = direct_store.put("a", b"a", content_type=TEXT)
    gateway.spoil("POST", "/compose", refused(status))  # as Google answers; the emulator does not

    with pytest.raises(error):
        direct_store.compose("c", [("a", part.generation)], content_type=TEXT)
