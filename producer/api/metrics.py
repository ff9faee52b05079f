"""Figures for Prometheus: of the installation, from SQL, and of this process's requests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api.context import NEEDS_ADMIN
from producer.api.problems import NATIVE_ERRORS
from producer.services import Services
from producer.totals import Totals, read_totals
from shared.errors import ServiceUnavailableError
from shared.version import VERSION

log = structlog.get_logger()

router = APIRouter(tags=["health"], responses=NATIVE_ERRORS)

SHORTEST_KEPT_SECONDS = 2.0
REST_PER_READING = 20
"""Reading the sums takes no more than a twentieth of the time, however many batches there are."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Of what has any value that a client likes: each would be a figure of its own."""
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
    """Return jobs, batches, workers, queues, costs and requests in Prometheus' text format."""
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def make_registry(services: Services) -> CollectorRegistry:
    """Make what has the figures of the installation."""
    registry = CollectorRegistry()
    Info("tenstep_build", "What runs.", registry=registry).info({"version": VERSION})
    registry.register(Installation(services))
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


class Installation(Collector):
    """Reads what is in SQL and in Redis when somebody asks, but not all the time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._kept: Totals | None = None
        self._kept_until = 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        totals = self._totals()
        yield _family("tenstep_jobs", "Images, by where they are.", "state", totals.jobs)
        yield GaugeMetricFamily(
            "tenstep_batches_open",
            "Batches with images that are still to be drawn.",
            totals.open_batches,
        )
        yield GaugeMetricFamily(
            "tenstep_image_bytes",
            "Of the images that were stored, with their thumbnails.",
            totals.image_bytes,
        )
        yield _family(
            "tenstep_cost_nanodollars", "All that was booked.", "kind", totals.nanodollars
        )
        yield _workers(totals)
        yield self._queues(totals)
        yield GaugeMetricFamily(
            "tenstep_webhook_deliveries_pending",
            "Events that webhooks are still to be told of.",
            totals.deliveries,
        )

    def _totals(self) -> Totals:
        with self._lock:
            begin = time.monotonic()
            if self._kept is None or begin >= self._kept_until:
                self._kept = read_totals(self._services.database, self._services.settings)
                taken = time.monotonic() - begin
                rest = max(SHORTEST_KEPT_SECONDS, REST_PER_READING * taken)
                self._kept_until = begin + taken + rest
            return self._kept

    def _queues(self, totals: Totals) -> Metric:
        broker = self._services.broker
        try:
            lengths = {queue: broker.queue_length(queue) for queue in sorted(totals.queues)}
        except ServiceUnavailableError as error:
            log.warning("queues_not_measured", error=str(error))
            lengths = {}
        help_text = "Messages that no worker has taken yet, of a few jobs each."
        return _family("tenstep_queue_messages", help_text, "queue", lengths)


def _family(name: str, help_text: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _workers(totals: Totals) -> Metric:
    labels = ["device_kind", "model", "state"]
    family = GaugeMetricFamily("tenstep_workers", "Workers that are alive.", labels=labels)
    for kind, count in totals.workers.items():
        state = "draining" if kind.draining else "ready"
        family.add_metric([kind.device_kind, kind.model, state], count)
    return family
