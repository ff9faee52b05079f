"""From a model to programs for Cloud AI 100: export, clip, compile, keep."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.clock import utc_now
from shared.errors import ConfigurationError, TenstepError
from shared.models.card import ModelCard, read_json
from worker.export.export import export_model
from worker.models.exported import GRAPH, require_exact
from worker.models.vae import VAEDecoderConfig
from worker.models.weights import exported_from
from worker.qaic.cards import find_cards
from worker.qaic.clip import write_clipped
from worker.qaic.recipe import SKUS, Program, Sku, find_sku, programs_of
from worker.qaic.store import QPC, QpcRecord, QpcStore, hash_file, identity_of
from worker.qaic.tools import COMPILER, NOT_INSTALLED, SDK, Sdk, find_sdk, find_tool

LONGEST_SECONDS = 6 * 3600.0
"""Of one program; the largest take the compiler the better part of an hour."""
SAID_LINES = 5
"""Of what the compiler said last, when it fails."""
LOG = "compiler.log"

Report = Callable[[str], None]


class CompiledProgram(BaseModel):
    """One program, compiled now or found in the store."""

    model_config = ConfigDict(frozen=True)

    component: str
    width: int
    height: int
    images: int
    was_there: bool
    seconds: float
    bytes: int
    identity: str
    path: str
    command: str


class CompileReport(BaseModel):
    """What a model was compiled to."""

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str
    sku: str
    sdk_version: str
    sdk_read_from: str
    programs: tuple[CompiledProgram, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """What to compile of which model, for which cards."""

    card: ModelCard
    sku: Sku
    programs: Sequence[Program]

    def commands(self) -> list[str]:
        """Return the compiler's command lines, as they are run in a folder of the graphs."""
        tool = find_tool(COMPILER) or SDK / "exec" / COMPILER
        return [shlex.join([str(tool), *program.arguments()]) for program in self.programs]


def make_order(
    card: ModelCard, sizes: Sequence[tuple[int, int]], images: int, sku: str | None
) -> Order:
    """Say what to compile.

    Args:
        card: of a model for torch, or of an exported one.
        sizes: (width, height) in pixels; none takes the model's own.
        images: how many the denoiser takes at once.
        sku: of the cards; None takes that of this host's first card, or ai100-std.

    Raises:
        InputError: a size, a number of images or a SKU cannot be.
        ConfigurationError: a part of the model is missing, or it was exported in int8.
    """
    require_exact(card.folder)
    vae = VAEDecoderConfig.from_json(read_json(card.folder / "vae" / "config.json"))
    chosen = find_sku(sku) if sku else _sku_here()
    wanted = sizes or [(card.width, card.height)]
    return Order(card, chosen, programs_of(chosen, wanted, images, vae.factor))


