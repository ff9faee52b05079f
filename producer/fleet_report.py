"""The fleet as programs and the command line see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from producer.amounts import usd
from producer.fleet_documents import served_document
from producer.fleet_view import FleetView, Occupation, WatchedWorker
from shared.db.fault_tables import DeviceFault

GONE = frozenset({Occupation.ENDED, Occupation.SILENT})
OF_WORKER = (
    *("host", "device", "device_kind", "device_sku", "device_name"),
    *("backend", "model", "version", "heartbeat_at"),
)
OF_FAULT = (
    *("host", "device", "device_kind", "device_sku", "model"),
    *("since", "last_seen", "reason"),
)
DECIMALS = 4


def fleet_document(view: FleetView) -> dict[str, Any]:
    """Describe the fleet; see `producer.wire.fleet.FleetOut`."""
    kinds = {worker.device_kind for worker in view.workers if worker.state not in GONE}
    kinds |= {fault.device_kind for fault in view.faults}
    return {
        "workers": [_worker(worker) for worker in view.workers],
        "known": view.known,
        "faults": [_fault(fault) for fault in view.faults],
        "kinds": [_totals(view, kind) for kind in sorted(kinds)],
        "unpriced": list(view.totals.unpriced),
    }


def _worker(worker: WatchedWorker) -> dict[str, Any]:
    price = worker.nanodollars_per_hour
    return {
        "worker_id": worker.id,
        **{name: getattr(worker, name) for name in OF_WORKER},
        "models": [served_document(served) for served in worker.models],
        "state": worker.state.value,
        "why": worker.why_idle,
        "images_per_second": round(worker.recent.images_per_second, DECIMALS),
        "busy_share": round(worker.recent.busy_share, DECIMALS),
        "images_last_hour": worker.series.last_hour.images,
        "usd_per_hour": None if price is None else usd(price),
        "cost_usd": usd(worker.series.booked.total),
    }


def _fault(fault: DeviceFault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in OF_FAULT}


def _totals(view: FleetView, kind: str) -> dict[str, Any]:
    alive = [
        worker for worker in view.workers if worker.device_kind == kind and worker.state not in GONE
    ]
    paces = [worker.recent for worker in alive]
    return {
        "device_kind": kind,
        "alive": len(alive),
        "drawing": _count(alive, Occupation.DRAWING),
        "faulty": sum(fault.device_kind == kind for fault in view.faults),
        "images_per_second": round(sum(pace.images_per_second for pace in paces), DECIMALS),
        "busy_share": round(sum(pace.busy_share for pace in paces) / max(1, len(paces)), DECIMALS),
        "usd_per_hour": usd(sum(worker.nanodollars_per_hour or 0 for worker in alive)),
    }


def _count(workers: Sequence[WatchedWorker], state: Occupation) -> int:
    return sum(worker.state is state for worker in workers)
