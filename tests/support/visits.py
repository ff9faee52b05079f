"""Somebody who visits the dashboard without a browser, and what every page must be."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from producer.dashboard.visits import COOKIE, HEADERS
from support.api import ApiServer

PATIENCE_SECONDS = 30
SCRIPT_URLS = re.compile(r"[\s\x00-\x20]*(javascript|vbscript|data|file)\s*:", re.IGNORECASE)
"""Browsers leave out what stands before the scheme of a URL, if it cannot be seen."""
URLS = frozenset({"href", "src", "action", "formaction", "poster", "data", "hx-post", "hx-get"})
TEXT_OF_CODE = frozenset({"script", "style"})


@dataclass(frozen=True, slots=True)
class Element:
    """A tag of a page."""

    tag: str
    attributes: Mapping[str, str]
    text: list[str] = field(default_factory=list)
    """What stands between it and the next tag."""


class Document(HTMLParser):
    """A page, read as a browser would."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1].text.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, with one space wherever there is any."""
        words = [" ".join(one.text) for one in self.elements if one.tag not in TEXT_OF_CODE]
        return " ".join(" ".join(words).split())

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Find elements; underscores in names of attributes stand for hyphens."""
        wanted = {name.replace("_", "-").rstrip("-"): value for name, value in attributes.items()}
        return [
            one
            for one in self.elements
            if one.tag == tag and wanted.items() <= one.attributes.items()
        ]

    @property
    def form_token(self) -> str:
        """What its forms carry; there must be one."""
        return self.all("input", name="form_token")[0].attributes["value"]

    @property
    def buttons(self) -> list[str]:
        """The labels of all."""
        return [" ".join(" ".join(one.text).split()) for one in self.all("button")]

    def faults(self) -> list[str]:
        """List what a strict policy would refuse: then something was not escaped."""
        return [
            f"<{one.tag}>: {fault}" for one in self.elements for fault in sorted(_faults_of(one))
        ]


def _faults_of(element: Element) -> Iterator[str]:
    if element.tag in {"style", "iframe", "object", "embed", "base", "math"}:
        yield "is no element of ours"
    if element.tag == "script" and (
        "".join(element.text).strip() or not element.attributes.get("src", "").startswith("/static")
    ):
        yield "is a script in the page"
    for name, value in element.attributes.items():
        if name.startswith("on") or name == "style":
            yield f"has {name}"
        if name in URLS and (SCRIPT_URLS.match(value) or urlsplit(value).netloc):
            yield f"leads to {value}"


@dataclass(frozen=True, slots=True)
class Visit:
    """A browser without scripts: keeps cookies, and sends forms as pages have them."""

    client: httpx.Client

    @property
    def token(self) -> str | None:
        """What its cookie holds."""
        return self.client.cookies.get(COOKIE)

    def get(self, path: str, status: int = 200, **more: Any) -> httpx.Response:
        """Ask for something, and have it answered like that, with the headers of every answer."""
        answer = self.client.get(path, **more)
        assert answer.status_code == status, f"{path}: {answer.status_code}: {answer.text[:2000]}"
        check_headers(answer)
        return answer

    def page(self, path: str, status: int = 200, **more: Any) -> Document:
        """Ask for a page; nothing of it may be what its policy refuses."""
        answer = self.get(path, status, **more)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        document = Document(answer.text)
        assert not document.faults(), path
        return document

    def form_token(self) -> str:
        """Return what forms of this session's pages carry; any page has it."""
        any_page = self.client.get("/nowhere", follow_redirects=True)
        body = Document(any_page.text).all("body")[0]
        return body.attributes["hx-headers"].split('"')[3]

    def post(self, path: str, status: int = 303, **fields: str) -> httpx.Response:
        """Send a form of a page."""
        answer = self.client.post(path, data={"form_token": self.form_token(), **fields})
        assert answer.status_code == status, f"{path}: {answer.status_code}: {answer.text[:2000]}"
        check_headers(answer)
        return answer

    def sign_in(self, secret: str, *, next: str = "/batches") -> httpx.Response:  # noqa: A002 - its name
        """Show a key."""
        token = Document(self.client.get("/signin").text).form_token
        return self.client.post("/signin", data={"form_token": token, "key": secret, "next": next})

    def is_signed_out_soon(self) -> bool:
        """Wait until the session has ended, which a server may learn a second later."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            answer = self.client.get("/batches")
            if answer.status_code == HTTPStatus.SEE_OTHER:
                return answer.headers["location"].startswith("/signin")
            time.sleep(0.1)
        return False


@contextmanager
def visiting(api: ApiServer, secret: str | None = None) -> Iterator[Visit]:
    """Visit a server while the block runs, signed in with a key if there is one."""
    with httpx.Client(base_url=api.url, timeout=PATIENCE_SECONDS) as client:
        visit = Visit(client)
        if secret is not None:
            assert visit.sign_in(secret).status_code == 303
        yield visit


def check_headers(answer: httpx.Response) -> None:
    """Check that an answer has the headers that every one has."""
    missing = {name for name, value in HEADERS.items() if answer.headers.get(name) != value}
    assert not missing, f"{answer.request.url.path}: {missing}"


def rows_of(api: ApiServer) -> str:
    """Hash every row of a server on SQLite."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(api.settings.data_dir / "tenstep.sqlite3")) as connection:
        for line in connection.iterdump():
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
