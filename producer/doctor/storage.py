"""The object store: may this installation write, read, sign, list and delete there?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import httpx

from producer.doctor.finding import Finding, Verdict, fault, fine, skipped
from producer.doctor.folders import why_not_writable
from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.storage.base import ObjectNotFoundError, ObjectStore
from shared.storage.folder import FolderStore
from shared.storage.open import open_store

STORAGE_CHECKS = tuple(f"storage {right}" for right in ("put", "get", "url", "list", "delete"))
PUT, GET, URL, LIST, DELETE = STORAGE_CHECKS
RIGHTS = {
    PUT: ("write to", "s3:PutObject"),
    GET: ("read from", "s3:GetObject"),
    LIST: ("list", "s3:ListBucket"),
    DELETE: ("delete from", "s3:DeleteObject"),
}
"""What one may do, and how S3 calls it."""
DENIED = "AccessDenied"
"""How S3 says that a right is lacking."""
CONTENT = b"tenstep doctor"
CONTENT_TYPE = "text/plain"
URL_REMEDY = (
    "Check TENSTEP_S3_ENDPOINT_URL and TENSTEP_S3_REGION; a clock that is minutes wrong makes "
    "signatures void, too."
)
URL_LIFETIME = timedelta(minutes=5)
FETCH_SECONDS = 5.0


def examine_storage(settings: Settings) -> Iterator[Finding]:
    """Write an object of its own, read it by key and by signed URL, list it, and remove it.

    Raises:
        ConfigurationError: the storage URL names no bucket.
    """
    try:
        store = open_store(settings)
    except ValueError:  # the AWS SDK's
        remedy = "It begins with http:// or https://, such as https://s3.example:9000"
        yield fault(PUT, "TENSTEP_S3_ENDPOINT_URL is no URL", remedy)
        return
    if isinstance(store, FolderStore) and not store.folder.is_dir():
        yield _check_folder_to_be(store)
        return
    rights = _Rights(store)
    put = rights.put()
    yield put
    is_there = put.verdict is Verdict.OK
    if not is_there and not put.found.endswith(DENIED):
        return  # not a matter of rights: it cannot be reached, or there is no such bucket
    yield rights.get()
    yield rights.url(is_there=is_there)
    yield rights.list()
    yield rights.delete()


def _check_folder_to_be(store: FolderStore) -> Finding:
    why_not = why_not_writable(store.folder)
    if why_not is None:
        return fine(PUT, "no image yet: the first makes the folder")
    return fault(
        PUT, why_not, "Let this user write there, or set TENSTEP_STORAGE_URL or TENSTEP_DATA_DIR."
    )


class _Rights:
    """What may be done with an object whose key nobody else has."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._where = store.display_url
        self._key = f"doctor-{uuid4()}"

    def put(self) -> Finding:
        """Write it."""
        return self._try(PUT, self._put)

    def _put(self) -> Finding:
        self._store.put(self._key, CONTENT, CONTENT_TYPE)
        return fine(PUT, f"may write to {self._where}")

    def get(self) -> Finding:
        """Read it; where it could not be written, one that is not there is answer enough."""
        return self._try(GET, self._get)

    def _get(self) -> Finding:
        try:
            read = self._store.get(self._key)
        except ObjectNotFoundError:
            return fine(GET, "may read; there is nothing of its own to read")
        if read == CONTENT:
            return fine(GET, "reads what it wrote")
        return self._broken(GET, "what is read is not what was written")

    def url(self, *, is_there: bool) -> Finding:
        """Sign a URL and fetch it, as those do who get results by URL."""
        url = self._store.url(self._key, URL_LIFETIME, CONTENT_TYPE)
        if url is None:
            return skipped(URL, "a folder has none: servers send its images themselves")
        if not is_there:
            return skipped(URL, "nothing could be written that it would give")
        try:
            answer = httpx.get(url, timeout=FETCH_SECONDS)
        except httpx.HTTPError as error:  # whose words may hold the URL, which opens the object
            found = f"a signed URL cannot be fetched: {type(error).__name__}"
            return fault(URL, found, URL_REMEDY)
        if answer.status_code == httpx.codes.OK and answer.content == CONTENT:
            return fine(URL, "a signed URL gives the object")
        return fault(URL, f"a signed URL gives HTTP {answer.status_code}", URL_REMEDY)

    def list(self) -> Finding:
        """Ask for its key."""
        return self._try(LIST, self._list)

    def _list(self) -> Finding:
        for _ in self._store.list(self._key):
            pass
        return fine(LIST, "may list")

    def delete(self) -> Finding:
        """Remove it; that is tried even if it was not written, and tells the same."""
        return self._try(DELETE, self._delete)

    def _delete(self) -> Finding:
        self._store.delete(self._key)
        return fine(DELETE, "may delete")

    def _try(self, check: str, attempt: Callable[[], Finding]) -> Finding:
        try:
            return attempt()
        except ServiceUnavailableError as error:
            if error.message.endswith(DENIED):
                what, _ = RIGHTS[check]
                return self._broken(check, f"may not {what} {self._where}: {DENIED}")
            return self._broken(check, error.message, error.hint)

    def _broken(self, check: str, found: str, hint: str | None = None) -> Finding:
        if isinstance(self._store, FolderStore):
            return fault(check, found, f"Let this user read and write {self._where}.")
        _, right = RIGHTS[check]
        remedy = f"Allow {right} on {self._where}, or use the credentials of somebody who may."
        return fault(check, found, hint or remedy)
