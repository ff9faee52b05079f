"""A stand-in for an OpenTelemetry collector: takes traces by OTLP over HTTP, and keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.receiver import Receiver, receiving


@dataclass(frozen=True)
class SeenSpan:
    """A span as it came in; ids in hex."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: Sequence[str]
    """Ids of spans."""
    begin_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.begin_ns


@dataclass(frozen=True)
class Collector:
    """Keeps what processes send."""

    receiver: Receiver

    @property
    def settings(self) -> dict[str, str]:
        """What has a process send to it, soon."""
        return {
            "TENSTEP_TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.receiver.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    @property
    def spans(self) -> Sequence[SeenSpan]:
        return [span for call in list(self.receiver.calls) for span in _spans(call.body)]

    def named(self, name: str) -> Sequence[SeenSpan]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen on any free port of the loopback while the block runs."""
    with receiving() as receiver:
        yield Collector(receiver)


def _spans(body: bytes) -> Iterator[SeenSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    service=service,
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=[link.span_id.hex() for link in span.links],
                    begin_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_attributes(span),
                )


def _attributes(holder: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}
