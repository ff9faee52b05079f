"""A server whose every page has something on it, for tests of how pages are to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from shared.domain.access import Scope
from support.api import ApiServer
from support.commands import wait_until
from support.dashboard import counts, pause, set_price, submit
from support.drawn import fail_first

DRAWN, FAILED, HELD = 40, 3, 6
LONG = "a red apple on a table beside a window that is open, and a very long word: " + "x" * 80


@dataclass(frozen=True, slots=True)
class DashboardScene:
    """What there is to see."""

    admin_key: str
    finished: UUID
    """Some of it failed, for two reasons."""
    held: UUID
    """Of this a sample is drawn."""

    @property
    def pages(self) -> Mapping[str, str]:
        """The paths of all pages, by what they are called."""
        return {
            "batches": "/batches",
            "new batch": "/batches/new",
            "finished batch": f"/batches/{self.finished}",
            "held batch": f"/batches/{self.held}",
            "jobs": f"/batches/{self.finished}/jobs",
            "failed job": f"/batches/{self.finished}/jobs/0",
            "drawn job": f"/batches/{self.finished}/jobs/{FAILED + 1}",
            "fleet": "/fleet",
            "costs": "/costs",
            "plan": "/plan",
            "plan made": "/plan?images=1000&deadline_hours=6&max_cost_usd=1",
        }


@contextmanager
def dashboard_scene(server: ApiServer) -> Iterator[DashboardScene]:
    """Fill a server, of which nobody draws; its worker lives on while the block runs."""
    set_price(server)
    finished = submit(
        server, [f"{LONG} {number}" for number in range(DRAWN + FAILED)], name="icons" + "s" * 60
    )
    fail_first(server, finished, ["content_flagged", "bad_settings", "content_flagged"])
    held = submit(server, [LONG] * HELD, name="drafts", hold=True, sample=2)
    paused = submit(server, ["a pear"] * 3, name="paused")
    pause(server, paused)
    with server.drawing():
        wait_until(lambda: counts(server, finished) == {"done": DRAWN, "failed": FAILED})
        wait_until(lambda: counts(server, held) == {"done": 2, "held": HELD - 2})
        admin_key = server.new_key("operator", Scope.ADMIN)
        yield DashboardScene(admin_key, finished, held)
