"""How many examples of a stream are bad, and when that is too many."""

from __future__ import annotations

import logging

from shared.errors import InputError
from training.data.examples import Flaw

logger = logging.getLogger(__name__)

#: A share is taken of no fewer than these: the first bad example says nothing yet.
_FEWEST = 100


class Tally:
    """Counts what a stream comes upon; names each bad example once."""

    def __init__(self, bad_share: float, *, names_flaws: bool) -> None:
        """Count from nothing.

        Args:
            bad_share: more than this share of bad examples is an error, in [0, 1).
            names_flaws: log bad examples that every process comes upon; one of them does.
        """
        self._bad_share = bad_share
        self._names_flaws = names_flaws
        self._known: set[tuple[str, str]] = set()
        self._listed = self._listed_bad = 0
        self._decoded = self._decoded_bad = 0

    @property
    def bad(self) -> int:
        """How many different examples were bad until now."""
        return len(self._known)

    def listed(self) -> None:
        """Count an example that is well-formed as far as can be told without its picture."""
        self._listed += 1

    def malformed(self, flaw: Flaw) -> None:
        """Count an example that was seen to be bad without its picture.

        Raises:
            InputError: that is too many.
        """
        self._listed += 1
        self._listed_bad += 1
        self._remember(flaw, is_named=self._names_flaws)

    def decoded(self) -> None:
        """Count a good picture."""
        self._decoded += 1

    def unreadable(self, flaw: Flaw) -> None:
        """Count a picture that cannot be used.

        Raises:
            InputError: that is too many.
        """
        self._decoded += 1
        self._decoded_bad += 1
        self._remember(flaw, is_named=True)

    def _remember(self, flaw: Flaw, *, is_named: bool) -> None:
        place = (flaw.source, flaw.example)
        if place not in self._known:
            self._known.add(place)
            if is_named:
                logger.warning("skipped: %s", flaw)
        listed = self._listed_bad / max(self._listed, _FEWEST)
        share = listed + (1.0 - listed) * self._decoded_bad / max(self._decoded, _FEWEST)
        if share > self._bad_share:
            raise InputError(
                f"{share:.1%} of the examples are bad, at most {self._bad_share:.1%} may be; "
                f"the last: {flaw}",
                hint="`python -m training.data check SOURCE` lists all; bad_share in [data] "
                "allows more",
            )
