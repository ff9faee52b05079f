"""Several processes train one model together, each on its share of every batch.

On a processor, one thread in each of two processes gets more done than two threads in one: small
networks spend much of a step in work that does not split.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

LOG_FORMAT = "%(asctime)s %(message)s"


def rank() -> int:
    """Return this process's number, 0 where it trains alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def part(batch: Tensor) -> Tensor:
    """Return this process's share of a batch (B, ...): all together see what one alone would."""
    return batch[rank() :: processes()]


def share(model: nn.Module) -> nn.Module:
    """Wrap a model so that its gradients are averaged over all processes."""
    if processes() == 1:
        return model
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def launch(count: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in `count` processes that train together, and wait for all of them."""
    if count == 1:
        function(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        spawn(_join, (count, store, function, arguments), nprocs=count)  # type: ignore[no-untyped-call]


def _join(
    number: int, count: int, store: Path, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=number, world_size=count
    )
    function(*arguments)
    distributed.destroy_process_group()
