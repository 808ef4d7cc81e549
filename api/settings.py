"""The API's settings: environment variables with the prefix `STEMJOB_`, read once at start."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.signing import check_secrets
from contract.limits import DEFAULT_MAX_DURATION_SECONDS, DEFAULT_MODELS, split_names


class ApiSettings(BaseSettings):
    """Every setting of the API. The README's table is held complete against `description` by a test."""

    model_config = SettingsConfigDict(env_prefix="STEMJOB_", frozen=True, env_ignore_empty=True)

    store: str = Field(
        default="file://./stemjob-data",
        description="Where songs, tracks and manifests lie: `file://` and a folder, or `gs://bucket/prefix`.",
    )
    launcher: Literal["local", "kubernetes"] = Field(
        default="local",
        description="Where runners run: `local` starts them as processes of this machine, `kubernetes` makes "
        "a Job of each song, in the cluster of `KUBECONFIG`, `~/.kube/config` or the pod's own.",
    )
    namespace: str | None = Field(
        default=None,
        description="Namespace of the Jobs; by default the kubeconfig's, or the one the API runs in.",
    )
    job_template: str | None = Field(
        default=None,
        description="YAML file of the Job that is made for each song; by default "
        "[runner-job.yaml](helm/stemjob/files/runner-job.yaml).",
    )
    state_dir: str = Field(
        default="./stemjob-state",
        description="Folder of the local launcher: its queue, and each running job's report and files.",
    )
    local_concurrency: Annotated[int, Field(ge=1)] = Field(
        default=1, description="How many songs the local launcher separates at once; the rest wait in order."
    )
    model: str = Field(default="auto", description="Model of an upload that names none.")
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=DEFAULT_MODELS,
        description="Models that an upload may name, separated by commas. Only list models that you trust: "
        "weights are code.",
    )
    max_file_size_mb: Annotated[int, Field(ge=1)] = Field(
        default=500, description="Largest accepted file in MB of 1,000,000 bytes."
    )
    max_duration_seconds: Annotated[float, Field(gt=0)] = Field(
        default=DEFAULT_MAX_DURATION_SECONDS, description="Longest accepted song in seconds."
    )
    transfers: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Uploads and downloads at once; one more is answered 503 with Retry-After."
    )
    transfer_idle_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=120, description="An upload or download that moves no byte for so long is ended."
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Signs webhooks; without it uploads cannot ask for one. `whsec_` and 24 to 64 random "
        "bytes in Base64; of several, separated by spaces, each signs, so that it can be changed.",
    )
    callback_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts, separated by commas, that webhooks may reach at private addresses and by plain "
        "`http`; all others only at public addresses and by `https`.",
    )
    sweep_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=60, description="Pause between two sweeps of the embedded default."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )

    @field_validator("models", "callback_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_names(value)

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_secrets(value.get_secret_value())
        return value

    @field_validator("callback_hosts")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value
