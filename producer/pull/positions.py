"""Positions of a batch that may grow: a byte or four for each, whatever is noted of them."""

from __future__ import annotations

from array import array

NOWHERE = -1


class PositionSet:
    """A set of positions."""

    def __init__(self) -> None:
        self._is_in = bytearray()
        self._count = 0

    def add(self, position: int) -> None:
        """Add a position, unless it is there."""
        if position >= len(self._is_in):
            self._is_in.extend(bytes(max(position + 1, 2 * len(self._is_in)) - len(self._is_in)))
        self._count += not self._is_in[position]
        self._is_in[position] = True

    def discard(self, position: int) -> None:
        """Remove a position, if it is there."""
        if position in self:
            self._is_in[position] = False
            self._count -= 1

    def __contains__(self, position: int) -> bool:
        return position < len(self._is_in) and bool(self._is_in[position])

    def __len__(self) -> int:
        return self._count


class PositionMap:
    """A small non-negative number for some positions."""

    def __init__(self) -> None:
        self._numbers = array("i")

    def __setitem__(self, position: int, number: int) -> None:
        missing = position + 1 - len(self._numbers)
        if missing > 0:
            self._numbers.extend(array("i", [NOWHERE]) * max(missing, len(self._numbers)))
        self._numbers[position] = number

    def get(self, position: int) -> int | None:
        """Return the number of a position; None if it has none."""
        number = self._numbers[position] if position < len(self._numbers) else NOWHERE
        return None if number == NOWHERE else number
