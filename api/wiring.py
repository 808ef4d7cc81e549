"""Puts the API together. The only module that knows which launchers exist."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

import structlog

from api.launchers import Launcher
from api.service import Service
from api.settings import ApiSettings
from api.sweep import Sweep, SweepThread
from contract.stores import DirectStore, Store, absolute_url, open_store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backend:
    """Everything an application works with."""

    settings: ApiSettings
    service: Service
    launcher: Launcher
    sweep: SweepThread | None

    def close(self) -> None:
        """Ends the threads. Runners go on."""
        if self.sweep is not None:
            self.sweep.close()
        self.launcher.close()


def open_launcher(settings: ApiSettings) -> Launcher:
    """The launcher that the settings name. Raises LauncherInUse, or ValueError with a sentence."""
    match settings.launcher:
        case "local":
            from api.launchers.local import LocalLauncher

            if find_spec("torch") is None:
                log.warning("runner_not_installed", help="jobs will fail; install stemjob[runner] here")
            return LocalLauncher(Path(settings.state_dir), concurrency=settings.local_concurrency)
        case "kubernetes":
            if find_spec("kubernetes") is None:
                raise ValueError("STEMJOB_LAUNCHER is kubernetes; install stemjob[kubernetes] for it.")
            from api.launchers.kubernetes import Access, open_kubernetes_launcher

            kubeconfig = settings.kubeconfig.get_secret_value() if settings.kubeconfig else None
            access = Access(kubeconfig, settings.kubeconfig_secret, settings.eks_cluster)
            return open_kubernetes_launcher(settings.namespace, settings.job_template, access)
        case _:
            assert_never(settings.launcher)


def open_backend(settings: ApiSettings) -> Backend:
    """Opens store and launcher, and starts the embedded sweep.

    Raises:
        StoreError: the store cannot be used.
        ValueError: a setting is wrong; the message is a sentence.
        LauncherInUse: another API works in the same state folder.
    """
    store_url, store = _open_store(settings)
    if settings.downloads == "redirect" and not isinstance(store, DirectStore):
        raise ValueError("STEMJOB_DOWNLOADS is redirect, but only a gs:// store can be reached by others.")
    if settings.model not in settings.models:
        raise ValueError(f"STEMJOB_MODEL is {settings.model!r}, which is not in STEMJOB_MODELS.")
    launcher = open_launcher(settings)
    service = Service(settings, store, launcher, store_url)
    sweep = Sweep(settings, store, launcher, store_url)
    thread = SweepThread(sweep, settings.sweep_seconds) if settings.sweep_seconds else None
    return Backend(settings, service, launcher, thread)


@contextmanager
def opened_sweep(settings: ApiSettings) -> Iterator[Sweep]:
    """A sweep in a process of its own.

    Raises as `open_backend` does, and ValueError for the local launcher.
    """
    if settings.launcher == "local":
        raise ValueError(
            "STEMJOB_LAUNCHER is local, and then the API sweeps by itself; "
            "a sweep of its own is for songs that run in a cluster."
        )
    store_url, store = _open_store(settings)
    launcher = open_launcher(settings)
    try:
        yield Sweep(settings, store, launcher, store_url)
    finally:
        launcher.close()


def _open_store(settings: ApiSettings) -> tuple[str, Store]:
    """The store and its absolute URL."""
    if settings.launcher == "kubernetes" and "store" not in settings.model_fields_set:
        raise ValueError(
            "STEMJOB_LAUNCHER is kubernetes, so STEMJOB_STORE must name a bucket: gs://<bucket>/<prefix>."
        )
    store_url = absolute_url(settings.store)
    return store_url, open_store(store_url)
