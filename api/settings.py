"""The API's settings: environment variables with the prefix `STEMJOB_`, read once at start."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
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
    kubeconfig: SecretStr | None = Field(
        default=None, description="A kubeconfig itself, as YAML, where there are no files to keep one in."
    )
    kubeconfig_secret: str | None = Field(
        default=None, description="Name or ARN of a secret in AWS Secrets Manager that holds a kubeconfig."
    )
    eks_cluster: str | None = Field(
        default=None,
        description="Name of an EKS cluster, which is entered as the AWS role that the API runs as.",
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
    downloads: Literal["stream", "redirect"] = Field(
        default="stream",
        description="`stream` sends tracks through the API, `redirect` sends whoever downloads to the bucket "
        "itself, by links that work for an hour; the store must be a bucket.",
    )
    body_limit_mb: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Largest file in MB that what stands before the API lets through in one piece, as AWS "
        "Lambda does; larger ones are referred to POST /uploads and are downloaded from the bucket only.",
    )
    transfers: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Uploads and downloads at once; one more is answered 503 with Retry-After."
    )
    transfer_idle_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=120, description="An upload or download that moves no byte for so long is ended."
    )
    event_streams: Annotated[int, Field(ge=1)] = Field(
        default=100, description="Streams of events at once; one more is answered 503 with Retry-After."
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
    sweep_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=60,
        description="Pause between two sweeps of the API itself; 0: it makes none, and `python -m api.sweep` "
        "must be run, as the chart's CronJob does every minute.",
    )
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        default=None,
        description="A finished job is deleted, with song and tracks, so many days after its upload; "
        "by default never.",
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins of web pages, separated by commas, that may list and delete jobs "
        "(`https://music.example`); pages of any origin may do everything else.",
    )
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        default=None,
        description="Port of `/metrics` for Prometheus, beside the API's own; by default there is none.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )

    @field_validator("models", "callback_hosts", "origins", mode="before")
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


def problem_of(error: ValidationError) -> str:
    """The sentence that names the setting that is wrong."""
    problem = error.errors()[0]
    name = "STEMJOB_" + "_".join(str(part) for part in problem["loc"]).upper()
    return f"{name} is not right: {problem['msg']}."
