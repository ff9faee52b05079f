"""The application: routes, errors and the gate before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from producer.api import document, health, metrics, problems
from producer.api.context import Context
from producer.api.feed import SharedReads, StatusFeed
from producer.api.gate import Gate
from producer.api.keyring import KeyRing
from producer.api.native import (
    batches,
    changes,
    costs,
    events,
    files,
    fleet,
    images,
    jobs,
    keys,
    new_batches,
    webhooks,
)
from producer.api.openai import batches as openai_batches
from producer.api.openai import files as openai_files
from producer.api.openai import images as openai_images
from producer.api.openai import models as openai_models
from producer.api.probe import Probe
from producer.api.rates import RateLimiter
from producer.api.signed_urls import open_signer
from producer.dashboard.app import make_pages
from producer.prompt_openai import ImageBody
from shared.version import VERSION

if TYPE_CHECKING:
    from producer.services import Services

THREADS = 12
"""Fewer than the connections of a pool: a request would else wait for one in vain."""
DESCRIPTION = """
Renders very large batches of prompts into images, and knows what each one cost.

Routes below `/api` do everything that tenstep can do; those below `/v1` are OpenAI's, for
programs that speak its API already. Errors are problem details (RFC 9457) below `/api`, and
OpenAI's error object below `/v1`.
"""


PROGRAMS = frozenset(
    {"api", "v1", "images", "metrics", "healthz", "readyz", "openapi.json", "docs"}
)
"""What the paths of the API begin with; all others are pages for people."""


def make_app(services: Services) -> ASGIApp:
    """Make the application of a server process."""
    settings, database = services.settings, services.database
    keys = KeyRing(database)
    probe = Probe(services)
    context = Context(
        services,
        StatusFeed(batches.status_reader(database, settings)),
        open_signer(database, timedelta(hours=settings.url_hours)),
        probe,
        keys,
        SharedReads(),
    )
    rates = RateLimiter(
        services.broker.url, settings.redis_key_prefix, settings.max_requests_per_minute
    )
    registry = metrics.make_registry(services, probe)
    api = _make_api(context, rates)
    api.state.metrics = registry
    return metrics.RequestMeter(Fork(api, make_pages(context, rates)), registry=registry)


class Fork:
    """ASGI application that sends programs to the API, and people to the dashboard."""

    def __init__(self, api: ASGIApp, pages: ASGIApp) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, by its path; who shows a key is a program that has mistaken it."""
        is_page = scope["type"] == "http" and _is_for_people(scope)
        await (self._pages if is_page else self._api)(scope, receive, send)


def _is_for_people(scope: Scope) -> bool:
    first = scope["path"].removeprefix("/").partition("/")[0]  # "*" has no slash
    return first not in PROGRAMS and "authorization" not in Headers(scope=scope)


def _make_api(context: Context, rates: RateLimiter) -> FastAPI:
    app = FastAPI(
        title="tenstep",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    problems.install(app, problems.answer_program)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Gate, keys=context.keys, rates=rates, settings=context.settings)
    document.complete(app, REFERRED)
    return app


REFERRED = (
    problems.Problem,
    problems.OpenAIError,
    new_batches.NewBatch,
    openai_batches.NewOpenAIBatch,
    ImageBody,
)
"""Models that routes refer to by name in what they document themselves."""


ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    files.router,
    new_batches.router,
    batches.router,
    changes.router,
    events.router,
    jobs.router,
    images.router,
    costs.router,
    fleet.router,
    keys.router,
    webhooks.router,
    metrics.router,
    openai_files.router,
    openai_batches.router,
    openai_images.router,
    openai_models.router,
)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    yield
