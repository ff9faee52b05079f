"""Several processes train one model together, each on its share of every batch.

On GPUs they are those that `accelerate launch` started. On a processor a run starts its own: one
thread in each of two processes gets more done than two threads in one, for small networks spend
much of a step in work that does not split.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import distributed
from torch.multiprocessing.spawn import spawn

LOG_FORMAT = "%(asctime)s %(message)s"
#: How long others wait for a process that works alone: it fetches data, encodes pictures, draws.
PATIENCE = timedelta(hours=12)


def state() -> PartialState:
    """Return which of how many processes this is, and its device."""
    on_processor = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    return PartialState(cpu=on_processor, timeout=PATIENCE)


def accelerator(*, autocast: bool, accumulate: int) -> Accelerator:
    """Return what places networks on this process's device, and averages their gradients.

    Args:
        autocast: networks compute in bfloat16 where torch deems it safe.
        accumulate: parts that a batch is cut into in each process.
    """
    state()
    return Accelerator(
        mixed_precision="bf16" if autocast else "no",
        gradient_accumulation_steps=accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )


def parts(accumulate: int) -> list[slice]:
    """Return what this process takes of the examples of every batch, one part after the other.

    Args:
        accumulate: parts that each process cuts its share into.
    """
    this = state()
    count = this.num_processes * accumulate
    firsts = range(this.process_index, count, this.num_processes)
    return [slice(first, None, count) for first in firsts]


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process do something before the others, who then find it done."""
    with state().main_process_first():
        yield


def launch(count: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in processes that train together, and wait for all of them.

    Processes that were launched already call it themselves, and so does one that has a GPU: on a
    processor alone `count` new ones, of one thread each, are started.
    """
    if count == 1 or _is_launched() or torch.cuda.is_available():
        function(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        # As daemons they end with this process, when it alone is interrupted, too.
        spawn(_join, (count, store, function, arguments), nprocs=count, daemon=True)  # type: ignore[no-untyped-call]


def _is_launched() -> bool:
    return "LOCAL_RANK" in os.environ


def _join(
    number: int, count: int, store: Path, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    ranks = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    os.environ.update({"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    torch.set_num_threads(1)
    # A file in place of accelerate's port, which two runs on one machine would fight over.
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=number, world_size=count, timeout=PATIENCE
    )
    function(*arguments)
    distributed.destroy_process_group()
