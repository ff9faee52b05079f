"""Lines of a batch's file that have no jobs: refused, or not read before it was called off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from producer.batch_options import BatchOptions
from producer.openai_lines import (
    INVALID_LINE,
    Reason,
    ResultLine,
    custom_id_in,
    undrawn_line,
)
from producer.prompt_format import PromptFormat
from producer.prompt_lines import PromptLine, line_groups
from producer.rejected_lines import rejects_key
from producer.rejects import RejectedLine, first_reason
from producer.services import Services
from producer.settle import Settler
from producer.uploaded_prompts import open_uploaded
from producer.uploads import FileView
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.tables import Batch
from shared.errors import InputError
from shared.storage.base import ObjectNotFoundError


def is_taken_in(request: BatchRequest, batch: Batch | None) -> bool:
    """Tell whether all lines of a batch's file were read."""
    return request.errors is not None if batch is None else "requests" in batch.client


def undrawn_lines(
    services: Services, request: BatchRequest, batch: Batch | None, last: int, undone: Reason
) -> Iterator[ResultLine]:
    """Yield a line for every line of a batch's file that has no jobs.

    Args:
        services: database and store.
        request: what was asked for.
        batch: what was written of it, if anything was.
        last: number of the last line that has jobs; 0 if none has.
        undone: why lines after it were not read.

    Raises:
        ServiceUnavailableError: the store does not answer.
    """
    if not is_taken_in(request, batch):
        yield from _in_file(services, request, last, undone)
        return
    refused = request.requests if batch is None else batch.client["rejected"]["count"]
    if not refused:
        return
    try:
        blocks = services.store.blocks(rejects_key(request.id))
    except ObjectNotFoundError:
        # Whoever read the file died before it could keep the list: the file still tells.
        yield from _in_file(services, request, None, undone)
    else:
        yield from _in_list(blocks, request.id)


def images_wanted(services: Services, request: BatchRequest, number: int) -> int | None:
    """Return how many images a line of the file asks for; None if the file is gone."""
    for line in _lines(services, request):
        if line.line_number == number and not isinstance(line, RejectedLine):
            return line.request.n
    return None


def _in_list(blocks: Iterator[bytes], batch_id: UUID) -> Iterator[ResultLine]:
    for group in line_groups(blocks):
        for line in group.lines:
            # What the line itself said comes last: of a long one it is cut, and no matter.
            refused: dict[str, Any] = from_json(line, allow_partial="trailing-strings")
            reason = _invalid(refused["field"], refused["reason"])
            custom_id = custom_id_in(refused.get("raw", ""))
            yield undrawn_line(batch_id, refused["line_number"], custom_id, reason)


def _in_file(
    services: Services, request: BatchRequest, last: int | None, undone: Reason
) -> Iterator[ResultLine]:
    options = BatchOptions.model_validate(request.options)
    settler = Settler(options.order(request.tenant).defaults, options.card(services.settings))
    for line in _lines(services, request):
        number = line.line_number
        if isinstance(line, RejectedLine):
            reason, custom_id = _invalid(line.field, line.reason), custom_id_in(line.raw)
        else:
            custom_id = line.request.custom_id
            try:
                settler.settle(line.request)
            except ValueError as error:
                reason = _invalid(*first_reason(error))
            else:
                if last is None or number <= last:
                    continue
                reason = undone
        yield undrawn_line(request.id, number, custom_id, reason)


def _lines(services: Services, request: BatchRequest) -> Iterator[PromptLine]:
    """Read the file again; one that is gone, or broken, has no more lines."""
    with services.database.read() as session:
        file = session.get(StoredFile, request.input_file_id)
    if file is None:
        return
    model = BatchOptions.model_validate(request.options).card(services.settings).name
    try:
        with open_uploaded(
            services.store, FileView.of(file), PromptFormat.OPENAI, model=model
        ) as source:
            yield from source.lines
    except (InputError, ObjectNotFoundError):
        return


def _invalid(field: str | None, reason: str) -> Reason:
    return Reason(INVALID_LINE, f"{field}: {reason}" if field else reason)
