"""Keys, as programs see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from producer.wire.document import Document
from shared.domain.access import Scope


class KeyOut(Document):
    """A key without its secret."""

    key_id: UUID
    tenant: str
    name: str
    scopes: list[Scope]
    ending: str = Field(description="The last characters of the secret.")
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A key with its secret, which is shown this once."""

    secret: str = Field(examples=["tsk_…"])


class KeyList(Document):
    """All keys, oldest first."""

    keys: list[KeyOut]
