"""How long members take on a target: the sum of what their parts were measured to take there."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from shared.errors import InputError, TenstepError
from shared.files import atomic_file
from training.search.family import Kind, Member, Part, Trunk
from training.search.order import Step, steps
from training.search.space import SPACES
from worker.devices import Device, pin_environment

TORCH, ONNXRUNTIME = "torch", "onnxruntime"
FORMAT = """
A table is a JSON file. One for a card can be written by hand, from times that its profiler tells:

  {"target": "qaic-std-float16", "processor": "Cloud AI 100 Standard", "threads": null,
   "batch": 4, "shares_rows": false, "unit": "ms",
   "trunk": {"side": 8, "latent_channels": 12, "text_tokens": 32, "text_width": 192,
             "temb_width": 384, "heads": 4, "norm_groups": 32},
   "entries": [{"kind": "resnet", "in_channels": 64, "out_channels": 96, "side": 8, "rows": 2,
                "ms": 0.31, "spread_ms": 0.01, "rounds": 30}, ...]}

batch counts the images of a pass; with guidance each is two rows. shares_rows says whether a
network runs what lies before its first transformer once for both rows, as ours in torch does; if
so, what may lie there has a second entry, with one row an image ("rows": 1). kind is resnet,
transformer, downsampler, upsampler or trunk (the convolutions at both ends, the last norm and the
embedding of the timestep); side is the positions to the side of what goes in. ms is the median of
so many rounds, spread_ms half the distance between their quartiles.
"""


class Entry(BaseModel):
    """What one part takes, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    in_channels: PositiveInt
    out_channels: PositiveInt
    side: PositiveInt
    rows: int = Field(default=2, ge=1, le=2)
    """Of an image, that go in; what comes out of a transformer has two."""
    ms: NonNegativeFloat
    """The median of the rounds."""
    spread_ms: NonNegativeFloat = 0.0
    """Half the distance between their quartiles."""
    rounds: PositiveInt = 1

    @property
    def step(self) -> Step:
        """What was measured."""
        return Step(Part(self.kind, self.in_channels, self.out_channels, self.side), self.rows)


class Conditions(BaseModel):
    """What was the same for all entries of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    """What runs networks, its precision and threads, such as ``torch-cpu-float32-2-threads``."""
    processor: str
    threads: PositiveInt | None
    """Of the processor; None on an accelerator."""
    batch: PositiveInt
    """Images of a pass; with guidance each is two rows."""
    shares_rows: bool
    """Whether what lies before the first transformer is run once for both rows of an image."""
    trunk: Trunk
    unit: Literal["ms"] = "ms"


class LatencyTable(Conditions):
    """Times of parts on one target, from which those of members follow."""

    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table, measured or written by hand.

        Raises:
            InputError: there is no such file, or it is no table.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: no table of latencies: {place}: {first['msg']}") from None

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(self.model_dump_json(indent=1).encode() + b"\n")

    @property
    def conditions(self) -> Conditions:
        """What was the same for all entries."""
        return Conditions(**{name: getattr(self, name) for name in Conditions.model_fields})

    @cached_property
    def known(self) -> Mapping[Step, Entry]:
        """Its entries, by what was measured."""
        return {entry.step: entry for entry in self.entries}

    def latency(self, member: Member) -> float:
        """Return what one guided pass takes, in milliseconds: its parts' times, added up.

        Raises:
            InputError: a part was not measured.
        """
        counted = steps(member, self.trunk.side, shares_rows=self.shares_rows)
        return sum(times * self._entry(step).ms for step, times in counted.items())

    def knows(self, member: Member) -> bool:
        """Tell whether all parts of a member were measured."""
        counted = steps(member, self.trunk.side, shares_rows=self.shares_rows)
        return counted.keys() <= self.known.keys()

    def lacking(self, asked: Iterable[Step], rounds: int) -> list[Step]:
        """Return those parts that were not measured, or in fewer rounds."""
        return [
            step for step in asked if step not in self.known or self.known[step].rounds < rounds
        ]

    def merged(self, other: LatencyTable) -> LatencyTable:
        """Return a table with the entries of both; of two for one part, that of more rounds.

        Raises:
            InputError: they were not measured under the same conditions.
        """
        for name in Conditions.model_fields:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise InputError(f"tables do not go together: {name} is {ours}, and {theirs}")
        found = dict(self.known)
        for step, entry in other.known.items():
            if step not in found or entry.rounds >= found[step].rounds:
                found[step] = entry
        return self.of(self.conditions, found.values())

    @classmethod
    def of(cls, conditions: Conditions, entries: Iterable[Entry]) -> Self:
        """Make a table, its entries sorted by what was measured."""
        ordered = tuple(sorted(entries, key=lambda entry: entry.step))
        return cls(**dict(conditions), entries=ordered)

    def _entry(self, step: Step) -> Entry:
        entry = self.known.get(step)
        if entry is None:
            part = step.part
            raise InputError(
                f"no time on {self.target} of a {part.kind} from {part.in_channels} to "
                f"{part.out_channels} channels at {part.side} x {part.side} positions, "
                f"{step.rows} row{'s' * (step.rows > 1)} an image",
                hint="Go on measuring: python -m training.search latency.",
            )
        return entry


def main(words: Sequence[str] | None = None) -> None:
    """Measure a table, or go on with it, and check it against whole members."""
    parser = _parser()
    options = parser.parse_args(words)
    # As a worker's, before torch is there: else threads of one library spin beside another's.
    pin_environment(Device("cpu", None), options.threads)
    from training.search.table_command import measure_and_check

    try:
        ended = measure_and_check(options)
    except TenstepError as error:
        parser.exit(error.exit_code, f"{error.message}\n")
    if not ended:
        parser.exit(130, f"{options.out}: was stopped; the same command goes on\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.search latency",
        description=main.__doc__,
        epilog=FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", choices=SPACES, required=True, help="whose parts are measured")
    parser.add_argument(
        "--target",
        choices=(TORCH, ONNXRUNTIME),
        default=TORCH,
        help="torch: in fused parts, as a worker runs them; both on the processor, in float32",
    )
    parser.add_argument("--threads", type=int, default=0, help="0 is one a core")
    parser.add_argument("--batch", type=int, default=4, help="images of a pass, two rows each")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the table, .json; if it is there, only what it lacks is measured, or has of fewer "
        "rounds",
    )
    parser.add_argument("--rounds", type=int, default=30, help="times that each part is measured")
    parser.add_argument(
        "--members", type=int, metavar="N", help="measure no parts but those of N members by chance"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the order in which parts and members are taken"
    )
    parser.add_argument(
        "--check",
        type=int,
        default=0,
        metavar="N",
        help="then measure N whole members by chance, and compare with what the table says",
    )
    return parser


if __name__ == "__main__":
    main()
