"""The page: everything on it is escaped, and it may load and run nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from uuid import UUID

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from producer.gallery.cards import Card
from producer.gallery_state import GalleryState
from shared.domain.money import format_dollars
from shared.version import VERSION


@dataclass(frozen=True, slots=True)
class Heading:
    """What a page says of the batch."""

    name: str
    batch_id: UUID
    model: str
    state: GalleryState
    shown: int
    of: int
    """How many jobs are in the state that is shown."""
    total: int
    done: int
    failed: int
    nanodollars: int

    @property
    def cost(self) -> str:
        """Dollars that are booked for the batch."""
        return format_dollars(self.nanodollars, decimals=6)

    @property
    def what(self) -> str:
        """Name what is shown."""
        return {
            GalleryState.DONE: "images",
            GalleryState.FAILED: "failed jobs",
            GalleryState.ALL: "jobs",
        }[self.state]


def render_page(heading: Heading, cards: Sequence[Card]) -> str:
    """Write the page. Its policy lets a browser show its images and its own style alone."""
    style = _resource("gallery.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("gallery.html")).render(
        heading=heading,
        cards=cards,
        # The same models say the same.
        notes=sorted({card.note for card in cards if card.note}),
        style=Markup(style),  # noqa: S704 - our own file, and escaped it would not be CSS
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        version=VERSION,
    )


def _resource(name: str) -> str:
    return files("producer.gallery").joinpath(name).read_text("utf-8")
