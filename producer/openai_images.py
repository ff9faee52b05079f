"""Images that somebody waits for: few, and drawn before all others."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import true
from sqlalchemy.exc import SQLAlchemyError

from producer.batch_options import MAX_PRIORITY, BatchOptions
from producer.batch_requests import check_limits
from producer.image_urls import ImageUrls
from producer.inline_batches import submit_inline
from producer.manifest.jobs import JobFacts, read_jobs
from producer.openai_bodies import Places, images_body
from producer.prompt_openai import ImageBody
from producer.rejects import first_reason
from producer.services import Services
from producer.settle import BatchDefaults, Settler
from shared.db.batches import cancel_batch
from shared.db.engine import Database
from shared.db.fleet import count_ready_workers
from shared.db.tables import Batch
from shared.db.tallies import read_tallies
from shared.domain.jobs import CONTENT_FLAGGED, JobState
from shared.domain.prompts import MAX_SEED, PromptRequest
from shared.errors import InputError, ServiceUnavailableError, TenstepError
from shared.storage.base import ObjectStore

INTERACTIVE_PRIORITY = MAX_PRIORITY
NAME = "interactive"
OF_THE_PROMPT = frozenset({CONTENT_FLAGGED, "bad_settings"})
"""Errors that the same prompt would have again."""


class NotDrawnError(TenstepError):
    """An image that somebody waited for was not drawn."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def start_images(services: Services, body: ImageBody, *, tenant: str, key: str | None) -> UUID:
    """Have images drawn; returns their batch.

    Args:
        services: database and settings.
        body: which images; without a seed they are others each time.
        tenant: whose they are.
        key: the same is the same batch.

    Raises:
        ConflictError: something else was asked for with that key.
        LimitReachedError: the tenant has too much open.
        InputError: there is no such model, or it cannot be drawn with these settings.
    """
    options = BatchOptions(name=NAME, model=body.model, priority=INTERACTIVE_PRIORITY)
    fields = {"seed": _seed(key), **body.prompt_fields()}
    try:
        request = PromptRequest.model_validate(fields)
        Settler(BatchDefaults(), options.card(services.settings)).settle(request)
    except (ValidationError, ValueError) as error:
        field, reason = first_reason(error)
        raise InputError(f"{field}: {reason}" if field else reason) from None
    with services.database.read() as session:
        check_limits(session, services.settings, tenant)
    return submit_inline(services, options, [fields], tenant=tenant, key=key).batch_id


def _seed(key: str | None) -> int:
    """Choose a seed: the same for the same key."""
    if key is None:
        return secrets.randbelow(MAX_SEED + 1)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])


def ended_among(database: Database, batch_ids: Collection[UUID]) -> Sequence[UUID]:
    """Return those of some batches whose jobs have all ended, by one query.

    Raises:
        ServiceUnavailableError: the database does not answer.
    """
    try:
        with database.read() as session:
            tallies = read_tallies(session, batch_ids)
    except SQLAlchemyError as error:
        raise ServiceUnavailableError(f"the database does not answer: {error}") from error
    return [batch_id for batch_id, tally in tallies.items() if tally.is_over]


def is_anybody_there(services: Services, batch_id: UUID) -> bool:
    """Tell whether a worker lives that can draw a batch."""
    database = services.database
    silence = timedelta(seconds=services.settings.lease_seconds)
    with database.read() as session:
        model = session.get_one(Batch, batch_id).model
        return count_ready_workers(session, database.now(session), silence, model) > 0


def call_off_images(database: Database, batch_id: UUID) -> None:
    """Call off images that nobody waits for any more."""
    with database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch_id), database.now(session))


def images_answer(
    services: Services, batch_id: UUID, urls: ImageUrls, base_url: str, *, sends_images: bool
) -> dict[str, Any]:
    """Answer with the images of a batch that has ended.

    Args:
        services: database and store.
        batch_id: which.
        urls: makes the images' URLs.
        base_url: what the client calls the server by.
        sends_images: whether they are sent themselves.

    Raises:
        NotDrawnError: one of them failed or was called off.
        ServiceUnavailableError: the store does not answer.
    """
    with services.database.read() as session:
        facts = read_jobs(session, batch_id, true())
    for one in facts:
        if one.job.state != JobState.DONE:
            raise _not_drawn(one, batch_id)
    moments = [one.job.finished_at for one in facts if one.job.finished_at is not None]
    in_place = _images(services.store, facts) if sends_images else None
    return images_body(facts, Places(urls, base_url, max(moments)), in_place, facts)


def _images(store: ObjectStore, facts: Sequence[JobFacts]) -> Mapping[str, bytes]:
    keys = [one.job.image_key for one in facts if one.job.image_key is not None]
    return {key: store.get(key) for key in keys}


def _not_drawn(one: JobFacts, batch_id: UUID) -> NotDrawnError:
    job = one.job
    if job.state != JobState.FAILED:
        message = f"batch {batch_id} was called off"
        return NotDrawnError(HTTPStatus.CONFLICT, "cancelled", message)
    code = job.error_code or "failed"
    is_bad = code in OF_THE_PROMPT
    status = HTTPStatus.BAD_REQUEST if is_bad else HTTPStatus.INTERNAL_SERVER_ERROR
    return NotDrawnError(status, code, f"batch {batch_id}: {job.error_message or code}")
