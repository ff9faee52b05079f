"""URLs of images that need no key: whoever has one may look, until it expires."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from producer.api.problems import ApiError
from producer.image_urls import ImageUrls, secret_of_urls
from shared.db.engine import Database


class UrlSigner(ImageUrls):
    """Makes them, and checks those that come back."""

    def check(self, job_id: UUID, expires: int, signature: str, now: datetime) -> None:
        """Check what came back of such a URL.

        Raises:
            ApiError: it is not one of ours, or has expired: 403.
        """
        wanted = self._sign(job_id, expires)
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            raise ApiError(HTTPStatus.FORBIDDEN, "the signature of this URL is wrong")
        if expires <= now.timestamp():
            raise ApiError(
                HTTPStatus.FORBIDDEN,
                "this URL has expired",
                hint="GET /api/jobs/{id}/image has the image too, with a key.",
            )


def open_signer(database: Database, lifetime: timedelta) -> UrlSigner:
    """Make a signer by the secret of the database, which the first one makes."""
    return UrlSigner(secret_of_urls(database), lifetime)
