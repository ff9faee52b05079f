"""Images through the device: as many at once as fit, one by one where one of them is bad."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from traceback import clear_frames
from typing import Any

import structlog

from shared.db.fits import remember_fit
from shared.db.leases import Lease
from shared.db.outcomes import PhaseTimes
from shared.domain.devices import DeviceKind
from shared.domain.money import share_evenly
from shared.domain.pass_rates import PassSize
from shared.domain.prompts import ImageSettings
from shared.domain.quality import Quality
from shared.domain.rates import Shape
from worker.drawing import Drawing
from worker.patience import patiently
from worker.retry import DeviceLostError, is_device_lost, is_out_of_memory
from worker.runtime import Runtime
from worker.serving import make_way

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came of one job on the device."""

    held: Lease
    settings: ImageSettings
    outcome: Drawing | Exception
    times: PhaseTimes
    """With the job's share of passes that failed before this one."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Jobs that share size and steps, ready for the device to draw them at once."""

    group: Sequence[Lease]
    settings: Sequence[ImageSettings]
    prepared: Any
    """What the pipeline made of them, or the exception that it raised."""

    @property
    def shape(self) -> Shape:
        """What decides how long it takes."""
        one = self.settings[0]
        return Shape.of_image(one)


def prepare_pass(runtime: Runtime, group: Sequence[Lease]) -> Pass:
    """Do what can be done for jobs before the device is free."""
    settings = [ImageSettings.model_validate(held.job, from_attributes=True) for held in group]
    try:
        return Pass(group, settings, runtime.pipeline.prepare(settings))
    except Exception as error:  # noqa: BLE001 - it ends the attempts when their turn has come
        return Pass(group, settings, error)


def draw_pass(
    runtime: Runtime, ready: Pass, *, check_safety: bool, wasted_ns: int = 0
) -> Iterator[Drawn]:
    """Draw jobs as one batch; yields an outcome for each.

    A batch that does not fit is halved, and what fits is remembered. One that fails
    otherwise is drawn job by job, so that a bad job costs its neighbours nothing but time.

    Args:
        runtime: the worker's.
        ready: the jobs.
        check_safety: whether the model's safety checker looks at the images.
        wasted_ns: device time of larger passes over the same jobs that failed.

    Raises:
        DeviceLostError: no other job could be drawn either.
    """
    group = ready.group
    begin = time.perf_counter_ns()
    try:
        drawings = _draw(runtime, ready, check_safety=check_safety)
    except Exception as error:  # a driver may raise anything: it ends this attempt
        wasted_ns += time.perf_counter_ns() - begin
        if runtime.trace is not None:
            runtime.trace.note_failed_pass(runtime.drawn_by, begin, len(group), error)
        if is_device_lost(error):
            raise DeviceLostError(str(error)) from error
        # Else the pass's tensors would stay on the device for as long as its error lives.
        clear_frames(error.__traceback__)
        # Before fewer images are drawn at once, other models give up their memory.
        has_room = is_out_of_memory(error) and make_way(runtime)
        if len(group) == 1 and not has_room:
            # Nobody knows in which phase it was; the device was held all the same.
            yield Drawn(group[0], ready.settings[0], error, PhaseTimes(denoise_ns=wasted_ns))
            return
        part = len(group) if has_room else _smaller(runtime, group, error)
        del ready
        shares = share_evenly(wasted_ns, len(group))
        for start in range(0, len(group), part):
            smaller = prepare_pass(runtime, group[start : start + part])
            share = sum(shares[start : start + part])
            yield from draw_pass(runtime, smaller, check_safety=check_safety, wasted_ns=share)
        return
    if runtime.trace is not None:
        runtime.trace.note_pass(runtime.drawn_by, [drawing.times for drawing in drawings])
    shares = share_evenly(wasted_ns, len(group))
    for held, asked, drawing, share in zip(group, ready.settings, drawings, shares, strict=True):
        times = replace(drawing.times, denoise_ns=drawing.times.denoise_ns + share)
        yield Drawn(held, asked, drawing, times)


def _draw(runtime: Runtime, ready: Pass, *, check_safety: bool) -> list[Drawing]:
    if isinstance(ready.prepared, Exception):
        raise ready.prepared
    drawings = runtime.pipeline.draw_prepared(ready.prepared, check_safety=check_safety)
    device_ns = sum(drawing.times.device_ns for drawing in drawings)
    peak_bytes = max(drawing.peak_bytes for drawing in drawings)
    # CUDA's libraries choose their kernels in the first pass of each size: that tells nothing.
    is_first = (size := PassSize(ready.shape, len(drawings))) not in runtime.model.sizes_drawn
    runtime.model.sizes_drawn.add(size)
    is_exact = ready.settings[0].quality is Quality.EXACT
    if is_exact and not (is_first and runtime.device_kind == DeviceKind.CUDA):
        runtime.rates.add_pass(*size, device_ns, peak_bytes)
    return drawings


def _smaller(runtime: Runtime, group: Sequence[Lease], error: Exception) -> int:
    """Return how many of a failed pass to try at once, and remember what does not fit."""
    if not is_out_of_memory(error):
        log.warning("pass_failed", images=len(group), exc_info=error)
        return 1
    images = len(group) // 2
    job, record = group[0].job, runtime.drawn_by
    log.warning("pass_does_not_fit", images=len(group), next=images, size=(job.width, job.height))
    runtime.fits[job.width, job.height] = images

    def remember() -> None:
        with runtime.database.write() as session:
            size = job.width, job.height
            now = runtime.database.now(session)
            remember_fit(session, record.model, record.device_name, *size, images=images, now=now)

    patiently(remember, runtime.settings.outage_patience_seconds)
    return images
