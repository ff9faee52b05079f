"""Who is signed in to the dashboard: a key that was shown once, and a cookie since."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from producer.keys import Principal, principal_of
from shared.db.api_tables import ApiKey, SignIn
from shared.domain.access import hash_secret

TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 64
FORMS = b"forms"


def new_token() -> str:
    """Make what a browser's cookie holds: 256 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def sign_in(session: Session, who: Principal, now: datetime, lifetime: timedelta) -> str:
    """Begin a session of somebody who has shown a key; returns its token.

    Args:
        session: writes.
        who: whoever the key was recognised as.
        now: the time.
        lifetime: how long it is good for; it ends with its key in any case.
    """
    session.execute(delete(SignIn).where(SignIn.expires_at <= now))
    token = new_token()
    session.add(
        SignIn(
            token_sha256=hash_secret(token),
            key_id=who.key_id,
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    session.flush()
    return token


def signed_in(session: Session, token: str, now: datetime) -> Principal | None:
    """Return whose session it is; None if it has ended, or its key is good for nothing now."""
    key = session.scalar(
        select(ApiKey)
        .join(SignIn, SignIn.key_id == ApiKey.id)
        .where(SignIn.token_sha256 == hash_secret(token), SignIn.expires_at > now)
    )
    return None if key is None else principal_of(key, now)


def sign_out(session: Session, token: str) -> None:
    """End a session, wherever its cookie may be."""
    session.execute(delete(SignIn).where(SignIn.token_sha256 == hash_secret(token)))


def form_token(token: str) -> str:
    """Return what forms of a session's pages carry, so that no other site can send them.

    HMAC-SHA-256 by the session's token: another site can neither read nor guess it, and
    nothing has to be kept (OWASP, "HMAC based token pattern").
    """
    return hmac.new(token.encode(), FORMS, hashlib.sha256).hexdigest()
