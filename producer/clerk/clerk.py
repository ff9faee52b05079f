"""One look at what is asked for, and what there is to do about each of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from producer.clerk.claim import Claim, ClaimLostError
from producer.clerk.due import DueRequests
from producer.clerk.intake import take_in
from producer.clerk.results import call_off_cancelled, look_after, write_results
from producer.services import Services
from shared.db.api_tables import BatchRequest
from shared.domain.requests import RequestState
from shared.errors import TenstepError

log = structlog.get_logger()

Step = Callable[[Services, Claim], None]

STEPS: Mapping[RequestState, Step] = {
    RequestState.VALIDATING: take_in,
    RequestState.IN_PROGRESS: look_after,
    RequestState.CANCELLING: call_off_cancelled,
    RequestState.FINALIZING: write_results,
}
"""What is done in each state; the others are ends."""


class Clerk:
    """Does what there is to do, one thing after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._due = DueRequests(services.database)

    def work(self) -> None:
        """Look once for requests, and do what there is to do about them."""
        for request_id in self._due.find():
            claim = Claim(self._services.database, request_id)
            if claim.take():
                self._step(claim)

    def _step(self, claim: Claim) -> None:
        try:
            with self._services.database.read() as session:
                state = session.get_one(BatchRequest, claim.request_id).state
            STEPS[RequestState(state)](self._services, claim)
        except KeyboardInterrupt:  # whoever comes next need not wait for the claim to end
            claim.give_back()
            raise
        except ClaimLostError as error:
            log.warning("claim_lost", error=str(error))
        except (TenstepError, SQLAlchemyError, OSError) as error:
            log.warning("request_put_off", request_id=str(claim.request_id), error=str(error))
            claim.put_off(str(error))
