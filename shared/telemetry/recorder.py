"""Spans by OpenTelemetry's SDK: sent in the background, a bounded number, or dropped."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars

from shared.errors import ConfigurationError
from shared.telemetry.traces import TRACEPARENT
from shared.version import VERSION

log = structlog.get_logger()

FLUSH_SECONDS = 2.0
"""How long a process that ends waits for its last spans to be taken."""
SILENCED = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.util.re")
"""Log each failure anew; and the last one whatever was wrong with headers, which are secret."""
W3C = TraceContextTextMapPropagator()
ROOT = Context()
"""Of a span that begins a trace, whatever the thread is in."""

Attributes = Mapping[str, str | int]


class Recorder:
    """Records the spans of one process."""

    def __init__(self, provider: TracerProvider, exporter: SpanSender) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("tenstep", VERSION)
        self._is_closing = threading.Event()
        # Made now, for none can be while the interpreter ends; and the SDK's own end takes
        # as long as a collector that hangs.
        self._closer = threading.Thread(target=self._close, name="traces", daemon=True)
        self._closer.start()

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        parent: str | None = None,
        link: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[Span]:
        """Record how long the block takes; lines of its log name the trace.

        Of an error only its class is recorded: what it says may quote a prompt.

        Args:
            name: what is done.
            attributes: what it is done to.
            parent: traceparent of what has caused it; None begins a trace.
            link: traceparent of what it has to do with in another trace.
            kind: what it is to other processes.
        """
        linked = None if link is None else get_current_span(context_of(link)).get_span_context()
        links = [Link(linked)] if linked is not None and linked.is_valid else []
        with self._tracer.start_as_current_span(
            name,
            context=ROOT if parent is None else context_of(parent),
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            trace = {"trace": trace_id(span)} if span.is_recording() else {}
            with bound_contextvars(**trace):
                try:
                    yield span
                except Exception as error:
                    _note_error(span, type(error).__name__)
                    raise

    def record(
        self,
        name: str,
        times: tuple[int, int],
        attributes: Attributes,
        *,
        parent: Context,
        error: str | None = None,
    ) -> Context:
        """Record what is over.

        Args:
            name: what was done.
            times: its begin and its end, in nanoseconds since 1970.
            attributes: what it was done to.
            parent: what has caused it.
            error: what kind of error it ended by, if it did.

        Returns:
            Itself, as a parent.
        """
        begin_ns, end_ns = times
        span = self._tracer.start_span(name, parent, attributes=attributes, start_time=begin_ns)
        if error is not None:
            _note_error(span, error)
        span.end(end_ns)
        return set_span_in_context(span, ROOT)

    def close(self) -> None:
        """Send what is left, and wait two seconds for that."""
        self._is_closing.set()
        self._closer.join(FLUSH_SECONDS)
        if self._closer.is_alive():
            self._exporter.note_loss()

    def _close(self) -> None:
        self._is_closing.wait()
        self._provider.shutdown()


class SpanSender(SpanExporter):
    """Tells once that spans are not taken; the next line is about the next outage."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that are not taken are lost."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._fails = False
        else:
            self.note_loss()
        return result

    def note_loss(self) -> None:
        """Spans are lost."""
        if not self._fails:
            log.warning("traces_not_sent")
        self._fails = True

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


def open_recorder(service: str) -> Recorder:
    """Set up what sends spans by OTLP over HTTP, as the variables ``OTEL_*`` say.

    Args:
        service: what the process calls itself, unless they name it.

    Raises:
        ConfigurationError: one of them has a bad value.
    """
    for name in SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    named = Resource.create({"service.name": service, "service.version": VERSION})
    try:
        provider = TracerProvider(
            resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        exporter = SpanSender(OTLPSpanExporter())
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError) as error:
        # What it says may quote a value.
        raise ConfigurationError(
            f"traces cannot be sent as the variables OTEL_* say: {type(error).__name__}",
            hint="See OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_TRACES_SAMPLER.",
        ) from None
    recorder = Recorder(provider, exporter)
    atexit.register(recorder.close)
    return recorder


def context_of(traceparent: str) -> Context:
    """Return the context that a header carries; an empty one if it carries none."""
    return W3C.extract({TRACEPARENT: traceparent}, ROOT)


def traceparent_of(span: Span) -> str:
    """Return the header that carries a span to another process."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, set_span_in_context(span, ROOT))
    return carrier[TRACEPARENT]


def trace_id(span: Span) -> str:
    """Return the trace that a span is of, in hex as traceparent has it."""
    return f"{span.get_span_context().trace_id:032x}"


def _note_error(span: Span, kind: str) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)
