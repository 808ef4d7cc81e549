"""Where a model's weights lie: in the package, in a folder, in the caches of the hub, or on the network."""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import yaml  # type: ignore[import-untyped]

log = structlog.get_logger(__name__)

BUNDLED = Path(__file__).parent / "models" / "bundled.safetensors"
HUB_PREFIX = "hf://"
PROBE_SECONDS = 4.0
"""A machine that has no way out is known as such after this long."""
DOWNLOAD_SECONDS = 600.0


@dataclass(frozen=True)
class WeightFiles:
    """The files of one model. `weights` and `segment` (seconds) are a bag's; `bag` says whether it is one."""

    paths: tuple[Path, ...]
    bag: bool = False
    weights: list[list[float]] | None = None
    segment: float | None = None


class BrokenDefinition(Exception):  # noqa: N818
    """A bag's YAML file is not what Demucs wants."""


def locate(name: str, weights_dir: Path | None) -> WeightFiles | None:
    """The files of a model that are on this machine, None when some or all are not.

    Args:
        name: `bundled`, a path of a file or folder, `hf://[namespace/]name`, or a name that Demucs knows.
        weights_dir: a folder that is looked at before the caches.

    Raises:
        BrokenDefinition: a bag is there whose definition cannot be understood.
    """
    if name == "bundled":
        return WeightFiles((BUNDLED,)) if BUNDLED.is_file() else None
    path = Path(name)
    if path.is_file():
        return WeightFiles((path,))
    if path.is_dir():
        return _only_model_of(path)
    if weights_dir is not None and weights_dir.is_dir() and (found := _in_folder(name, weights_dir)):
        return found
    return _in_hub_cache(name.removeprefix(HUB_PREFIX)) or _in_torch_cache(name)


def fetch(name: str) -> bool:
    """Lets Demucs' own loader download a model into the caches. Takes seconds where there is no network.

    Returns:
        Whether the loader was content; why it was not is in the log only.
    """
    local_only = name == "bundled" or ("/" in name and not name.startswith(HUB_PREFIX))
    if local_only or os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("", "0", "FALSE", "NO"):
        return False
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # logs are no terminal
    from demucs.pretrained import ROOT_URL, get_model
    from huggingface_hub.constants import ENDPOINT

    hosts = (ENDPOINT,) if name.startswith(HUB_PREFIX) else (ENDPOINT, ROOT_URL)
    if not any(_within(PROBE_SECONDS, [partial(_answers, host) for host in hosts])):
        log.info("no_way_to_the_weights", hosts=hosts)
        return False

    def download() -> bool:
        get_model(name)
        return True

    return any(_within(DOWNLOAD_SECONDS, [download]))


def _in_folder(name: str, folder: Path) -> WeightFiles | None:
    definition = folder / f"{name}.yaml"
    if definition.is_file():
        return _bag(definition, lambda signature: _weight_file(signature, folder))
    single = _weight_file(name, folder)
    return None if single is None else WeightFiles((single,))


def _only_model_of(folder: Path) -> WeightFiles | None:
    """The one bag of a folder, else its one file of weights."""
    definitions = sorted(folder.glob("*.yaml"))
    if len(definitions) == 1:
        return _in_folder(definitions[0].stem, folder)
    files = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".th"))
    return WeightFiles((files[0],)) if len(files) == 1 else None


def _weight_file(signature: str, folder: Path) -> Path | None:
    """`<signature>.safetensors`, `<signature>.th` or `<signature>-<checksum>.th`."""
    for file in (folder / f"{signature}.safetensors", folder / f"{signature}.th"):
        if file.is_file():
            return file
    return next(iter(sorted(folder.glob(f"{signature}-*.th"))), None)


def _in_hub_cache(name: str) -> WeightFiles | None:
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from huggingface_hub import try_to_load_from_cache

    namespace, _, model = name.rpartition("/")
    repository = f"{namespace or DEFAULT_NAMESPACE}/{hf_repo_name(model)}"

    def cached(file_name: str) -> Path | None:
        try:
            found = try_to_load_from_cache(repository, file_name)
        except ValueError:  # not a name that the hub could have
            return None
        return Path(found) if isinstance(found, str) else None

    definition = cached(f"{model}.yaml")
    return None if definition is None else _bag(definition, lambda sig: cached(f"{sig}.safetensors"))


def _in_torch_cache(name: str) -> WeightFiles | None:
    """Demucs' older way: bags defined in its package, weights downloaded by torch.hub."""
    import torch
    from demucs.pretrained import REMOTE_ROOT

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    definition = REMOTE_ROOT / f"{name}.yaml"
    if not folder.is_dir() or "/" in name or not definition.is_file():
        return None
    return _bag(definition, lambda signature: _weight_file(signature, folder))


def _bag(definition: Path, find: Callable[[str], Path | None]) -> WeightFiles | None:
    try:
        bag: Any = yaml.safe_load(definition.read_text())
        paths = [find(str(signature)) for signature in bag["models"]]
    except (yaml.YAMLError, LookupError, TypeError, UnicodeDecodeError) as error:
        raise BrokenDefinition(f"{definition} does not define a bag of models") from error
    if None in paths:
        return None
    present = tuple(path for path in paths if path is not None)
    return WeightFiles(present, bag=True, weights=bag.get("weights"), segment=bag.get("segment"))


def _answers(url: str) -> bool:
    """Whether anything at all answers at this address."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - an address of ours
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True


def _within(seconds: float, tasks: Iterable[Callable[[], bool]]) -> list[bool]:
    """Runs tasks side by side for at most so long; a task that fails or hangs counts as False.

    Threads of their own, because looking up a host's name has no time-out; daemons, so that none of them
    keeps the process alive.
    """
    results: list[bool] = []
    some_news = threading.Condition()
    waiting = 0

    def run(task: Callable[[], bool]) -> None:
        try:
            result = task()
        except BaseException as error:  # Demucs leaves by sys.exit, too
            log.debug("weights_not_fetched", reason=repr(error))
            result = False
        with some_news:
            results.append(result)
            some_news.notify_all()

    for task in tasks:
        waiting += 1
        threading.Thread(target=run, args=(task,), daemon=True).start()
    with some_news:
        some_news.wait_for(lambda: any(results) or len(results) == waiting, timeout=seconds)
        return list(results)
