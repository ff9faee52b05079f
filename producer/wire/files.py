"""Files, as programs see them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from producer.wire.document import Document


class FileOut(Document):
    """A file without its bytes."""

    file_id: UUID
    name: str
    purpose: str
    bytes: int
    sha256: str
    created_at: int = Field(description="Seconds since 1970.")


class FileList(Document):
    """The newest files first."""

    files: list[FileOut]
    next: UUID | None = Field(description="Give it as `before` for the next page.")
