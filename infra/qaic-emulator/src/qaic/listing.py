"""``qaic-util``: lists the cards."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from qaic import environment
from qaic.cards import Card, all_cards

USAGE = "usage: qaic-util [-d QID] [-q] [-j FILE]"


def main() -> None:
    """List the cards as text, or write them to a file as JSON."""
    wanted, file = _parse(sys.argv[1:])
    cards = [card for card in all_cards() if wanted is None or card.qid == wanted]
    if wanted is not None and not cards:
        raise SystemExit(f"qaic-util: device {wanted} not found")
    if file is None:
        print(_as_text(cards))
        return
    document = {
        "SDK Version": environment.SDK_VERSION,
        "Number of devices": len(cards),
        "Devices": [{"QID": card.qid, **card.fields()} for card in cards],
    }
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise SystemExit(f"qaic-util: {file}: {error.strerror}") from None


def _as_text(cards: Sequence[Card]) -> str:
    lines = [f"SDK Version: {environment.SDK_VERSION}", f"Number of devices: {len(cards)}"]
    for card in cards:
        lines.append(f"QID {card.qid}")
        lines += [f"\t{name}:{value}" for name, value in card.fields().items()]
    return "\n".join(lines)


def _parse(arguments: list[str]) -> tuple[int | None, Path | None]:
    wanted, file = None, None
    waiting = list(arguments)
    while waiting:
        flag = waiting.pop(0)
        if flag == "-q":
            continue
        if flag not in {"-d", "-j"} or not waiting:
            raise SystemExit(f"qaic-util: bad argument {flag!r}\n{USAGE}")
        value = waiting.pop(0)
        if flag == "-j":
            file = Path(value)
        elif value.isdecimal():
            wanted = int(value)
        else:
            raise SystemExit(f"qaic-util: {value!r} is no QID\n{USAGE}")
    return wanted, file
