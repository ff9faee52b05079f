"""The faults that the suite plays, in order."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos import faults
from chaos.fleet import Unit, usual_units
from chaos.play import Run, Scenario
from chaos.stacks import LOCAL, SERVICES, Servers, Stack, local_stack
from shared.storage.folder import FolderStore

SKEW_SECONDS = 600
SKEWED_PYTHON = Path(__file__).parent / "skewed"
SMALL_DISK = "24m"
KILLERS, CAP = 2, 4


def _two_dispatchers(kind: str, workers: int) -> list[Unit]:
    return usual_units(kind, workers, dispatchers=2)


def _skewed_units(_kind: str, workers: int) -> list[Unit]:
    """One host in three is ten minutes ahead, one ten minutes behind."""
    return [
        Unit(["dispatch"]),
        Unit(["worker", "--workers", str(max(1, workers - 2))]),
        *(
            Unit(
                ["worker"],
                {
                    "PYTHONPATH": str(SKEWED_PYTHON),
                    "TENSTEP_CHAOS_SKEW_SECONDS": str(skew),
                },
            )
            for skew in (SKEW_SECONDS, -SKEW_SECONDS)
        ),
    ]


def can_mount() -> bool:
    """Tell whether this user may mount a filesystem in a namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("nsenter") is None:
        return False
    tried = subprocess.run(
        [unshare, "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    )
    return tried.returncode == 0


@contextmanager
def _stack_on_a_small_disk(folder: Path, servers: Servers) -> Iterator[Stack]:
    """Keep the store on a filesystem of a few megabytes, which this fleet alone can see.

    It is mounted in a user namespace, which takes no root; everything of tenstep's runs there.
    """
    disk = folder / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={SMALL_DISK} tenstep-chaos "$0" && echo && exec sleep infinity'
    holder = subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", mount, str(disk)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    # unshare has become the shell, and that has become sleep.
    enter = ["nsenter", "--user", "--mount", "--preserve-credentials", f"--target={holder.pid}"]
    try:
        with local_stack(folder, servers) as stack:
            stack.environment["TENSTEP_STORAGE_URL"] = (disk / "objects").as_uri()
            stack.command_prefix = [*enter, f"--wd={folder}"]
            stack.store = FolderStore(_seen_from_outside(holder.pid, disk) / "objects")
            yield stack
    finally:
        holder.kill()
        holder.communicate()


def _seen_from_outside(pid: int, path: Path) -> Path:
    return Path(f"/proc/{pid}/root") / path.relative_to("/")


def _small_disk(run: Run) -> Path:
    assert isinstance(run.stack.store, FolderStore)
    return run.stack.store.folder.parent


def all_scenarios() -> Sequence[Scenario]:
    """Return every scenario, in the order in which they are played."""
    return [
        Scenario(
            "workers-killed",
            "SIGKILL of a worker's child, parent or supervisor every 2 s",
            faults.kill_workers(2),
            SERVICES,
            bites=lambda figures: figures.lost > 0,
        ),
        Scenario(
            "workers-killed-local",
            "the same, on SQLite, a folder and tenstep's own Redis",
            faults.kill_workers(2),
            LOCAL,
            bites=lambda figures: figures.lost > 0,
        ),
        Scenario(
            "dispatcher-killed",
            "SIGKILL of one of two dispatchers every 5 s",
            faults.kill_dispatcher("dispatch", 4, 5),
            SERVICES,
            units=_two_dispatchers,
        ),
        Scenario(
            "dispatcher-killed-local",
            "SIGKILL of one of two `tenstep up`, which runs dispatcher, Redis and workers",
            faults.kill_dispatcher("up", 3, 6),
            LOCAL,
        ),
        Scenario(
            "redis-emptied",
            "Redis killed, and started again empty",
            faults.flush_redis,
            SERVICES,
        ),
        Scenario(
            "redis-emptied-local",
            "tenstep's own Redis killed, its files removed",
            faults.flush_redis,
            LOCAL,
        ),
        Scenario(
            "redis-frozen",
            "SIGSTOP of Redis for 20 s",
            faults.freeze_redis(20),
            SERVICES,
        ),
        Scenario(
            "postgres-restarted",
            "Postgres stopped under load and started again, twice",
            faults.restart_postgres(2, 1),
            SERVICES,
        ),
        Scenario(
            "store-refuses",
            "the store answers 503 for 20 s, then takes a second an answer for 10 s",
            faults.refuse_then_dawdle(20, 10),
            SERVICES,
        ),
        Scenario(
            "worker-frozen",
            "SIGSTOP of a worker for 8 s, its lease is 3 s; it wakes and tries to write",
            faults.freeze_workers(3, 8),
            SERVICES,
            bites=lambda figures: figures.late > 0,
        ),
        Scenario(
            "clocks-wrong",
            "clocks of two workers 10 min ahead and behind, as Python code reads them",
            faults.nothing,
            SERVICES,
            units=_skewed_units,
            bites=lambda figures: figures.lost == 0,
        ),
        _disk_full(),
        Scenario(
            "killer-jobs",
            "two jobs that SIGKILL the process which draws them",
            faults.nothing,
            SERVICES,
            killers=KILLERS,
            bites=lambda figures: figures.lost >= KILLERS * CAP,
        ),
        Scenario(
            "killer-jobs-local",
            "the same, on SQLite, a folder and tenstep's own Redis",
            faults.nothing,
            LOCAL,
            killers=KILLERS,
            bites=lambda figures: figures.lost >= KILLERS * CAP,
        ),
    ]


def _disk_full() -> Scenario:
    if os.name == "posix" and can_mount():
        return Scenario(
            "disk-full",
            f"a file fills the store's disk, {SMALL_DISK} in a namespace of its own, for 10 s",
            faults.fill_disk(_small_disk, 10),
            LOCAL,
            make_stack=_stack_on_a_small_disk,
        )
    return Scenario(
        "disk-full",
        "the store answers 507 for 10 s: no disk could be filled, for mounting is not allowed",
        faults.refuse_then_dawdle(10, 0, status=507),
        SERVICES,
    )
