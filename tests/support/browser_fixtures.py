"""A browser and its visitors, for any test that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from playwright.sync_api import Browser, Page

from support.api import ApiServer
from support.browser import Visitor, Watch, launched_browser, visiting


class NewVisitor(Protocol):
    """Makes visitors of a server, each with cookies of their own."""

    def __call__(self, url: str, *, javascript: bool = True) -> Visitor: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; not the session's, for other modules use ``asyncio.run``."""
    with launched_browser() as browser:
        yield browser


@pytest.fixture
def new_visitor(browser: Browser) -> Iterator[NewVisitor]:
    """Makes visitors of any server; the test fails if a page of theirs is at fault."""
    with ExitStack() as stack:

        def visitor(url: str, *, javascript: bool = True) -> Visitor:
            return stack.enter_context(visiting(browser, url, javascript=javascript))

        yield visitor


@pytest.fixture
def visitor(new_visitor: NewVisitor, api: ApiServer) -> Visitor:
    """A visitor of `api`; the test fails if a page is at fault (see `Watch`)."""
    return new_visitor(api.url)


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The window of `visitor`, 1440 by 900, for paths of `api`."""
    return visitor.page


@pytest.fixture
def watch(visitor: Visitor) -> Watch:
    """What sees to it that pages are without fault; it can be told to expect one."""
    return visitor.watch