def compile_order(
    order: Order, store: QpcStore, *, report: Report = lambda _: None, force: bool = False
) -> CompileReport:
    """Compile what the store does not have.

    Args:
        order: from `make_order`.
        store: where programs are kept.
        report: is told what is being done, a line at a time.
        force: compile what is there, too.

    Raises:
        ConfigurationError: there is no compiler, or a part of the model is broken.
        InputError: the store cannot be written to.
        TenstepError: the compiler fails.
    """
    tool = find_tool(COMPILER)
    if tool is None:
        raise ConfigurationError(f"no {COMPILER} here", hint=NOT_INSTALLED)
    compiler = _Compiler(order, store, tool, find_sdk(), exported_from(order.card), report)
    known = {} if force else compiler.known()
    made = compiler.make([program for program in order.programs if program not in known])
    return CompileReport(
        model=order.card.name,
        weights_sha256=compiler.weights_sha256,
        sku=order.sku.name,
        sdk_version=compiler.sdk.version,
        sdk_read_from=compiler.sdk.read_from,
        programs=tuple({**known, **made}[program] for program in order.programs),
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    order: Order
    store: QpcStore
    tool: Path
    sdk: Sdk
    weights_sha256: str
    report: Report

    def known(self) -> dict[Program, CompiledProgram]:
        """Return the programs that are in the store, and whole."""
        found = {}
        for program in self.order.programs:
            stored = self.store.find(self._identity(program))
            if stored is not None:
                stored.verify()
                self.report(f"{program.label}: compiled before")
                found[program] = self._told(program, stored.record, was_there=True, seconds=0)
        return found

    def make(self, programs: Sequence[Program]) -> dict[Program, CompiledProgram]:
        """Compile programs, each of which is in the store as soon as it is done."""
        if not programs:
            return {}
        with self.store.workplace() as folder:
            self._write_graphs({program.component for program in programs}, folder)
            return {
                program: self._compile(program, folder, f"{number} of {len(programs)}")
                for number, program in enumerate(programs, 1)
            }

    def _write_graphs(self, components: set[str], folder: Path) -> None:
        card, exported = self.order.card, self.order.card.folder
        if card.backend == "torch":
            exported = folder / "exported"
            export_model(card, exported, report=self.report)
        for component in sorted(components):
            moved = write_clipped(exported / component / GRAPH, folder / component)
            if moved:
                self.report(f"{component}: constants clipped to the range of float16: {moved}")

    def _compile(self, program: Program, folder: Path, place: str) -> CompiledProgram:
        self.report(f"{program.label}: compiling, {place}")
        begin = time.perf_counter()
        self._run(program, folder)
        seconds = round(time.perf_counter() - begin, 3)
        compiled = folder / "qpc" / program.label
        if not (compiled / QPC).is_file():
            raise TenstepError(f"{program.label}: {self.tool} left no {QPC}")
        record = self._record(program, compiled / QPC)
        self.store.put(self._identity(program), compiled, record)
        self.report(f"{program.label}: {seconds:.1f} s, {record.file_bytes / 1e6:.1f} MB")
        return self._told(program, record, was_there=False, seconds=seconds)

    def _run(self, program: Program, folder: Path) -> None:
        """Run the compiler. Its own output may be long; the end of it tells why it failed."""
        (folder / "qpc").mkdir(exist_ok=True)
        log = folder / LOG
        with log.open("wb") as output:
            try:
                done = subprocess.run(
                    [str(self.tool), *program.arguments()],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=LONGEST_SECONDS,
                    check=False,
                )
            except OSError as error:
                raise ConfigurationError(f"{self.tool}: {error.strerror or error}") from None
            except subprocess.TimeoutExpired:
                raise TenstepError(
                    f"{program.label}: not compiled in {LONGEST_SECONDS / 3600:g} hours"
                ) from None
        if done.returncode:
            said = log.read_text("utf-8", errors="replace").strip().splitlines()[-SAID_LINES:]
            raise TenstepError(
                f"{program.label}: {COMPILER} ended with {done.returncode}: " + "; ".join(said)
            )

    def _record(self, program: Program, path: Path) -> QpcRecord:
        return QpcRecord(
            component=program.component,
            model=self.order.card.name,
            weights_sha256=self.weights_sha256,
            sdk_version=self.sdk.version,
            sdk_read_from=self.sdk.read_from,
            flags=program.flags,
            width=program.width,
            height=program.height,
            images=program.images,
            batch=program.batch,
            cores=program.cores,
            file_sha256=hash_file(path),
            file_bytes=path.stat().st_size,
            compiled_at=utc_now(),
        )

    def _identity(self, program: Program) -> str:
        return identity_of(program.component, self.weights_sha256, program.flags, self.sdk.version)

    def _told(
        self, program: Program, record: QpcRecord, *, was_there: bool, seconds: float
    ) -> CompiledProgram:
        identity = self._identity(program)
        return CompiledProgram(
            component=program.component,
            width=program.width,
            height=program.height,
            images=program.images,
            was_there=was_there,
            seconds=seconds,
            bytes=record.file_bytes,
            identity=identity,
            path=str(self.store.folder / identity / QPC),
            command=shlex.join([str(self.tool), *program.arguments()]),
        )


def _sku_here() -> Sku:
    found = (SKUS.get(card.sku) for card in find_cards())
    return next((sku for sku in found if sku is not None), SKUS["ai100-std"])
