"""Prices and budgets as a server tells them, read back for the views."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producer.amounts import usd
from producer.budgets import BudgetView
from producer.price_book import Book, Standing
from shared.db.cost_tables import DeclaredRate, Price, StoreRate
from shared.domain.budgets import BudgetPeriod
from shared.domain.jobs import JobState
from shared.domain.money import parse_dollars

if TYPE_CHECKING:
    from producer.client import Client
    from producer.wire.batches import BatchDocument


def read_budget(client: Client, batch_id: UUID) -> BudgetView:
    """Return what a batch may cost, and has."""
    return _budget(client.batch(batch_id))


def set_budget(client: Client, batch_id: UUID, max_nanodollars: int | None) -> BudgetView:
    """Say what a batch may cost; None lifts the limit."""
    most = None if max_nanodollars is None else usd(max_nanodollars)
    return _budget(client.change(batch_id, max_cost_usd=most))


def _budget(status: BatchDocument) -> BudgetView:
    most = status.max_cost_usd
    return BudgetView(
        str(status.batch_id),
        status.tenant,
        BudgetPeriod.EVER,
        None if most is None else parse_dollars(most),
        status.cost_nanodollars,
        status.counts[JobState.HELD],
    )


def read_prices(client: Client, *, past: bool) -> Book:
    """Return the price book."""
    told = client.prices(past=past).model_dump(mode="json")
    return Book(
        [
            (
                Price(
                    **_since(price),
                    device_kind=price["device_kind"],
                    sku=price["sku"],
                    nanodollars_per_hour=price["nanodollars_per_hour"],
                    is_example=price["is_example"],
                ),
                Standing(price["standing"]),
            )
            for price in told["prices"]
        ],
        [
            (
                StoreRate(
                    **_since(rate),
                    nanodollars_per_gib_month=rate["nanodollars_per_gib_month"],
                    nanodollars_per_thousand_requests=rate["nanodollars_per_thousand_requests"],
                ),
                Standing(rate["standing"]),
            )
            for rate in told["store_rates"]
        ],
        [DeclaredRate(**rate) for rate in told["declared_rates"]],
    )


def _since(told: Mapping[str, Any]) -> dict[str, Any]:
    source_date = told["source_date"]
    return {
        "id": UUID(told["id"]),
        "effective_from": datetime.fromisoformat(told["effective_from"]),
        "source": told["source"],
        "source_date": source_date and date.fromisoformat(source_date),
    }
