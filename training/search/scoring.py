"""What a search wants of members, and what they may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from training.search.cost import cost
from training.search.family import Member, Trunk
from training.search.latency import LatencyTable
from training.search.order import reads_text
from worker.models.measure import GIGA

MILLION = 1e6

Loss = Callable[[Member], float]
"""Lower is better."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a member may cost; None is no limit."""

    max_parameters: int | None = None
    max_gmacs: float | None = None
    max_latency_ms: float | None = None
    attended_levels: int = 0
    """How many levels, from the deepest, have at least one attention. One somewhere, which reads
    the text, each member has to have."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good members are, or what stands in for that."""

    name: str
    loss: Loss
    is_gain: bool = False
    """Whether people are shown it with the other sign, for more of it is better."""

    def shown(self, loss: float) -> float:
        """Return it as people are shown it."""
        return -loss if self.is_gain else loss


@dataclass(frozen=True, slots=True)
class Scored:
    """A member, what it costs, and how good it is."""

    member: Member
    parameters: int
    gmacs: float
    """Of convolutions and linear layers, one row of an image; 1 GMAC is 10^9."""
    latency_ms: float | None
    """Of one guided pass, by a table; None without one."""
    loss: float
    violations: tuple[float, ...]
    """By how much limits are broken, as shares of them; none above 0 is none broken."""

    @property
    def is_allowed(self) -> bool:
        """Whether it keeps to all limits."""
        return max(self.violations) <= 0

    @property
    def objectives(self) -> tuple[float, float]:
        """What takes least is best: the time, or without a table the work; then the loss."""
        return self.gmacs if self.latency_ms is None else self.latency_ms, self.loss


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores members, each once."""

    trunk: Trunk
    quality: Quality
    limits: Limits
    table: LatencyTable | None = None
    _known: dict[Member, Scored] = field(default_factory=dict)

    def __call__(self, member: Member) -> Scored:
        """Score a member.

        Raises:
            InputError: the table lacks one of its parts.
        """
        if member not in self._known:
            self._known[member] = self._score(member)
        return self._known[member]

    @property
    def scored(self) -> tuple[Scored, ...]:
        """All members that were scored, in that order."""
        return tuple(self._known.values())

    def _score(self, member: Member) -> Scored:
        parameters, macs = cost(member, self.trunk).tolist()
        gmacs = macs / GIGA
        latency = None if self.table is None else self.table.latency(member)
        violations = (
            _excess(parameters, self.limits.max_parameters),
            _excess(gmacs, self.limits.max_gmacs),
            _excess(latency, self.limits.max_latency_ms),
            _lacking_attentions(member, self.limits.attended_levels),
        )
        loss = self.quality.loss(member)
        return Scored(member, parameters, gmacs, latency, loss, violations)


def size_as_quality(trunk: Trunk) -> Quality:
    """Return what stands in for quality where nothing is trained: the number of parameters."""

    def loss(member: Member) -> float:
        return -int(cost(member, trunk)[0]) / MILLION

    return Quality("parameters, millions", loss, is_gain=True)


def share_as_quality(trunk: Trunk, max_parameters: int, max_gmacs: float) -> Quality:
    """Return the exhaustive search's score: the share of the budget that is used less of."""

    def loss(member: Member) -> float:
        parameters, macs = map(int, cost(member, trunk))
        return -min(parameters / max_parameters, macs / GIGA / max_gmacs)

    return Quality("share of the budget", loss, is_gain=True)


def front(scored: Sequence[Scored]) -> list[Scored]:
    """Return the allowed members that none other beats in one objective and meets in the other.

    From the quickest to the best; of members alike in both, the first.
    """
    best: list[Scored] = []
    for one in sorted((one for one in scored if one.is_allowed), key=lambda one: one.objectives):
        if not best or one.loss < best[-1].loss:
            best.append(one)
    return best


def _excess(value: float | None, limit: float | None) -> float:
    return 0.0 if value is None or limit is None else value / limit - 1


def _lacking_attentions(member: Member, levels: int) -> float:
    if not reads_text(member):
        return 1.0 + levels
    deepest = member.attentions[len(member.attentions) - levels :]
    return float(sum(count == 0 for count in deepest))
