"""What becomes of a batch that was asked for in OpenAI's form: its end, and the files of results."""

from __future__ import annotations

from producer.batch_requests import call_off
from producer.clerk.claim import Claim
from producer.services import Services
from shared.db.api_tables import BatchRequest
from shared.domain.requests import RequestState


def look_after(services: Services, claim: Claim) -> None:
    """Notice that its jobs have ended, or that its time is over."""
    claim.give_back()


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
    """Write the files of results."""
    claim.give_back()
