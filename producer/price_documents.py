"""The price book, and what was put into it, as programs see them."""

from __future__ import annotations

from typing import Any

from producer.amounts import usd
from producer.price_book import Book, Standing
from producer.price_changes import Change, Update
from shared.db.cost_tables import DeclaredRate, Price, StoreRate


def book_json(book: Book) -> dict[str, Any]:
    """Return a book as plain values."""
    return {
        "prices": [
            {
                "id": str(price.id),
                "device_kind": price.device_kind,
                "sku": price.sku,
                **_amount("per_hour", price.nanodollars_per_hour),
                **_since(price, at),
                "is_example": price.is_example,
            }
            for price, at in book.prices
        ],
        "store_rates": [
            {
                "id": str(store.id),
                **_amount("per_gib_month", store.nanodollars_per_gib_month),
                **_amount("per_thousand_requests", store.nanodollars_per_thousand_requests),
                **_since(store, at),
            }
            for store, at in book.stores
        ],
        "declared_rates": [
            {column.name: getattr(rate, column.name) for column in DeclaredRate.__table__.c}
            for rate in book.rates
        ],
    }


def _amount(of: str, nanodollars: int) -> dict[str, Any]:
    return {f"nanodollars_{of}": nanodollars, f"usd_{of}": usd(nanodollars)}


def _since(step: Price | StoreRate, at: Standing) -> dict[str, Any]:
    return {
        "effective_from": step.effective_from.isoformat(),
        "standing": at.value,
        "source": step.source,
        "source_date": step.source_date.isoformat() if step.source_date else None,
    }


def update_json(update: Update, *, only_checks: bool) -> dict[str, Any]:
    """Return what was put into the book as plain values."""
    corrected = update.corrected
    return {
        "recorded": not only_checks,
        "changes": [change_json(change) for change in update.changes],
        "corrected": {
            "entries": corrected.entries,
            "workers": corrected.workers,
            "nanodollars": corrected.nanodollars,
            "usd": usd(corrected.nanodollars),
        },
    }


def change_json(change: Change) -> dict[str, Any]:
    """Return what becomes of a table as plain values."""
    return {
        "table": change.name,
        "is_new": change.is_new,
        **change.table.model_dump(mode="json"),
        "effective_from": change.effective_from.isoformat(),
        "affected_entries": change.affected.entries,
        "affected_workers": change.affected.workers,
    }
