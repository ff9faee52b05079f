"""The flags of ``qaic-exec`` that the published recipe uses; others are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qaic import environment
from qaic.errors import QaicError

SWITCHES = {
    *("aic-hw", "compile-only", "convert-to-fp16", "multicast-weights"),
    "aic-enable-depth-first",
}
NUMBERS = {
    *("aic-num-cores", "aic-num-of-instances", "mos", "ols", "stats-batchsize"),
    "aic-depth-first-mem",
}
TEXTS = {"m", "aic-hw-version", "aic-binary-dir"}
SYMBOL = "onnx-define-symbol"
HARDWARE = "2.0"


@dataclass(slots=True)
class Flags:
    """What the compiler is asked for."""

    switches: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)

    @property
    def cores(self) -> int:
        """AI cores of all instances."""
        return self.numbers.get("aic-num-cores", 1) * self.numbers.get("aic-num-of-instances", 1)

    @property
    def model(self) -> Path:
        """The graph."""
        return Path(self.texts["m"])

    @property
    def binary_dir(self) -> Path:
        """The folder that is made."""
        return Path(self.texts["aic-binary-dir"])


def parse(arguments: Sequence[str]) -> Flags:
    """Read a command line.

    Raises:
        QaicError: a flag is unknown, has a bad value, or is missing.
    """
    flags = Flags()
    for argument in arguments:
        name, has_value, value = argument.removeprefix("-").partition("=")
        if not argument.startswith("-"):
            raise QaicError(f"unexpected argument '{argument}'")
        if name in SWITCHES and not has_value:
            flags.switches.add(name)
        elif name in NUMBERS:
            flags.numbers[name] = _number(name, value)
        elif name in TEXTS and value:
            flags.texts[name] = value
        elif name == SYMBOL:
            symbol, _, size = value.partition(",")
            flags.symbols[symbol] = _number(f"{SYMBOL}={symbol}", size)
        else:
            raise QaicError(f"unknown command line argument '{argument}'")
    _check(flags)
    return flags


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise QaicError(f"-{name}: '{text}' is not a positive number")
    return int(text)


def _check(flags: Flags) -> None:
    for name in ("m", "aic-binary-dir"):
        if name not in flags.texts:
            raise QaicError(f"-{name} is required")
    for name in ("aic-hw", "compile-only"):
        if name not in flags.switches:
            raise QaicError(f"-{name} is required: the emulator does nothing but compile for AIC")
    if flags.texts.get("aic-hw-version", HARDWARE) != HARDWARE:
        raise QaicError(f"-aic-hw-version: only {HARDWARE} is supported")
    if "aic-depth-first-mem" in flags.numbers and "aic-enable-depth-first" not in flags.switches:
        raise QaicError("-aic-depth-first-mem needs -aic-enable-depth-first")
    most = max(environment.CORES.values())
    if flags.cores > most:
        raise QaicError(
            f"-aic-num-cores: {flags.cores} cores are asked for, a card has {most} at most"
        )
