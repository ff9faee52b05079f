"""All jobs of a batch, in order, with search."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import ContextOf, Reader
from producer.api.tenancy import get_own
from producer.dashboard.pages import page
from producer.jobs import MAX_POSITION, JobFilter, list_jobs
from producer.listed_jobs import MAX_TEXT_CHARACTERS
from shared.db.details import require_details
from shared.db.tables import Batch
from shared.domain.jobs import JobState

router = APIRouter()

JOBS_A_PAGE = 100
MAX_CODE_CHARACTERS = 64


class JobSearch(BaseModel):
    """Which jobs are wanted; a form sends what was left empty too."""

    model_config = ConfigDict(extra="forbid")

    state: JobState | None = None
    error: str | None = Field(default=None, max_length=MAX_CODE_CHARACTERS)
    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS)
    after: int | None = Field(default=None, ge=0, le=MAX_POSITION)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    def with_after(self, position: int) -> dict[str, str]:
        """Return the query of the next page."""
        asked = self.model_dump(mode="json", exclude_none=True) | {"after": position}
        return {name: str(value) for name, value in asked.items()}


@router.get("/batches/{batch_id}/jobs")
def show_jobs(
    request: Request,
    context: ContextOf,
    who: Reader,
    batch_id: UUID,
    wanted: Annotated[JobSearch, Query()],
) -> Response:
    """Show a page of them; what no index knows is looked for in a stretch at a time."""
    only = JobFilter(state=wanted.state, error=wanted.error, text=wanted.text)
    with context.database.read() as session:
        batch = require_details(get_own(session, Batch, batch_id, who))
        found = list_jobs(session, batch_id, only, wanted.after, JOBS_A_PAGE)
    return page(request, "jobs.html", batch=batch, found=found, wanted=wanted)
