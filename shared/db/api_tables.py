"""The tables of the API: who may use it, files, and batches that were asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, partial_index
from shared.domain.identifiers import new_id
from shared.domain.requests import RequestState
from shared.telemetry.traces import TRACEPARENT_CHARACTERS

UNFINISHED = "ended_at IS NULL"
NEVER_BEGAN = "ended_at IS NOT NULL AND in_progress_at IS NULL AND end_announced_at IS NULL"
DUE = "next_at IS NOT NULL"


class ApiKey(Base):
    """A key of the API. Its secret was shown once; what is kept cannot be turned back into it."""

    __tablename__ = "api_key"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(256))
    scopes: Mapped[str] = mapped_column(String(64))
    """Names with commas between them."""
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    ending: Mapped[str] = mapped_column(String(8))
    """The last characters of the secret, to tell keys apart."""
    requests_per_minute: Mapped[int | None]
    """None is the server's own limit."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SignIn(Base):
    """A session of the dashboard: a browser that was shown a key."""

    __tablename__ = "sign_in"
    __table_args__ = (Index("ix_sign_in_expires", "expires_at"),)

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the token in its cookie."""
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_key.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class ServerSecret(Base):
    """A secret that all servers of a database share: made by the first that needs it."""

    __tablename__ = "server_secret"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))


class StoredFile(Base):
    """A file that was uploaded, or that came of a batch; its bytes are in object storage."""

    __tablename__ = "stored_file"
    __table_args__ = (
        UniqueConstraint("tenant", "key"),
        Index("ix_stored_file_tenant", "tenant", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(256))
    purpose: Mapped[str] = mapped_column(String(32))
    bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    object_key: Mapped[str] = mapped_column(String(512))
    key: Mapped[str | None] = mapped_column(String(256))
    """Uploading with the same idempotency key again is the same file; a tenant's own."""
    created_at: Mapped[datetime]


class BatchRequest(Base):
    """A batch that was asked for over HTTP: taken in, and its results written, by the clerk."""

    __tablename__ = "batch_request"
    __table_args__ = (
        CheckConstraint(
            "state IN ({})".format(", ".join(f"'{state.value}'" for state in RequestState)),
            name="state",
        ),
        UniqueConstraint("tenant", "key"),
        Index("ix_batch_request_tenant", "tenant", "id"),
        partial_index("ix_batch_request_unfinished", "id", condition=UNFINISHED),
        partial_index("ix_batch_request_unannounced", "tenant", "id", condition=NEVER_BEGAN),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    """The batch's own, which is there as soon as its first jobs are written."""
    tenant: Mapped[str] = mapped_column(String(128))
    key: Mapped[str | None] = mapped_column(String(256))
    """Asking with the same idempotency key again is the same batch; a tenant's own."""
    request_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of what was asked with that key."""
    input_file_id: Mapped[UUID]
    prompt_format: Mapped[str | None] = mapped_column(String(16))
    """How the file is written; None tells it by its name, or by how it begins."""
    options: Mapped[dict[str, Any]]
    """What the batch is to be: `producer.batch_options.BatchOptions`."""
    endpoint: Mapped[str | None] = mapped_column(String(64))
    """Of a batch of requests in OpenAI's form: then files of results are written."""
    completion_window: Mapped[str | None] = mapped_column(String(16))
    client_metadata: Mapped[dict[str, Any] | None]
    base_url: Mapped[str | None] = mapped_column(String(512))
    """What the client called the server by: what URLs in its results begin with."""
    traceparent: Mapped[str | None] = mapped_column(String(TRACEPARENT_CHARACTERS))
    """Of the client's span, where it sent one."""
    state: Mapped[str] = mapped_column(String(16), default=RequestState.VALIDATING)
    requests: Mapped[int] = mapped_column(default=0, server_default="0")
    """Lines of the file, the bad ones too; known when it is taken in."""
    completed: Mapped[int | None]
    """Requests whose images are all there; known when the results are written."""
    errors: Mapped[dict[str, Any] | None]
    """Why it could not be taken in: ``{"data": [{code, message, line}]}``."""
    output_file_id: Mapped[UUID | None]
    error_file_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    in_progress_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    finalizing_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """When it came to its last state; nothing more is done then."""
    end_announced_at: Mapped[datetime | None]
    """When webhooks were told that nothing came of it; a batch's end is told of by the batch."""
    worked_on_until: Mapped[datetime | None]
    """A clerk has it until then; it renews that while it works."""
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often a clerk failed at it for reasons that may pass."""
    last_failure: Mapped[str | None] = mapped_column(Text)


class Webhook(Base):
    """Where a tenant wants to be told of what becomes of its batches."""

    __tablename__ = "webhook"
    __table_args__ = (Index("ix_webhook_tenant", "tenant", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(128))
    url: Mapped[str] = mapped_column(String(2048))
    events: Mapped[str] = mapped_column(String(256))
    """Types with commas between them."""
    secret: Mapped[str] = mapped_column(String(128))
    """Signs what is sent: the server needs it in clear."""
    first_batch: Mapped[UUID]
    """It is told of this batch, and of those that were made later."""
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    """When its receiver answered that it is gone for good."""


class WebhookDelivery(Base):
    """One event for one webhook, until it is delivered or given up."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        partial_index("ix_webhook_delivery_due", "next_at", condition=DUE),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]
    """The same for all webhooks that are told of it: receivers know a repetition by it."""
    event_type: Mapped[str] = mapped_column(String(64))
    batch_id: Mapped[UUID | None]
    """None of a test."""
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    """When it is tried next; None when it was delivered, or given up."""
    delivered_at: Mapped[datetime | None]
    status: Mapped[int | None]
    """HTTP status of the last answer."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why the last try failed."""
