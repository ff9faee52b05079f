"""Keys of the API: made, listed, revoked, recognised."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.api_tables import ApiKey
from shared.domain.access import ENDING_CHARACTERS, Scope, hash_secret, new_secret
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    tenant: str
    """Whose is what it makes."""
    scopes: frozenset[Scope]
    key_id: UUID | None
    """None where no key is needed."""
    requests_per_minute: int | None = None

    @property
    def sees_all(self) -> bool:
        """Whether what belongs to other tenants is there for it."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Tell whether it may do something."""
        return scope in self.scopes or self.sees_all


LOCAL = Principal(DEFAULT_TENANT, frozenset(Scope), None)
"""Whoever is on this host while no key was made."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its owner sees it: without the secret."""

    id: UUID
    tenant: str
    name: str
    scopes: Sequence[Scope]
    ending: str
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> str:
        """Say whether it is good for anything."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "in force"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "key_id": str(self.id),
            "tenant": self.tenant,
            "name": self.name,
            "scopes": [scope.value for scope in self.scopes],
            "ending": self.ending,
            "requests_per_minute": self.requests_per_minute,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "revoked_at": self.revoked_at and self.revoked_at.isoformat(),
        }


def create_key(
    session: Session,
    tenant: str,
    name: str,
    scopes: Collection[Scope],
    now: datetime,
    *,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
) -> tuple[KeyView, str]:
    """Make a key.

    Returns:
        The key, and its secret, which cannot be had again.

    Raises:
        InputError: it allows nothing, or would have expired already.
    """
    if not scopes:
        raise InputError("a key needs at least one scope", hint=f"One of {', '.join(Scope)}.")
    if expires_at is not None and expires_at <= now:
        raise InputError(f"a key that expires at {expires_at.isoformat()} has expired already")
    secret = new_secret()
    key = ApiKey(
        tenant=tenant,
        name=name,
        scopes=",".join(scope for scope in Scope if scope in scopes),
        secret_sha256=hash_secret(secret),
        ending=secret[-ENDING_CHARACTERS:],
        requests_per_minute=requests_per_minute,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return _view(key), secret


def list_keys(session: Session) -> Sequence[KeyView]:
    """Return all keys, the revoked ones too, oldest first."""
    return [_view(key) for key in session.scalars(select(ApiKey).order_by(ApiKey.id))]


def revoke_key(session: Session, key_id: UUID, now: datetime) -> KeyView:
    """Make a key worthless; one that is already keeps its time.

    Raises:
        InputError: there is none.
    """
    key = session.get(ApiKey, key_id, with_for_update=True)
    if key is None:
        raise InputError(f"no key {key_id}", hint="tenstep keys list shows them.")
    key.revoked_at = key.revoked_at or now
    session.flush()
    return _view(key)


def any_key(session: Session) -> bool:
    """Tell whether a key was ever made: from then on the API asks for one."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def recognise(session: Session, secret: str, now: datetime) -> Principal | None:
    """Return whose key it is, or None if it is nobody's, expired or revoked."""
    digest = hash_secret(secret)
    key = session.scalar(select(ApiKey).where(ApiKey.secret_sha256 == digest))
    if key is None or not hmac.compare_digest(key.secret_sha256, digest):
        return None
    return principal_of(key, now)


def principal_of(key: ApiKey, now: datetime) -> Principal | None:
    """Return who a key speaks for, or None if it is expired or revoked."""
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return None
    return Principal(key.tenant, frozenset(_scopes(key)), key.id, key.requests_per_minute)


def _scopes(key: ApiKey) -> list[Scope]:
    return [Scope(name) for name in key.scopes.split(",")]


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        key.id,
        key.tenant,
        key.name,
        _scopes(key),
        key.ending,
        key.requests_per_minute,
        key.created_at,
        key.expires_at,
        key.revoked_at,
    )
