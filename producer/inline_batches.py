"""Batches whose prompts come with the request: few enough to be written while it waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from producer.batch_options import BatchOptions
from producer.batch_requests import check_limits
from producer.order import Submission
from producer.prompt_files import PromptSource, source_of
from producer.prompt_lines import LINES_A_GROUP, PromptLine
from producer.prompt_parsers import parse_fields
from producer.services import Services
from producer.submit import ConflictError, submit
from shared.db.tables import Batch

NAME = "request"
MAX_PROMPTS = 10_000
KEY_PREFIX = "request:"
SHA = "request_sha256"

InlinePrompt = str | Mapping[str, Any]
"""A prompt, or a line of a prompt file."""


def submit_inline(
    services: Services,
    options: BatchOptions,
    prompts: Sequence[InlinePrompt],
    *,
    tenant: str,
    key: str | None,
    traceparent: str | None = None,
) -> Submission:
    """Write a batch of the prompts of a request.

    Args:
        services: database and settings.
        options: what the batch is to be.
        prompts: at most 10,000.
        tenant: whose it is.
        key: idempotency key; the same is the same batch.
        traceparent: of the client's span.

    Raises:
        ConflictError: something else was asked for with that key.
        LimitReachedError: the tenant has too many open batches, or jobs.
        InputError: as `producer.submit.submit` does.
    """
    digest = fingerprint({"options": options.model_dump(mode="json"), "prompts": list(prompts)})
    named = None if key is None else f"{KEY_PREFIX}{key}"
    if not _was_asked_before(services, tenant, named, digest):
        with services.database.read() as session:
            check_limits(session, services.settings, tenant)
    order = options.order(tenant, key=named, client={SHA: digest}, traceparent=traceparent)
    card = options.card(services.settings)
    source = source_of_prompts(prompts, digest)
    return submit(services.database, services.settings, card, source, order)


def fingerprint(document: object) -> str:
    """Hash a JSON document: SHA-256, in hex."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def source_of_prompts(prompts: Sequence[InlinePrompt], digest: str) -> PromptSource:
    """Make a source of prompts that are in memory.

    Args:
        prompts: the lines.
        digest: hash of them.
    """
    lines = [{"prompt": one} if isinstance(one, str) else one for one in prompts]

    def groups() -> Iterator[Sequence[PromptLine]]:
        for start in range(0, len(lines), LINES_A_GROUP):
            yield [
                parse_fields(number, dict(fields), None)
                for number, fields in enumerate(lines[start : start + LINES_A_GROUP], start + 1)
            ]

    return source_of(NAME, groups, expected=len(lines), fingerprint=lambda: digest)


def _was_asked_before(services: Services, tenant: str, key: str | None, digest: str) -> bool:
    if key is None:
        return False
    same = select(Batch.client).where(Batch.tenant == tenant, Batch.key == key)
    with services.database.read() as session:
        client = session.scalar(same)
    if client is not None and client.get(SHA) != digest:
        raise ConflictError("this idempotency key was used for another request")
    return client is not None
