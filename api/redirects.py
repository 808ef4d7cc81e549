"""Downloads straight from the bucket: the answer sends the client there, with a link of limited life."""

from collections.abc import Callable

import structlog
from starlette.responses import RedirectResponse

from api.archive import compose_archive
from api.downloads import Download
from api.ranges import attachment
from api.settings import ApiSettings
from contract.layout import archive_key
from contract.manifest import Manifest, TrackRecord
from contract.stores import CannotSign, DirectStore, Store

log = structlog.get_logger(__name__)

LINK_SECONDS = 3600
"""How long a link works. A download that has begun by then goes on."""


def redirected(
    method: str, settings: ApiSettings, download: Download, link: Callable[[], str]
) -> RedirectResponse | None:
    """The answer that sends the client to `link`; None when what is asked for is to come from here.

    A link is for GET alone: whoever asks by HEAD gets the headers from here. Credentials that cannot sign are
    no reason to refuse a download, as long as it may pass through here.

    Raises:
        CannotSign: and the download is too large to pass through here.
        StoreError: the store failed.
    """
    if settings.downloads == "stream" or method == "HEAD":
        return None
    try:
        url = link()
    except CannotSign as error:
        if settings.body_limit_mb is not None and download.size > settings.body_limit_mb * 1_000_000:
            raise
        log.warning("download_not_redirected", reason=str(error))
        return None
    return RedirectResponse(url, 307, {"Cache-Control": "no-store"})


def track_link(store: Store, download: Download, record: TrackRecord) -> str:
    """A link to one track. Raises CannotSign."""
    return _link(store, download, record.key, record.generation)


def archive_link(store: Store, download: Download, manifest: Manifest) -> str:
    """A link to the ZIP, which is made inside the bucket when it is not there yet.

    Raises CannotSign, and then nothing is made; StoreError.
    """
    assert isinstance(store, DirectStore)
    key = archive_key(manifest.answer.job_id)
    made = store.stat(key)
    if made is None:
        _link(store, download, key, 0)
        made = compose_archive(store, manifest)
    return _link(store, download, made.key, made.generation)


def _link(store: Store, download: Download, key: str, generation: int) -> str:
    assert isinstance(store, DirectStore)  # the wiring checks it
    return store.download_url(
        key,
        generation=generation,
        disposition=attachment(download.file_name),
        content_type=download.media_type,
        seconds=LINK_SECONDS,
    )
