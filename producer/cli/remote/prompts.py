"""Prompts on their way to a server: a file as it lies there, or what a template gives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, cast

from producer.cli.prompt_source import GivenPrompts, multiplied
from producer.prompt_content import Content, opened_content
from producer.prompt_format import PromptFormat, format_of_name
from producer.prompt_lines import AcceptedLine
from shared.settings import Settings

MAX_NAME_CHARACTERS = 256
BYTES_UPLOADED = "bytes uploaded"


class Upload(NamedTuple):
    """A file that a server is to read."""

    name: str
    """What the user calls it."""
    file: BinaryIO
    """Can be read from its beginning, again and again."""
    size: int
    """In bytes, packed if it is."""
    format: PromptFormat | None
    """None leaves it to how it begins."""
    sha256: str

    @property
    def label(self) -> str:
        """The name, or the end of it: a server takes 256 characters."""
        return self.name[-MAX_NAME_CHARACTERS:]


@contextmanager
def opened_upload(given: GivenPrompts, settings: Settings) -> Iterator[Upload]:
    """Open a file of prompts without reading it, or write down what a template gives.

    Raises:
        InputError: there is neither or both, or it cannot be read.
        ServiceUnavailableError: the object storage does not answer.
    """
    given.check()
    if given.file is not None:
        known = given.format or (None if given.file == "-" else format_of_name(given.file))
        with opened_content(given.file, settings) as content:
            yield _upload(content, known)
        return
    source = multiplied(given, settings)
    with tempfile.TemporaryFile() as written:
        for line in source.lines:
            raw = line.raw_text() if isinstance(line, AcceptedLine) else line.raw
            written.write(f"{raw}\n".encode())
        lines = cast("BinaryIO", written)
        size = lines.tell()
        yield _upload(Content(source.name, lines, size, None), PromptFormat.JSONL)


def _upload(content: Content, prompt_format: PromptFormat | None) -> Upload:
    return Upload(content.name, content.file, content.size, prompt_format, content.sha256(""))
