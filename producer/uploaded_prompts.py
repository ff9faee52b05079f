"""Prompts in a file that was uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from producer.prompt_content import content_of
from producer.prompt_files import PromptSource, prompts_in
from producer.prompt_format import PromptFormat, format_of_name
from producer.uploads import FileView
from shared.storage.base import ObjectStore


@contextmanager
def open_uploaded(
    store: ObjectStore,
    file: FileView,
    prompt_format: PromptFormat | None,
    *,
    model: str | None = None,
) -> Iterator[PromptSource]:
    """Copy a file to this host's disk and open it: it is read by seeking, and perhaps twice.

    Args:
        store: has the file.
        file: which.
        prompt_format: how it is written; None tells by its name, or by how it begins.
        model: lines that can name a model must name this one; None lets them name any.

    Raises:
        InputError: as `producer.prompt_files.open_prompts` does.
        ServiceUnavailableError: the store does not answer.
    """
    known = prompt_format or format_of_name(file.name)
    with tempfile.TemporaryFile(prefix="tenstep-") as copy:
        for block in store.blocks(file.object_key):
            copy.write(block)
        with prompts_in(content_of(copy, file.name), known, model=model) as prompts:
            yield prompts
