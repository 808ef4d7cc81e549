"""The local launcher: a bounded number of runners at once, the rest wait in order."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import structlog

from api.launchers import Observation
from api.launchers.local.folder import JobFolder, Order, State
from contract.job import JobSpec
from contract.manifest import Waiting

log = structlog.get_logger(__name__)

_LOOK_EVERY_SECONDS = 1.0


Orders = list[tuple[JobFolder, Order]]


class LauncherInUse(RuntimeError):  # noqa: N818
    """Another API process works in this state folder; the message is a sentence."""


class LocalLauncher:
    """Starts `python -m runner` as processes of their own, so that they outlive this one.

    Everything it knows lies in `state_dir`, one folder a job. A thread starts what is due.
    """

    def __init__(self, state_dir: Path, *, concurrency: int, python: str = sys.executable) -> None:
        """Takes over the folder, with whatever an earlier process left running or waiting in it.

        Raises:
            LauncherInUse: another process has it.
            OSError: the folder cannot be used; the message is a sentence.
        """
        self._jobs = state_dir.resolve() / "jobs"
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"STEMJOB_STATE_DIR is {state_dir}, which cannot be used: {error.strerror}."
            ) from error
        self._lock = self._take_over(state_dir)
        self._concurrency, self._python = concurrency, python
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="local-launcher", daemon=True)
        self._thread.start()

    def launch(self, spec: JobSpec) -> None:
        folder = self._folder(spec.job_id)
        spec = spec.model_copy(update={"report": f"file://{folder.status_file}"})
        folder.enqueue(Order(spec=spec, queued_at=time.time_ns()))
        self._wake.set()

    def observe(self, job_id: str) -> Observation | None:
        return self._observe(job_id, self._orders)

    def observe_all(self, job_ids: Sequence[str], *, exact: bool = False) -> Mapping[str, Observation]:
        del exact  # files tell at once, and forget nothing
        orders = lru_cache(maxsize=1)(self._orders)  # read once at most
        found = {job_id: self._observe(job_id, orders) for job_id in job_ids}
        return {job_id: seen for job_id, seen in found.items() if seen is not None}

    def finished(self) -> Iterable[str]:
        return [folder.job_id for folder, _ in self._orders() if folder.state() is State.ENDED]

    def forget(self, job_id: str) -> None:
        self._folder(job_id).remove()

    def delete(self, job_id: str) -> None:
        folder = self._folder(job_id)
        if folder.order() is not None:
            folder.mark_deleted()
            folder.end_runner()
            self._wake.set()

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        self._thread.join()
        os.close(self._lock)

    def _take_over(self, state_dir: Path) -> int:
        descriptor = os.open(state_dir / "launcher.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LauncherInUse(
                f"Another stemjob API already works in the state folder {state_dir}; "
                "stop it, or set STEMJOB_STATE_DIR to another folder."
            ) from None
        return descriptor

    def _folder(self, job_id: str) -> JobFolder:
        return JobFolder(self._jobs / job_id)

    def _observe(self, job_id: str, orders: Callable[[], Orders]) -> Observation | None:
        folder = self._folder(job_id)
        state = folder.state()
        order = folder.order()  # after the state: `forget` takes it away first
        if order is None:
            return None
        if state is State.QUEUED:
            return Observation(finished=False, waiting=_waiting(order, orders()))
        progress = folder.progress()
        given_up = progress is not None and progress.failure is not None  # nothing is tried twice here
        if state is State.ENDED or given_up:
            return Observation(finished=True, progress=progress, ended_at=folder.ended_at())
        return Observation(finished=False, progress=progress)

    def _orders(self) -> Orders:
        """Every job's folder, in the order in which they were queued."""
        found = [(folder, folder.order()) for folder in map(JobFolder, self._jobs.iterdir())]
        jobs = [(folder, order) for folder, order in found if order is not None]
        return sorted(jobs, key=lambda job: (job[1].queued_at, job[0].job_id))

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self._start_what_is_due()
            except Exception:
                log.exception("local_launcher_failed")  # the next look may go better; queued jobs wait
            self._wake.wait(_LOOK_EVERY_SECONDS)

    def _start_what_is_due(self) -> None:
        dying = self._clear_deleted()
        states = [(folder, order, folder.state()) for folder, order in self._orders()]
        for folder, _, state in states:
            if state is State.ENDED:
                folder.remove_work()
        free = self._concurrency - dying - sum(state is State.RUNNING for _, _, state in states)
        queued = [(folder, order) for folder, order, state in states if state is State.QUEUED]
        for folder, order in queued[: max(0, free)]:
            self._start(folder, order.spec)

    def _clear_deleted(self) -> int:
        """Ends the runners of deleted jobs, and removes what is left of those. How many still run."""
        deleted = [folder for folder in map(JobFolder, self._jobs.iterdir()) if folder.is_deleted()]
        alive = [folder for folder in deleted if folder.state() is State.RUNNING]
        for folder in alive:
            folder.end_runner()
        for folder in deleted:
            if folder not in alive:
                folder.remove()
        return len(alive)

    def _start(self, folder: JobFolder, spec: JobSpec) -> None:
        environment = {**os.environ, **spec.to_env(), "STEMJOB_WORK_DIR": str(folder.work)}
        folder.work.mkdir(exist_ok=True)
        lock = folder.take_lock()
        try:
            with folder.log.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                    [self._python, "-m", "runner"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=[lock],
                )
        finally:
            os.close(lock)
        folder.mark_started(process.pid)
        log.info("runner_started", job_id=spec.job_id, pid=process.pid)
        # A child that nobody waits for stays a zombie.
        threading.Thread(target=self._wait_for, args=(process, folder), daemon=True).start()

    def _wait_for(self, process: subprocess.Popen[bytes], folder: JobFolder) -> None:
        exit_code = process.wait()
        if exit_code == 0 or folder.is_deleted():
            log.info("runner_ended", job_id=folder.job_id, exit_code=exit_code)
        else:  # the sweep will delete the runner's log
            output = folder.last_words()
            log.warning("runner_failed", job_id=folder.job_id, exit_code=exit_code, output=output)
        self._wake.set()


def _waiting(order: Order, orders: Orders) -> Waiting:
    before = sum(
        other.queued_at < order.queued_at and folder.state() is not State.ENDED for folder, other in orders
    )
    match before:
        case 0:
            message = "This song is next."
        case 1:
            message = "1 song is before this one."
        case _:
            message = f"{before} songs are before this one."
    return Waiting(code="queued", message=message)
