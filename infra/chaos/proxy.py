"""A small HTTP proxy in front of an object store: it passes on, refuses, or takes its time."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30
OWN_HEADERS = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class StoreProxy:
    """What it does now: everything, unless told otherwise."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.url = ""
        self.refuses_with: int | None = None
        """Status of every answer; None asks the store."""
        self.delay_seconds = 0.0
        """Before every answer."""
        self.refused = 0


@contextmanager
def run_proxy(target: str) -> Iterator[StoreProxy]:
    """Serve on a free loopback port; in threads of this process."""
    proxy = StoreProxy(target)

    class Handler(_Handler):
        store_proxy = proxy

    server = _QuietServer(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="store-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed while they talked."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store_proxy: StoreProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy = self.store_proxy
        time.sleep(proxy.delay_seconds)
        if proxy.refuses_with is not None:
            proxy.refused += 1
            self._answer(proxy.refuses_with, [], _refusal(proxy.refuses_with))
            return
        # The client signs the name of the host that it believes to talk to: left as it is.
        connection = http.client.HTTPConnection(proxy.target, timeout=TIMEOUT_SECONDS)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
        except OSError:
            self.close_connection = True
        finally:
            connection.close()

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _serve  # noqa: N815 - so named by the base class

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is declared
        """Keep quiet."""


def _refusal(status: int) -> bytes:
    code = {503: "ServiceUnavailable", 507: "InsufficientStorage"}.get(status, "InternalError")
    return (
        f"<Error><Code>{code}</Code><Message>injected by the chaos suite</Message></Error>".encode()
    )
