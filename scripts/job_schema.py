"""`make job-schema`: writes what the API knows of a Job's fields, from the Kubernetes client's own models."""

import json
from pathlib import Path
from typing import Any

from kubernetes.client import V1Job

FILE = Path(__file__).resolve().parents[1] / "api" / "launchers" / "kubernetes" / "job-schema.json"
_SAYS_NOTHING_OF_FIELDS = ("title", "description", "default", "format")


def main() -> None:
    """Writes the file: one definition in a line, so that a newer client's differences can be read."""
    schema = job_schema()
    definitions = schema.pop("$defs")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(definitions[name])}" for name in sorted(definitions))
    FILE.write_text(f'{json.dumps(schema)[:-1]}, "$defs": {{\n{lines}\n}}}}\n')


def job_schema() -> dict[str, Any]:
    """JSON Schema of a Job in which what may be null is what else it may be."""
    simple: dict[str, Any] = _simple(V1Job.model_json_schema())
    return simple


def _simple(schema: dict[str, Any]) -> dict[str, Any]:
    choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(choices) == 1:
        return _simple(choices[0])
    result: dict[str, Any] = {"anyOf": choices} if choices else {}
    for word, meaning in schema.items():
        match word:
            case "properties" | "$defs":
                result[word] = {name: _simple(each) for name, each in meaning.items()}
            case "items" | "additionalProperties" if isinstance(meaning, dict):
                result[word] = _simple(meaning)
            case "anyOf":
                pass
            case _ if word not in _SAYS_NOTHING_OF_FIELDS:
                result[word] = meaning
    return result


if __name__ == "__main__":
    main()
