"""The API on AWS Lambda: AWS's own runtime client and emulator, a bucket, and a real control plane."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from kubernetes.client import V1Job

from api.marks import mark_unsettled
from contract.job import JobRecord
from contract.layout import input_key, job_key
from contract.stores import DirectStore
from contract.tracks import Track
from tests.api.buckets import bucket_of, bucket_settings, fetched, send
from tests.api.conftest import add_finished_job, add_job, job_record, track_content
from tests.audio import song
from tests.testbed.aws_lambda import LambdaFunction, running_function
from tests.testbed.cluster import Cluster
from tests.testbed.gcs import GcsServer
from tests.testbed.lambda_events import SENDERS, Answered, Asked, answered, http_api, rest_api

SONG = song(0.5)


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer, cluster: Cluster
) -> Iterator[dict[str, str]]:
    """A function's environment: a bucket, and a namespace that a kubeconfig in a variable leads into."""
    namespace = cluster.make_namespace()
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "stemjob-runner")
    yield {
        **bucket_settings(tmp_path_factory.mktemp("lambda"), gcs_server),
        "STEMJOB_KUBECONFIG": cluster.kubeconfig.read_text(),
        "STEMJOB_NAMESPACE": namespace,
    }
    cluster.remove_namespace(namespace)


@pytest.fixture(scope="module")
def function(settings: dict[str, str]) -> Iterator[LambdaFunction]:
    with running_function("api.lambda_handler.handler", settings) as function:
        yield function


