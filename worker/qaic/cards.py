"""The Cloud AI 100 cards of this host, as ``qaic-util`` lists them.

How it spells its JSON is documented by example only, so whatever has a QID is a card, and
names of fields count by their letters and digits.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shared.errors import ConfigurationError
from worker.qaic.tools import UTIL, find_tool

READY = "ready"
ANSWER_SECONDS = 30.0
UNITS = {"": 10**6, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
"""Of memory; without a unit it is told in megabytes."""
STANDARD_CORES = 14
"""Only Standard cards have so many."""
SKUS = {"std": "ai100-std", "standard": "ai100-std", "pro": "ai100-pro", "ultra": "ai100-ultra"}
QID_KEYS = ("qid", "deviceid", "devid")
STATUS_KEYS = ("status", "devicestatus", "devstatus")
SKU_KEYS = ("sku", "skutype", "boardsku", "productname", "boardname", "name")
NAME_KEYS = ("productname", "boardname", "name", "pciinfo")
CORES_KEYS = ("nsptotal", "numnsp", "cores")
MEMORY_KEYS = ("dramtotal", "drammb", "memory")
UNNAMED = "Qualcomm Cloud AI 100"

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QaicCard:
    """One QID: a card, or a part of one."""

    qid: int
    status: str
    """As the driver says it, such as Ready or Error."""
    is_ready: bool
    sku: str
    """ai100-std, ai100-pro or ai100-ultra; empty if it cannot be told."""
    name: str
    cores: int
    """AI cores; 0 if it was not told."""
    memory_bytes: int
    """0 if it was not told."""
    is_emulated: bool


def find_cards() -> Sequence[QaicCard]:
    """List the cards of this host by QID; none where there is no ``qaic-util``.

    Raises:
        ConfigurationError: it fails, takes too long or answers with something else.
    """
    tool = find_tool(UTIL)
    if tool is None:
        return []
    with TemporaryDirectory(prefix="tenstep-qaic-") as folder:
        listing = Path(folder) / "cards.json"
        _ask(tool, listing)
        try:
            text = listing.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{tool}: left no list of cards: {error}") from None
    return parse_cards(text, str(tool))


def parse_cards(text: str, source: str = UTIL) -> Sequence[QaicCard]:
    """Read the JSON of ``qaic-util -j``.

    Raises:
        ConfigurationError: it is no JSON, or a card in it has no status.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{source}: its list of cards is not JSON: {error}") from None
    if not isinstance(document, dict | list):
        raise ConfigurationError(f"{source}: its list of cards is neither an object nor a list")
    cards = {card.qid: card for card in map(_card, _entries(document))}
    return [cards[qid] for qid in sorted(cards)]


def _ask(tool: Path, listing: Path) -> None:
    try:
        done = subprocess.run(
            [str(tool), "-j", str(listing)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"{tool}: no answer in {ANSWER_SECONDS:g} seconds",
            hint="Is the driver loaded? dmesg tells.",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{tool}: {error.strerror or error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ConfigurationError(f"{tool}: {said[-1] if said else f'exit {done.returncode}'}")


def _entries(node: Any, name: str = "") -> Iterator[Fields]:
    """Yield the fields of whatever has a QID, or is called by one."""
    if isinstance(node, list):
        for part in node:
            yield from _entries(part)
        return
    if not isinstance(node, dict):
        return
    fields = {_key(key): value for key, value in _leaves(node)}
    called = re.fullmatch(r"(?:qid\W*)?(\d+)", name, re.IGNORECASE)
    own = {_key(key) for key in node}
    if own.intersection(QID_KEYS):
        yield fields
    elif called and own.intersection(STATUS_KEYS):
        yield {**fields, QID_KEYS[0]: called[1]}
    else:
        for key, part in node.items():
            yield from _entries(part, key)


def _leaves(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of an object and of those in it; its own come last and win."""
    for value in node.values():
        if isinstance(value, dict):
            yield from _leaves(value)
    for key, value in node.items():
        if not isinstance(value, dict | list):
            yield key, value


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _card(fields: Fields) -> QaicCard:
    status = _text(fields, STATUS_KEYS).removeprefix("Status:").strip()
    qid = re.search(r"\d+", _text(fields, QID_KEYS))
    if qid is None or not status:
        raise ConfigurationError(f"{UTIL}: lists a card without a QID or a status: {dict(fields)}")
    cores = re.match(r"\d+", _text(fields, CORES_KEYS))
    count = int(cores[0]) if cores else 0
    return QaicCard(
        qid=int(qid[0]),
        status=status,
        is_ready=status.lower() == READY,
        sku=_sku(fields, count),
        name=_text(fields, NAME_KEYS) or UNNAMED,
        cores=count,
        memory_bytes=_memory(_text(fields, MEMORY_KEYS)),
        is_emulated=any("emulat" in str(value).lower() for value in fields.values()),
    )


def _text(fields: Fields, keys: Sequence[str]) -> str:
    found = next((fields[key] for key in keys if fields.get(key) is not None), "")
    return str(found).strip()


def _sku(fields: Fields, cores: int) -> str:
    for key in SKU_KEYS:
        words = re.findall(r"[a-z]+", str(fields.get(key, "")).lower())
        for word in words:
            if word in SKUS:
                return SKUS[word]
    return SKUS["std"] if cores == STANDARD_CORES else ""


def _memory(text: str) -> int:
    found = re.match(r"(\d+(?:\.\d+)?)\s*([KMG]?B?)", text, re.IGNORECASE)
    if found is None:
        return 0
    return round(float(found[1]) * UNITS.get(found[2].upper(), UNITS[""]))
