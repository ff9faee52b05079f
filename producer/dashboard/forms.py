"""Forms are taken only from pages that this server made for this session."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request

from producer.api.problems import ApiError
from producer.dashboard.visits import MAX_FORM_BYTES, UPLOAD, Visit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD = "form_token"
HEADER = "x-form-token"
"""For requests that scripts make."""
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
OWN = frozenset({"same-origin", "none"})
PREVIEW = "/batches/new/preview"
"""The one form that may have a file."""


async def read_form(request: Request) -> FormData:
    """Return the fields of a form; whoever reads a file of it closes the request.

    Raises:
        HTTPException: it is broken, or has a file that it may not have: 400.
    """
    files = 1 if request.url.path == PREVIEW else 0
    # All of it is bounded, and so is what of it stays in memory.
    return await request.form(max_files=files, max_part_size=MAX_FORM_BYTES)


async def check_form(request: Request) -> None:
    """Refuse what changes something and was not sent by a page of this session.

    Raises:
        ApiError: another site may have sent it: 403.
    """
    if request.method in SAFE:
        return
    visit: Visit = request.state.visit
    given = request.headers.get(HEADER)
    is_form = request.headers.get("content-type", "").startswith(FORMS)
    # What is uploaded as it is may be gigabytes: it is no form, whatever it says.
    if given is None and is_form and request.url.path != UPLOAD:
        field = (await read_form(request)).get(FIELD)
        given = field if isinstance(field, str) else None
    is_own = request.headers.get("sec-fetch-site", "none") in OWN
    known = hmac.compare_digest((given or "").encode(), visit.form_token.encode())
    if not (is_own and known):
        await request.close()
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "this form is not from a page of yours, or its session has ended",
            hint="Load the page again, and send it anew.",
        )
