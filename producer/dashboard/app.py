"""The dashboard's application: its routes, behind the gate of visits."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp

from producer.api import problems
from producer.api.context import Context
from producer.api.rates import RateLimiter
from producer.dashboard import (
    batch,
    batches,
    costs,
    downloads,
    fleet,
    job,
    jobs,
    new_batch,
    pictures,
    plan,
    sign_in,
    tiles,
)
from producer.dashboard.assets import Assets
from producer.dashboard.forms import check_form
from producer.dashboard.pages import refuse
from producer.dashboard.visits import VisitGate

ROUTERS: tuple[APIRouter, ...] = (
    sign_in.router,
    batches.router,
    new_batch.router,
    jobs.router,
    tiles.router,
    pictures.router,
    downloads.router,
    job.router,
    batch.router,
    fleet.router,
    costs.router,
    plan.router,
)


def make_pages(context: Context, rates: RateLimiter) -> ASGIApp:
    """Make it."""
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_form)],
    )
    app.state.context = context
    problems.install(app, refuse)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", Assets())
    # Around all of it: what FastAPI answers where a route breaks passes no middleware of its own.
    return VisitGate(app, keys=context.keys, rates=rates, settings=context.settings, refuse=refuse)
