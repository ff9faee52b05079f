"""Queue messages that nobody could make sense of."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from shared.db.tables import SetAside

MAX_BODY_CHARACTERS = 10_000


def set_aside(
    session: Session, worker_id: UUID, reason: str, body: object, received_at: datetime
) -> None:
    """Keep a message, its first 10,000 characters at most, and why it was not understood."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    session.add(
        SetAside(
            received_at=received_at,
            worker_id=worker_id,
            reason=reason[:MAX_BODY_CHARACTERS],
            # Postgres takes no NUL in a text.
            body=text[:MAX_BODY_CHARACTERS].replace("\0", "\ufffd"),
        )
    )
