"""A file in a form, read as it comes: it is never in memory, nor on disk twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from producer.api.problems import ApiError
from shared.domain.prompts import Label

FILE = "file"
DEFAULT_NAME = "upload"
MAX_FIELD_BYTES = 1_024
MAX_HEADER_BYTES = 8_192
DISPOSITION = b"content-disposition"
_check_name = TypeAdapter(Label).validate_python


class FileForm:
    """A form of one file and a few short fields, each at most once."""

    def __init__(self, content_type: str | None, fields: frozenset[str]) -> None:
        """Make ready to read one.

        Args:
            content_type: header of the request.
            fields: which there may be beside the file.

        Raises:
            ApiError: it is no form: 400.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise _bad("the body must be multipart/form-data", FILE)
        self.file_name: str | None = None
        self.fields: dict[str, str] = {}
        self._known = fields
        self._found: list[bytes] = []
        self._header = (b"", b"")
        self._part = ""
        self._value = b""
        self._is_whole = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _bad(f"the body cannot be read: {error}", FILE) from None

    async def file_bytes(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes of the file; afterwards its name and the fields are known.

        Raises:
            ApiError: the form is broken, or has not what it should: 400.
        """
        async for chunk in stream:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise _bad(f"the body cannot be read: {error}", None) from None
            found, self._found = self._found, []
            for data in found:
                yield data
        if not self._is_whole:
            raise _bad("the body ends too early", None)
        if self.file_name is None:
            raise _bad("file: is missing", FILE)

    def _begin_part(self) -> None:
        self._part, self._value, self._header = "", b"", (b"", b"")

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = _bounded(name + data[start:end], MAX_HEADER_BYTES), value

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = name, _bounded(value + data[start:end], MAX_HEADER_BYTES)

    def _end_header(self) -> None:
        name, value = self._header
        self._header = b"", b""
        if name.lower() != DISPOSITION:
            return
        _, options = parse_options_header(value)
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part == FILE:
            if self.file_name is not None:
                raise _bad("file: is given twice", FILE)
            self.file_name = _file_name(options.get(b"filename", b""))

    def _end_headers(self) -> None:
        if self._part != FILE and self._part not in self._known:
            raise _bad(f"{self._part[:64]!r} is no part of this form", self._part[:64])
        if self._part in self.fields:
            raise _bad(f"{self._part}: is given twice", self._part)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE:
            self._found.append(data[start:end])
        else:
            self._value = _bounded(self._value + data[start:end], MAX_FIELD_BYTES)

    def _end_part(self) -> None:
        if self._part != FILE:
            self.fields[self._part] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._is_whole = True


def _file_name(given: bytes) -> str:
    name = given.decode("utf-8", "replace").replace("\\", "/").split("/")[-1]
    try:
        return _check_name(name or DEFAULT_NAME)
    except ValidationError:
        message = "file: its name is longer than 256 characters, or has control characters"
        raise _bad(message, FILE) from None


def _bounded(value: bytes, most: int) -> bytes:
    if len(value) > most:
        raise _bad("a field of the form is too long", None)
    return value


def _bad(message: str, param: str | None) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message, param=param)
