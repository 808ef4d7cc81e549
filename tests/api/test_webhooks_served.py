"""Webhooks of a real server: from the upload to the message, and over the server's death."""

import threading
from typing import BinaryIO

from standardwebhooks import Webhook as Verifier

from api.webhooks import PAUSES
from tests.api.conftest import Serve
from tests.api.receiver import receiving, status
from tests.api.test_webhooks import SECRET, expect, left, sweep
from tests.audio import song

SENDING = {
    "STEMJOB_WEBHOOK_SECRET": SECRET,
    "STEMJOB_CALLBACK_HOSTS": "127.0.0.1",
    "STEMJOB_SWEEP_SECONDS": "1",
}


def test_who_uploads_is_told_of_the_end(serve: Serve) -> None:
    server = serve(**SENDING, STEMJOB_PRECISION="none")  # a runner that ends at once
    with receiving() as receiver, server.client() as client:
        song_file = {"file": ("song.wav", song(0.1))}
        job = client.post("/process", files=song_file, data={"callback_url": receiver.url}).json()
        receiver.wait_for(1)
        answer = client.get(f"/job/{job['job_id']}").json()

    (message,) = receiver.messages
    assert Verifier(SECRET).verify(message.body, message.headers) == answer
    assert answer["status"] == "failed"


def test_a_message_that_was_under_way_when_its_sender_was_killed_is_sent_again(serve: Serve) -> None:
    server = serve(**SENDING)
    killed = threading.Event()

    def never_answer(_: BinaryIO) -> None:
        killed.wait()

    with receiving() as receiver:
        receiver.answer = never_answer
        expect(server.store, receiver.url)
        receiver.wait_for(1)
        server.kill()
        killed.set()
        receiver.answer = status(204)

        sweep(server.store, PAUSES[0])

    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert left(server.store) == []
