"""Which `callback_url` an upload may name."""

import base64
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx2 as httpx
import pytest

from api.callbacks import is_public
from api.errors import Refusal
from api.options import read_options
from api.settings import ApiSettings
from api.signing import check_secrets
from contract.job import JobRecord
from contract.layout import job_key, webhook_key
from tests.api.conftest import Server
from tests.api.test_system import run_api
from tests.audio import song

SONG = song(0.1)
SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that can send webhooks."""
    environment = {"STEMJOB_WEBHOOK_SECRET": SECRET, "STEMJOB_CALLBACK_HOSTS": "Inside.example, 127.0.0.1"}
    server = Server(tmp_path_factory.mktemp("telling"), environment).start()
    yield server
    server.stop()


def post(server: Server, url: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/process", files={"file": ("song.wav", SONG)}, data={"callback_url": url})


@pytest.mark.parametrize(
    "url", ["https://hooks.example.org:8443/x?token=1", "https://1.1.1.1/", "http://inside.example:8080/x"]
)
def test_a_callback_is_kept_with_its_job(telling: Server, url: str) -> None:
    answer = post(telling, url)

    assert answer.status_code == 200
    job_id = answer.json()["job_id"]
    found = telling.store.get(job_key(job_id))
    assert found is not None
    assert str(JobRecord.model_validate_json(found[0]).options.callback_url) == url
    assert telling.store.stat(webhook_key(job_id)) is not None
    assert url not in answer.text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "Input should be a valid URL, input is empty"),
        ("hooks.example.org/x", "Input should be a valid URL, relative URL without a base"),
        ("ftp://hooks.example.org/x", "URL scheme should be 'http' or 'https'"),
        ("https://hooks.example.org/" + "x" * 2100, "URL should have at most 2083 characters"),
        ("http://hooks.example.org/x", "it must begin with https://"),
        ("https://me:secret@hooks.example.org/x", "it must not hold a user name or password"),
        ("https://me@inside.example/x", "it must not hold a user name or password"),
        ("https://10.0.0.1/x", "10.0.0.1 is not a public address"),
        ("https://2130706434/x", "127.0.0.2 is not a public address"),
        ("https://0xa9.254.0251.254/latest", "169.254.169.254 is not a public address"),
        ("https://[::1]/x", "::1 is not a public address"),
        ("https://[::ffff:127.0.0.2]/x", "::ffff:7f00:2 is not a public address"),
    ],
)
def test_a_callback_that_would_not_be_called_is_refused(telling: Server, url: str, why: str) -> None:
    before = list(telling.store.list(""))

    answer = post(telling, url)

    assert answer.status_code == 400
    assert answer.json() == {"detail": f"Invalid callback_url: {why}.", "code": "invalid_option"}
    assert list(telling.store.list("")) == before


def test_without_a_secret_there_are_no_callbacks() -> None:
    with pytest.raises(Refusal, match="the operator has set no STEMJOB_WEBHOOK_SECRET") as refused:
        read_options({"callback_url": "https://hooks.example.org/x"}, ApiSettings())

    assert refused.value.code == "invalid_option"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("64:ff9b::101:101", True),  # 1.1.1.1 behind NAT64
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.0.192", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("234.1.2.3", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::7f00:1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1 behind NAT64
        ("2002:a00:1::1", False),  # 10.0.0.1 behind 6to4
        ("fe80::1", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
    ],
)
def test_a_public_address_leads_to_the_internet_and_nowhere_else(address: str, *, public: bool) -> None:
    assert is_public(ip_address(address)) == public


@pytest.mark.parametrize(
    "secret", ["", " ", "whsec_c2hvcnQ=", "not in Base64 but long enough", f"{SECRET} x"]
)
def test_a_secret_must_be_a_key(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 random bytes in Base64"):
        check_secrets(secret)


def test_a_wrong_secret_is_one_sentence_that_does_not_tell_it(tmp_path: Path) -> None:
    ended = run_api(tmp_path, STEMJOB_WEBHOOK_SECRET="whsec_c2hvcnQ=")

    assert ended.returncode == 1
    assert ended.stderr.startswith("STEMJOB_WEBHOOK_SECRET is not right: ")
    assert len(ended.stderr.splitlines()) == 1
    assert "c2hvcnQ" not in ended.stderr
