"""AWS Lambda on this machine: AWS's Runtime Interface Emulator around AWS's runtime client.

The emulator is the program that AWS puts into its own images. PyPI has it inside the wheel of aws-sam-cli,
from where it is taken, once; its hash is pinned here.
"""

import fcntl
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import image_store, packages
from tests.testbed.binaries import cache_folder
from tests.testbed.processes import Processes, answers, direct, free_ports
from tests.testbed.requirements import missing_counterpart

_WHEEL = "aws-sam-cli==1.170.0"
_HASHES = {
    "x86_64": "6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5",
    "arm64": "ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21",
}
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class LambdaFunction:
    """A function that runs. Its first event starts it, as a cold start does."""

    url: str
    processes: Processes

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """What the function answers; an error of the function comes as its description."""
        request = urllib.request.Request(
            f"{self.url}/2015-03-31/functions/function/invocations", data=json.dumps(event).encode()
        )
        with direct().open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def log(self) -> str:
        """What it has written so far."""
        return (self.processes.folder / "lambda.log").read_text()


@contextmanager
def running_function(handler: str, environment: Mapping[str, str]) -> Iterator[LambdaFunction]:
    """Start a function of this repository.

    Args:
        handler: module and function, as Lambda is told them.
        environment: the function's settings.
    """
    command = [sys.executable, "-m", "awslambdaric", handler]
    with _running([], command, {"PYTHONPATH": str(REPOSITORY), **environment}) as function:
        yield function


@contextmanager
def running_image(image: str, environment: Mapping[str, str]) -> Iterator[LambdaFunction]:
    """Start the function of an image in `image_store`: its files and nothing else, read-only but for /tmp."""
    settings = image_store.settings_of(image)
    layers = ":".join(str(layer) for layer in reversed(image_store.layers_of(image)))
    with tempfile.TemporaryDirectory() as root:
        mounts = (
            f"mount -t overlay -o lowerdir={layers} image {root} && "
            f"mount -t tmpfs -o mode=1777 tmp {root}/tmp && mount --rbind /dev {root}/dev && "
            'exec "$@"'
        )
        own = ["chroot", f"--userspec={settings['User']}", root, "env", "-C", settings["WorkingDir"]]
        command = [*own, *settings["Env"], *settings["Entrypoint"], *settings["Cmd"]]
        with _running(["unshare", "--mount", "sh", "-c", mounts, "sh"], command, environment) as function:
            yield function


@contextmanager
def _running(
    before: Sequence[str], command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[LambdaFunction]:
    """The emulator around a command, after what prepares the ground, in an environment as on Lambda."""
    program = _emulator()
    port, runtime_port = free_ports(2)
    variables = {
        "PATH": packages.SEARCH_PATH,
        "AWS_LAMBDA_FUNCTION_NAME": "stemjob",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_REGION": "eu-central-1",
        **environment,
    }
    emulator = [
        str(program),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
    ]
    only = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    with Processes() as processes:
        processes.start("lambda", [*only, *before, *emulator, *command])
        processes.wait_ready("lambda", lambda: answers("127.0.0.1", port))
        yield LambdaFunction(f"http://127.0.0.1:{port}", processes)


def _emulator() -> Path:
    """The emulator, fetched from the Python package index when it is not there yet."""
    kind = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or kind is None:
        missing_counterpart("AWS's Lambda emulator runs on Linux only, on x86-64 and ARM")
    folder = cache_folder() / f"aws-lambda-rie-{_HASHES[kind][:16]}"
    program = folder / "aws-lambda-rie"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "aws-lambda-rie.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch(kind, program)
    return program


def _fetch(kind: str, program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, _WHEEL]
        if subprocess.run(pip, check=False, capture_output=True).returncode != 0:
            missing_counterpart(f"AWS's Lambda emulator is missing: `pip download {_WHEEL}` fails")
        [wheel] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(f"samcli/local/rapid/aws-lambda-rie-{kind}")
        if hashlib.sha256(content).hexdigest() != _HASHES[kind]:
            raise RuntimeError(f"{_WHEEL} does not hold the emulator that was pinned")
        program.parent.mkdir(exist_ok=True)
        fetched = Path(scratch) / "aws-lambda-rie"
        fetched.write_bytes(content)
        fetched.chmod(0o755)
        fetched.rename(program)
