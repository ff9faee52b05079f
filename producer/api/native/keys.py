"""Keys of the API, for admins."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from producer.api.context import NEEDS_ADMIN, ContextOf
from producer.api.problems import NATIVE_ERRORS, not_found
from producer.keys import create_key, list_keys, revoke_key
from producer.wire.keys import KeyList, KeyOut, NewKeyOut
from shared.domain.access import OF_A_TENANT, Scope
from shared.domain.prompts import Label, TenantName
from shared.errors import InputError

router = APIRouter(
    prefix="/api/keys", tags=["keys"], dependencies=[NEEDS_ADMIN], responses=NATIVE_ERRORS
)

MAX_DAYS = 3_650
MAX_REQUESTS_A_MINUTE = 10_000_000


class NewKey(BaseModel):
    """Whose key, and what it allows."""

    model_config = ConfigDict(extra="forbid")

    tenant: TenantName = Field(examples=["studio"])
    name: Label = Field(default="key", description="To tell keys apart.")
    scopes: Annotated[set[Scope], Field(min_length=1)] = Field(default=set(OF_A_TENANT))
    days: float | None = Field(
        default=None, gt=0, le=MAX_DAYS, allow_inf_nan=False, description="Then it expires."
    )
    requests_per_minute: int | None = Field(default=None, ge=1, le=MAX_REQUESTS_A_MINUTE)


@router.post("", summary="Make a key", status_code=HTTPStatus.CREATED, response_model=NewKeyOut)
def post_key(context: ContextOf, new: NewKey) -> dict[str, Any]:
    """Make a key; its secret is in this answer and nowhere else."""
    database = context.database
    with database.write() as session:
        now = database.now(session)
        key, secret = create_key(
            session,
            new.tenant,
            new.name,
            new.scopes,
            now,
            expires_at=None if new.days is None else now + timedelta(days=new.days),
            requests_per_minute=new.requests_per_minute,
        )
    return {**key.to_json(), "secret": secret}


@router.get("", summary="List keys", response_model=KeyList)
def get_keys(context: ContextOf) -> dict[str, Any]:
    """Return all keys, the revoked ones too."""
    with context.database.read() as session:
        return {"keys": [key.to_json() for key in list_keys(session)]}


@router.delete("/{key_id}", summary="Revoke a key", response_model=KeyOut)
def delete_key(context: ContextOf, key_id: UUID) -> dict[str, Any]:
    """Make a key worthless, within a second."""
    try:
        with context.database.write() as session:
            return revoke_key(session, key_id, context.database.now(session)).to_json()
    except InputError:
        raise not_found(f"key {key_id}") from None
