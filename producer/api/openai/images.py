"""OpenAI's images: asked for, and waited for."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from uuid import UUID

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from producer.api.context import Context, ContextOf, Submitter
from producer.api.document import json_body
from producer.api.native.new_batches import IdempotencyKey
from producer.api.openai.documents import ImagesObject
from producer.api.openai.waiters import Waiters, WaitersOf
from producer.api.problems import OPENAI_ERRORS, ApiError, parsed
from producer.openai_images import (
    NotDrawnError,
    call_off_images,
    images_answer,
    is_anybody_there,
    start_images,
)
from producer.prompt_openai import ENDPOINT, ImageBody, ResponseFormat

router = APIRouter(tags=["openai"], responses=OPENAI_ERRORS)

DISCONNECT = "http.disconnect"
RETRY_SECONDS = 30
ONCE_ONLY = {"x-should-retry": "false"}
"""OpenAI's clients would else ask for the same again, and have more drawn."""


@router.post(
    ENDPOINT,
    summary="Draw images",
    response_model=ImagesObject,
    openapi_extra=json_body(ImageBody),
)
async def post_openai_images(
    context: ContextOf,
    who: Submitter,
    waiters: WaitersOf,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Draw up to 10 images before all batches, and wait for them up to the server's limit.

    If the client goes away before, they are called off, unless an idempotency key says that it
    may come again. Without a seed the images are others each time.
    """
    body = parsed(ImageBody, await request.body())
    with waiters.place():
        batch_id = await run_sync(
            partial(start_images, context.services, body, tenant=who.tenant, key=idempotency_key)
        )
        comes_again = idempotency_key is not None
        await _wait(context, waiters, request, batch_id, comes_again=comes_again)
    answer = partial(
        images_answer,
        context.services,
        batch_id,
        context.signer,
        context.base_url(request),
        sends_images=body.response_format is ResponseFormat.B64_JSON,
    )
    try:
        return JSONResponse(await run_sync(answer))
    except NotDrawnError as error:
        raise ApiError(error.status, error.message, code=error.code, headers=ONCE_ONLY) from None


async def _wait(
    context: Context, waiters: Waiters, request: Request, batch_id: UUID, *, comes_again: bool
) -> None:
    """Wait for a batch to end.

    Raises:
        ApiError: it took too long: 504, or 503 if there is nobody who could draw it.
    """
    ended = asyncio.create_task(waiters.until_ended(batch_id))
    gone = asyncio.create_task(_until_gone(request))
    seconds = context.settings.interactive_seconds
    try:
        await asyncio.wait({ended, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return
        if gone.done():
            await _call_off(context, batch_id, unless=comes_again)
            raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "the client did not wait")
    finally:
        ended.cancel()
        gone.cancel()
    if not await run_sync(is_anybody_there, context.services, batch_id):
        await _call_off(context, batch_id, unless=comes_again)
        raise ApiError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no worker that has this model is there",
            code="no_worker",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    raise ApiError(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"it took longer than {seconds:g} seconds; batch {batch_id} goes on",
        hint=f"GET /api/batches/{batch_id} tells how far it is.",
        code="not_drawn_yet",
        headers=ONCE_ONLY,
    )


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != DISCONNECT:
        pass


async def _call_off(context: Context, batch_id: UUID, *, unless: bool) -> None:
    if not unless:
        with CancelScope(shield=True):
            await run_sync(call_off_images, context.database, batch_id)
