"""What the options of ``tenstep plan`` say, read and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from shared.domain.money import NANOSECONDS
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.plan_offers import Terms

T = TypeVar("T")

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"(?:\d{1,6}[smhd])+")
MAX_DURATION_NS = 3_650 * SECONDS["d"] * NANOSECONDS
MOST_DEVICES = 1_000_000
MOST_INTERRUPTIONS = 60
USUAL_INTERRUPTIONS = "0.05"
NUMBER_DIGITS = 12
PICTURES = (".svg", ".png")


def deadline_ns(text: str) -> int:
    """Read a deadline as nanoseconds from the start.

    Raises:
        InputError: it is no duration, or none that anything can be done in.
    """
    found = duration_ns("--deadline", text)
    if not found:
        raise InputError("--deadline: must be later than the start")
    return found


def duration_ns(option: str, text: str) -> int:
    """Read a time such as ``90m`` or ``1d12h`` as nanoseconds.

    Raises:
        InputError: it is none, or longer than ten years; names the option.
    """
    if not DURATION.fullmatch(text):
        raise InputError(
            f"{option}: not a duration: {text!r}", hint="Such as 45s, 90m, 6h, 2d or 1d12h."
        )
    parts = re.findall(r"(\d+)([smhd])", text)
    found = sum(int(number) * SECONDS[unit] for number, unit in parts) * NANOSECONDS
    if found > MAX_DURATION_NS:
        raise InputError(f"{option}: {text} is longer than ten years")
    return found


def read_terms(
    start_up: str,
    only: Sequence[str],
    limits: Sequence[str],
    spot: Sequence[str],
    interruptions: str | None,
) -> Terms:
    """Read what can be had, and how.

    Raises:
        InputError: an option is no such thing; names it.
    """
    from producer.plan_offers import Terms

    if interruptions is not None and not spot:
        raise InputError("--interruptions-per-hour goes with --spot")
    for_all = [text for text in spot if "=" not in text]
    if len(for_all) > 1:
        raise InputError("--spot: is given twice for all devices")
    return Terms(
        start_up_ns=duration_ns("--start-up", start_up),
        only=only,
        limits=_named("--limit", limits, _devices),
        spot_factor=_factor("--spot", for_all[0]) if for_all else None,
        spot_factors=_named("--spot", [text for text in spot if "=" in text], _factor),
        interruptions_per_hour=_interruptions(interruptions or USUAL_INTERRUPTIONS),
    )


def check_picture(path: Path | None) -> None:
    """Check that a picture can be of the kind that its name says, and written there.

    Raises:
        InputError: it cannot.
    """
    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise InputError(f"--plot {path}: a picture's name ends in .svg or .png")
    if not path.parent.is_dir():
        raise InputError(f"--plot {path}: there is no folder {path.parent}")


def _named(option: str, texts: Sequence[str], read: Callable[[str, str], T]) -> dict[str, T]:
    named: dict[str, T] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError(f"{option} {text}: is not SKU=NUMBER")
        if name in named:
            raise InputError(f"{option} {name}: is given twice")
        named[name] = read(f"{option} {name}", value)
    return named


def _devices(option: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,7}", text) or int(text) > MOST_DEVICES:
        raise InputError(f"{option}: {text!r} is not a number of devices, 0 to {MOST_DEVICES:,}")
    return int(text)


def _factor(option: str, text: str) -> Fraction:
    factor = _number(option, text)
    if not 0 < factor <= 1:
        raise InputError(
            f"{option}: {text} is not above 0 and at most 1",
            hint="It is the share of the full price that is paid: 0.35 is 65 % off.",
        )
    return factor


def _interruptions(text: str) -> Fraction:
    option = "--interruptions-per-hour"
    rate = _number(option, text)
    if not 0 <= rate <= MOST_INTERRUPTIONS:
        raise InputError(f"{option}: {text} is not 0 to {MOST_INTERRUPTIONS}")
    return rate


def _number(option: str, text: str) -> Fraction:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise InputError(f"{option}: {text!r} is not a number") from None
    # Decimals such as 1e999999999 are short to write and endless as fractions.
    if not number.is_finite() or abs(number.adjusted()) > NUMBER_DIGITS:
        raise InputError(f"{option}: {text!r} is not a number")
    return Fraction(number)
