"""The image for AWS Lambda answers an event under AWS's emulator, from its own files."""

import json
from collections.abc import Iterator

import pytest

from tests.testbed import image_store
from tests.testbed.aws_lambda import LambdaFunction, running_image
from tests.testbed.lambda_events import Asked, answered, function_url

pytestmark = pytest.mark.timeout(900)  # the first build fetches the packages

NOWHERE = json.dumps(
    {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
    }
)


@pytest.fixture(scope="module")
def function(lambda_image: str) -> Iterator[LambdaFunction]:
    settings = {
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "STEMJOB_STORE": "gs://bucket",
        "STEMJOB_KUBECONFIG": NOWHERE,
    }
    with running_image(lambda_image, settings) as function:
        yield function


def test_the_image_answers_an_event(function: LambdaFunction) -> None:
    health = answered(function.invoke(function_url(Asked("GET", "/health"))))
    song = answered(function.invoke(function_url(Asked("GET", "/job/8e7c9d4e-7b1a-4c55-9a53-9f3c8c1d2e3f"))))

    assert (health.status, json.loads(health.body)["status"]) == (200, "healthy")
    assert health.header("x-api-version") == "1.0.0"
    # Clients of bucket and cluster are there; what is not there is a bucket.
    assert (song.status, json.loads(song.body)["code"]) == (503, "store_unavailable"), function.log()


def test_the_image_is_small_and_has_what_aws_asks_of_it(lambda_image: str) -> None:
    settings = image_store.settings_of(lambda_image)

    assert settings["Entrypoint"] == ["python", "-m", "awslambdaric"]
    assert settings["Cmd"] == ["api.lambda_handler.handler"]
    assert image_store.size_of(lambda_image) < 250_000_000
