"""Forms are taken only from pages that this server made for this session."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from starlette.requests import Request

from producer.api.problems import ApiError
from producer.dashboard.visits import Visit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD = "form_token"
HEADER = "x-form-token"
"""For requests that scripts make."""
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
OWN = frozenset({"same-origin", "none"})


async def check_form(request: Request) -> None:
    """Refuse what changes something and was not sent by a page of this session.

    Raises:
        ApiError: another site may have sent it: 403.
    """
    if request.method in SAFE:
        return
    visit: Visit = request.state.visit
    given = request.headers.get(HEADER)
    if given is None and request.headers.get("content-type", "").startswith(FORMS):
        field = (await request.form(max_files=0)).get(FIELD)
        given = field if isinstance(field, str) else None
    is_own = request.headers.get("sec-fetch-site", "none") in OWN
    known = hmac.compare_digest((given or "").encode(), visit.form_token.encode())
    if not (is_own and known):
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "this form is not from a page of yours, or its session has ended",
            hint="Load the page again, and send it anew.",
        )
