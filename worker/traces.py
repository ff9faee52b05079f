"""What a worker adds to the trace of a chunk, made of times that are measured anyway."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from shared.clock import utc_now
from shared.db.leases import Lease
from shared.db.outcomes import PhaseTimes
from shared.domain.money import nanoseconds
from shared.messaging.contracts import RenderChunk
from shared.telemetry.traces import active_recorder
from worker.backends.base import BackendRecord

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from shared.telemetry.recorder import Attributes, Recorder

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEVICE_PHASES = {
    "encode text": "text_encode_ns",
    "denoise": "denoise_ns",
    "decode": "decode_ns",
    "check safety": "safety_check_ns",
}


@dataclass(frozen=True, slots=True)
class ChunkTrace:
    """The trace of one chunk. All times that it is given are of `time.perf_counter_ns`."""

    recorder: Recorder
    parent: Context
    trace_id: str
    about: Attributes
    epoch_ns: int
    """What those times have to be added to, to be since 1970."""

    def note_claim(self, begun_ns: int, jobs: int) -> None:
        """Jobs of the chunk were claimed, just now."""
        now_ns = time.perf_counter_ns()
        self._record("claim", begun_ns, now_ns, {"tenstep.jobs": jobs}, self.parent)

    def note_pass(self, drawn_by: BackendRecord, taken: Sequence[PhaseTimes]) -> None:
        """A pass has left the device, just now.

        Its phases are laid end to end: of its text's encoding only that part is known which the
        device did not spend on the pass before.

        Args:
            drawn_by: what drew it.
            taken: the share of each of its images.
        """
        end_ns = time.perf_counter_ns()
        at_ns = end_ns - sum(times.device_ns for times in taken)
        about = {**_drawn_by(drawn_by), "tenstep.images": len(taken)}
        itself = self._record("pass", at_ns, end_ns, about, self.parent)
        for name, field in DEVICE_PHASES.items():
            if phase_ns := sum(getattr(times, field) for times in taken):
                self._record(name, at_ns, at_ns + phase_ns, about, itself)
                at_ns += phase_ns

    def note_failed_pass(
        self, drawn_by: BackendRecord, begun_ns: int, images: int, error: Exception
    ) -> None:
        """A pass has failed, just now."""
        about = {**_drawn_by(drawn_by), "tenstep.images": images}
        now_ns = time.perf_counter_ns()
        self._record("pass", begun_ns, now_ns, about, self.parent, type(error).__name__)

    def note_image(self, held: Lease, begun_ns: int, times: PhaseTimes, outcome: str) -> None:
        """What became of a stored image is in the books, just now.

        Args:
            held: its job.
            begun_ns: when it began to be encoded.
            times: what that and its upload took.
            outcome: what became of it.
        """
        now_ns = time.perf_counter_ns()
        about = {**_about_job(held), "tenstep.outcome": outcome}
        itself = self._record("image", begun_ns, now_ns, about, self.parent)
        encoded_ns = begun_ns + times.png_encode_ns
        uploaded_ns = encoded_ns + times.upload_ns
        self._record("png", begun_ns, encoded_ns, about, itself)
        self._record("upload", encoded_ns, uploaded_ns, about, itself)
        self._record("publish", uploaded_ns, now_ns, about, itself)

    def note_failure(self, held: Lease, begun_ns: int, code: str) -> None:
        """An attempt has ended by an error, which is in the books, just now."""
        about = {**_about_job(held), "tenstep.outcome": "failed"}
        self._record("image", begun_ns, time.perf_counter_ns(), about, self.parent, code)

    def _record(
        self,
        name: str,
        begin_ns: int,
        end_ns: int,
        about: Attributes,
        parent: Context,
        error: str | None = None,
    ) -> Context:
        times = begin_ns + self.epoch_ns, end_ns + self.epoch_ns
        attributes = {**self.about, **about}
        return self.recorder.record(name, times, attributes, parent=parent, error=error)


def trace_chunk(
    worker_id: UUID, device_kind: str, message: RenderChunk, traceparent: str | None
) -> ChunkTrace | None:
    """Go on with the trace that came with a message.

    Returns:
        None where nothing is recorded: that is off, none came, or this one is not in the sample.
    """
    recorder = active_recorder()
    if recorder is None or traceparent is None:
        return None
    from opentelemetry.trace import get_current_span

    from shared.telemetry.recorder import context_of, trace_id

    parent = context_of(traceparent)
    span = get_current_span(parent)
    if not span.get_span_context().trace_flags.sampled:
        return None
    about = {
        "tenstep.batch_id": str(message.batch_id),
        "tenstep.chunk_id": str(message.chunk_id),
        "tenstep.worker_id": str(worker_id),
        "tenstep.device_kind": device_kind,
    }
    epoch_ns = nanoseconds(utc_now() - EPOCH) - time.perf_counter_ns()
    return ChunkTrace(recorder, parent, trace_id(span), about, epoch_ns)


def _drawn_by(record: BackendRecord) -> dict[str, str | int]:
    return {"tenstep.model": record.model, "tenstep.device": record.device}


def _about_job(held: Lease) -> dict[str, str | int]:
    return {
        "tenstep.job_id": str(held.job.id),
        "tenstep.attempt_id": str(held.attempt.id),
        "tenstep.attempt": held.job.attempts,
    }
