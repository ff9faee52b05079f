"""Bills and reports as a server tells them, read back for the views."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producer.costs.amounts import Amounts
from producer.costs.applied import AppliedPrice
from producer.costs.bill import Bill, BillLine, ImageCosts
from producer.costs.grouping import COLUMNS, Key
from producer.costs.quoted import QuoteComparison
from producer.costs.report import CostGroup, CostReport, Others
from producer.costs.scope import Scope, Settled
from producer.costs_by import CostsBy
from shared.db.cost_sums import Booked
from shared.domain.jobs import LedgerKind
from shared.domain.money import NANOSECONDS

if TYPE_CHECKING:
    from producer.client import Client

MOST_GROUPS = 10_000
"""Of one answer; the others are one sum."""


def read_bill(client: Client, batch_id: UUID) -> Bill:
    """Ask for the bill of a batch."""
    return bill_of(client.bill(batch_id).model_dump(mode="json"))


def read_report(
    client: Client,
    by: CostsBy,
    batch_id: UUID | None,
    filters: Mapping[str, Any],
    groups: int | None,
) -> CostReport:
    """Ask for a report; the groups after so many are one sum.

    Args:
        client: of the server.
        by: what to group by, but not by job.
        batch_id: only what it cost.
        filters: since, until, tenant and tag, as `producer.costs.cost_report` takes them.
        groups: how many; None is as many as a server tells.
    """
    tag = filters["tag"]
    report = client.costs(
        by.value,
        batch_id=batch_id,
        since=filters["since"],
        until=filters["until"],
        tenant=filters["tenant"],
        tag=tag and "=".join(tag),
        limit=min(groups or MOST_GROUPS, MOST_GROUPS),
    )
    return report_of(report.model_dump(mode="json"))


def bill_of(told: Mapping[str, Any]) -> Bill:
    """Read what `Bill.to_json` wrote."""
    images, quote = told["per_image"], told["quote"]
    return Bill(
        batch_id=UUID(told["batch_id"]),
        lines=[
            BillLine(
                LedgerKind(line["kind"]),
                line["count"],
                _nanoseconds(line["device_seconds"]),
                line["nanodollars"],
            )
            for line in told["lines"]
        ],
        idle_ns=_nanoseconds(told["idle_seconds"]),
        idle_nanodollars=told["idle_nanodollars"],
        images=images
        and ImageCosts(
            images["count"],
            images["mean_nanodollars"],
            images["mean_fully_loaded_nanodollars"],
            images["min_nanodollars"],
            images["max_nanodollars"],
        ),
        devices=told["devices"],
        prices=[
            AppliedPrice(
                price["device_kind"],
                price["sku"],
                price["nanodollars_per_hour"],
                price["source"],
                is_example=price["is_example"],
            )
            for price in told["prices"]
        ],
        quote=quote
        and QuoteComparison(
            quote["low_nanodollars"],
            quote["expected_nanodollars"],
            quote["high_nanodollars"],
            quote["images"],
            quote["images_done"],
            quote["actual_nanodollars"],
        ),
        max_nanodollars=told["max_nanodollars"],
        settled=_settled(told),
    )


def report_of(told: Mapping[str, Any]) -> CostReport:
    """Read what `CostReport.to_json` wrote."""
    by = CostsBy(told["by"])
    others, nobody = told["others"], told["idle_for_nobody"]
    return CostReport(
        by=by,
        scope=_scope(told),
        groups=[CostGroup(_key(by, group), _amounts(group)) for group in told["groups"]],
        others=others and Others(others["groups"], _amounts(others)),
        idle_for_nobody=Amounts() if nobody is None else _amounts(nobody),
        total=_amounts(told["total"]),
        groups_overlap=told["groups_overlap"],
        settled=_settled(told),
    )


def _scope(told: Mapping[str, Any]) -> Scope:
    batch_id, tag = told["batch_id"], told["tag"]
    key, _, value = (tag or "").partition("=")
    return Scope(
        batch_id=batch_id and UUID(batch_id),
        since=told["since"] and date.fromisoformat(told["since"]),
        until=told["until"] and date.fromisoformat(told["until"]),
        tenant=told["tenant"],
        tag=(key, value) if tag else None,
    )


def _key(by: CostsBy, group: Mapping[str, Any]) -> Key:
    values = [group[column] for column in COLUMNS[by]]
    if by is CostsBy.DAY:
        return tuple(value and date.fromisoformat(value) for value in values)
    return tuple(values)


def _amounts(told: Mapping[str, Any]) -> Amounts:
    """Read what `Amounts.to_json` wrote.

    Device time is told for all kinds together; it is put to the images that were drawn.
    """
    times = {LedgerKind.RENDER: told["device_ns"], LedgerKind.IDLE: told["idle_ns"]}
    amounts = Amounts()
    for kind in LedgerKind:
        entries = told["images"] if kind is LedgerKind.RENDER else 0
        booked = Booked(entries, times.get(kind, 0), told[f"{kind.value}_nanodollars"], None, None)
        if any(booked[:3]):
            amounts.add(kind, booked)
    return amounts


def _settled(told: Mapping[str, Any]) -> Settled:
    until = told["idle_booked_until"]
    return Settled(
        until and datetime.fromisoformat(until),
        told["workers_at_work"],
        told["workers_ended_unsettled"],
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
