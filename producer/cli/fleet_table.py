"""How ``tenstep fleet`` looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from producer.wire.fleet import (
        FaultyDeviceOut,
        FleetOut,
        FleetWorkerOut,
        KindTotalsOut,
        WorkerOut,
    )

DECIMALS = 4
NOTHING = "-"
NOT_LOADED = "not loaded"
HEADINGS = ("device", "model", "state", "img/s", "busy", "an hour", "so far")
NUMBERS = frozenset(HEADINGS[3:])
DEVICE_WIDTH = 26
MODEL_WIDTH = 16


def fleet_table(fleet: FleetOut) -> RenderableType:
    """Lay out the devices host by host, and what they make together, in 80 columns."""
    if not fleet.workers and not fleet.faults:
        return Text("no worker is alive; tenstep worker starts one")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(
            heading,
            justify="right" if heading in NUMBERS else "left",
            no_wrap=heading not in {"device", "model"},
            overflow="fold",
            max_width={"device": DEVICE_WIDTH, "model": MODEL_WIDTH}.get(heading),
        )
    for host, rows in groupby(sorted(_rows(fleet)), lambda row: row[0]):
        table.add_row(Text(host, style="bold"))
        for _, _, cells in rows:
            table.add_row(*cells)
    return Group(table, Text(""), *_words(fleet))


def _rows(fleet: FleetOut) -> Iterator[tuple[str, Sequence[str | int], Sequence[str]]]:
    """Yield a host, what its rows are sorted by, and cells."""
    for worker in fleet.workers:
        order = (*_in_order(worker.device), str(worker.worker_id))
        yield worker.host, order, _worker_cells(worker)
    for fault in fleet.faults:
        yield fault.host, (*_in_order(fault.device), ""), _fault_cells(fault)


def _in_order(device: str) -> tuple[str, int]:
    kind, _, number = device.rpartition(":")
    return (kind, int(number)) if number.isdigit() else (device, 0)


def _worker_cells(worker: FleetWorkerOut) -> Sequence[str]:
    name = f"{worker.device_name}, {worker.device_sku}".removesuffix(", ")
    price, cost = worker.usd_per_hour, worker.cost_usd
    return (
        f"{worker.device}\n  {name}",
        "\n".join([*shown_models(worker), f"  {worker.backend}"]),
        worker.state,
        f"{worker.images_per_second:.2f}",
        f"{worker.busy_share:.0%}",
        NOTHING if price is None else _dollars(price),
        _dollars(cost),
    )


def shown_models(worker: FleetWorkerOut | WorkerOut) -> Sequence[str]:
    """Name a worker's models, and say which of several are not in its memory."""
    if len(worker.models) <= 1:
        return [worker.model]
    return [
        served.model if served.is_loaded else f"{served.model} ({NOT_LOADED})"
        for served in worker.models
    ]


def _fault_cells(fault: FaultyDeviceOut) -> Sequence[str]:
    known = f"{fault.device}\n  {fault.device_sku}" if fault.device_sku else fault.device
    return (f"{known}\n  {fault.reason}", fault.model, "faulty", *[NOTHING] * 4)


def _words(fleet: FleetOut) -> Iterator[Text]:
    for kind in fleet.kinds:
        yield Text(_total(kind))
    if fleet.unpriced:
        yield Text(f"no price is set for {', '.join(fleet.unpriced)}: tenstep prices set")
    if fleet.known > len(fleet.workers):
        yield Text(f"the newest {len(fleet.workers)} of {fleet.known:,} workers are shown")


def _total(kind: KindTotalsOut) -> str:
    faulty = f", {kind.faulty} faulty" if kind.faulty else ""
    return (
        f"{kind.device_kind}: {kind.alive} alive, {kind.drawing} drawing{faulty}; "
        f"{kind.images_per_second:.2f} images/s, busy {kind.busy_share:.0%}, "
        f"{_dollars(kind.usd_per_hour)} an hour"
    )


def _dollars(exact: str) -> str:
    return f"${Decimal(exact):,.{DECIMALS}f}"
