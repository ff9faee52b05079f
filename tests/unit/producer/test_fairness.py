"""Whose jobs go next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from producer.dispatch.fairness import OpenBatch, Shares
from shared.domain.identifiers import new_id

SOON = datetime(2030, 1, 1, tzinfo=UTC)
LATER = SOON + timedelta(days=1)


def batch(
    tenant: str = "anna", *, priority: int = 0, deadline_at: datetime | None = None
) -> OpenBatch:
    return OpenBatch(new_id(), tenant, "tiny", priority, deadline_at)


def serve(
    shares: Shares, batches: Sequence[OpenBatch], chunks: int, jobs: int = 8
) -> list[OpenBatch]:
    served = []
    for _ in range(chunks):
        chosen = shares.choose(batches)
        shares.charge(chosen, jobs)
        served.append(chosen)
    return served


def by_tenant(served: Sequence[OpenBatch]) -> Counter[str]:
    return Counter(chosen.tenant for chosen in served)


def test_tenants_take_turns_however_many_batches_each_has() -> None:
    annas = [batch("anna") for _ in range(9)]

    served = serve(Shares({}), [*annas, batch("ben")], chunks=10)

    assert by_tenant(served) == {"anna": 5, "ben": 5}


def test_a_tenant_gets_as_much_as_its_weight_says() -> None:
    served = serve(Shares({"studio": 3}), [batch("anna"), batch("studio")], chunks=40)

    assert by_tenant(served) == {"anna": 10, "studio": 30}


def test_what_counts_is_jobs_not_chunks() -> None:
    small, large = batch("anna"), batch("ben")
    shares = Shares({})
    jobs: Counter[str] = Counter()
    for _ in range(90):
        chosen = shares.choose([small, large])
        size = 1 if chosen is small else 8
        shares.charge(chosen, size)
        jobs[chosen.tenant] += size

    assert jobs == {"anna": 80, "ben": 80}


def test_who_comes_late_is_served_at_once_and_gets_nothing_for_its_absence() -> None:
    shares, first, late = Shares({}), batch("anna"), batch("ben")
    serve(shares, [first], chunks=1000)

    served = serve(shares, [first, late], chunks=10)

    assert late in served[:2]
    assert by_tenant(served) == {"anna": 5, "ben": 5}


def test_coming_and_going_earns_nothing() -> None:
    shares, steady, fickle = Shares({}), batch("anna"), batch("ben")
    served = []
    for _ in range(20):
        served += serve(shares, [steady, fickle], chunks=1)
        shares.forget_all_but([steady])
        served += serve(shares, [steady], chunks=1)

    assert by_tenant(served)["ben"] <= 20


def test_within_a_tenant_the_higher_priority_then_the_earlier_deadline_goes_first() -> None:
    ranked = [
        batch(priority=1),
        batch(deadline_at=SOON),
        batch(deadline_at=LATER),
        batch(),
    ]
    shares, waiting, order = Shares({}), ranked[::-1], []
    while waiting:
        chosen = shares.choose(waiting)
        shares.charge(chosen, 8)
        order.append(chosen)
        waiting.remove(chosen)

    assert order == ranked


def test_a_tenants_priority_is_nobody_elses_business() -> None:
    served = serve(Shares({}), [batch("anna", priority=9), batch("ben")], chunks=10)

    assert by_tenant(served) == {"anna": 5, "ben": 5}


def test_batches_of_equal_rank_take_turns() -> None:
    batches = [batch() for _ in range(3)]

    served = serve(Shares({}), batches, chunks=9)

    assert served == batches * 3


def test_turns_go_on_though_a_more_urgent_batch_comes_in_between() -> None:
    equals, urgent = [batch(), batch()], batch(priority=1)
    shares, served = Shares({}), []
    for _ in range(4):
        serve(shares, [*equals, urgent], chunks=2)
        served += serve(shares, equals, chunks=1)

    assert served == equals * 2


def test_a_new_leader_begins_with_what_is_under_way() -> None:
    shares = Shares({"studio": 2})
    shares.start_with("anna", 80)
    shares.start_with("studio", 32)

    served = serve(shares, [batch("anna"), batch("studio")], chunks=8)

    assert by_tenant(served) == {"studio": 8}, "until both have had 80 by weight"


def test_nothing_is_kept_of_what_has_ended() -> None:
    shares, steady = Shares({}), batch()
    for _ in range(100):
        serve(shares, [steady, batch(str(new_id()))], chunks=2)
        shares.forget_all_but([steady])

    assert len(shares._had) < 5
    assert len(shares._turns) == 1
