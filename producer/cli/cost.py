"""``tenstep cost``: the bill."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli import options
from producer.cli.console import print_bill, print_job_costs, print_json


def cost(
    batch: options.Batch = None,
    *,
    jobs: Annotated[bool, typer.Option("--jobs", help="Also what each job has cost.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show what a batch has cost: every item measured, and they add up."""
    from producer.cli.database import opened
    from producer.costs import job_costs, make_bill
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.read() as session:
        found = find_batch(session, batch)
        bill = make_bill(session, found)
        each = job_costs(session, found) if jobs else iter(())
        if as_json:
            listed = {"jobs": [job.to_json() for job in each]} if jobs else {}
            print_json({**bill.to_json(), **listed})
            return
        print_job_costs(each)
        print_bill(bill)
