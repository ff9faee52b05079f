"""What was read of the installation, as figures for Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from prometheus_client.metrics_core import Metric

from producer.amounts import usd
from producer.api.families import (
    Values,
    bounded,
    counter,
    counters,
    gauge,
    gauges,
    histograms,
    summed,
)
from producer.backlog import Pool
from producer.totals import Totals
from shared.domain.jobs import (
    ON_DEVICE,
    STORE_UNAVAILABLE,
    WORKER_LOST,
    JobState,
    LedgerKind,
)
from shared.domain.money import NANOSECONDS
from shared.domain.phases import BOUNDS_NS

MAY_FALL = frozenset({LedgerKind.IDLE, LedgerKind.CORRECTION})
"""Kinds of the books whose sum may become less: what was idle time turns out to be work."""
POOL = ("device_kind", "model")
BOUNDS = (*(nanoseconds / NANOSECONDS for nanoseconds in BOUNDS_NS), math.inf)
"""Of phases, in seconds."""

Name = Callable[[str], str]


def measures(totals: Totals) -> Iterator[Metric]:
    """Yield the figures."""
    name = _models(totals)
    yield from _jobs(totals)
    yield from _costs(totals)
    yield from _workers(totals, name)
    yield from _queues(totals, name)
    yield from _backlog(totals, name)
    yield from _phases(totals)
    yield from _recent(totals)
    yield from _setbacks(totals)
    yield from _dispatcher(totals)
    yield gauge(
        "tenstep_webhook_deliveries_pending",
        "Events that webhooks are still to be told of.",
        totals.deliveries,
    )


def _models(totals: Totals) -> Name:
    """Let the models be labels that live workers serve, then those with the most jobs."""
    by_jobs = sorted(totals.backlog.jobs, key=lambda model: -totals.backlog.jobs[model])
    served = sorted({pool.model for pool in totals.queues.values()})
    return bounded([*served, *by_jobs, *sorted({kind.model for kind in totals.workers})])


def _jobs(totals: Totals) -> Iterator[Metric]:
    states: Values = {(state.value,): count for state, count in totals.jobs.items()}
    yield gauges("tenstep_jobs", "Images, by where they are.", ["state"], states)
    yield gauge(
        "tenstep_batches_open",
        "Batches with images that are still to be drawn.",
        totals.open_batches,
    )
    yield gauge(
        "tenstep_batches_over_budget",
        "Batches of which images are held because their money is spent.",
        totals.batches_over_budget,
    )
    yield counter(
        "tenstep_images",
        "Images that were finished, those included that had been drawn before.",
        totals.jobs[JobState.DONE],
    )
    yield counter(
        "tenstep_image_bytes",
        "Of the images that were stored, with their thumbnails.",
        totals.image_bytes,
    )


def _costs(totals: Totals) -> Iterator[Metric]:
    booked: Counter[str] = Counter()
    for of, cost in totals.costs.items():
        booked[of.kind] += cost.nanodollars
    # Exact up to here: Prometheus has no other numbers than floats.
    dollars = {(kind,): Decimal(usd(amount)) for kind, amount in booked.items()}
    yield counters(
        "tenstep_cost_dollars",
        "What was booked, by kind, but for the kinds of tenstep_cost_adjusted_dollars.",
        ["kind"],
        {key: float(value) for key, value in dollars.items() if key[0] not in MAY_FALL},
    )
    yield gauges(
        "tenstep_cost_adjusted_dollars",
        "What was booked as idle time and as corrections: it is part of the cost, and may fall.",
        ["kind"],
        {key: float(value) for key, value in dollars.items() if key[0] in MAY_FALL},
    )
    yield counters(
        "tenstep_device_seconds",
        "Device time that was booked for work, by device kind and by kind of the books.",
        ["device_kind", "kind"],
        summed(
            ((of.device_kind, of.kind), cost.device_ns / NANOSECONDS)
            for of, cost in totals.costs.items()
            if of.kind in ON_DEVICE
        ),
    )


def _workers(totals: Totals, name: Name) -> Iterator[Metric]:
    yield gauges(
        "tenstep_workers",
        "Workers that are alive, by the first of their models.",
        ["device_kind", "model", "state"],
        summed(
            ((one.device_kind, name(one.model), "draining" if one.draining else "ready"), count)
            for one, count in totals.workers.items()
        ),
    )
    yield gauges(
        "tenstep_serving_workers",
        "Workers that take jobs, under each of the models that they serve.",
        POOL,
        _by_pool(totals.serving.items(), name),
    )
    yield gauges(
        "tenstep_devices_out_of_service",
        "Devices on which no worker could start or stay.",
        ["device_kind"],
        {(kind,): count for kind, count in totals.faulty_devices.items()},
    )
    yield gauges(
        "tenstep_device_busy_ratio",
        "Part of the last five minutes in which the devices of live workers were at work.",
        ["device_kind"],
        {(kind,): ratio for kind, ratio in totals.busy.items()},
    )


def _queues(totals: Totals, name: Name) -> Iterator[Metric]:
    waiting = [
        (totals.queues.get(queue) or _pool_of(queue), sent)
        for queue, sent in totals.dispatch.sent.items()
    ]
    yield gauges(
        "tenstep_queue_jobs",
        "Images that were sent to a queue and that no worker has claimed.",
        POOL,
        _by_pool([(pool, sent.jobs) for pool, sent in waiting], name),
    )
    yield gauges(
        "tenstep_queue_chunks",
        "Chunks of images that were sent to a queue and that no worker has claimed.",
        POOL,
        _by_pool([(pool, sent.chunks) for pool, sent in waiting], name),
    )


def _backlog(totals: Totals, name: Name) -> Iterator[Metric]:
    backlog = totals.backlog
    yield gauges(
        "tenstep_backlog_jobs",
        "Images of active batches that are pending or leased.",
        ["model"],
        summed(((name(model),), jobs) for model, jobs in backlog.jobs.items()),
    )
    times = [(pool, ns / NANOSECONDS) for pool, ns in backlog.device_ns.items()]
    yield gauges(
        "tenstep_backlog_device_seconds",
        "What one device of a kind would take for all images of tenstep_backlog_jobs: of the "
        "kinds that draw a model these are alternatives, not parts of a sum.",
        POOL,
        _by_pool(times, name),
    )
    yield gauges(
        "tenstep_backlog_unrated_jobs",
        "Images of tenstep_backlog_jobs for which nobody knows how long a device takes: they are "
        "missing in tenstep_backlog_device_seconds.",
        POOL,
        _by_pool(backlog.unrated_jobs.items(), name),
    )
    oldest = backlog.oldest_batch_at
    age = 0.0 if oldest is None else max(0.0, (totals.read_at - oldest).total_seconds())
    yield gauge(
        "tenstep_oldest_pending_batch_seconds",
        "Age of the oldest active batch with images pending; 0 where there is none.",
        age,
    )


def _phases(totals: Totals) -> Iterator[Metric]:
    drawn: Counter[str] = Counter()
    for drawing, buckets in totals.phases.items():
        drawn[drawing.model] += sum(phases.images for phases in buckets.values())
    # Not the models that matter now: one that came to be "other" would look like new images.
    name = bounded(model for model, _ in drawn.most_common())
    counts: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(BOUNDS))
    spent: Counter[tuple[str, ...]] = Counter()
    for drawing, buckets in totals.phases.items():
        for bucket, phases in buckets.items():
            key = drawing.device_kind, name(drawing.model), bucket.phase
            # Another version may have other bounds: what is between ours counts as the next.
            counts[key][bisect_left(BOUNDS_NS, bucket.most_ns)] += phases.images
            spent[key] += phases.nanoseconds
    yield histograms(
        "tenstep_phase_seconds",
        "What a phase of an image took that was finished; of a device's phases, its share of its "
        "pass. Workers tell at their leisure, within a minute.",
        [*POOL, "phase"],
        BOUNDS,
        counts,
        {key: nanoseconds / NANOSECONDS for key, nanoseconds in spent.items()},
    )


def _recent(totals: Totals) -> Iterator[Metric]:
    yield gauges(
        "tenstep_recent_chunk_jobs",
        "Images of a chunk on average, of the latest attempts.",
        ["device_kind"],
        {(kind,): jobs for kind, jobs in totals.chunk_jobs.items()},
    )


def _setbacks(totals: Totals) -> Iterator[Metric]:
    setbacks = totals.setbacks
    name = bounded(sorted({kind.reason for kind in setbacks}))
    # Those that alerts ask for are there before the first of them.
    known = [((reason,), 0) for reason in (STORE_UNAVAILABLE, WORKER_LOST)]
    yield counters(
        "tenstep_attempts_failed",
        "Attempts that ended with an error or were lost, by reason.",
        ["reason"],
        summed([*known, *(((name(of.reason),), count) for of, count in setbacks.items())]),
    )
    retried = [((name(of.reason),), count) for of, count in setbacks.items() if of.is_retried]
    yield counters(
        "tenstep_retries",
        "Attempts of tenstep_attempts_failed_total after which the image was tried again.",
        ["reason"],
        summed([*known, *retried]),
    )
    yield counter(
        "tenstep_lease_expiries",
        "Images that were taken back from workers that gave no sign of life or had died.",
        sum(count for of, count in setbacks.items() if of.reason == WORKER_LOST),
    )
    yield counter(
        "tenstep_storage_errors",
        "Attempts that ended because an image could not be stored for longer than workers wait.",
        sum(count for of, count in setbacks.items() if of.reason == STORE_UNAVAILABLE),
    )


def _dispatcher(totals: Totals) -> Iterator[Metric]:
    dispatch = totals.dispatch
    yield gauge(
        "tenstep_dispatcher_leading",
        "1 while a dispatcher works, else 0.",
        int(dispatch.is_leading),
    )
    silence: Values = {}
    if dispatch.silence is not None:
        silence = {(): dispatch.silence.total_seconds()}
    yield gauges(
        "tenstep_dispatcher_silence_seconds",
        "Since the dispatcher's last sign of life; missing where the last one ended in good order.",
        [],
        silence,
    )
    yield gauge(
        "tenstep_tallies_unfolded",
        "Changes that the dispatcher has not added to the sums of batches; counted up to 10000.",
        dispatch.unfolded_tallies,
    )


def _pool_of(queue: str) -> Pool:
    """Tell a queue that nobody reads any more by its name."""
    device_kind, _, model = queue.partition(".")
    return Pool(device_kind, model)


def _by_pool(pairs: Iterable[tuple[Pool, float]], name: Name) -> Values:
    return summed(((pool.device_kind, name(pool.model)), value) for pool, value in pairs)
