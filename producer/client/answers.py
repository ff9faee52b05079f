"""From a response of the server to a document, or to an error of ours."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from producer.rejects import RejectedLine, Rejects
from shared.errors import ConfigurationError, InputError, ServiceUnavailableError, TenstepError

Model = TypeVar("Model", bound=BaseModel)

KEY_HINT = "Set TENSTEP_API_KEY to a key of that server: tenstep keys create makes one there."
MOVED_HINT = "It sends to another address: use that one, or https:// rather than http://."
MAX_SHOWN_CHARACTERS = 200


class RefusedLinesError(InputError):
    """Lines were refused, and so nothing was submitted."""

    def __init__(self, message: str, rejects: Rejects) -> None:
        super().__init__(message)
        self.rejects = rejects


class NotFoundError(InputError):
    """It is not there, or somebody else's."""


class ConflictError(InputError):
    """Something else was asked for with that idempotency key, or it cannot be changed now."""


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response that is no error.

    Raises:
        ConfigurationError: the key is missing, wrong, or lacks a scope.
        InputError: what was asked for is wrong, or not there.
        ServiceUnavailableError: there were too many requests, or the server failed.
    """
    if response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED:
        return response
    raise _error_of(response)


def _error_of(response: httpx.Response) -> TenstepError:
    problem = _problem(response)
    status = response.status_code
    hint = problem.get("hint")
    message = str(problem.get("detail") or _described(response))
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        is_known = status == HTTPStatus.FORBIDDEN and hint
        return ConfigurationError(message, hint=hint if is_known else KEY_HINT)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServiceUnavailableError(f"{response.url.host}: {message}", hint=hint)
    if status < HTTPStatus.BAD_REQUEST:
        return ServiceUnavailableError(f"{response.url.host}: {message}", hint=MOVED_HINT)
    if isinstance(problem.get("rejected"), dict):
        return RefusedLinesError(message, rejects_of(problem["rejected"], "request"))
    return KINDS.get(status, InputError)(message, hint=hint)


KINDS: dict[int, type[InputError]] = {
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
}


def _problem(response: httpx.Response) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = response.json()
        if isinstance(found, dict):
            return found
    return {}


def _described(response: httpx.Response) -> str:
    """Say what came that is no problem's details: something else may be listening there."""
    reason = f"{response.status_code} {response.reason_phrase}".strip()
    words = " ".join(response.text.split())[:MAX_SHOWN_CHARACTERS]
    return f"answered {reason}: {words}" if words else f"answered {reason}"


def document(model: type[Model], response: httpx.Response) -> Model:
    """Read a document.

    Raises:
        ServiceUnavailableError: it is none: what answers is no tenstep, or another version.
    """
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _not_understood(response) from error


def plain(response: httpx.Response) -> dict[str, Any]:
    """Read a JSON object; the errors are those of `document`."""
    try:
        found = response.json()
    except ValueError as error:
        raise _not_understood(response) from error
    if not isinstance(found, dict):
        raise _not_understood(response)
    return found


def _not_understood(response: httpx.Response) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"{response.url.host}: its answer to {response.request.method} {response.url.path} "
        "is not what a tenstep server says",
        hint="Is that its address, and is it of the same version?",
    )


def rejects_of(told: dict[str, Any], source: str) -> Rejects:
    """Read the first lines that were refused."""
    first = [
        RejectedLine(line["line_number"], line["field"], line["reason"], line["raw"])
        for line in told.get("first", [])
    ]
    return Rejects(source, int(told["count"]), first, None)
