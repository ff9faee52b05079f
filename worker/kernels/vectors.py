"""Vector instructions by name, for the few loops that no compiler arranges well by itself.

What `emitted` makes is called from kernels; the machine's vectors have `LANES` numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BYTES_A_NUMBER = 4
FLOAT = ir.FloatType()
INDEX = ir.IntType(64)


_FEATURES = llvmlite.binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
"""Numbers of float32 in one of this processor's vectors."""
_HAS_FUSED = any(_FEATURES.get(name) for name in ("fma", "neon"))
VECTOR = ir.VectorType(FLOAT, LANES)


class Emitter:
    """Writes instructions on vectors, at whatever place of a function it has come to."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        """Begin where a builder is."""
        self.builder = builder

    def pointer(self, address: Any) -> Any:
        """Take an address, as numbers are counted from it."""
        return self.builder.inttoptr(address, FLOAT.as_pointer())

    def load(self, base: Any, offset: Any) -> Any:
        """Read a vector that begins so many numbers behind a pointer."""
        return self.builder.load(self._vector_at(base, offset), align=BYTES_A_NUMBER)

    def store(self, vector: Any, base: Any, offset: Any) -> None:
        """Write a vector so many numbers behind a pointer."""
        self.builder.store(vector, self._vector_at(base, offset), align=BYTES_A_NUMBER)

    def load_everywhere(self, base: Any, offset: Any) -> Any:
        """Read one number into each lane."""
        number = self.builder.load(self.builder.gep(base, [offset]), align=BYTES_A_NUMBER)
        return self._everywhere(number)

    def constant(self, number: float) -> Any:
        """Return a number in each lane."""
        return ir.Constant(VECTOR, [ir.Constant(FLOAT, number)] * LANES)

    def index(self, number: int) -> Any:
        """Return a number to count with."""
        return ir.Constant(INDEX, number)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """Return x * y + z, rounded once where the processor can do that."""
        if not _HAS_FUSED:
            return self.builder.fadd(self.builder.fmul(x, y), z)
        module, name = self.builder.module, f"llvm.fma.v{LANES}f32"
        known = module.globals.get(name)
        fused = known or ir.Function(module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
        return self.builder.call(fused, [x, y, z])

    def sum_of(self, terms: Sequence[tuple[float, Any]]) -> Any:
        """Return the sum of vectors, each times its factor; there is at least one."""
        (factor, vector), *others = sorted(terms, key=lambda term: abs(term[0]) != 1)
        total = vector if factor == 1 else self.builder.fmul(vector, self.constant(factor))
        for factor, vector in others:
            if factor == 1:
                total = self.builder.fadd(total, vector)
            elif factor == -1:
                total = self.builder.fsub(total, vector)
            else:
                total = self.multiply_add(vector, self.constant(factor), total)
        return total

    @contextmanager
    def counting(self, count: Any, step: int, carried: Sequence[Any] = ()) -> Iterator[Loop]:
        """Write a loop: from 0 by a step, while below a count.

        Args:
            count: of at least one step, or the body runs once all the same.
            step: how far.
            carried: values before the first turn, of what each turn hands to the next.
        """
        builder = self.builder
        before = builder.block
        body, behind = builder.append_basic_block("turn"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        at = builder.phi(INDEX)
        at.add_incoming(self.index(0), before)
        phis = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        loop = Loop(at, phis)
        yield loop
        last = builder.block
        following = builder.add(at, self.index(step))
        at.add_incoming(following, last)
        for phi, value in zip(phis, loop.handed, strict=True):
            phi.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", following, count), body, behind)
        builder.position_at_end(behind)

    def _vector_at(self, base: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [offset]), VECTOR.as_pointer())

    def _everywhere(self, number: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, self.index(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, one, mask)


class Loop:
    """A loop as it is being written."""

    def __init__(self, at: Any, carried: list[Any]) -> None:
        """Begin its body."""
        self.at = at
        """The count, in the body."""
        self.carried = carried
        """What the turn before handed on; behind the loop, `handed` is what the last did."""
        self.handed: list[Any] = list(carried)


def emitted(write: Callable[..., None]) -> Any:
    """Make a function for kernels out of what writes its instructions.

    Args:
        write: gets an `Emitter` and the function's arguments, addresses and counts of 64 bits.
    """

    def typed(_typing: Any, *given: Any) -> Any:
        def generated(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            write(Emitter(builder), *values)
            return context.get_dummy_value()

        return types.void(*[types.int64] * len(given)), generated

    # numba reads the arguments' names there.
    _, *names = signature(write).parameters
    typed.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("typingctx", *names)]
    )
    return intrinsic(typed)
