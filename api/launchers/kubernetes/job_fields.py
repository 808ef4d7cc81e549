"""What Kubernetes says of each field of a Job, as far as a template can be checked without a cluster.

`job-schema.json` holds it, made by `make job-schema` from the Kubernetes client's own models. These would
tell the same (tests compare the two), but loading them takes half a second of CPU and 7 MiB of every start,
and libraries that read JSON schemas take 9 MiB or more.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

Schema = Mapping[str, Any]
"""JSON Schema of these words only: `$ref`, `anyOf`, `type`, `properties`, `required`, `additionalProperties`
(false, true, or the schema of all values) and `items`."""

_TYPES: dict[str, tuple[type, str]] = {
    "string": (str, "this must be a text; put it in quotes"),
    "integer": (int, "this must be a whole number"),
    "boolean": (bool, "this must be true or false"),
    "array": (list, "this must be a list"),
    "object": (dict, "this must be a mapping"),
}


def unfit_fields(job: Any) -> Iterator[str]:
    """Fields of a parsed Job that Kubernetes does not know, misses or cannot read: `field: what is wrong`.

    As in Kubernetes, a field that is null is one that is not there.
    """
    schema = json.loads((files(__package__) / "job-schema.json").read_text())
    yield from _problems(job, schema, schema["$defs"], "")


def _problems(value: Any, schema: Schema, definitions: Schema, path: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    kinds = [each["type"] for each in schema.get("anyOf", [schema])]
    # Of types that Python has, a truth value is a number, too.
    if not any(type(value) is _TYPES[kind][0] for kind in kinds):
        yield f"{path}: {_TYPES[kinds[0]][1]}"
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _problems(each, schema["items"], definitions, f"{path}[{number}]")
    elif isinstance(value, dict):
        yield from _problems_of_mapping(value, schema, definitions, path)


def _problems_of_mapping(
    value: Mapping[Any, Any], schema: Schema, definitions: Schema, path: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    others = schema["additionalProperties"]
    for key in schema.get("required", ()):
        if value.get(key) is None:
            yield f"{_joined(path, key)}: Kubernetes needs this field"
    for key, each in value.items():
        if not isinstance(key, str):
            yield f"{_joined(path, key)}: this name must be a text; put it in quotes"
        elif key in known:
            if each is not None:
                yield from _problems(each, known[key], definitions, _joined(path, key))
        elif not others:
            yield f"{_joined(path, key)}: Kubernetes knows no such field"
        elif others is not True:
            yield from _problems(each, others, definitions, _joined(path, key))


def _joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
