"""Images of a batch as they arrive, small; a page of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import ContextOf, Reader
from producer.api.tenancy import get_own
from producer.arrivals import Arrival, ArrivedImage, newest_images
from producer.dashboard.pages import page
from shared.db.details import require_details
from shared.db.tables import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

router = APIRouter()

TILES_A_PAGE = 100
MAX_PLACE_CHARACTERS = 64
Place = Annotated[str | None, Query(max_length=MAX_PLACE_CHARACTERS)]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Some images, the newest first."""

    batch_id: UUID
    images: Sequence[ArrivedImage]
    next: Arrival | None
    """Begins the next page, of older ones."""

    @property
    def newest(self) -> Arrival | None:
        """Where newer ones begin."""
        return self.images[0].arrival if self.images else None


def read_tiles(session: Session, batch_id: UUID, before: Arrival | None = None) -> Tiles:
    """Read a page of a batch's images.

    Args:
        session: reads.
        batch_id: whose; it is not checked who asks.
        before: begins the page.
    """
    images = newest_images(session, batch_id, TILES_A_PAGE + 1, before=before)
    shown = images[:TILES_A_PAGE]
    return Tiles(batch_id, shown, shown[-1].arrival if len(images) > TILES_A_PAGE else None)


@router.get("/batches/{batch_id}/images")
def list_tiles(
    request: Request,
    context: ContextOf,
    who: Reader,
    batch_id: UUID,
    before: Place = None,
    after: Place = None,
) -> Response:
    """Send images that are older than one that is shown, or newer."""
    with context.database.read() as session:
        require_details(get_own(session, Batch, batch_id, who))
        if after is None:
            tiles = read_tiles(session, batch_id, Arrival.parse(before) if before else None)
        else:
            since = Arrival.parse(after)
            tiles = Tiles(
                batch_id, newest_images(session, batch_id, TILES_A_PAGE, after=since), None
            )
    return page(request, "_tiles.html", tiles=tiles)
