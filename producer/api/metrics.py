"""Figures for Prometheus: of the installation, from SQL, and of this process's requests."""

from __future__ import annotations

import os
import time

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api.context import NEEDS_ADMIN
from producer.api.families import OTHER
from producer.api.installation import Installation
from producer.api.probe import Probe
from producer.api.problems import NATIVE_ERRORS
from producer.services import Services
from shared.version import VERSION

router = APIRouter(tags=["health"], responses=NATIVE_ERRORS)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
EXAMPLE = """\
# HELP tenstep_jobs Images, by where they are.
# TYPE tenstep_jobs gauge
tenstep_jobs{state="pending"} 4.0
tenstep_jobs{state="done"} 3.0
"""


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}}
    },
    dependencies=[NEEDS_ADMIN],
)
def metrics(request: Request) -> Response:
    """Return jobs, backlog, workers, queues, costs and requests in Prometheus' text format."""
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def make_registry(services: Services, probe: Probe) -> CollectorRegistry:
    """Make what has the figures of the installation."""
    registry = CollectorRegistry()
    Info("tenstep_build", "What runs.", registry=registry).info({"version": VERSION})
    registry.register(Installation(services, probe))
    return registry


class RequestMeter:
    """ASGI middleware that counts requests, and how long they wait for an answer to begin.

    Several processes may answer at one port, each with figures of its own: hence the label.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        self._process = str(os.getpid())
        self._requests = Counter(
            "tenstep_http_requests",
            "Requests that were answered.",
            ("process", "method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "tenstep_http_request_seconds",
            "From a request's headers to the begin of the answer.",
            ("process", "method", "route"),
            buckets=BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        is_begun = False

        async def watched(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start" and not is_begun:
                is_begun = True
                self._count(scope, message["status"], time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, watched)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        # A path may have anything in it; its template is one of a few.
        route = getattr(scope.get("route"), "path", OTHER)
        self._requests.labels(self._process, method, route, status).inc()
        self._seconds.labels(self._process, method, route).observe(seconds)
