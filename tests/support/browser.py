"""A browser for tests: Chromium, and visitors whose pages are watched."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has none
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
NOBODY_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
"""What a page asks of another host is a fault; it is not to depend on the network, too."""
WIDTH, HEIGHT = 1440, 900
PATIENCE_SECONDS = 15
POLL_MILLISECONDS = 10
LEFT = "net::ERR_ABORTED"
"""Of a request that the page itself gave up, as when one goes elsewhere or downloads it."""
WCAG_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
GRAVE = {"serious", "critical"}


def installed_browser() -> str | None:
    """Find the machine's Chromium; None is Playwright's own, if there is any."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Run a browser without a window while the block runs.

    Playwright's event loop runs in this thread for as long: ``asyncio.run`` cannot be used.

    Raises:
        playwright.sync_api.Error: there is no browser, or it does not start.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=installed_browser(),
            chromium_sandbox=os.geteuid() != 0,  # root has none
            args=[NOBODY_ELSE],
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that came to nothing."""

    outcome: int | str
    """The status, from 400 on; or the browser's word for it, such as net::ERR_FAILED."""
    url: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.url}"


class Watch:
    """Notes what a page does that it never should, whatever else is tested.

    These are errors on its console or thrown in its scripts, what its policy (CSP) forbids,
    requests that are refused or fail, and requests to anybody but the server.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        """Watch all pages of a context.

        Args:
            context: has no page yet.
            url: the server, the only one that may be asked for anything.
        """
        self._context = context
        self._host = urlsplit(url).netloc
        self._faults: list[str] = []
        self._messages: list[tuple[str, str]] = []
        self._unanswered: set[Request] = set()
        self._refusals: list[Refusal] = []
        self._expected: set[tuple[int | str, str]] = set()
        context.on("console", self._note_message)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)
        context.on("response", self._note_response)
        context.on("requestfailed", self._note_failure)

    def expect(self, outcome: int | str, path: str) -> None:
        """Say that requests will be refused, or fail; then it is a fault if none is.

        Args:
            outcome: a status from 400 on, or the browser's word, such as net::ERR_FAILED.
            path: of the URL, without the query.
        """
        self._expected.add((outcome, path))

    def check(self) -> None:
        """Wait until the pages are loaded and all is answered, and tell if something was wrong.

        Raises:
            AssertionError: something was; it lists all of it.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        for page in self._context.pages:
            page.wait_for_load_state()
            page.title()  # a round trip: what happened before it has been told after it
            while self._unanswered and time.monotonic() < deadline:
                page.wait_for_timeout(POLL_MILLISECONDS)
        faults = [
            *self._faults,
            *self._bad_messages(),
            *self._bad_refusals(),
            *(f"request: never answered: {request.url}" for request in self._unanswered),
        ]
        assert not faults, "\n".join(["the page is at fault:", *faults])

    def _bad_messages(self) -> list[str]:
        told = {refusal.url for refusal in self._refusals}
        return [
            f"console: {text} ({url})"
            for text, url in self._messages
            # The console repeats what is known of a request.
            if not (text.startswith("Failed to load resource") and url in told)
        ]

    def _bad_refusals(self) -> list[str]:
        seen = {(one.outcome, urlsplit(one.url).path): one for one in self._refusals}
        return [
            *(f"request: {one}" for key, one in seen.items() if key not in self._expected),
            *(f"expected, but did not happen: {key}" for key in self._expected - seen.keys()),
        ]

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._messages.append((message.text, message.location["url"]))

    def _note_error(self, error: WebError) -> None:
        self._faults.append(f"script: {error.error.stack or error.error}")

    def _note_request(self, request: Request) -> None:
        self._unanswered.add(request)
        target = urlsplit(request.url)
        if target.netloc not in {self._host, ""}:  # data: and blob: have none
            self._faults.append(f"another host: {request.url}")

    def _note_response(self, response: Response) -> None:
        self._unanswered.discard(response.request)
        if response.status >= 400:
            self._refusals.append(Refusal(response.status, response.url))

    def _note_failure(self, request: Request) -> None:
        self._unanswered.discard(request)
        if request.failure not in {LEFT, None}:
            self._refusals.append(Refusal(str(request.failure), request.url))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a browser, and with cookies of their own."""

    page: Page
    watch: Watch


@contextmanager
def visiting(browser: Browser, url: str, *, javascript: bool = True) -> Iterator[Visitor]:
    """Have somebody visit a server while the block runs; paths are relative to its URL.

    Raises:
        AssertionError: at the end of the block, if a page was at fault (see `Watch`).
    """
    context = browser.new_context(
        base_url=url,
        viewport={"width": WIDTH, "height": HEIGHT},
        java_script_enabled=javascript,
        reduced_motion="reduce",  # what is on its way has no colour that could be checked
        locale="en-US",
        timezone_id="UTC",
        service_workers="block",  # they would ask unseen
    )
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    try:
        watch = Watch(context, url)
        yield Visitor(context.new_page(), watch)
        watch.check()
    finally:
        context.close()


def check_accessibility(page: Page) -> None:
    """Check what is shown at present by axe's rules for WCAG 2.2, levels A and AA.

    Raises:
        AssertionError: something is seriously wrong, or worse.
    """
    options = {"runOnly": WCAG_AA, "resultTypes": ["violations"]}
    found: list[dict[str, Any]] = Axe().run(page, options=options).response["violations"]
    grave = [_described(one) for one in found if one["impact"] in GRAVE]
    assert not grave, "\n".join([f"{page.url} cannot be used by everybody:", *grave])


def _described(violation: dict[str, Any]) -> str:
    lines = [f"{violation['id']} ({violation['impact']}): {violation['help']}"]
    for node in violation["nodes"]:
        why = " ".join(node["failureSummary"].split())
        lines.append(f"  {' '.join(map(str, node['target']))}: {node['html']}\n    {why}")
    return "\n".join(lines)
