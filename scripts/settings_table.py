"""The README's table of settings, made from the settings themselves: `python -m scripts.settings_table`."""

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from runner.settings import RunnerSettings


def settings_table() -> str:
    """A Markdown table with a row for every setting, those that API and runner share only once."""
    rows = ["| setting | default | read by | meaning |", "|---|---|---|---|"]
    shared = set(ApiSettings.model_fields) & set(RunnerSettings.model_fields)
    rows += [
        _row(ApiSettings, name, "both" if name in shared else "API") for name in ApiSettings.model_fields
    ]
    rows += [
        _row(RunnerSettings, name, "runner") for name in RunnerSettings.model_fields if name not in shared
    ]
    return "\n".join(rows)


def _row(settings: type[BaseSettings], name: str, reader: str) -> str:
    field = settings.model_fields[name]
    return f"| `STEMJOB_{name.upper()}` | {_default(field)} | {reader} | {field.description} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value in (None, ()):
        return "–"
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{value}`"


if __name__ == "__main__":
    print(settings_table())
