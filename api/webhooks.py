"""Webhooks: the final answer of a job, sent to the `callback_url` that its upload named.

A webhook that is due to be sent some day is a small object in the store, written before the job itself and
deleted when the message has arrived, so nothing is lost whoever dies. Messages may arrive twice; their
`webhook-id` is the job's id.
"""

import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog
from pydantic import HttpUrl, SecretStr

from api.answers import view
from api.callbacks import host_of
from api.settings import ApiSettings
from api.signing import signed_headers
from api.version import VERSION
from contract import clock
from contract.clock import Timestamp
from contract.layout import job_key, manifest_key, webhook_id, webhook_key, webhooks_prefix
from contract.manifest import Manifest
from contract.record import Record
from contract.stores import CREATE_ONLY, ObjectInfo, PreconditionFailed, Store
from contract.tombstone import living

log = structlog.get_logger(__name__)

PAUSES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=15),
)
"""Before the second, third, … attempt. A day after the first comes the last."""

WITHOUT_A_JOB_AFTER = timedelta(hours=1)
_THREADS = 8
_PASS_SECONDS = 20.0
_GONE = 410


class Webhook(Record):
    """What is known of a message that has not arrived: how often it was tried, when it may be tried next."""

    attempts: int = 0
    due: Timestamp


def announce(store: Store, job_id: str) -> None:
    """Sees to it that the job, which need not exist yet, will be told of. Raises StoreError."""
    with contextlib.suppress(PreconditionFailed):  # somebody else did for the same job
        _write(store, job_id, Webhook(due=clock.now()), CREATE_ONLY)


def cancel(store: Store, job_id: str) -> None:
    """Nobody will be told of this job. Raises StoreError."""
    store.delete(webhook_key(job_id))


def deliver_due(
    store: Store, settings: ApiSettings, now: datetime, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Sends what is due at `now`, some messages at once; begins no more after 20 s, or when `stopped`.

    A message that does not arrive is logged and left to a later pass. Raises StoreError only when the
    store does not even list them.
    """
    waiting = list(store.list(webhooks_prefix()))
    random.shuffle(waiting)  # so that a pass that ends early begins elsewhere next time
    if waiting and settings.webhook_secret is None:
        log.warning("webhooks_wait_for_a_secret", waiting=len(waiting))
        return
    ends_at = time.monotonic() + _PASS_SECONDS

    def attend(info: ObjectInfo) -> None:
        if stopped() or time.monotonic() > ends_at:
            return
        try:
            _attend(store, settings, info, now)
        except Exception:  # the others must not suffer
            log.exception("webhook_not_attended", job_id=webhook_id(info.key))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="webhooks") as pool:
        list(pool.map(attend, waiting))


def _attend(store: Store, settings: ApiSettings, info: ObjectInfo, now: datetime) -> None:
    job_id = webhook_id(info.key)
    manifest = store.get(manifest_key(job_id))
    if manifest is None:
        if now - info.updated > WITHOUT_A_JOB_AFTER and _callback(store, job_id) is None:
            cancel(store, job_id)
        return
    found = store.get(info.key)
    if found is None or (webhook := Webhook.model_validate_json(found[0])).due > now:
        return
    url = _callback(store, job_id)
    if url is None:
        cancel(store, job_id)
        return
    attempt = webhook.attempts + 1
    if attempt > len(PAUSES) + 1:  # whoever made the last one died of it
        _give_up(store, job_id, url)
        return
    claimed = Webhook(attempts=attempt, due=now + PAUSES[min(attempt, len(PAUSES)) - 1])
    try:
        _write(store, job_id, claimed, found[1].generation)
    except PreconditionFailed:  # another pass is at it
        return
    if _send(url, settings, Manifest.model_validate_json(manifest[0]), attempt):
        cancel(store, job_id)
    elif attempt > len(PAUSES):
        _give_up(store, job_id, url)


def _send(url: HttpUrl, settings: ApiSettings, manifest: Manifest, attempt: int) -> bool:
    """Makes one attempt. Whether the matter is closed: the message has arrived, or nobody wants it."""
    from api.posting import NotPosted, post

    assert isinstance(settings.webhook_secret, SecretStr)
    body = view(manifest.answer, manifest).model_dump_json().encode()
    headers = signed_headers(
        settings.webhook_secret.get_secret_value(), manifest.answer.job_id, body, clock.now()
    )
    headers |= {"Content-Type": "application/json", "User-Agent": f"stemjob/{VERSION}"}
    # The host alone: the rest of such a URL often holds a secret of the receiver's.
    said = log.bind(job_id=manifest.answer.job_id, host=host_of(url), attempt=attempt)
    try:
        status = post(url, body, headers, settings.callback_hosts)
    except NotPosted as problem:
        said.warning("webhook_failed", reason=str(problem))
        return False
    closed = 200 <= status < 300 or status == _GONE
    (said.info if closed else said.warning)("webhook_sent" if closed else "webhook_failed", status=status)
    return closed


def _callback(store: Store, job_id: str) -> HttpUrl | None:
    """Whom to tell of the job; None when there is no such job, or not any more."""
    found = store.get(job_key(job_id))
    record = living(found[0]) if found else None
    return record.options.callback_url if record else None


def _give_up(store: Store, job_id: str, url: HttpUrl) -> None:
    log.error("webhook_given_up", job_id=job_id, host=host_of(url))
    cancel(store, job_id)


def _write(store: Store, job_id: str, webhook: Webhook, generation: int) -> None:
    store.put(
        webhook_key(job_id), webhook.to_json(), content_type="application/json", if_generation=generation
    )
