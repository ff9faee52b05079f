"""What becomes of a batch that was asked for in OpenAI's form: its end, and its results."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from producer.batch_requests import call_off
from producer.clerk.claim import Claim
from producer.image_urls import ImageUrls, secret_of_urls
from producer.openai_lines import BATCH_CANCELLED, BATCH_EXPIRED, CALLED_OFF, Reason
from producer.openai_results import ResultFile, write_result_files
from producer.services import Services
from producer.uploads import file_key
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.tables import Batch
from shared.db.tallies import read_tally
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl
from shared.domain.requests import RequestState

PURPOSE = "batch_output"


def look_after(services: Services, claim: Claim) -> None:
    """End a batch whose jobs have ended, whose time is over, or that was called off."""
    with services.database.write() as session:
        request = session.get_one(BatchRequest, claim.request_id, with_for_update=True)
        request.worked_on_until = None
        if request.state != RequestState.IN_PROGRESS:  # somebody has just cancelled it
            return
        batch = session.get_one(Batch, request.id)
        now = services.database.now(session)
        if batch.control == BatchControl.CANCELLED:
            request.state, request.cancelling_at = RequestState.CANCELLING, now
        elif read_tally(session, batch.id).is_over:
            request.state, request.finalizing_at = RequestState.FINALIZING, now
        elif request.expires_at is not None and request.expires_at <= now:
            call_off(session, request, now)
            request.state, request.finalizing_at = RequestState.FINALIZING, now


def call_off_cancelled(services: Services, claim: Claim) -> None:
    """Call off what is not drawn of a batch that somebody cancels."""
    with services.database.write() as session:
        request = session.get_one(BatchRequest, claim.request_id, with_for_update=True)
        now = services.database.now(session)
        call_off(session, request, now)
        request.state, request.finalizing_at = RequestState.FINALIZING, now
        request.worked_on_until = None
        if request.endpoint is None:
            request.state, request.ended_at = RequestState.CANCELLED, now


def write_results(services: Services, claim: Claim) -> None:
    """Write the files of results, and end the batch; what was begun before is written over.

    Raises:
        ServiceUnavailableError: the store does not answer; later it may.
        ClaimLostError: another clerk has taken it over.
    """
    with services.database.write() as session:
        request = session.get_one(BatchRequest, claim.request_id, with_for_update=True)
        # Chosen once, so that a clerk that goes on with it leaves nothing behind.
        request.output_file_id = request.output_file_id or new_id()
        request.error_file_id = request.error_file_id or new_id()
        file_ids = request.output_file_id, request.error_file_id
        end = _end_of(request, session.get(Batch, request.id))
        session.flush()
        session.expunge(request)
    lifetime = timedelta(hours=services.settings.url_hours)
    urls = ImageUrls(secret_of_urls(services.database), lifetime)
    outputs, errors = write_result_files(
        services, request, urls, UNDONE.get(end, CALLED_OFF), file_ids, claim.renew
    )
    claim.check()
    with services.database.write() as session:
        found = session.get_one(BatchRequest, request.id, with_for_update=True)
        now = services.database.now(session)
        found.output_file_id = _keep(session, found, outputs, "output", now)
        found.error_file_id = _keep(session, found, errors, "error", now)
        found.completed = outputs.lines
        found.requests = outputs.lines + errors.lines
        found.state, found.ended_at = end, now
        found.worked_on_until = None


UNDONE: dict[RequestState, Reason] = {
    RequestState.CANCELLED: BATCH_CANCELLED,
    RequestState.EXPIRED: BATCH_EXPIRED,
}
"""Why jobs were called off of a batch that comes to such an end."""


def _end_of(request: BatchRequest, batch: Batch | None) -> RequestState:
    if request.errors is not None:
        return RequestState.FAILED
    if request.cancelling_at is not None:
        return RequestState.CANCELLED
    was_called_off = batch is not None and batch.control == BatchControl.CANCELLED
    if was_called_off and _was_late(request):
        return RequestState.EXPIRED
    return RequestState.COMPLETED


def _was_late(request: BatchRequest) -> bool:
    expires_at, finalizing_at = request.expires_at, request.finalizing_at
    return expires_at is not None and finalizing_at is not None and expires_at <= finalizing_at


def _keep(
    session: Session, request: BatchRequest, file: ResultFile, kind: str, now: datetime
) -> UUID | None:
    """Give a file of results its row; one without lines is none."""
    if file.written is None:
        return None
    session.add(
        StoredFile(
            id=file.file_id,
            tenant=request.tenant,
            name=f"batch_{request.id.hex}_{kind}.jsonl",
            purpose=PURPOSE,
            bytes=file.written.bytes,
            sha256=file.written.sha256,
            object_key=file_key(file.file_id),
            created_at=now,
        )
    )
    session.flush()
    return file.file_id
