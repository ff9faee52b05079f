"""A new batch: its form, what would come of it, and only then the batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producer.api.context import Context, ContextOf, Submitter
from producer.api.native.costs import MOST_QUOTED_BYTES
from producer.api.native.new_batches import PURPOSE, asked_of_file, file_of, put_request
from producer.api.receiving import keep_file, receive_file
from producer.batch_options import BatchOptions
from producer.batch_requests import check_room
from producer.dashboard.forms import PREVIEW, read_form
from producer.dashboard.new_batch_form import FILE, PROMPTS, Typed, WrongFieldsError
from producer.dashboard.new_batch_pasted import is_pasted, key_of, name_of
from producer.dashboard.new_batch_preview import preview_file
from producer.dashboard.pages import back_to, page
from producer.dashboard.visits import MAX_FORM_BYTES, UPLOAD
from producer.fleet_documents import model_documents
from producer.keys import Principal
from producer.prompt_format import PromptFormat
from producer.uploads import FileView
from shared.domain.access import Scope
from shared.domain.identifiers import new_id
from shared.domain.prompts import Label
from shared.domain.quality import Quality
from shared.domain.sampling import SchedulerName
from shared.errors import InputError
from shared.storage.base import BLOCK_BYTES

router = APIRouter()

FORM = "/batches/new"
MAX_NAME_CHARACTERS = 256
NO_PROMPTS = {PROMPTS: "paste prompts, or choose a file"}
WORDS_CHARACTERS = 60
"""Of the first prompt, in the name of a batch that was pasted without one."""
MOST_BYTES_SHOWN_AGAIN = 2**18
"""Of what was pasted; what is longer stays a file."""


@router.get(FORM)
def ask_for_prompts(request: Request, context: ContextOf, who: Submitter) -> Response:
    """Show the form, filled in with what the query says."""
    return _form(request, context, who, Typed.of(request.query_params))


@router.post(FORM)
async def ask_again(request: Request, context: ContextOf, who: Submitter) -> Response:
    """Show the form as it was filled in, from the page that shows what would come of it."""
    typed = Typed.of(await read_form(request))

    def show() -> Response:
        file = _kept(context, who, typed)
        if file is None or not is_pasted(file) or file.bytes > MOST_BYTES_SHOWN_AGAIN:
            return _form(request, context, who, typed)
        text = b"".join(context.store.blocks(file.object_key)).decode("utf-8", "replace")
        return _form(request, context, who, typed.with_prompts(text))

    return await run_sync(show)


@router.post(UPLOAD)
async def take_file(
    request: Request, context: ContextOf, who: Submitter, name: Annotated[Label, Query()]
) -> Response:
    """Keep the body as a file: a script sends it, and shows how far it is."""
    await run_sync(_check_room, context, who)  # before it sends what may be gigabytes
    file = await _received(context, who, request.stream(), name)
    return JSONResponse({"file_id": str(file.id), "bytes": file.bytes, "name": file.name})


@router.post(PREVIEW)
async def show_preview(request: Request, context: ContextOf, who: Submitter) -> Response:
    """Show what would come of it; nothing is a batch yet."""
    given = await read_form(request)
    typed = Typed.of(given)
    try:
        typed = await _with_chosen_file(context, who, typed, given)
        options = await run_sync(typed.options, context.settings)
        kept = await _with_pasted_file(context, who, typed)
        return await run_sync(_previewed, request, context, who, kept, options)
    except WrongFieldsError as error:
        return await run_sync(_form, request, context, who, typed, error.errors)
    finally:
        await request.close()


@router.post("/batches/new/confirm")
async def confirm(request: Request, context: ContextOf, who: Submitter) -> Response:
    """Submit it; the same form twice is one batch."""
    typed = Typed.of(await read_form(request))
    return await run_sync(_confirmed, request, context, who, typed)


def _form(
    request: Request,
    context: Context,
    who: Principal,
    typed: Typed,
    errors: Mapping[str, str] | None = None,
) -> Response:
    settings = context.settings
    with context.database.read() as session:
        models = model_documents(session, settings, context.database.now(session))
    return page(
        request,
        "new_batch.html",
        code=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        typed=typed,
        errors=errors or {},
        file=_kept(context, who, typed),
        models=models,
        formats=[known.value for known in PromptFormat],
        schedulers=[name.value for name in SchedulerName],
        qualities=[name.value for name in Quality if name is not Quality.EXACT],
        may_be_unchecked=settings.unchecked_batches,
        most_form_bytes=MAX_FORM_BYTES,
        most_upload_bytes=settings.max_upload_bytes,
    )


def _kept(context: Context, who: Principal, typed: Typed) -> FileView | None:
    file_id = typed.file_id
    return None if file_id is None else file_of(context, file_id, who)


async def _with_chosen_file(
    context: Context, who: Principal, typed: Typed, given: FormData
) -> Typed:
    chosen = given.get(FILE)
    if not isinstance(chosen, UploadFile) or not chosen.filename:
        return typed
    if typed.prompts.strip():
        raise WrongFieldsError({PROMPTS: "prompts are pasted and a file is chosen: give only one"})
    file = await _received(context, who, _blocks(chosen), _label(chosen.filename))
    return typed.with_file(file.id)


async def _with_pasted_file(context: Context, who: Principal, typed: Typed) -> Typed:
    if not typed.prompts.strip():
        return typed
    text = typed.prompts.replace("\r\n", "\n")

    async def whole() -> AsyncIterator[bytes]:
        yield text.encode("utf-8", "replace")

    file = await _received(context, who, whole(), name_of(text), is_kept_once=True)
    return typed.with_file(file.id)


async def _blocks(file: UploadFile) -> AsyncIterator[bytes]:
    while block := await file.read(BLOCK_BYTES):
        yield block


async def _received(
    context: Context,
    who: Principal,
    chunks: AsyncIterator[bytes],
    name: str,
    *,
    is_kept_once: bool = False,
) -> FileView:
    written = await receive_file(context.store, chunks)
    return await keep_file(
        context.services,
        written,
        tenant=who.tenant,
        name=name,
        purpose=PURPOSE,
        key=key_of(written.sha256) if is_kept_once else None,
    )


def _label(name: str) -> str:
    """Make what a browser calls a file a name: its end has the suffix."""
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return printable[-MAX_NAME_CHARACTERS:]


def _check_room(context: Context, who: Principal) -> None:
    with context.database.read() as session:
        check_room(session, context.settings, who.tenant, None)


def _previewed(
    request: Request, context: Context, who: Principal, typed: Typed, options: BatchOptions
) -> Response:
    file = _kept(context, who, typed)
    if file is None:
        raise WrongFieldsError(NO_PROMPTS)
    try:
        preview = preview_file(context.services, options, file, typed.prompt_format)
    except InputError as error:
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        raise WrongFieldsError({PROMPTS if is_pasted(file) else FILE: message}) from None
    if is_pasted(file) and preview.rows:
        typed = typed.named(preview.rows[0].line.request.prompt[:WORDS_CHARACTERS].strip())
    is_refused = preview.is_refused_by(options)
    return page(
        request,
        "new_batch_preview.html",
        code=HTTPStatus.UNPROCESSABLE_ENTITY if is_refused else HTTPStatus.OK,
        typed=typed.with_key(new_id()),
        options=options,
        preview=preview,
        is_refused=is_refused,
        most_quoted_bytes=MOST_QUOTED_BYTES,
    )


def _confirmed(request: Request, context: Context, who: Principal, typed: Typed) -> Response:
    file = _kept(context, who, typed)
    if file is None:
        return _form(request, context, who, typed, NO_PROMPTS)
    try:
        options = typed.options(context.settings)
        asked = asked_of_file(who, options, file, typed.prompt_format, typed.key)
    except WrongFieldsError as error:
        return _form(request, context, who, typed, error.errors)
    made = put_request(context, asked)
    if not who.may(Scope.READ):
        return page(request, "new_batch_sent.html", batch_id=made.batch_id)
    return back_to(request, f"/batches/{made.batch_id}")
