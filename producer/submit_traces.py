"""The span of a submission: whose, of what, how many; of prompts it has nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from producer.order import Order, Submission
from shared.telemetry.traces import active_recorder


def _note_nothing(_submission: Submission) -> None:
    pass


@contextmanager
def tracing(order: Order) -> Iterator[Callable[[Submission], None]]:
    """Record the submission that the block makes, if that is on.

    Returns:
        What is to be told what came of it.
    """
    recorder = active_recorder()
    if recorder is None:
        yield _note_nothing
        return
    about = {"tenstep.tenant": order.tenant}
    with recorder.span("submit", about, parent=order.traceparent) as span:

        def note(submission: Submission) -> None:
            span.set_attributes(
                {
                    "tenstep.batch_id": str(submission.batch_id),
                    "tenstep.model": submission.model,
                    "tenstep.jobs": submission.total,
                    "tenstep.jobs_from_before": submission.was_there,
                    "tenstep.rejected_lines": submission.rejects.count,
                }
            )

        yield note


def current_traceparent() -> str | None:
    """Return that of the submission which is being recorded, if it is."""
    if active_recorder() is None:
        return None
    from opentelemetry.trace import get_current_span

    from shared.telemetry.recorder import traceparent_of

    span = get_current_span()
    return traceparent_of(span) if span.is_recording() else None
