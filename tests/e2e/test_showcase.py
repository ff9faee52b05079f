"""What is shown of tenstep is in every state that it says."""

from __future__ import annotations

from uuid import UUID

from shared.db.batches import count_jobs
from support.api import ApiServer
from support.showcase import showcase


def test_the_batches_of_the_showcase_are_what_they_are_called_after(api: ApiServer) -> None:
    with showcase(api) as shown:
        pass

    def counts(batch_id: UUID) -> dict[str, int]:
        with api.database.read() as session:
            found = count_jobs(session, batch_id)
        return {state.value: count for state, count in found.items() if count}

    assert counts(shown.finished) == {"done": 48}
    assert counts(shown.others) == {"done": 12}
    assert counts(shown.troubled) == {"done": 18, "failed": 6}
    assert counts(shown.held) == {"done": 6, "held": 54}
    assert counts(shown.paused) == {"done": 8, "pending": 24}
    assert counts(shown.cancelled) == {"done": 4, "cancelled": 36}
    assert counts(shown.working)["done"] >= 60
    assert counts(shown.over_budget)["held"] > 0
