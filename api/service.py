"""What the API does with jobs, apart from HTTP. Plain blocking functions over a store and a launcher."""

import uuid
from functools import lru_cache

import structlog

from api.answers import JobsPage, JobView, view
from api.deletion import delete_job
from api.direct_uploads import UploadOffer, UploadRequest, offer
from api.errors import Refusal, RefusalCode
from api.idempotency import claim, release
from api.ids import is_uuid4
from api.intake import Intake
from api.launchers import Launcher, LauncherUnavailable, LaunchRefused, Observation
from api.listing import Listing, Query
from api.marks import enter, strike
from api.metrics import count_job
from api.settings import ApiSettings
from api.song import Upload
from api.status import fold, may_have_a_manifest
from api.webhooks import announce, cancel
from contract import clock
from contract.job import ANONYMOUS, JobRecord, JobSpec
from contract.layout import job_key, job_prefix, manifest_key, unsettled_key
from contract.manifest import Manifest
from contract.stages import Status
from contract.stores import CREATE_ONLY, ObjectNotFound, PreconditionFailed, Store
from contract.tombstone import living

log = structlog.get_logger(__name__)

_MANIFESTS_KEPT = 256


class Service:
    """Holds no state of its own but a small cache of manifests, which never change."""

    def __init__(self, settings: ApiSettings, store: Store, launcher: Launcher, store_url: str) -> None:
        self.settings, self.store = settings, store
        self._launcher, self._store_url = launcher, store_url
        self._finished_manifest = lru_cache(maxsize=_MANIFESTS_KEPT)(self._read_manifest)
        self._listing = Listing(store, launcher, self._manifest)

    def intake(self, content_type: str) -> Intake:
        """The beginning of an upload. Raises Refusal."""
        return Intake(self.store, self.settings, str(uuid.uuid4()), content_type)

    def offer_upload(self, request: UploadRequest, origin: str | None) -> UploadOffer:
        """A place in the store for a song; web pages of `origin` may use it. Raises Refusal, StoreError."""
        return offer(self.store, self.settings, request, origin)

    def create(self, upload: Upload, idempotency_key: str | None) -> JobView:
        """Makes a job of an upload, or finds the one that the same key made before.

        A direct upload can become one job only, so it needs no key.

        Raises:
            Refusal: the key was used for another upload, or its first request is still under way; the direct
                upload was used with other options.
            StoreError: the store failed; the sweep deletes what is left.
            LaunchRefused: nothing is left.
            LauncherUnavailable: the sweep starts the runner if that has not happened.
        """
        if upload.sha256 is None:
            if self.store.stat(job_key(upload.job_id)) is not None:
                return self._made_before(upload)
        elif idempotency_key is not None:
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
        try:
            self.store.put(
                job_key(record.job_id),
                record.to_json(),
                content_type="application/json",
                if_generation=CREATE_ONLY,
            )
        except PreconditionFailed:  # only a direct upload's id can come twice
            return self._made_before(upload)
        enter(self.store, record)
        try:
            self._launcher.launch(JobSpec(job_id=record.job_id, store=self._store_url))
        except LaunchRefused:
            self._undo(upload, record, idempotency_key)
            raise
        count_job(record.input.size)
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

    def jobs(self, query: Query) -> JobsPage:
        """A page of the jobs there are. Raises Refusal `invalid_request`, LauncherUnavailable, StoreError."""
        return self._listing.page(ANONYMOUS, query)

    def delete(self, job_id: str) -> None:
        """Deletes a job for good, whatever its state. Raises Refusal `job_not_found`, StoreError."""
        record, generation = self._find(job_id)
        try:
            delete_job(self.store, self._launcher, record, generation)
        except PreconditionFailed:  # somebody else was faster
            raise Refusal(RefusalCode.JOB_NOT_FOUND, "Job not found") from None

    def _made_before(self, upload: Upload) -> JobView:
        """The job that a direct upload has become, if that was asked for with the same options."""
        if self._record(upload.job_id).options != upload.options:
            raise Refusal(
                RefusalCode.UPLOAD_USED,
                "This upload is a job already, with other options; announce it again.",
            )
        return self.status(upload.job_id)

    def _undo(self, upload: Upload, record: JobRecord, idempotency_key: str | None) -> None:
        """Deletes job and upload; a direct one only ceases to be a job, and can be used again."""
        strike(self.store, record)
        self.store.delete(job_key(upload.job_id))
        cancel(self.store, record.job_id)
        if upload.sha256 is not None:
            if idempotency_key is not None:
                release(self.store, record.owner, idempotency_key)
            self._drop(upload.job_id)

    def _drop(self, job_id: str) -> None:
        """Deletes an upload that is no job."""
        self.store.delete_prefix(job_prefix(job_id))
        self.store.delete(unsettled_key(job_id))

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
            job_id = claim(self.store, ANONYMOUS, key, upload)
        finally:
            if job_id != upload.job_id:
                self._drop(upload.job_id)
        return job_id

    def _record(self, job_id: str) -> JobRecord:
        return self._find(job_id)[0]

    def _find(self, job_id: str) -> tuple[JobRecord, int]:
        """The job and the generation of its record."""
        found = self.store.get(job_key(job_id)) if is_uuid4(job_id) else None
        record = None if found is None else living(found[0])
        if found is None or record is None:
            raise Refusal(RefusalCode.JOB_NOT_FOUND, "Job not found")
        return record, found[1].generation

    def _manifest(self, job_id: str) -> Manifest | None:
        try:
            return self._finished_manifest(job_id)
        except ObjectNotFound:
            return None

    def _read_manifest(self, job_id: str) -> Manifest:
        return Manifest.model_validate_json(b"".join(self.store.read(manifest_key(job_id))))
