"""A stand-in for a hub of models, on loopback: serves folders by the hub's HTTP interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandInHub:
    """Repositories by name, each one folder at one commit."""

    url: str = ""
    folders: dict[str, Path] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    """Paths of files that were asked for, in order."""
    gives_out_after: int | None = None
    """How many files it gives before it refuses all others."""

    def info(self, repository: str, revision: str) -> dict[str, object] | None:
        """Answer as /api/models does."""
        folder = self.folders.get(repository)
        if folder is None or revision not in {"main", COMMIT, COMMIT[:12]}:
            return None
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": name} for name in names],
            "cardData": {"license": self.licences.get(repository, "apache-2.0")},
        }

    def tree(self, repository: str) -> list[dict[str, object]]:
        """Answer as /api/models/…/tree does."""
        folder = self.folders[repository]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [
            {
                "type": "file",
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),  # noqa: S324 - git's own
            }
            for path in files
        ]


@contextmanager
def serving() -> Iterator[StandInHub]:
    """Run a hub for as long as the block lasts."""
    hub = StandInHub()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: StandInHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        match parts:
            case ["api", "models", owner, name]:
                self._json(self.served.info(f"{owner}/{name}", "main"), "RepoNotFound")
            case ["api", "models", owner, name, "revision", revision]:
                known = f"{owner}/{name}" in self.served.folders
                found = self.served.info(f"{owner}/{name}", revision)
                self._json(found, "RevisionNotFound" if known else "RepoNotFound")
            case ["api", "models", owner, name, "tree", _]:
                self._json(self.served.tree(f"{owner}/{name}"), "RepoNotFound")
            case [owner, name, "resolve", _, *path]:
                self._file(self.served.folders[f"{owner}/{name}"] / "/".join(path), with_body)
            case _:
                self._json(None, "RepoNotFound")

    def _json(self, document: object, error: str) -> None:
        body = json.dumps(document or {"error": error}).encode()
        self.send_response(404 if document is None else 200)
        if document is None:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, path: Path, with_body: bool) -> None:  # noqa: FBT001 - as the caller has it
        limit = self.served.gives_out_after
        if with_body and limit is not None and len(self.served.fetched) >= limit:
            self.send_error(403)
            return
        data = path.read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')  # noqa: S324 - git's own
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if with_body:
            self.served.fetched.append(path.name)
            self.wfile.write(data[begin:])
