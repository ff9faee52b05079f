"""Keeps the deletion costs of workers' pods in line with what the workers have in hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from producer.kubernetes.cluster import Cluster
from producer.kubernetes.costs import deletion_costs
from producer.kubernetes.pods import Pod, Pods
from shared.db.engine import Database

MOST_CHANGES = 500
"""Of one round; the others wait for the next. Each is a request and a write in the cluster."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did."""

    pods: int
    """That the selector finds; those that are ending are none."""
    of_workers: int
    """Of these, in which workers are or have been."""
    changed: Mapping[str, int]
    """What pods cost from now on, by name."""
    vanished: Sequence[str]
    """Pods that ended between being listed and being changed."""
    put_off: int
    """Pods whose cost is to be changed in the next round."""

    def to_json(self) -> Mapping[str, object]:
        """Return it for programs."""
        return {
            "pods": self.pods,
            "pods_of_workers": self.of_workers,
            "changed": dict(self.changed),
            "vanished": list(self.vanished),
            "put_off": self.put_off,
        }


@dataclass(frozen=True, slots=True)
class CostKeeper:
    """Says what pods cost; it remembers nothing, so that it may end and begin at any time."""

    database: Database
    cluster: Cluster
    namespace: str
    selector: str
    silence: timedelta
    """After which a worker does not count as alive."""
    most_changes: int = field(default=MOST_CHANGES)

    def keep(self) -> Round:
        """Look once at pods and workers, and change what is not as it should be.

        Raises:
            InputError: the selector is none.
            ConfigurationError: the service account may not do it.
            ServiceUnavailableError: the API server does not answer.
        """
        with self.cluster.opened() as client:
            pods = Pods(client, self.namespace)
            found = [pod for pod in pods.find(self.selector) if not pod.is_ending]
            with self.database.read() as session:
                now = self.database.now(session)
                costs = deletion_costs(session, now, self.silence)
            of_workers = [pod for pod in found if pod.host in costs]
            wrong = [pod for pod in of_workers if pod.cost != costs[pod.host]]
            wrong.sort(key=lambda pod: _urgency(pod, costs[pod.host]))
            chosen = wrong[: self.most_changes]
            changed = {
                pod.name: costs[pod.host] for pod in chosen if pods.set_cost(pod, costs[pod.host])
            }
        return Round(
            pods=len(found),
            of_workers=len(of_workers),
            changed=changed,
            vanished=[pod.name for pod in chosen if pod.name not in changed],
            put_off=len(wrong) - len(chosen),
        )


def _urgency(pod: Pod, cost: int) -> tuple[bool, str]:
    """Put first whoever turns from idle to busy, or back: the others are only busier or less."""
    stays_busy = pod.cost is not None and pod.cost > 0 and cost > 0
    return stays_busy, pod.name
