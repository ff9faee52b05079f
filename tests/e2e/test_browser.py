"""The watch over pages can fail: pages with a fault of each kind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from playwright.sync_api import Browser

from support.browser import Visitor, check_accessibility, launched_browser, visiting


@dataclass
class Site:
    """Serves one page; other paths are not found, but those that it is told of."""

    server: ThreadingHTTPServer
    body: str = ""
    policy: str = ""
    """Its Content-Security-Policy."""
    statuses: dict[str, int] = field(default_factory=dict)
    goes_on: threading.Event = field(default_factory=threading.Event)
    """The answer to /slow waits for it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def other_name(self) -> str:
        """The same server, which to a browser is another host."""
        return f"http://localhost:{self.server.server_port}"


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/slow":
            self.site.goes_on.wait()
        is_page = path == "/"
        text = (
            '<!doctype html><html lang="en"><title>A page</title>'
            f'<link rel="icon" href="data:,"><main><h1>A page</h1>{self.site.body}</main></html>'
        )
        body = text.encode() if is_page else b""
        self.send_response(200 if is_page else self.site.statuses.get(path, 404))
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.site.policy:
            self.send_header("Content-Security-Policy", self.site.policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    class SiteHandler(Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), SiteHandler) as server:
        SiteHandler.site = Site(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield SiteHandler.site
        SiteHandler.site.goes_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def finds(fault: str, browser: Browser, site: Site, body: str) -> Iterator[Visitor]:
    """Visit a page, and go on; in the end it must have been at fault."""
    site.body = body
    with pytest.raises(AssertionError, match=fault), visited(browser, site) as visitor:
        yield visitor


@contextmanager
def visited(browser: Browser, site: Site) -> Iterator[Visitor]:
    with visiting(browser, site.url) as visitor:
        visitor.page.goto("/")
        yield visitor


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ("console: it broke", "<script>console.error('it broke')</script>"),
        ("script: Error: thrown", "<script>throw new Error('thrown')</script>"),
        ("script: Error: refused", "<script>Promise.reject(new Error('refused'))</script>"),
        ("request: 404: http.*/gone.png", '<img src="/gone.png" alt="">'),
        ("request: 404: http.*/gone", "<script>fetch('/gone')</script>"),
        ("request: 500: http.*/broken.css", '<link rel="stylesheet" href="/broken.css">'),
    ],
)
def test_a_fault_is_found(browser: Browser, site: Site, fault: str, body: str) -> None:
    site.statuses = {"/broken.css": 500}

    with finds(fault, browser, site, body):
        pass


@pytest.mark.parametrize(
    "body",
    [
        "<script>document.title = 'inline'</script>",
        '<button onclick="1">Press</button><script src="/press.js"></script>',
        '<p style="color: red">Red</p>',
        "<style>p { color: red }</style>",
    ],
)
def test_what_the_policy_forbids_is_found(browser: Browser, site: Site, body: str) -> None:
    site.policy = "default-src 'self'; img-src 'self' data:"
    site.statuses = {"/press.js": 200}

    with finds("Content Security Policy", browser, site, body):
        pass


@pytest.mark.parametrize(
    "body",
    [
        '<img src="{other}/image.png" alt="">',
        '<link rel="stylesheet" href="{other}/style.css">',
        "<script>fetch('{other}/', {{mode: 'no-cors'}})</script>",
        '<iframe src="{other}/" title="A frame"></iframe>',
        '<script src="https://scripts.example/a.js"></script>',
    ],
)
def test_a_request_to_another_host_is_found(browser: Browser, site: Site, body: str) -> None:
    site.statuses = {"/image.png": 200, "/style.css": 200}

    with finds("another host: http", browser, site, body.format(other=site.other_name)):
        pass


def test_a_fault_after_a_click_is_found(browser: Browser, site: Site) -> None:
    body = """<button onclick="fetch('/gone')">Press</button>"""

    with finds("request: 404", browser, site, body) as visitor:
        visitor.page.get_by_role("button").click()


def test_a_fault_on_a_page_that_was_left_is_found(browser: Browser, site: Site) -> None:
    with finds(
        "console: it broke", browser, site, "<script>console.error('it broke')</script>"
    ) as (visitor):
        visitor.page.goto("about:blank")


def test_a_fault_in_another_window_is_found(browser: Browser, site: Site) -> None:
    body = '<a href="/gone" target="_blank">Another</a>'

    with (
        finds("request: 404", browser, site, body) as visitor,
        visitor.page.expect_popup(),
    ):
        visitor.page.get_by_role("link").click()


def test_without_scripts_a_fault_is_found_too(browser: Browser, site: Site) -> None:
    site.body = '<img src="/gone.png" alt=""><script>throw new Error("not run")</script>'

    with (
        pytest.raises(AssertionError, match=r"at fault:\nrequest: 404: \S*$"),
        visiting(browser, site.url, javascript=False) as visitor,
    ):
        visitor.page.goto("/")


def test_what_is_expected_is_no_fault(browser: Browser, site: Site) -> None:
    site.body = "<script>fetch('/gone?x=1'); console.warn('beware'); console.log('hi')</script>"
    with visiting(browser, site.url) as visitor:
        visitor.watch.expect(404, "/gone")
        visitor.page.goto("/")


def test_what_is_expected_must_happen(browser: Browser, site: Site) -> None:
    with finds(
        "did not happen: .*410.*/gone", browser, site, "<script>fetch('/gone')</script>"
    ) as (visitor):
        visitor.watch.expect(410, "/gone")


def test_a_page_that_is_left_while_it_asks_is_no_fault(browser: Browser, site: Site) -> None:
    site.body = "<script>new EventSource('/slow'); fetch('/slow').catch(() => {})</script>"
    with visited(browser, site) as visitor:
        visitor.page.goto("about:blank")


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("color-contrast", '<p style="color: #ccc; background: #fff">Hardly there</p>'),
        ("image-alt", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'),
        ("label", '<input type="text">'),
        ("button-name", "<button></button>"),
    ],
)
def test_what_not_everybody_can_use_is_found(
    browser: Browser, site: Site, rule: str, body: str
) -> None:
    site.body = body
    with (
        visited(browser, site) as visitor,
        pytest.raises(AssertionError, match=rf"{rule} \((serious|critical)\)"),
    ):
        check_accessibility(visitor.page)


def test_what_everybody_can_use_is_found_so_under_a_strict_policy(
    browser: Browser, site: Site
) -> None:
    site.policy = "default-src 'none'; img-src data:"
    site.body = "<p>Some text</p>"
    with visited(browser, site) as visitor:
        check_accessibility(visitor.page)


def test_no_process_is_left() -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))

    def started() -> set[psutil.Process]:
        with launched_browser() as browser:
            browser.new_page().goto("about:blank")
            return set(me.children(recursive=True)) - before

    # A thread of its own, for the module's browser has this one.
    with ThreadPoolExecutor(1) as pool:
        processes = pool.submit(started).result()

    assert len(processes) > 1
    assert not psutil.wait_procs(processes, timeout=5)[1]
