"""``tenstep devices``: what this host has that workers can be pinned to."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.db.fault_tables import DeviceFault
    from shared.settings import Settings
    from worker.inventory import HostDevice

EPILOG = "Example: tenstep devices --json"
GIB = 2**30
NOTHING = "-"


def devices(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the devices of this host: health, SKU, and which worker has them.

    CUDA devices are counted as torch sees them, Cloud AI 100 cards as qaic-util does. One that
    tenstep worker took out is shown as such until a worker on it is ready.
    """
    from shared.settings import load_settings, shown_devices
    from worker.inventory import find_devices

    settings = load_settings()
    found = find_devices(shown_devices())
    faults = {fault.device: fault for fault in _faults(settings)}
    rows = [_document(device, faults.pop(device.device, None)) for device in found]
    rows += [_missing(fault) for fault in faults.values() if _is_of_hosts(fault)]
    if as_json:
        sys.stdout.write(json.dumps({"devices": rows}, indent=2, ensure_ascii=False) + "\n")
    else:
        _print_table(rows)


def _is_of_hosts(fault: DeviceFault) -> bool:
    from worker.device_lock import EXCLUSIVE_KINDS

    return fault.device_kind in EXCLUSIVE_KINDS


def _faults(settings: Settings) -> Sequence[DeviceFault]:
    """Read which devices of this host are out, if there is a database that tells."""
    import platform
    from pathlib import Path

    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from shared.db.device_faults import list_faults
    from shared.db.engine import Database
    from shared.db.migrate import prepare
    from shared.errors import ServiceUnavailableError

    url = make_url(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return []
    database = Database(settings.resolved_database_url)
    try:
        prepare(database, may_migrate=settings.migrate_at_start)
        with database.read() as session:
            return list_faults(session, database.now(session), host=platform.node())
    except (ServiceUnavailableError, SQLAlchemyError) as error:
        said = str(error).splitlines()[0]
        sys.stderr.write(f"which devices were taken out is not known: {said}\n")
        return []
    finally:
        database.close()


def _document(device: HostDevice, fault: DeviceFault | None) -> dict[str, Any]:
    return {**device.to_json(), "fault": fault and _fault_document(fault)}


def _fault_document(fault: DeviceFault) -> dict[str, Any]:
    return {
        "reason": fault.reason,
        "since": fault.since.isoformat(),
        "last_seen": fault.last_seen.isoformat(),
    }


def _missing(fault: DeviceFault) -> dict[str, Any]:
    """Describe a device that was taken out and is not listed any more."""
    from worker.inventory import missing_device

    return _document(missing_device(fault.device, fault.device_kind, fault.device_sku), fault)


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("device", "name", "SKU", "memory", "health", "worker"):
        table.add_column(heading, no_wrap=heading in {"device", "memory"}, overflow="fold")
    for row in rows:
        table.add_row(
            row["device"],
            _named(row),
            row["sku"] or NOTHING,
            f"{row['memory_bytes'] / GIB:.1f} GiB" if row["memory_bytes"] else NOTHING,
            _health(row),
            _worker(row["holder"]),
        )
    Console(highlight=False, markup=False, emoji=False).print(table)


def _named(row: Mapping[str, Any]) -> str:
    cores = f", {row['cores']} cores" if row["cores"] else ""
    capability = f", sm {row['capability']}" if row["capability"] else ""
    emulated = " (emulated)" if row["is_emulated"] and "emulat" not in row["name"].lower() else ""
    return f"{row['name']}{emulated}{cores}{capability}"


def _health(row: Mapping[str, Any]) -> str:
    fault = row["fault"]
    if fault is None:
        return str(row["health"])
    since = fault["since"][:16].replace("T", " ")
    known = [] if row["is_healthy"] else [row["health"]]
    return "; ".join([*known, f"taken out since {since} UTC: {fault['reason']}"])


def _worker(holder: Mapping[str, Any] | None) -> str:
    if holder is None:
        return NOTHING
    worker = f", {holder['worker_id'][:8]}" if holder["worker_id"] else ""
    return f"process {holder['pid']}{worker}"
