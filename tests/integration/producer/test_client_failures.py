"""The Python client and servers that misbehave, over real connections."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from producer.client import AsyncClient, Client, Patience
from producer.wire.document import BATCH_ID, JOB_ID
from shared.domain.jobs import JobState
from shared.errors import ConfigurationError, InputError, ServiceUnavailableError, TenstepError

KEY = "tsk_not-to-be-seen"
BATCH, JOB = UUID(BATCH_ID), UUID(JOB_ID)
SHORT = Patience(tries=3, first_seconds=0.01, most_seconds=2)
Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, and the ways to answer it."""

    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def answer(self, status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> None:
        """Answer as a server does."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self, kind: str) -> None:
        """Begin an answer that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """Send some of it."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def hang_up(self) -> None:
        """Close the connection, whatever was promised."""
        self.close_connection = True

    def do_GET(self) -> None:
        """Answer with the next of the script; its last one answers all that follow."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while self.rfile.readline().strip() != b"0":
                pass
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.seen.append((self.command, self.path, dict(self.headers)))
        answers = server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - as http.server looks for them

    def log_message(self, *_: object) -> None:
        """Keep silent."""


class Misbehaving(ThreadingHTTPServer):
    """Answers by a script."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers = list(answers)
        self.seen: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(*answers: Answer) -> Iterator[Misbehaving]:
    with Misbehaving(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def client_of(server: Misbehaving) -> Client:
    return Client(server.url, KEY, patience=SHORT)


def says(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> Answer:
    return lambda request: request.answer(status, body, **headers)


def hangs_up(request: Request) -> None:
    request.hang_up()


def status(done: int, *, finished: bool) -> dict[str, Any]:
    return {
        "batch_id": BATCH_ID,
        "name": "p.txt",
        "model": "emoji-64",
        "priority": 0,
        "state": "finished" if finished else "working",
        "control": "active",
        "created_at": "2026-11-27T08:00:00+00:00",
        "submitted": True,
        "total": 2,
        "counts": {state.value: 0 for state in JobState} | {"done": done},
        "tenant": "default",
        "finished": finished,
        "images_per_second": None,
        "eta_seconds": None,
        "cost_nanodollars": 0,
        "cost_usd": "0.000000000",
        "failures": [],
        "workers_alive": 0,
        "devices_at_work": {},
        "why_idle": None,
        "deadline_at": None,
        "max_cost_usd": None,
        "tags": {},
        "quote": None,
        "rejected": {"count": 0},
        "errors": [],
    }


MODELS = says(200, {"models": []})


@pytest.mark.parametrize(
    "trouble",
    [hangs_up, says(503), says(429, Retry_After="0"), says(502, b"<html>Bad Gateway</html>")],
)
def test_what_passes_is_tried_again(trouble: Answer) -> None:
    with serving(trouble, trouble, MODELS) as server, client_of(server) as client:
        assert client.models().models == []
        assert len(server.seen) == 3


def test_a_batch_is_asked_for_again_with_the_same_key() -> None:
    new = {"batch_id": BATCH_ID, "state": "submitted", "total": 1, "was_there": 0, "reused": 0}
    made = says(201, {**new, "quote": None, "rejected": None})
    with serving(hangs_up, made) as server, client_of(server) as client:
        client.submit(["a"])
        first, second = (headers["Idempotency-Key"] for _, _, headers in server.seen)
        assert first == second


def test_blocks_that_are_gone_are_not_sent_again() -> None:
    with serving(hangs_up, MODELS) as server, client_of(server) as client:
        with pytest.raises(ServiceUnavailableError, match="does not answer"):
            client.upload(iter([b"a"]))
        assert len(server.seen) == 1


def test_a_server_that_stays_away_is_told_after_some_tries() -> None:
    with serving(says(503, {"detail": "the database does not answer"})) as server:
        with client_of(server) as client, pytest.raises(ServiceUnavailableError) as error:
            client.models()
        assert len(server.seen) == 3
    assert "the database does not answer" in error.value.message


def test_a_server_that_wants_a_long_pause_is_not_waited_for() -> None:
    with serving(says(429, {"detail": "too many"}, Retry_After="3600")) as server:
        with client_of(server) as client, pytest.raises(ServiceUnavailableError, match="too many"):
            client.models()
        assert len(server.seen) == 1


def test_nobody_listens() -> None:
    with serving(MODELS) as server:
        url = server.url
    patience = Patience(tries=2, first_seconds=0.01)
    with (
        Client(url, patience=patience) as client,
        pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1"),
    ):
        client.models()


@pytest.mark.parametrize("body", [b"<html>Hello</html>", b"[]", b'{"models": 3}', b""])
def test_what_is_no_tenstep_is_told_apart(body: bytes) -> None:
    with (
        serving(says(200, body)) as server,
        client_of(server) as client,
        pytest.raises(ServiceUnavailableError, match="not what a tenstep server says"),
    ):
        client.models()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, InputError),
        (401, ConfigurationError),
        (403, ConfigurationError),
        (409, InputError),
        (418, InputError),
        (422, InputError),
        (500, ServiceUnavailableError),
    ],
)
def test_every_status_is_an_error_of_ours_and_none_tells_the_key(
    code: int, kind: type[TenstepError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    problem = {"detail": "so it is", "hint": "do that"}
    with serving(says(code, problem)) as server, client_of(server) as client:
        with pytest.raises(kind, match="so it is") as error:
            client.models()
        assert ("TENSTEP_API_KEY" if code == 401 else "do that") in str(error.value.hint)
        assert KEY not in f"{client!r} {error.value!r} {vars(client)} {caplog.text}"
        assert all(KEY not in path for _, path, _ in server.seen)


def test_a_key_goes_to_no_other_host() -> None:
    with serving(says(200, b"PNG")) as elsewhere:
        moved = says(307, Location=f"{elsewhere.url}/image.png")
        with serving(moved) as server, client_of(server) as client:
            assert client.image(JOB) == b"PNG"
            assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"
        [(_, path, headers)] = elsewhere.seen
    assert path == "/image.png"
    assert "Authorization" not in headers


def test_what_is_sent_goes_to_the_server_alone() -> None:
    with serving(MODELS) as elsewhere:
        moved = says(307, Location=f"{elsewhere.url}/api/batches")
        with (
            serving(moved) as server,
            client_of(server) as client,
            pytest.raises(ServiceUnavailableError, match="307"),
        ):
            client.submit(["a"])
        assert elsewhere.seen == []


def test_lines_are_lines_whatever_is_in_them_and_none_is_missing() -> None:
    prompts = ["line\u2028separator\x85", "another"]
    lines = "\n".join(json.dumps({"prompt": one}, ensure_ascii=False) for one in prompts).encode()

    def in_pieces(request: Request) -> None:
        request.begin("application/x-ndjson")
        for start in range(0, len(lines), 7):
            request.chunk(lines[start : start + 7])
        request.chunk(b"")

    def cut_short(request: Request) -> None:
        request.begin("application/x-ndjson")
        request.chunk(lines)
        request.hang_up()

    with serving(in_pieces, cut_short) as server, client_of(server) as client:
        told = [line["prompt"] for line in client.manifest(BATCH)]
        assert told == prompts
        with pytest.raises(ServiceUnavailableError):
            list(client.manifest(BATCH))


def events(*told: tuple[str, int], ends: bool = True) -> Answer:
    def answer(request: Request) -> None:
        request.begin("text/event-stream")
        for name, done in told:
            data = json.dumps(status(done, finished=name == "end"))
            request.chunk(f": ping\n\nevent: {name}\ndata: {data}\n\n".encode())
        if ends:
            request.chunk(b"")
        else:
            request.hang_up()

    return answer


def done_in(server: Misbehaving) -> list[int]:
    """Wait, and return how many images were done each time that something was told."""
    told: list[int] = []
    with client_of(server) as client:
        client.wait(BATCH, on_progress=lambda status: told.append(status.counts[JobState.DONE]))
    return told


def done_in_async(server: Misbehaving) -> list[int]:
    """Do the same with asyncio."""
    told: list[int] = []

    async def wait() -> None:
        async with AsyncClient(server.url, KEY, patience=SHORT) as client:
            await client.wait(
                BATCH, on_progress=lambda status: told.append(status.counts[JobState.DONE])
            )

    asyncio.run(wait())
    return told


@pytest.mark.parametrize("follow", [done_in, done_in_async])
def test_events_that_break_off_are_listened_to_again(
    follow: Callable[[Misbehaving], list[int]],
) -> None:
    broken = events(("status", 0), ("status", 1), ends=False)
    with serving(broken, says(503), events(("status", 1), ("end", 2))) as server:
        assert follow(server) == [0, 1, 1, 2]


def test_without_events_the_status_is_asked_for() -> None:
    unchanged = says(304)
    first = says(200, status(1, finished=False), ETag='"1"')
    last = says(200, status(2, finished=True), ETag='"2"')
    with serving(says(405), first, unchanged, last) as server:
        assert done_in(server) == [1, 2]
        asked = [headers.get("If-None-Match") for _, _, headers in server.seen]
        assert asked[:4] == [None, None, '"1"', '"1"']


@pytest.mark.parametrize("follow", [done_in, done_in_async])
def test_what_answers_without_events_is_asked(follow: Callable[[Misbehaving], list[int]]) -> None:
    last = says(200, status(2, finished=True))
    with serving(says(200, b"{}", Content_Type="application/json"), last) as server:
        assert follow(server) == [2]


def test_streams_that_tell_nothing_are_given_up() -> None:
    nothing = events()
    last = says(200, status(2, finished=True))
    with serving(nothing, nothing, nothing, last) as server:
        assert done_in(server) == [2]
