"""What the API does with jobs, apart from HTTP. Plain blocking functions over a store and a launcher."""

import uuid
from functools import lru_cache

import structlog

from api.answers import JobView, view
from api.errors import Refusal, RefusalCode
from api.idempotency import claim
from api.intake import Intake, Upload
from api.launchers import Launcher, LauncherUnavailable, LaunchRefused, Observation
from api.settings import ApiSettings
from api.status import fold, may_have_a_manifest
from api.webhooks import announce, cancel
from contract import clock
from contract.job import JobRecord, JobSpec
from contract.layout import job_key, job_prefix, manifest_key
from contract.manifest import Manifest
from contract.stages import Status
from contract.stores import CREATE_ONLY, ObjectNotFound, Store

log = structlog.get_logger(__name__)

_MANIFESTS_KEPT = 256


class Service:
    """Holds no state of its own but a small cache of manifests, which never change."""

    def __init__(self, settings: ApiSettings, store: Store, launcher: Launcher, store_url: str) -> None:
        self.settings, self.store = settings, store
        self._launcher, self._store_url = launcher, store_url
        self._finished_manifest = lru_cache(maxsize=_MANIFESTS_KEPT)(self._read_manifest)

    def intake(self, content_type: str) -> Intake:
        """The beginning of an upload. Raises Refusal."""
        return Intake(self.store, self.settings, str(uuid.uuid4()), content_type)

    def create(self, upload: Upload, idempotency_key: str | None) -> JobView:
        """Makes a job of an upload, or finds the one that the same key made before.

        Raises:
            Refusal: the key was used for another upload, or its first request is still under way.
            StoreError: the store failed; the sweep deletes what is left.
            LaunchRefused: nothing is left.
            LauncherUnavailable: the sweep starts the runner if that has not happened.
        """
        if idempotency_key is not None:
            job_id = self._claim(idempotency_key, upload)
            if job_id != upload.job_id:
                return self.status(job_id)
        record = JobRecord(
            job_id=upload.job_id,
            created_at=clock.now(),
            file_name=upload.file_name,
            options=upload.options,
            input=upload.input,
        )
        if record.options.callback_url is not None:
            announce(self.store, record.job_id)
        self.store.put(
            job_key(record.job_id),
            record.to_json(),
            content_type="application/json",
            if_generation=CREATE_ONLY,
        )
        try:
            self._launcher.launch(JobSpec(job_id=record.job_id, store=self._store_url))
        except LaunchRefused:
            self.store.delete_prefix(job_prefix(record.job_id))
            cancel(self.store, record.job_id)
            raise
        log.info("job_created", job_id=record.job_id, file_name=record.file_name, bytes=record.input.size)
        return view(fold(record, None, self._first_look(record.job_id), clock.now()))

    def status(self, job_id: str) -> JobView:
        """The status of a job.

        Raises:
            Refusal: `job_not_found`.
            LauncherUnavailable: and there is no manifest that could do without it.
        """
        record = self._record(job_id)
        try:
            seen = self._launcher.observe(job_id)
        except LauncherUnavailable:
            if self._manifest(job_id) is None:
                raise
            seen = None
        manifest = self._manifest(job_id) if may_have_a_manifest(seen) else None
        return view(fold(record, manifest, seen, clock.now()), manifest)

    def completed(self, job_id: str) -> Manifest | None:
        """The manifest of a completed job, None while there is none. Raises Refusal `job_not_found`."""
        self._record(job_id)
        manifest = self._manifest(job_id)
        return manifest if manifest is not None and manifest.answer.status is Status.COMPLETED else None

    def _first_look(self, job_id: str) -> Observation | None:
        """The job is made by now: that it cannot be looked at does not undo it."""
        try:
            return self._launcher.observe(job_id)
        except LauncherUnavailable:
            return None

    def _claim(self, key: str, upload: Upload) -> str:
        """The job that the key stands for. An upload that does not become a job is deleted."""
        job_id = None
        try:
            job_id = claim(self.store, "anonymous", key, upload)
        finally:
            if job_id != upload.job_id:
                self.store.delete_prefix(job_prefix(upload.job_id))
        return job_id

    def _record(self, job_id: str) -> JobRecord:
        found = self.store.get(job_key(job_id)) if _is_uuid4(job_id) else None
        if found is None:
            raise Refusal(RefusalCode.JOB_NOT_FOUND, "Job not found")
        return JobRecord.model_validate_json(found[0])

    def _manifest(self, job_id: str) -> Manifest | None:
        try:
            return self._finished_manifest(job_id)
        except ObjectNotFound:
            return None

    def _read_manifest(self, job_id: str) -> Manifest:
        found = self.store.get(manifest_key(job_id))
        if found is None:
            raise ObjectNotFound("The job has no manifest yet.")  # an error, so that it is not cached
        return Manifest.model_validate_json(found[0])


def _is_uuid4(text: str) -> bool:
    try:
        return str(uuid.UUID(text, version=4)) == text
    except ValueError:
        return False
