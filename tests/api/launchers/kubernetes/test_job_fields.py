"""What a template is checked against says the same as the Kubernetes client's own models."""

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from kubernetes.client import V1Job
from pydantic import ValidationError

from api.launchers.kubernetes.job_fields import unfit_fields
from scripts.job_schema import FILE, job_schema
from tests.api.launchers.conftest import SHIPPED

WORDS = {"$ref", "anyOf", "type", "properties", "required", "additionalProperties", "items", "$defs"}
OTHER_VALUES: list[Any] = ["text", 7, True, 0.5, [], {}, ["text"], [{"name": "x"}], {"name": "x"}, None]


def places(job: Any) -> set[str]:
    return {problem.partition(": ")[0] for problem in unfit_fields(job)}


def places_of_the_client(job: Any) -> set[str]:
    """Where the client's models see something wrong; once, where a field may be of two types."""
    try:
        V1Job.model_validate(job)
    except ValidationError as error:
        return {_path(problem["loc"]) for problem in error.errors()}
    return set()


def _path(location: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".").replace(".int", "").replace(".str", "")


def changed(place: Sequence[Any], value: Any) -> dict[str, Any]:
    """The shipped template with another value at a place, such as `("spec", "backoffLimit")`."""
    job = deepcopy(SHIPPED)
    inner: Any = job
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return job


def all_places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of every mapping, list and value inside a nested one."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [inner for key, child in children for inner in [(*place, key), *all_places(child, (*place, key))]]


def test_the_file_is_what_the_client_says() -> None:
    assert json.loads(FILE.read_text()) == job_schema(), "make job-schema"


def test_the_schema_has_no_word_that_is_not_heeded() -> None:
    def words(schema: dict[str, Any]) -> set[str]:
        inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        inner += [
            schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict)
        ]
        return set(schema).union(*map(words, inner), *schema.get("anyOf", []))

    assert words(json.loads(FILE.read_text())) == WORDS


def test_the_shipped_template_has_no_problem() -> None:
    assert places(SHIPPED) == places_of_the_client(SHIPPED) == set()


@pytest.mark.parametrize("place", all_places(SHIPPED), ids=str)
def test_any_other_value_is_judged_as_by_the_client(place: Sequence[Any]) -> None:
    for value in OTHER_VALUES:
        job = changed(place, value)
        assert places(job) == places_of_the_client(job), value


def test_a_port_by_number_or_by_name_is_taken_and_a_list_is_not() -> None:
    for port, wrong in ((8080, False), ("http", False), (["http"], True), (True, True)):
        probe = {"httpGet": {"port": port}}
        job = changed(("spec", "template", "spec", "containers", 0, "livenessProbe"), probe)
        expected = {"spec.template.spec.containers[0].livenessProbe.httpGet.port"} if wrong else set()
        assert places(job) == places_of_the_client(job) == expected


def test_what_a_cluster_wrote_itself_is_taken() -> None:
    """As `kubectl get --show-managed-fields` prints it: any value may be in it."""
    written = [{"manager": "kubectl", "fieldsV1": {"f:spec": {".": {}, "f:suspend": 1}}}]
    job = changed(("metadata",), {"managedFields": written})
    assert places(job) == places_of_the_client(job) == set()


@pytest.mark.parametrize("name", [1, True, 0.5])
def test_a_name_that_yaml_reads_as_something_else_is_refused(name: Any) -> None:
    place = ("spec", "template", "spec", "nodeSelector")
    problems = list(unfit_fields(changed(place, {name: "x"})))
    assert problems == [f"{'.'.join(place)}.{name}: this name must be a text; put it in quotes"]
