"""URLs of images that need no key: whoever has one may look, until it expires."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.dialects import postgresql, sqlite

from shared.db.api_tables import ServerSecret
from shared.db.engine import Database

SECRET = "image urls"  # noqa: S105 - the name of one
SECRET_BYTES = 32


class ImageUrls:
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

    def _sign(self, job_id: UUID, expires: int) -> str:
        message = f"{job_id}:{expires}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def secret_of_urls(database: Database) -> str:
    """Return the secret of a database, which the first that asks makes."""
    with database.write() as session:
        is_postgres = session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert if is_postgres else sqlite.insert
        new = {"name": SECRET, "value": secrets.token_urlsafe(SECRET_BYTES)}
        session.execute(insert(ServerSecret).values(new).on_conflict_do_nothing())
        return session.get_one(ServerSecret, SECRET).value
