"""Signing in with a key, and out."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import Context, ContextOf
from producer.api.keyring import MAX_KEY_CHARACTERS
from producer.dashboard.pages import MAX_NEXT_CHARACTERS, back_to, page
from producer.dashboard.visits import SIGN_IN, Visit
from producer.keys import Principal, recognise
from producer.sessions import new_token, sign_in, sign_out

router = APIRouter()

HOME = "/batches"
Next = Annotated[str, Query(max_length=MAX_NEXT_CHARACTERS)]


@router.get(SIGN_IN)
def ask_for_key(request: Request, *, next: Next = HOME) -> Response:  # noqa: A002 - its usual name
    """Show the form to whoever needs a key."""
    if hasattr(request.state, "principal"):
        return back_to(request, _own_path(next))
    return page(request, "sign_in.html", next=_own_path(next), error=None)


@router.post(SIGN_IN)
def begin(
    request: Request,
    context: ContextOf,
    key: Annotated[str, Form(max_length=MAX_KEY_CHARACTERS)],
    next: Annotated[str, Form(max_length=MAX_NEXT_CHARACTERS)] = HOME,  # noqa: A002 - same
) -> Response:
    """Begin a session, with a token that no one knew before."""
    token = _begin(context, key.strip())
    if token is None:
        return page(
            request,
            "sign_in.html",
            code=HTTPStatus.UNAUTHORIZED,
            next=_own_path(next),
            error="This key is not known, or no longer.",
        )
    visit: Visit = request.state.visit
    visit.token = token
    return back_to(request, _own_path(next))


def _begin(context: Context, key: str) -> str | None:
    with context.database.write() as session:
        now = context.database.now(session)
        who: Principal | None = recognise(session, key, now)
        if who is None:
            return None
        return sign_in(session, who, now, timedelta(hours=context.settings.session_hours))


@router.post("/signout")
def end(request: Request, context: ContextOf) -> Response:
    """End the session, wherever its cookie may be."""
    visit: Visit = request.state.visit
    with context.database.write() as session:
        sign_out(session, visit.token)
    context.keys.forget(visit.token)
    visit.token = new_token()
    return back_to(request, SIGN_IN)


def _own_path(path: str) -> str:
    """Return a path of this server's own, whatever a link said."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else HOME
