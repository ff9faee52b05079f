"""Prompts in a file that was uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from producer.prompt_content import Content, content_of
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
    with copied_content(store, file) as content, prompts_in(content, known, model=model) as prompts:
        yield prompts


@contextmanager
def copied_content(
    store: ObjectStore, file: FileView, most_bytes: int | None = None
) -> Iterator[Content]:
    """Copy a file to this host's disk.

    Args:
        store: has the file.
        file: which.
        most_bytes: stop soon after so many; None copies all.

    Raises:
        InputError: it is not packed as its name says.
        ServiceUnavailableError: the store does not answer.
    """
    with tempfile.TemporaryFile(prefix="tenstep-") as copy:
        for block in store.blocks(file.object_key):
            copy.write(block)
            if most_bytes is not None and copy.tell() >= most_bytes:
                break
        yield content_of(copy, file.name)