@pytest.fixture
def bucket(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> DirectStore:
    return bucket_of(settings, monkeypatch)


@pytest.fixture(params=SENDERS)
def ask(request: pytest.FixtureRequest, function: LambdaFunction) -> Any:
    """Asks the function as each of AWS's senders does."""
    sender = SENDERS[request.param]
    return lambda asked: answered(function.invoke(sender(asked)))


def post(path: str, content: Any) -> Asked:
    return Asked(
        "POST", path, headers=(("content-type", "application/json"),), body=json.dumps(content).encode()
    )


def form(*parts: tuple[str, bytes]) -> Asked:
    """POST /process with a multipart form; a part called `file` is a file."""
    body = b""
    for name, content in parts:
        file = '; filename="song.wav"' if name == "file" else ""
        body += (
            f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
        )
    kind = (("content-type", "multipart/form-data; boundary=x"),)
    return Asked("POST", "/process", headers=kind, body=body + b"--x--\r\n")


def refusal(answer: Answered) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def test_every_sender_gets_its_answers(ask: Any, bucket: DirectStore) -> None:
    job_id = add_finished_job(bucket, "Пісня.wav")

    health = ask(Asked("GET", "/health", headers=(("x-request-id", "mine"),)))
    status = ask(Asked("GET", f"/job/{job_id}"))
    track = ask(Asked("GET", f"/download/{job_id}/vocals"))
    head = ask(Asked("HEAD", f"/download/{job_id}/all"))
    unknown = ask(Asked("GET", f"/job/{uuid.uuid4()}"))

    assert (health.status, json.loads(health.body)["status"]) == (200, "healthy")
    assert health.header("X-Request-ID") == "mine"
    assert json.loads(status.body)["status"] == "completed"
    assert track.status == 307
    assert fetched(track.header("location"))[0] == track_content(Track.VOCALS)
    assert (head.status, head.body) == (200, b"")
    assert refusal(unknown) == (404, "job_not_found")
    assert refusal(ask(Asked("GET", f"/job/{job_id}/events"))) == (501, "events_unavailable")


def test_every_sender_hands_over_queries_and_headers_that_come_twice(ask: Any, bucket: DirectStore) -> None:
    job_ids = [add_finished_job(bucket) for _ in range(2)]

    first = json.loads(ask(Asked("GET", "/jobs", query="limit=1&status=completed")).body)
    query = urlencode({"limit": 1, "status": "completed", "cursor": first["next"]})
    second = json.loads(ask(Asked("GET", "/jobs", query=query)).body)
    etag = ask(Asked("HEAD", f"/download/{job_ids[0]}/bass")).header("etag")
    twice = (("if-none-match", '"another"'), ("if-none-match", etag))
    known = ask(Asked("HEAD", f"/download/{job_ids[0]}/bass", headers=twice))

    assert [page["jobs"][0]["job_id"] for page in (first, second)] == job_ids[::-1]
    assert known.status == 304


def test_every_sender_takes_a_song_by_reference_and_starts_its_job(
    ask: Any, bucket: DirectStore, cluster: Cluster, settings: dict[str, str]
) -> None:
    offer = json.loads(ask(post("/uploads", {"filename": "Пісня.wav", "size": len(SONG)})).body)
    assert send(offer, SONG) == 200

    answer = ask(form(("upload_id", offer["upload_id"].encode()), ("output_format", b"flac")))

    assert answer.status == 200, answer.body
    found = bucket.get(job_key(offer["upload_id"]))
    assert found is not None
    record = JobRecord.model_validate_json(found[0])
    assert (record.file_name, record.options.output_format) == ("Пісня.wav", "flac")
    job: V1Job = cluster.batch.read_namespaced_job(
        f"stemjob-{offer['upload_id']}", settings["STEMJOB_NAMESPACE"]
    )
    assert job.metadata
    assert json.loads(ask(Asked("GET", f"/job/{offer['upload_id']}")).body)["status"] == "processing"


def test_a_small_song_comes_in_base64_and_a_large_one_is_told_where_to_go(
    function: LambdaFunction, bucket: DirectStore
) -> None:
    config = answered(function.invoke(http_api(Asked("GET", "/config"))))
    small = answered(function.invoke(http_api(form(("file", SONG)))))
    before = [info.key for info in bucket.list("jobs/")]
    # In Base64 this is just below the 6 MB that Lambda lets through.
    large = answered(function.invoke(rest_api(form(("file", SONG + bytes(4_500_001 - len(SONG)))))))

    assert json.loads(config.body)["body_limit_mb"] == 4.5
    assert small.status == 200
    assert b"".join(bucket.read(input_key(json.loads(small.body)["job_id"], "wav"))) == SONG
    assert refusal(large) == (413, "too_large")
    assert "POST /uploads" in json.loads(large.body)["detail"]
    assert [info.key for info in bucket.list("jobs/")] == before


def test_the_zip_is_made_in_the_bucket_and_redirected_to(
    function: LambdaFunction, bucket: DirectStore
) -> None:
    job_id = add_finished_job(bucket, track_bytes=1_000_000)

    answer = answered(function.invoke(http_api(Asked("GET", f"/download/{job_id}/all"))))

    assert answer.status == 307
    content, headers = fetched(answer.header("location"))
    assert len(content) > 9_000_000
    assert headers["Content-Type"] == "application/zip"


def test_one_process_answers_many_events(function: LambdaFunction) -> None:
    for _ in range(3):
        function.invoke(http_api(Asked("GET", "/health")))

    assert function.log().count('"path": "/health"') >= 3
    assert function.log().count("Runtime.ExitError") == 0


def test_the_sweep_is_a_function_of_its_own(
    settings: dict[str, str], bucket: DirectStore, cluster: Cluster
) -> None:
    job_id = add_job(bucket, job_record())
    mark_unsettled(bucket, job_id)

    with running_function("api.lambda_handler.sweep", settings) as function:
        assert function.invoke({"source": "aws.scheduler"}) is None

    assert cluster.batch.read_namespaced_job(f"stemjob-{job_id}", settings["STEMJOB_NAMESPACE"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"STEMJOB_STORE": ""}, "STEMJOB_STORE must name a bucket"),
        ({"STEMJOB_LAUNCHER": "local"}, "STEMJOB_LAUNCHER is not right: Input should be 'kubernetes'."),
        ({"STEMJOB_DOWNLOADS": "stream"}, "STEMJOB_DOWNLOADS is not right: Input should be 'redirect'."),
        ({"STEMJOB_KUBECONFIG": "a: b"}, "What STEMJOB_KUBECONFIG holds is no kubeconfig."),
    ],
)
def test_a_wrong_setting_is_named_in_the_functions_error(
    settings: dict[str, str], wrong: dict[str, str], sentence: str
) -> None:
    with running_function("api.lambda_handler.handler", settings | wrong) as function:
        error = function.invoke(http_api(Asked("GET", "/health")))

    assert error["errorType"] == "ValueError"
    assert sentence in error["errorMessage"]
