"""Templates become pages. Everything that is put into them is escaped."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from producer.api.problems import ApiError
from producer.dashboard.assets import asset
from producer.dashboard.figures import FILTERS
from producer.dashboard.visits import SIGN_IN
from producer.keys import Principal
from shared.clock import utc_now
from shared.domain.access import Scope
from shared.domain.jobs import JobState
from shared.version import VERSION

SCRIPTED = "hx-request"
"""A header of requests that a script of a page makes."""
MESSAGES = "#messages"
MAX_NEXT_CHARACTERS = 2_000
"""Of a path that somebody is sent on to after signing in."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("producer.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(asset=asset, version=VERSION, JobState=JobState)
    return environment


def fragment(template: str, **values: Any) -> str:
    """Render a part of a page, or a page; `values` are the template's."""
    return _environment().get_template(template).render(now=utc_now(), **values)


def page(
    request: Request, template: str, *, code: HTTPStatus = HTTPStatus.OK, **values: Any
) -> HTMLResponse:
    """Answer with a page.

    Args:
        request: whose visit it is.
        template: its name.
        code: of the answer.
        values: the template's own; it also gets `who`, `may`, `form_token` and `path`.
    """
    who: Principal | None = getattr(request.state, "principal", None)
    html = fragment(
        template,
        who=who,
        may=allowed(who),
        form_token=request.state.visit.form_token,
        path=request.url.path,
        **values,
    )
    return HTMLResponse(html, code)


def allowed(who: Principal | None) -> frozenset[str]:
    """Return the names of the scopes that somebody has, those that are implied too."""
    return frozenset(scope.value for scope in Scope if who is not None and who.may(scope))


def refuse(request: Request, error: ApiError) -> Response:
    """Tell a person of an error; one who is not signed in is asked to."""
    is_scripted = SCRIPTED in request.headers
    if error.status_code == HTTPStatus.UNAUTHORIZED:
        target = f"{SIGN_IN}?next={quote(_wanted(request))}"
        if is_scripted:
            return Response(status_code=error.status_code, headers={"HX-Redirect": target})
        if request.method == "GET" and not request.url.path.endswith(SIGN_IN):
            return RedirectResponse(target, HTTPStatus.SEE_OTHER)
    status = HTTPStatus(error.status_code)
    if is_scripted:
        answer = HTMLResponse(fragment("_message.html", error=error), status)
        answer.headers.update({"HX-Retarget": MESSAGES, "HX-Reswap": "innerHTML"})
    else:
        answer = page(request, "error.html", code=status, error=error, phrase=status.phrase)
    for name, value in (error.headers or {}).items():
        answer.headers.setdefault(name, value)
    return answer


def _wanted(request: Request) -> str:
    """Return what somebody is sent on to after signing in."""
    if request.method != "GET" or SCRIPTED in request.headers:
        return "/"
    path, query = request.url.path, request.url.query
    wanted = f"{path}?{query}" if query and path != "/" else path
    return wanted if len(wanted) <= MAX_NEXT_CHARACTERS else "/"


def back_to(request: Request, path: str) -> Response:
    """Send a person on to a page, after a form."""
    onward = RedirectResponse(path, HTTPStatus.SEE_OTHER)
    if SCRIPTED in request.headers:
        headers = {"HX-Redirect": onward.headers["location"]}
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return onward
