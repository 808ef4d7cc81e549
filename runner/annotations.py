"""Reports as annotations and one label of the runner's own Job, for the API and for people with `kubectl`.

All requests go from a thread of their own: a song never waits for the API server.
"""

import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import structlog

from contract.progress import Progress
from runner.job_annotations import AttemptId, JobMetadata, change_of, is_overtaken, next_attempt
from runner.own_job import Conflict, JobGone, OwnJob, Refused

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
LOOK_SECONDS = 2.0
CLOSE_SECONDS = 5.0
_CONFLICTS = 5


class Overtaken(Exception):  # noqa: N818
    """A later attempt has taken over; the message says which."""


class AttemptRecord:
    """What this attempt says on its Job. For one thread.

    An attempt gets its number with its first report. Every patch names the version of the Job that was seen
    last, so that nothing can come between a look at the number of others and a write.
    """

    def __init__(self, job: OwnJob) -> None:
        self._job = job
        self._seen: JobMetadata | None = None
        self._claimed = False
        self.mine: AttemptId | None = None
        """Who this is; until its first report, who it would be."""

    def look(self) -> JobMetadata:
        """What the Job says now. Raises Overtaken, JobGone, Refused."""
        self._seen = seen = self._job.patch({})
        last = AttemptId.of(seen)
        if not self._claimed or self.mine is None:
            self.mine = next_attempt(last, self._job.pod_uid)
        elif is_overtaken(self.mine, last):
            raise Overtaken(f"attempt {last} has taken over from {self.mine}")
        return seen

    def say(self, progress: Progress) -> None:
        """Makes the Job say `progress`, with no request if it says so already.

        Raises:
            Overtaken, JobGone: there is no use in saying more.
            Refused: the API server does not want to.
        """
        seen = self._seen or self.look()
        for _ in range(_CONFLICTS):
            assert self.mine is not None
            change = change_of(seen, progress, self.mine)
            try:
                self._seen = self._job.patch(change) if change else seen
            except Conflict:  # mostly the Job controller, which keeps the count of pods there
                seen = self.look()
            else:
                self._claimed = True
                return
        raise Refused("the Job changes all the time")

    def close(self) -> None:
        """Closes the connections."""
        self._job.close()


class KubernetesReporter:
    """The reporter of `kubernetes://<namespace>/<Job>`: a patch in two seconds at most, and one at the end.

    Reports that come faster are merged: the newest goes out. While patches fail the pauses grow to half a
    minute. Once a later attempt has taken over, or the Job is gone, nothing is sent any more.
    """

    interval = 0.0  # a report costs nothing here, and the thread sees to the pauses

    def __init__(self, url: str, *, seconds: float = INTERVAL_SECONDS) -> None:
        """Has a look at the Job at once, while others do other things.

        Args:
            url: which Job.
            seconds: the shortest time from one patch to the next.

        Raises:
            ValueError: the URL names no Job.
        """
        parts = urlsplit(url)
        namespace, name = parts.netloc, parts.path.removeprefix("/")
        if not namespace or not name or "/" in name:
            raise ValueError(f"progress goes to kubernetes://<namespace>/<Job>, not to {url!r}")
        self._record = AttemptRecord(OwnJob(namespace, name))
        self._seconds = seconds
        self._changed = threading.Condition()  # guards all that follows
        self._report: Progress | None = None
        self._pause = seconds
        self._not_before = -float("inf")
        self._looks_asked, self._looks_done = 1, 0
        self._closing = self._silent = self._overtaken = False
        self._thread = threading.Thread(target=self._work, name="annotations", daemon=True)
        self._thread.start()

    @property
    def attempt(self) -> str:
        """`<number> <pod UID>`; empty as long as the Job could not be read."""
        return "" if self._record.mine is None else str(self._record.mine)

    def write(self, progress: Progress) -> None:
        """Takes the report; the thread sends it."""
        with self._changed:
            self._report = progress
            self._changed.notify_all()

    def overtaken(self) -> bool:
        """Whether a later attempt is at work, as far as two seconds suffice to find out."""
        with self._changed:
            works = self._pause == self._seconds
            if works and not self._silent:
                self._looks_asked = asked = self._looks_asked + 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._silent or self._looks_done >= asked, LOOK_SECONDS)
            return self._overtaken

    def close(self) -> None:
        """Sends what is not sent yet. Returns after five seconds at most; nothing can be written then."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        overtaken = False
        try:
            with closing(self._record):
                while self._wait():
                    self._step()
        except (Overtaken, JobGone) as reason:
            overtaken = isinstance(reason, Overtaken)
            log.info("no_more_reports", reason=str(reason))
        finally:
            with self._changed:
                self._silent, self._overtaken = True, overtaken
                self._changed.notify_all()

    def _wait(self) -> bool:
        """Waits for something to do. False: nothing is left, and the reporter closes."""
        with self._changed:
            while self._looks_asked == self._looks_done:
                pause = self._not_before - time.monotonic()
                if self._report is not None and (pause <= 0 or self._closing):
                    return True
                if self._closing:
                    return False
                self._changed.wait(None if self._report is None else pause)
            return True

    def _step(self) -> None:
        """One look or one report. A report that fails is sent again later, if there is a later."""
        with self._changed:
            looks, report = self._looks_asked, None
            if looks == self._looks_done:
                report, self._report = self._report, None
        failed = False
        try:
            if report is None:
                self._record.look()
            else:
                self._record.say(report)
        except JobGone:
            raise
        except Refused as reason:
            failed = True
            log.warning("progress_not_reported", reason=str(reason))
        with self._changed:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS) if failed else self._seconds
            if failed or report is not None:
                self._not_before = time.monotonic() + self._pause
            if failed and self._report is None and not self._closing:
                self._report = report
            self._looks_done = looks
            self._changed.notify_all()
