"""GET /jobs: an owner's jobs, newest first, page by page."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from api.answers import JobsPage, JobSummary, summary
from api.errors import Refusal, RefusalCode
from api.launchers import Launcher, Observation
from api.status import fold, may_have_a_manifest
from contract import clock
from contract.job import JobRecord
from contract.layout import index_prefix, indexed, job_key
from contract.manifest import Manifest
from contract.stages import Standing
from contract.stores import ObjectNotFound, Store
from contract.tombstone import living

MAX_LIMIT = 100
EXAMINED_AT_MOST = 500
"""Of a page with filters, which may then hold fewer jobs than asked for and still have a next one."""
_READS_AT_ONCE = 16
_RECORDS_KEPT = 1024
_CURSOR = re.compile(r"\d{16}-[0-9a-f-]{36}")


@dataclass(frozen=True)
class Query:
    """Which jobs are asked for; a filter that is None lets all through."""

    limit: int = 20
    cursor: str | None = None
    status: Literal["processing", "completed", "failed"] | None = None
    stage: Standing | None = None

    @property
    def is_filtered(self) -> bool:
        return self.status is not None or self.stage is not None

    def wants(self, job: JobSummary) -> bool:
        return self.status in (None, job.status) and self.stage in (None, job.stage)


class Listing:
    """Finds jobs through their owner's index. Keeps records of jobs, which never change, and nothing else."""

    def __init__(
        self, store: Store, launcher: Launcher, manifest_of: Callable[[str], Manifest | None]
    ) -> None:
        """`manifest_of` gives a job's manifest, None while there is none."""
        self._store, self._launcher, self._manifest_of = store, launcher, manifest_of
        self._record_of = lru_cache(maxsize=_RECORDS_KEPT)(self._read_record)
        self._readers = ThreadPoolExecutor(_READS_AT_ONCE, "listing")

    def page(self, owner: str, query: Query) -> JobsPage:
        """One page. Raises Refusal `invalid_request`, LauncherUnavailable, StoreError."""
        prefix = index_prefix(owner)
        start = prefix + _opened(query.cursor) if query.cursor is not None else ""
        at_most = EXAMINED_AT_MOST if query.is_filtered else query.limit
        keys = [info.key for info in self._store.list(prefix, start, at_most + 1)]
        jobs: list[JobSummary] = []
        examined = 0
        for job in self._summaries(keys[:at_most], MAX_LIMIT if query.is_filtered else query.limit):
            examined += 1
            if job is not None and query.wants(job):
                jobs.append(job)
                if len(jobs) == query.limit:
                    break
        rest = keys[examined:]
        return JobsPage(jobs=tuple(jobs), next=_closed(rest[0].removeprefix(prefix)) if rest else None)

    def _summaries(self, keys: Sequence[str], at_once: int) -> Iterator[JobSummary | None]:
        """Of every key its job; None when it has just gone."""
        for first in range(0, len(keys), at_once):
            job_ids = [indexed(key)[1] for key in keys[first : first + at_once]]
            seen = self._launcher.observe_all(job_ids)
            yield from self._readers.map(
                lambda job_id, seen=seen: self._summary(job_id, seen.get(job_id)), job_ids
            )

    def _summary(self, job_id: str, seen: Observation | None) -> JobSummary | None:
        manifest = self._manifest_of(job_id) if may_have_a_manifest(seen) else None
        if manifest is not None:
            return summary(manifest.answer, manifest.file_name)
        try:
            record = self._record_of(job_id)
        except ObjectNotFound:
            return None
        return summary(fold(record, None, seen, clock.now()), record.file_name)

    def _read_record(self, job_id: str) -> JobRecord:
        record = living(b"".join(self._store.read(job_key(job_id))))
        if record is None:
            raise ObjectNotFound("The job was deleted.")
        return record


def _closed(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _opened(cursor: str) -> str:
    """Where a page begins in the index. Raises Refusal for what is no cursor of this API."""
    try:
        name = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        name = ""
    if not _CURSOR.fullmatch(name):
        raise Refusal(
            RefusalCode.INVALID_REQUEST, "This cursor is none that GET /jobs gave; begin without one."
        )
    return name
