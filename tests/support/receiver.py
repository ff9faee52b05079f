"""A server of a tenant that webhooks call: it keeps what it gets, and answers as it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Call:
    """What came in."""

    path: str
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    def event(self, secret: str) -> Any:
        """Read what it says, if its signature is right."""
        return Webhook(secret).verify(self.body, dict(self.headers))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Answers 204 unless it is told otherwise."""

    port: int
    calls: list[Call] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    location: str | None = None
    """Where it redirects to."""
    never_ends: threading.Event | None = None
    """Makes the body of its answers go on until that is set."""
    is_silent: threading.Event | None = None
    """Makes it answer nothing until that is set."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hook"


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Listen on any free port of the loopback while the block runs."""
    found: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver = found[0]
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.calls.append(Call(self.path, headers, body))
            if receiver.is_silent is not None:
                receiver.is_silent.wait()
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            if receiver.location is not None:
                self.send_header("Location", receiver.location)
            self.end_headers()
            try:
                while receiver.never_ends is not None and not receiver.never_ends.wait(0.01):
                    self.wfile.write(b"x" * 65_536)
            except OSError:
                pass  # it was hung up

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1])
    found.append(receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
