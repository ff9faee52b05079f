"""``tenstep budget``: what a batch or a tenant may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rich, say
from producer.cli.values import dollars, tenant_name
from shared.domain.budgets import BudgetPeriod
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.budgets import BudgetView
    from shared.db.engine import Database
    from shared.settings import Settings

EPILOG = "Example: tenstep budget 0197f3a2 --max-cost 25"

Tenant = Annotated[
    str | None,
    typer.Option("--tenant", help="A tenant's budget, for all of its batches together."),
]
MaxCost = Annotated[
    str | None,
    typer.Option("--max-cost", metavar="USD", help="What it may cost; more or less than before."),
]
Per = Annotated[
    BudgetPeriod | None,
    typer.Option("--per", help="Of a tenant: each month anew, or for ever."),
]


def budget(
    batch: Annotated[
        str | None, typer.Argument(metavar="[BATCH]", help="Id of a batch, or the start of it.")
    ] = None,
    tenant: Tenant = None,
    max_cost: MaxCost = None,
    per: Per = None,
    *,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Lift the limit.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show or set what a batch, or a tenant, may cost.

    When it is spent, what is left is held, not failed; raising it goes on. Images that are
    being drawn are finished: no more than that is spent beyond the budget.
    """
    from producer.cli.server import command_settings

    if batch is not None and tenant is not None:
        raise InputError("give a batch or a --tenant, not both")
    if max_cost is not None and no_limit:
        raise InputError("give --max-cost or --no-limit, not both")
    if per is not None and tenant is None:
        raise InputError("--per goes with --tenant")
    sets = max_cost is not None or no_limit
    if sets and batch is None and tenant is None:
        raise InputError("whose budget? Give a batch or a --tenant.")
    amount = None if max_cost is None else dollars("--max-cost", max_cost)
    settings = command_settings()
    if settings.server is not None:
        views = _over(settings, batch, amount, sets=sets)
    else:
        views = _here(settings, batch, tenant, amount, per, sets=sets)
    if as_json:
        print_json({"budgets": [view.to_json() for view in views]})
    else:
        _print(views)


def _over(
    settings: Settings, batch: str | None, amount: int | None, *, sets: bool
) -> Sequence[BudgetView]:
    from producer.cli.remote.books import read_budget, set_budget
    from producer.cli.remote.references import find
    from producer.cli.server import opened_server

    if batch is None:
        raise InputError("over a server, a budget is a batch's: give one")
    with opened_server(settings) as client:
        batch_id = find(client, batch)
        return [set_budget(client, batch_id, amount) if sets else read_budget(client, batch_id)]


def _here(
    settings: Settings,
    batch: str | None,
    tenant: str | None,
    amount: int | None,
    per: BudgetPeriod | None,
    *,
    sets: bool,
) -> Sequence[BudgetView]:
    from producer.cli.database import opened

    with opened(settings) as database:
        if sets:
            _set(database, batch, tenant, amount, per)
        return _read(database, batch, tenant)


def _set(
    database: Database,
    batch: str | None,
    tenant: str | None,
    amount: int | None,
    per: BudgetPeriod | None,
) -> None:
    from producer.budgets import set_batch_budget, set_tenant_budget
    from shared.db.batches import find_batch

    with database.write() as session:
        now = database.now(session)
        if tenant is None:
            set_batch_budget(session, find_batch(session, batch), amount)
        else:
            period = per or BudgetPeriod.EVER
            set_tenant_budget(session, tenant_name(tenant), amount, period, now)


def _read(database: Database, batch: str | None, tenant: str | None) -> Sequence[BudgetView]:
    from producer.budgets import all_budgets, batch_budget, tenant_budget
    from shared.db.batches import find_batch

    with database.read() as session:
        now = database.now(session)
        if batch is not None:
            return [batch_budget(session, find_batch(session, batch))]
        if tenant is not None:
            return [tenant_budget(session, tenant, now)]
        return all_budgets(session, now)


def _print(views: Sequence[BudgetView]) -> None:
    from rich.table import Table
    from rich.text import Text

    from shared.domain.money import format_dollars

    if not views:
        say("no budget is set; tenstep budget BATCH --max-cost USD sets one")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("budget of", no_wrap=True)
    for heading in ("limit", "spent", "held"):
        table.add_column(heading, justify="right", no_wrap=True)
    for view in views:
        whose = view.batch_id or f"tenant {view.tenant}"
        if view.period is BudgetPeriod.MONTH:
            whose += ", this month"
        most = view.max_nanodollars
        table.add_row(
            Text(whose),
            "none" if most is None else format_dollars(most),
            format_dollars(view.spent_nanodollars),
            "" if view.held is None else f"{view.held:,}",
        )
    print_rich(table)
