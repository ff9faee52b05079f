from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import ExitStack
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producer.api.openai.multipart import FileForm
from producer.api.openai.waiters import MAX_WAITERS, Waiters
from producer.api.problems import ApiError
from shared.domain.identifiers import new_id

BOUNDARY = b"limit"
HEADER = "multipart/form-data; boundary=limit"
FIELDS = frozenset({"purpose"})


def part(name: str, value: bytes, file_name: str | None = None) -> bytes:
    named = "" if file_name is None else f'; filename="{file_name}"'
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + value + b"\r\n"


def form_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(
    body: bytes, header: str | None = HEADER, cuts: Sequence[int] = ()
) -> tuple[bytes, FileForm]:
    """Read a form that comes in pieces; returns the file and what is known of it."""
    form = FileForm(header, FIELDS)
    return asyncio.run(_all(form, _chunks(body, cuts))), form


async def _all(form: FileForm, chunks: Sequence[bytes]) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return b"".join([data async for data in form.file_bytes(stream())])


def _chunks(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [0, *(cut % (len(body) + 1) for cut in cuts), len(body)]
    ends.sort()
    return [body[begin:end] for begin, end in pairwise(ends)]


@given(
    content=st.binary(max_size=200) | st.sampled_from([b"\r\n--limi", b"-limit--", b"\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    file_first=st.booleans(),
)
def test_a_file_comes_as_it_was_sent_however_it_is_cut(
    content: bytes, cuts: list[int], *, file_first: bool
) -> None:
    assume(b"\r\n--limit" not in b"\r\n" + content)
    parts = [part("file", content, "r.jsonl"), part("purpose", b"batch")]
    body = form_of(*(parts if file_first else reversed(parts)))
    received, form = read(body, cuts=cuts)
    assert received == content
    assert form.file_name == "r.jsonl"
    assert form.fields == {"purpose": "batch"}


PURPOSE = part("purpose", b"batch")
FILE = part("file", b"{}", "r.jsonl")


@pytest.mark.parametrize(
    ("body", "header", "says"),
    [
        (b"{}", "application/json", "multipart/form-data"),
        (b"{}", None, "multipart/form-data"),
        (b"", "multipart/form-data", "multipart/form-data"),
        (form_of(FILE), "multipart/form-data; boundary=" + "b" * 300, "cannot be read"),
        (form_of(FILE), "multipart/form-data; boundary=other", "cannot be read"),
        (b"", HEADER, "ends too early"),
        (FILE, HEADER, "ends too early"),
        (form_of(PURPOSE), HEADER, "file: is missing"),
        (form_of(FILE, FILE), HEADER, "file: is given twice"),
        (form_of(PURPOSE, PURPOSE, FILE), HEADER, "purpose: is given twice"),
        (form_of(FILE, part("expires_after[seconds]", b"1")), HEADER, "is no part of this form"),
        (form_of(part("purpose", b"b" * 2_000), FILE), HEADER, "too long"),
        (form_of(part("file", b"", "n" * 300)), HEADER, "its name"),
        (b"--limit\r\nX: " + b"y" * 20_000 + b"\r\n\r\n\r\n--limit--", HEADER, ""),
    ],
)
def test_a_form_that_is_none_is_refused(body: bytes, header: str | None, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(body, header)
    assert caught.value.status_code == 400
    assert says in caught.value.message


def test_a_name_is_that_of_the_file_alone() -> None:
    _, form = read(form_of(part("file", b"", r"C:\\prompts\\r.jsonl")))
    assert form.file_name == "r.jsonl"
    _, form = read(form_of(part("file", b"")))
    assert form.file_name == "upload"


def test_only_so_many_may_wait() -> None:
    waiters = Waiters(lambda batch_ids: batch_ids)
    with ExitStack() as stack:
        for _ in range(MAX_WAITERS):
            stack.enter_context(waiters.place())
        with pytest.raises(ApiError) as caught, waiters.place():
            pass
        assert caught.value.status_code == 429
        assert int(caught.value.headers["Retry-After"]) > 0  # type: ignore[index]
    with waiters.place():
        pass


def test_all_that_wait_are_asked_for_at_once_and_each_goes_when_its_batch_has_ended() -> None:
    first, second = new_id(), new_id()
    asked: list[list[UUID]] = []

    def ended(batch_ids: Collection[UUID]) -> Collection[UUID]:
        asked.append(list(batch_ids))
        return [first] if len(asked) < 3 else batch_ids

    async def wait() -> None:
        waiters = Waiters(ended)
        await asyncio.gather(*(waiters.until_ended(one) for one in (first, second, first)))
        await waiters.until_ended(second)

    asyncio.run(wait())
    assert asked[:3] == [[first, second], [second], [second]]
    assert len(asked) == 4
