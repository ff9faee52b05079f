"""Cards that are not there, and what they have been told to do."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qaic import environment
from qaic.errors import QaicError

READY, ERROR, VANISH, HANG, FAIL = "ready", "error", "vanish", "hang", "fail"
BEHAVIOURS = (READY, ERROR, VANISH, HANG, FAIL)
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Card:
    """One QID."""

    qid: int
    sku: str
    cores: int
    dram_mb: int
    behaviour: str

    @property
    def status(self) -> str:
        """What the driver says of it."""
        return "Error" if self.behaviour == ERROR else "Ready"

    def fields(self) -> dict[str, str | int]:
        """Return what ``qaic-util`` tells, in its order."""
        return {
            "Status": self.status,
            "PCI Info": "Qualcomm Cloud AI 100 emulator",
            "Product name": f"emulator of Cloud AI 100 {self.sku}",
            "SKU Type": self.sku,
            "HW Version": "2.0",
            "FW Version": environment.SDK_VERSION,
            "Dram Total": f"{self.dram_mb} MB",
            "Nsp Total": self.cores,
            "Nsp Free": self.cores,
            "Board serial": f"EMULATOR-{self.qid}",
        }


def all_cards() -> list[Card]:
    """List the cards that have not vanished."""
    sku = environment.sku()
    cards = (
        Card(qid, sku, environment.CORES[sku], environment.dram_mb(), behaviour_of(qid))
        for qid in range(environment.card_count())
    )
    return [card for card in cards if card.behaviour != VANISH]


def behaviour_of(qid: int) -> str:
    """Return what a card was told to do, just now."""
    folder = environment.state_folder()
    try:
        told = (folder / str(qid)).read_text("utf-8").strip() if folder else ""
    except FileNotFoundError:
        return READY
    if told and told not in BEHAVIOURS:
        raise QaicError(f"emulated card {qid} is told {told!r}, which is none of {BEHAVIOURS}")
    return told or READY


def require_ready(qid: int) -> Card:
    """Return a card.

    Raises:
        QaicError: there is no such card, or it is in error.
    """
    card = next((card for card in all_cards() if card.qid == qid), None)
    if card is None:
        raise QaicError(f"device {qid} not found")
    if card.status != "Ready":
        raise QaicError(f"device {qid} is not ready: Status:{card.status}")
    return card


def obey(qid: int) -> None:
    """Do what a card was told to do at a run.

    Raises:
        QaicError: it was told to fail, or has been lost.
    """
    while behaviour_of(qid) == HANG:
        time.sleep(POLL_SECONDS)
    if require_ready(qid).behaviour == FAIL:
        folder = environment.state_folder()
        if folder:
            (folder / str(qid)).unlink(missing_ok=True)
        raise QaicError(f"device {qid}: the run failed, as it was told to")
