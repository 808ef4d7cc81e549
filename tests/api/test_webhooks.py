"""Webhooks on their way: a real store on one side, real HTTP servers on the other."""

import base64
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from standardwebhooks import Webhook as Verifier
from structlog.testing import capture_logs

from api import posting
from api.launchers.local import LocalLauncher
from api.service import Service
from api.settings import ApiSettings
from api.webhooks import PAUSES, WITHOUT_A_JOB_AFTER, announce, deliver_due
from contract import clock
from contract.failures import FailureCode
from contract.job import JobOptions
from contract.layout import job_key, manifest_key, webhook_key
from contract.manifest import JobAnswer, Manifest
from contract.stages import StageName, Status, fail, pending_stages
from contract.stores import Store, open_store
from contract.tombstone import Tombstone
from tests.api.conftest import add_finished_job, add_job, job_record
from tests.api.receiver import Message, Receiver, receiving, status
from tests.testbed.pki import Authority

SECRET = "whsec_" + base64.b64encode(b"a key that is long enough").decode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def settings(**changed: Any) -> ApiSettings:
    return ApiSettings(**{"webhook_secret": SECRET, "callback_hosts": "127.0.0.1,localhost", **changed})


def expect(store: Store, url: str, *, failed: bool = False) -> str:
    """A job that has ended, and of which `url` is to be told."""
    job_id = add_finished_job(store, track_bytes=10)
    options = JobOptions.model_validate({"callback_url": url})
    add_job(store, job_record(job_id).model_copy(update={"options": options}))
    if failed:
        now = clock.now()
        stages = fail(pending_stages(), StageName.SEPARATION, now, "The runner was killed.")
        answer = JobAnswer(
            job_id=job_id,
            status=Status.FAILED,
            created_at=now,
            stages=stages,
            code=FailureCode.OOM_KILLED,
            error="The runner was killed.",
        )
        manifest = Manifest(answer=answer, file_name="song.wav", finished_at=now)
        store.put(manifest_key(job_id), manifest.to_json(), content_type="application/json")
    announce(store, job_id)
    return job_id


def sweep(store: Store, after: timedelta = timedelta(), **changed: Any) -> None:
    deliver_due(store, settings(**changed), clock.now() + after)


def left(store: Store) -> list[str]:
    return [info.key for info in store.list("webhooks/")]


