"""Errors as answers: problem details (RFC 9457), or OpenAI's error object below ``/v1``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producer.api.document import reference_to
from producer.batch_requests import LimitReachedError
from producer.order import RefusedError
from producer.quote_grounds import NoRateError
from producer.submit import ConflictError
from shared.db.details import DetailsDroppedError
from shared.db.prices import MissingPriceError
from shared.errors import ConfigurationError, InputError, ServiceUnavailableError
from shared.storage.base import ObjectNotFoundError

log = structlog.get_logger()

Parsed = TypeVar("Parsed", bound=BaseModel)

OPENAI = "/v1/"
PROBLEM = "application/problem+json"
RETRY_SECONDS = 5
COMES_AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
MAX_ERRORS_LISTED = 20
SCOPE_OF_ERROR = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class ApiError(HTTPException):
    """What the client is told instead of an answer."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what is wrong.

        Args:
            status: of HTTP.
            message: a sentence for the user.
            hint: what to do about it.
            code: what programs know it by; default the status in words.
            param: the field that is wrong.
            headers: of the answer.
            more: further members of the problem's details.
        """
        super().__init__(status, message, dict(headers or {}))
        self.message = message
        self.hint = hint
        self.code = code or status.name.lower()
        self.param = param
        self.more = dict(more or {})


def not_found(what: str) -> ApiError:
    """Say that something is not there, or somebody else's: which of them is not told."""
    return ApiError(HTTPStatus.NOT_FOUND, f"there is no {what}")


def too_many(message: str, seconds: float, *, code: str) -> ApiError:
    """Ask to come again later.

    Args:
        message: what there is too much of.
        seconds: how much later.
        code: what programs know it by.
    """
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS,
        message,
        code=code,
        headers={"Retry-After": str(max(1, round(seconds)))},
    )


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str = Field(examples=["steps"])
    message: str = Field(examples=["must be less than or equal to 1000"])


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["steps: must be less than or equal to 1000"])
    code: str = Field(examples=["unprocessable_entity"])
    hint: str | None = Field(default=None, examples=["Give 1 to 1000."])
    errors: list[FieldError] | None = None
    rejected: dict[str, Any] | None = Field(
        default=None, description="Lines that were refused, if that is the reason."
    )


class OpenAIErrorDetail(BaseModel):
    """What is wrong, in OpenAI's words."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = None
    code: str | None = None


class OpenAIError(BaseModel):
    """OpenAI's error object."""

    error: OpenAIErrorDetail


def documented(model: type[BaseModel], media_type: str, *statuses: int) -> dict[int | str, Any]:
    """Document statuses whose answers are errors."""
    reference = reference_to(model)
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {media_type: {"schema": reference}},
        }
        for status in statuses
    }


EVERYWHERE = (400, 401, 403, 404, 408, 409, 410, 411, 413, 415, 422, 429, 500, 503)
NATIVE_ERRORS = documented(Problem, PROBLEM, *EVERYWHERE)
OPENAI_ERRORS = documented(OpenAIError, "application/json", *EVERYWHERE, 504)


Answer = Callable[[Request, ApiError], Response]


def install(app: FastAPI, answer: Answer) -> None:
    """Turn every exception of a route into an answer."""

    def handle(request: Request, error: Exception) -> Response:
        return answer(request, as_api_error(error))

    for known in (Exception, HTTPException, RequestValidationError, *FOREIGN):
        app.add_exception_handler(known, handle)


def answer_program(request: Request, error: ApiError) -> Response:
    """Tell a client of the API of an error."""
    return render(request.url.path, error)


def render(path: str, error: ApiError) -> Response:
    """Write an error as clients of that path expect it."""
    if path.startswith(OPENAI):
        # OpenAI's clients know 400 alone for what is wrong with a request.
        is_invalid = error.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        known = HTTPStatus.BAD_REQUEST if is_invalid else error.status_code
        return JSONResponse(_openai(error), known, error.headers)
    status = HTTPStatus(error.status_code)
    details = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": error.message,
        "code": error.code,
        **({"hint": error.hint} if error.hint else {}),
        **error.more,
    }
    return JSONResponse(details, status, error.headers, media_type=PROBLEM)


def _openai(error: ApiError) -> dict[str, Any]:
    status = HTTPStatus(error.status_code)
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    return {
        "error": {
            "message": message,
            "type": SCOPE_OF_ERROR.get(status, kind),
            "param": error.param,
            "code": error.code,
        }
    }


def as_api_error(error: Exception) -> ApiError:
    """Translate an exception; one that nobody expected is logged, and told nothing of."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        return ApiError(status, str(error.detail), headers=error.headers)
    for kind, status in FOREIGN.items():
        if isinstance(error, kind):
            return _known(error, status)
    log.error("request_failed", exc_info=error)
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "this should not have happened")


FOREIGN: Mapping[type[Exception], HTTPStatus] = {
    ConflictError: HTTPStatus.CONFLICT,
    NoRateError: HTTPStatus.CONFLICT,
    MissingPriceError: HTTPStatus.CONFLICT,
    LimitReachedError: HTTPStatus.TOO_MANY_REQUESTS,
    ObjectNotFoundError: HTTPStatus.NOT_FOUND,
    DetailsDroppedError: HTTPStatus.GONE,
    InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConfigurationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ServiceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    IntegrityError: HTTPStatus.CONFLICT,
    OperationalError: HTTPStatus.SERVICE_UNAVAILABLE,
    PoolTimeoutError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What services raise, and what it is to a client. The first that fits."""


def _known(error: Exception, status: HTTPStatus) -> ApiError:
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in COMES_AGAIN else None
    if isinstance(error, RefusedError):
        rejected = error.rejects.to_json() | {"file": None}
        return ApiError(
            status, error.message, hint=error.hint, code="refused", more={"rejected": rejected}
        )
    if isinstance(error, IntegrityError):  # two with one idempotency key, at one moment
        return ApiError(status, "another request asks for the same right now", hint="Try again.")
    if isinstance(error, OperationalError | PoolTimeoutError):
        log.warning("database_failed", error=str(error))
        return ApiError(status, "the database does not answer", headers=headers)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        # What is wrong with a server of ours is its operator's business.
        log.warning("service_unavailable", error=str(error))
        return ApiError(status, "a service that is needed for it is down", headers=headers)
    message = getattr(error, "message", str(error))
    hint, code = (getattr(error, name, None) for name in ("hint", "code"))
    return ApiError(status, message, hint=hint, code=code, headers=headers)


def parsed(model: type[Parsed], body: bytes) -> Parsed:
    """Read a JSON body by Pydantic's own parser, which knows what is no Unicode.

    Raises:
        ApiError: it is not JSON, or not what is asked for: 422.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _invalid_fields(error.errors(include_url=False, include_context=False)) from None


def validated(model: type[Parsed], fields: Mapping[str, Any]) -> Parsed:
    """Check fields that are text, such as those of a query.

    Raises:
        ApiError: they are not what is asked for: 422.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _invalid_fields(error.errors(include_url=False, include_context=False)) from None


def _invalid(error: RequestValidationError) -> ApiError:
    return _invalid_fields([{**one, "loc": one["loc"][1:]} for one in error.errors()])


def _invalid_fields(errors: Sequence[Any]) -> ApiError:
    found = [
        {"field": ".".join(map(str, one["loc"])), "message": _plain(one["msg"])}
        for one in errors[:MAX_ERRORS_LISTED]
    ]
    first = found[0]
    message = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY, message, param=first["field"], more={"errors": found}
    )


def _plain(message: str) -> str:
    return message.replace("Input should be", "must be").removeprefix("Value error, ")
