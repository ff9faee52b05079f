"""The figures of the installation for Prometheus: from SQL, so that all servers tell the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import structlog
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producer.api.families import bounded, gauge, gauges, summed
from producer.api.measures import measures
from producer.api.probe import DOWN, FINE, Probe
from producer.services import Services
from producer.totals import Totals, read_totals
from shared.errors import ServiceUnavailableError

log = structlog.get_logger()

SHORTEST_KEPT_SECONDS = 2.0
REST_PER_READING = 20
"""Reading the sums takes no more than a twentieth of the time, however many batches there are."""


class Installation(Collector):
    """Reads what is in SQL and in Redis when somebody asks, but not all the time."""

    def __init__(self, services: Services, probe: Probe) -> None:
        self._services = services
        self._probe = probe
        self._lock = threading.Lock()
        self._kept: Totals | None = None
        self._kept_until = 0.0
        self._reading_seconds = 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield the figures; without the database only which services answer."""
        answers = self._probe.look()
        yield gauges(
            "tenstep_service_up",
            "1 if what this server needs answers it, else 0.",
            ["service"],
            {(service,): int(answer == FINE) for service, answer in answers.items()},
        )
        if answers["database"] == DOWN:
            return
        totals = self._totals()
        yield from measures(totals)
        yield self._messages(totals)
        yield gauge(
            "tenstep_reading_seconds",
            "How long it took to read these figures from the database, the last time.",
            self._reading_seconds,
        )

    def _totals(self) -> Totals:
        with self._lock:
            begin = time.monotonic()
            if self._kept is None or begin >= self._kept_until:
                self._kept = read_totals(self._services.database, self._services.settings)
                self._reading_seconds = time.monotonic() - begin
                rest = max(SHORTEST_KEPT_SECONDS, REST_PER_READING * self._reading_seconds)
                self._kept_until = begin + self._reading_seconds + rest
            return self._kept

    def _messages(self, totals: Totals) -> Metric:
        broker = self._services.broker
        try:
            lengths = {queue: broker.queue_length(queue) for queue in sorted(totals.queues)}
        except ServiceUnavailableError as error:
            log.warning("queues_not_measured", error=str(error))
            lengths = {}
        help_text = "Messages in Redis that no worker has taken yet, of a few jobs each."
        name = bounded(lengths)
        values = summed(((name(queue),), length) for queue, length in lengths.items())
        return gauges("tenstep_queue_messages", help_text, ["queue"], values)
