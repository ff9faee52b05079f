"""URLs of images that need no key: whoever has one may look, until it expires."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from sqlalchemy.dialects import postgresql, sqlite

from producer.api.problems import ApiError
from shared.db.api_tables import ServerSecret
from shared.db.engine import Database

SECRET = "image urls"  # noqa: S105 - the name of one
SECRET_BYTES = 32


class UrlSigner:
    """Signs with HMAC-SHA-256 (RFC 2104), by a secret that all servers of a database share."""

    def __init__(self, secret: str, lifetime: timedelta) -> None:
        self._secret = secret.encode()
        self._lifetime = lifetime

    def url(self, base_url: str, job_id: UUID, now: datetime) -> str:
        """Return where a job's image can be had from now on for a while.

        Args:
            base_url: the server's, as the client calls it, without a slash at the end.
            job_id: whose image.
            now: the time.
        """
        expires = int((now + self._lifetime).timestamp())
        signature = self._sign(job_id, expires)
        return f"{base_url}/images/{job_id}.png?expires={expires}&signature={signature}"

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

    def _sign(self, job_id: UUID, expires: int) -> str:
        message = f"{job_id}:{expires}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def open_signer(database: Database, lifetime: timedelta) -> UrlSigner:
    """Make a signer by the secret of the database, which the first one makes."""
    with database.write() as session:
        is_postgres = session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert if is_postgres else sqlite.insert
        new = {"name": SECRET, "value": secrets.token_urlsafe(SECRET_BYTES)}
        session.execute(insert(ServerSecret).values(new).on_conflict_do_nothing())
        return UrlSigner(session.get_one(ServerSecret, SECRET).value, lifetime)