def is_signed(message: Message, secret: str) -> bool:
    """By the formula of the specification, apart from its library."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = (
        f"{message.headers['webhook-id']}.{message.headers['webhook-timestamp']}.".encode() + message.body
    )
    signature = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return signature in message.headers["webhook-signature"].split(" ")


@pytest.mark.parametrize("failed", [False, True])
def test_a_webhook_is_the_answer_of_the_job_signed(
    store: Store, receiver: Receiver, tmp_path: Path, *, failed: bool
) -> None:
    job_id = expect(store, receiver.url, failed=failed)

    sweep(store)
    sweep(store, timedelta(days=2))

    (message,) = receiver.messages
    assert message.path == "/told?token=hidden"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-id"] == job_id
    assert is_signed(message, SECRET)
    told = Verifier(SECRET).verify(message.body, message.headers)
    launcher = LocalLauncher(tmp_path / "state", concurrency=1)
    try:
        answer = Service(settings(), store, launcher, "file:///store").status(job_id)
    finally:
        launcher.close()
    assert told == answer.model_dump(mode="json")
    assert told["status"] == ("failed" if failed else "completed")
    assert left(store) == []


def test_every_secret_signs_while_one_replaces_the_other(store: Store, receiver: Receiver) -> None:
    other = base64.b64encode(bytes(range(32))).decode()
    expect(store, receiver.url)

    sweep(store, webhook_secret=f"{SECRET} {other}")

    (message,) = receiver.messages
    assert is_signed(message, SECRET)
    assert is_signed(message, other)


def test_a_job_that_has_not_ended_is_not_told_of(store: Store, receiver: Receiver) -> None:
    job_id = expect(store, receiver.url)
    manifest = store.get(manifest_key(job_id))
    assert manifest is not None
    store.delete(manifest_key(job_id))

    sweep(store, timedelta(days=30))
    assert receiver.messages == []

    store.put(manifest_key(job_id), manifest[0], content_type="application/json")
    sweep(store)
    assert len(receiver.messages) == 1


def test_a_message_that_is_not_taken_is_sent_again_after_a_pause(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)
    receiver.answer = status(500)

    sweep(store)
    sweep(store, PAUSES[0] - timedelta(seconds=10))
    assert len(receiver.messages) == 1
    receiver.answer = status(200)
    sweep(store, PAUSES[0])

    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert is_signed(second, SECRET)
    assert left(store) == []


def test_a_message_that_nobody_takes_is_given_up_after_a_day(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)
    receiver.answer = status(503)
    start = now = clock.now()

    while left(store) and now - start < timedelta(days=3):
        deliver_due(store, settings(), now)
        now += timedelta(minutes=5)

    assert len(receiver.messages) == len(PAUSES) + 1
    assert timedelta(hours=22) < now - start < timedelta(hours=26)


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)
    receiver.answer = status(410)

    sweep(store)

    assert len(receiver.messages) == 1
    assert left(store) == []


def test_a_redirect_is_not_followed(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)
    receiver.answer = status(307, f"Location: http://127.0.0.1:{receiver.port}/elsewhere")

    sweep(store)

    assert [message.path for message in receiver.messages] == ["/told?token=hidden"]
    assert len(left(store)) == 1


def say_nothing(out: BinaryIO) -> None:
    time.sleep(10)
    status(200)(out)


def trickle(out: BinaryIO) -> None:
    """Spells 00…0200 as its status, each byte soon enough after the last."""
    out.write(b"HTTP/1.1 ")
    for _ in range(200):
        out.write(b"0")
        out.flush()
        time.sleep(0.05)
    out.write(b"200 So\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answer", [say_nothing, trickle])
def test_an_answer_that_does_not_come_in_time_is_none(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(posting, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(posting, "_WHOLE_SECONDS", 1.0)
    receiver.answer = answer
    expect(store, receiver.url)

    with capture_logs() as lines:
        sweep(store)

    assert [line["event"] for line in lines] == ["webhook_failed"]
    assert len(left(store)) == 1


def test_only_the_head_of_an_answer_is_read(store: Store, receiver: Receiver) -> None:
    sent = threading.Event()

    def flood(out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            out.writelines(bytes(1_000_000) for _ in range(1000))
            sent.set()
        finally:
            out.flush()

    receiver.answer = flood
    expect(store, receiver.url)

    sweep(store)

    assert left(store) == []
    assert not sent.is_set()


def test_a_host_with_a_private_address_is_not_called(store: Store, receiver: Receiver) -> None:
    expect(store, f"https://localhost:{receiver.port}/told")

    with capture_logs() as lines:
        sweep(store, callback_hosts="")

    assert [line["reason"] for line in lines] == ["localhost has an address that is not public"]
    assert receiver.messages == []
    assert len(left(store)) == 1


def test_a_host_that_is_not_trusted_any_more_is_not_called_by_http(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)

    with capture_logs() as lines:
        sweep(store, callback_hosts="")

    assert receiver.messages == []
    assert [line["reason"] for line in lines] == ["127.0.0.1 is asked for without https"]


def test_the_address_that_was_judged_is_the_one_that_is_called(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, []

    def rebind(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "receiver.example":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    expect(store, f"http://receiver.example:{receiver.port}/told")

    sweep(store, callback_hosts="receiver.example")

    assert asked == ["receiver.example"]
    assert [message.headers["host"] for message in receiver.messages] == [f"receiver.example:{receiver.port}"]


@pytest.mark.parametrize(("named", "arrives"), [("localhost", True), ("somebody.else", False)])
def test_https_is_spoken_only_with_who_can_prove_the_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, *, arrives: bool
) -> None:
    authority = Authority(tmp_path / "pki")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with receiving(authority.server("receiver", [named])) as receiver:
        expect(store, f"https://localhost:{receiver.port}/told")

        sweep(store)

    assert len(receiver.messages) == arrives
    assert (left(store) == []) == arrives


def test_the_log_holds_neither_the_address_nor_the_secret(store: Store, receiver: Receiver) -> None:
    receiver.answer = status(500)
    expect(store, receiver.url)

    with capture_logs() as lines:
        for attempt in range(len(PAUSES) + 1):
            sweep(store, sum(PAUSES[:attempt], timedelta(minutes=attempt)))

    assert {line["event"] for line in lines} == {"webhook_failed", "webhook_given_up"}
    assert "hidden" not in str(lines)
    assert SECRET not in str(lines) + repr(settings())


def test_two_passes_at_once_send_each_message_once(store: Store, receiver: Receiver) -> None:
    jobs = {expect(store, receiver.url) for _ in range(10)}
    begin = threading.Barrier(2)

    def one_pass() -> None:
        begin.wait()
        sweep(open_store(f"file://{store.uri('')}"))

    passes = [threading.Thread(target=one_pass) for _ in range(2)]
    for thread in passes:
        thread.start()
    for thread in passes:
        thread.join()

    assert sorted(message.headers["webhook-id"] for message in receiver.messages) == sorted(jobs)
    assert left(store) == []


def test_one_broken_message_does_not_hold_up_the_others(store: Store, receiver: Receiver) -> None:
    broken = expect(store, receiver.url)
    store.put(webhook_key(broken), b"{", content_type="application/json")
    job_id = expect(store, receiver.url)

    sweep(store)

    assert [message.headers["webhook-id"] for message in receiver.messages] == [job_id]
    assert left(store) == [webhook_key(broken)]


def test_without_a_secret_messages_wait(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)

    sweep(store, webhook_secret=None)
    assert receiver.messages == []

    sweep(store)
    assert len(receiver.messages) == 1


def test_a_webhook_without_a_job_is_removed_after_an_hour(store: Store) -> None:
    announce(store, "a-job-whose-upload-died-here")

    sweep(store, WITHOUT_A_JOB_AFTER - timedelta(minutes=1))
    assert len(left(store)) == 1

    sweep(store, WITHOUT_A_JOB_AFTER + timedelta(minutes=1))
    assert left(store) == []


def test_nobody_is_told_of_a_deleted_job(store: Store, receiver: Receiver) -> None:
    job_id = expect(store, receiver.url)
    now = clock.now()
    stone = Tombstone(job_id=job_id, owner="anonymous", created_at=now, deleted_at=now)
    store.put(job_key(job_id), stone.to_json(), content_type="application/json")

    sweep(store)

    assert receiver.messages == []
    assert left(store) == []


def test_deleting_a_job_cancels_its_webhook(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    job_id = expect(store, receiver.url)
    launcher = LocalLauncher(tmp_path / "state", concurrency=1)
    try:
        Service(settings(), store, launcher, "file:///store").delete(job_id)
    finally:
        launcher.close()

    assert left(store) == []


def test_a_stopped_pass_begins_nothing_more(store: Store, receiver: Receiver) -> None:
    expect(store, receiver.url)

    deliver_due(store, settings(), clock.now(), stopped=lambda: True)

    assert receiver.messages == []
    assert len(left(store)) == 1
