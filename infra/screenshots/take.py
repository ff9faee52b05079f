"""Take pictures of every page of the dashboard: light and dark, wide and narrow.

    PYTHONPATH=infra:tests python infra/screenshots/take.py

A server, its dispatcher and a worker that draws are started here; a minute or two pass until
there is something to look at. All pictures are put into infra/screenshots/out, those for the
README, small, beside this file.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Page
from pydantic import SecretStr

from shared.settings import Settings
from support.api import run_api
from support.browser import HEIGHT, launched_browser, visiting
from support.showcase import Showcase, showcase
from support.valkey import run_valkey

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (1440, 360)
SIGN_IN = "/signin"
PAGES: tuple[tuple[str, Callable[[Showcase], str]], ...] = (
    ("batches", lambda _: "/batches"),
    ("batch", lambda shown: f"/batches/{shown.working}"),
    ("batch-finished", lambda shown: f"/batches/{shown.finished}"),
    ("batch-failures", lambda shown: f"/batches/{shown.troubled}"),
    ("batch-held", lambda shown: f"/batches/{shown.held}"),
    ("image", lambda shown: f"/batches/{shown.troubled}/jobs/{shown.retried}"),
    ("new-batch", lambda _: "/batches/new"),
    ("fleet", lambda _: "/fleet"),
    ("costs", lambda _: "/costs"),
    ("plan", lambda _: "/plan?images=100000&deadline_hours=24"),
)


class Shot(NamedTuple):
    """One picture of a page."""

    page: str
    scheme: Scheme
    width: int

    @property
    def stem(self) -> str:
        """What its file is called, without the ending."""
        return f"{self.page}-{self.scheme}-{self.width}"


FOR_THE_README = (Shot("batches", "light", 1440), Shot("batch", "dark", 1440))
FOLDER = Path(__file__).parent
OUT = FOLDER / "out"
MAX_BYTES = 200_000
QUALITIES = range(90, 20, -10)
SETTLES_MILLISECONDS = 1_500
"""Until charts are drawn and the first event has come."""


def main() -> int:
    """Take them; returns 1 if a page was at fault (see `support.browser.Watch`)."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, run_valkey() as redis:
        settings = Settings(
            data_dir=Path(folder),
            redis_url=SecretStr(redis.url),
            cpu_threads=1,  # the server and the browser need a core, too
        )
        with run_api(settings) as server, showcase(server, device="cpu") as shown:
            try:
                _visit(server.url, shown)
            except AssertionError as fault:
                print(fault, file=sys.stderr)
                return 1
    for shot in FOR_THE_README:
        _compress(shot)
    return 0


def _visit(url: str, shown: Showcase) -> None:
    with launched_browser() as browser, visiting(browser, url) as visitor:
        page = visitor.page
        _take(page, "sign-in", SIGN_IN)
        page.goto(SIGN_IN)
        page.fill("input[name=key]", shown.admin_key)
        page.press("input[name=key]", "Enter")
        page.wait_for_url("**/batches")
        for name, path_of in PAGES:
            _take(page, name, path_of(shown))


def _take(page: Page, name: str, path: str) -> None:
    for scheme, width in product(SCHEMES, WIDTHS):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.goto(path)
        page.wait_for_timeout(SETTLES_MILLISECONDS)
        page.screenshot(path=OUT / f"{Shot(name, scheme, width).stem}.png", full_page=True)


def _compress(shot: Shot) -> None:
    """Save what is seen without scrolling as WebP, as good as its size allows."""
    with Image.open(OUT / f"{shot.stem}.png") as whole:
        seen = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, HEIGHT)))
        for quality in QUALITIES:
            file = io.BytesIO()
            seen.save(file, "WEBP", quality=quality, method=6)
            if file.tell() <= MAX_BYTES:
                break
    (FOLDER / f"{shot.stem}.webp").write_bytes(file.getvalue())


if __name__ == "__main__":
    sys.exit(main())
