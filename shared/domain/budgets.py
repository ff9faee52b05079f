"""Over which time a budget is meant."""

from __future__ import annotations

from enum import StrEnum


class BudgetPeriod(StrEnum):
    """Over which time a tenant's spending counts."""

    EVER = "ever"
    MONTH = "month"
    """The month of the calendar, in UTC."""
