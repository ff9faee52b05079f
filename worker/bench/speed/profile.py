"""Where the time of a step goes: torch's profiler, and our kernels, which it does not see."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.autograd.profiler import record_function

from shared.domain.money import NANOSECONDS
from worker.bench.speed.silence import ERR, muted
from worker.kernels.attention import attend_by_head
from worker.kernels.compiling import SEQUENCES
from worker.kernels.direct import multiply_slab, products_of_slab
from worker.kernels.normalization import group_norm_factors
from worker.kernels.projection import products_of_rows, project_rows
from worker.kernels.strips import convolve_strips, products_of_strips
from worker.models.measure import FLOPS_A_MAC

MICROSECOND = 1000
KERNEL, ATTENTION_PART = "kernel ", "attention part"
"""What ranges are called, or begin with."""
OUR_CODE = "worker."


class Kind(StrEnum):
    """What a step does."""

    WINOGRAD = "Winograd convolutions"
    CONVOLUTIONS = "other convolutions"
    PROJECTIONS = "projections"
    ATTENTION = "attention"
    NORMALIZATION = "normalization"
    ELEMENTWISE = "elementwise, copies"
    REST = "rest"


MULTIPLYING = (Kind.WINOGRAD, Kind.CONVOLUTIONS, Kind.PROJECTIONS)
"""What is held against the peak of matrix products."""
BY_NAME = (
    ("norm", Kind.NORMALIZATION),
    ("conv", Kind.CONVOLUTIONS),
    ("scaled_dot_product", Kind.ATTENTION),
    ("softmax", Kind.ATTENTION),
    ("linear", Kind.PROJECTIONS),
)
"""Of torch's operators whose names have such a part."""
MATRIX_PRODUCTS = ("mm", "matmul")
KERNELS = {
    convolve_strips.__name__: (Kind.WINOGRAD, products_of_strips),
    multiply_slab.__name__: (Kind.CONVOLUTIONS, products_of_slab),
    project_rows.__name__: (Kind.PROJECTIONS, products_of_rows),
    group_norm_factors.__name__: (Kind.NORMALIZATION, None),
    attend_by_head.__name__: (Kind.ATTENTION, None),
}
"""What each kernel does, and who counts its multiply-accumulates. Normalizations, transforms and
gates that a kernel takes along count as its time."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a step's work."""

    kind: Kind | None
    """None: of several."""
    ns: int
    flops: int
    """Of what is really multiplied, two a multiply-accumulate; 0 where nobody counts them."""

    @property
    def gflops(self) -> float | None:
        """A second; None where nobody counts them."""
        return self.flops * NANOSECONDS / 1e9 / self.ns if self.flops and self.ns else None


@dataclass(frozen=True, slots=True)
class Profile:
    """One step of a denoiser under the profiler, which slows it a little."""

    wall_ns: int
    parts: Sequence[Part]
    """All kinds; the rest is what neither torch nor a kernel has: Python, waking threads."""

    @property
    def multiplying(self) -> Part:
        """Products, convolutions and projections together."""
        some = [part for part in self.parts if part.kind in MULTIPLYING]
        return Part(None, sum(part.ns for part in some), sum(part.flops for part in some))


def profile(denoiser: nn.Module, step: Callable[[], object]) -> Profile:
    """Take a step under the profiler.

    Args:
        denoiser: whose parts tell what an operator is for; is left as it was.
        step: runs it once, on kernels that are compiled already.
    """
    with ExitStack() as stack:
        stack.enter_context(_parts_told(denoiser))
        stack.enter_context(_kernels_told())
        stack.enter_context(muted(ERR))
        profiler = stack.enter_context(
            torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True
            )
        )
        begin = time.perf_counter_ns()
        step()
        wall_ns = time.perf_counter_ns() - begin
    return Profile(wall_ns, list(_parts(profiler.events(), wall_ns)))


def kind_of(operator: str, part: str | None) -> Kind:
    """Tell what an operator or kernel does.

    Args:
        operator: its name, as the profiler has it.
        part: the range that it lies in; None outside of all.
    """
    if operator.startswith(KERNEL):
        return KERNELS[operator.split()[1]][0]
    if operator.endswith(MATRIX_PRODUCTS):
        return Kind.ATTENTION if part == ATTENTION_PART else Kind.PROJECTIONS
    return next((kind for name, kind in BY_NAME if name in operator), Kind.ELEMENTWISE)


def _parts(events: Any, wall_ns: int) -> Iterator[Part]:
    ns, flops = dict.fromkeys(Kind, 0), dict.fromkeys(Kind, 0)
    for event in events:
        is_inner = event.cpu_parent is not None and not _is_part(event.cpu_parent)
        if is_inner or _is_part(event):
            continue
        kind = kind_of(event.name, event.cpu_parent and event.cpu_parent.name)
        ns[kind] += round(event.cpu_time_total * MICROSECOND)
        if kind in MULTIPLYING:  # torch counts additions too
            flops[kind] += _flops(event)
    ns[Kind.REST] = max(0, wall_ns - sum(ns.values()))
    yield from (Part(kind, ns[kind], flops[kind]) for kind in Kind)


def _is_part(event: Any) -> bool:
    return bool(event.name == ATTENTION_PART)


def _flops(event: Any) -> int:
    """Return what an operator counts, or those within it do."""
    if event.name.startswith(KERNEL):
        return FLOPS_A_MAC * int(event.name.split()[2])
    return int(event.flops or 0) or sum(map(_flops, event.cpu_children))


@contextmanager
def _parts_told(denoiser: nn.Module) -> Iterator[None]:
    """Have attention that is not fused told as ranges."""
    with ExitStack() as stack:
        for module in denoiser.modules():
            if isinstance(module, Attention):
                for hook in _range_of(module, ATTENTION_PART):
                    stack.callback(hook.remove)
        yield


def _range_of(module: nn.Module, name: str) -> Iterator[Any]:
    told: Any = record_function(name)

    def begin(*_: Any) -> None:
        told.__enter__()

    def end(*_: Any) -> None:
        told.__exit__(None, None, None)

    yield module.register_forward_pre_hook(begin)
    yield module.register_forward_hook(end)


@contextmanager
def _kernels_told() -> Iterator[None]:
    """Have each of our kernels told as a range, wherever it was imported.

    A range in the kernels' own code would cost every image something. What runs several of them
    is run by Python for the time being.
    """
    compiled = [
        (module, name, value)
        for module in list(sys.modules.values())
        if module.__name__.startswith(OUR_CODE)
        for name, value in vars(module).items()
        if hasattr(value, "targetoptions")
    ]
    for module, name, value in compiled:
        if value.__name__ in KERNELS:
            setattr(module, name, _told(value))
        elif value in SEQUENCES:
            setattr(module, name, value.py_func)
    try:
        yield
    finally:
        for module, name, value in compiled:
            setattr(module, name, value)


def _told(kernel: Any) -> Callable[..., Any]:
    _, count = KERNELS[kernel.__name__]

    def told(*arguments: Any) -> Any:
        products = count(*arguments) if count else 0
        with record_function(f"{KERNEL}{kernel.__name__} {products}"):
            return kernel(*arguments)

    return told
