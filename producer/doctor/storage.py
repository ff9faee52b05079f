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
S3_RIGHTS = {
    PUT: "s3:PutObject",
    GET: "s3:GetObject",
    URL: "s3:GetObject",
    LIST: "s3:ListBucket",
    DELETE: "s3:DeleteObject",
}
DENIED = "AccessDenied"
"""How S3 says that a right is lacking."""
CONTENT = b"tenstep doctor"
CONTENT_TYPE = "text/plain"
URL_LIFETIME = timedelta(minutes=5)
FETCH_SECONDS = 5.0


def examine_storage(settings: Settings) -> Iterator[Finding]:
    """Write an object of its own, read it by key and by signed URL, list it, and remove it.

    Raises:
        ConfigurationError: the storage URL names no bucket.
    """
    store = open_store(settings)
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
        self.key = f"doctor-{uuid4()}"

    def put(self) -> Finding:
        """Write it."""
        return self._try(PUT, self._put)

    def _put(self) -> Finding:
        self._store.put(self.key, CONTENT, CONTENT_TYPE)
        return fine(PUT, f"may write to {self._store.display_url}")

    def get(self) -> Finding:
        """Read it; where it could not be written, one that is not there is answer enough."""
        return self._try(GET, self._get)

    def _get(self) -> Finding:
        try:
            read = self._store.get(self.key)
        except ObjectNotFoundError:
            return fine(GET, "may read; there is nothing of its own to read")
        if read == CONTENT:
            return fine(GET, "reads what it wrote")
        return self._broken(GET, "what is read is not what was written")

    def url(self, *, is_there: bool) -> Finding:
        """Sign a URL and fetch it, as those do who get results by URL."""
        url = self._store.url(self.key, URL_LIFETIME, CONTENT_TYPE)
        if url is None:
            return skipped(URL, "a folder has none: servers send its images themselves")
        if not is_there:
            return skipped(URL, "nothing could be written that it would give")
        try:
            answer = httpx.get(url, timeout=FETCH_SECONDS)
        except httpx.HTTPError as error:  # whose words may hold the URL, which opens the object
            return self._broken(URL, f"a signed URL cannot be fetched: {type(error).__name__}")
        if answer.status_code == httpx.codes.OK and answer.content == CONTENT:
            return fine(URL, "a signed URL gives the object")
        return self._broken(URL, f"a signed URL gives HTTP {answer.status_code}")

    def list(self) -> Finding:
        """Ask for its key."""
        return self._try(LIST, self._list)

    def _list(self) -> Finding:
        for _ in self._store.list(self.key):
            pass
        return fine(LIST, "may list")

    def delete(self) -> Finding:
        """Remove it; that is tried even if it was not written, and tells the same."""
        return self._try(DELETE, self._delete)

    def _delete(self) -> Finding:
        self._store.delete(self.key)
        return fine(DELETE, "may delete")

    def _try(self, check: str, attempt: Callable[[], Finding]) -> Finding:
        try:
            return attempt()
        except ServiceUnavailableError as error:
            return self._broken(check, error.message, error.hint)

    def _broken(self, check: str, found: str, hint: str | None = None) -> Finding:
        where = self._store.display_url
        if isinstance(self._store, FolderStore):
            return fault(check, found, f"Let this user read and write {where}.")
        is_answered = hint is None or found.endswith(DENIED)
        advice = [f"Allow {S3_RIGHTS[check]} on {where}."] if is_answered else []
        return fault(check, found, " ".join([*advice, *([hint] if hint else [])]))
