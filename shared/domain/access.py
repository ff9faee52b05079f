"""Keys of the API: what they look like, and what each allows."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

KEY_PREFIX = "tsk_"
KEY_BYTES = 32
ENDING_CHARACTERS = 4


class Scope(StrEnum):
    """What a key allows. A tenant's key reaches what is the tenant's, and nothing else."""

    SUBMIT = "submit"
    """Upload files, ask for images, submit batches."""
    READ = "read"
    """Look at batches, jobs, images, files and costs."""
    OPERATE = "operate"
    """Pause, resume, cancel, retry, approve, reprioritise; budgets and webhooks."""
    ADMIN = "admin"
    """Everything, of all tenants: workers, prices, keys too."""


OF_A_TENANT = frozenset({Scope.SUBMIT, Scope.READ, Scope.OPERATE})
"""What a key allows if nothing else is said."""


def new_secret() -> str:
    """Make the secret of a key: 256 random bits, so that guessing needs no slow hash."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_secret(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
