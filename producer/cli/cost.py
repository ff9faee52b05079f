"""``tenstep cost``: the bill of a batch, and reports of what was spent on what."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from producer.cli import options
from producer.cli.cost_output import Output, show_bill, show_jobs, show_report
from producer.costs_by import CostsBy
from shared.errors import InputError

if TYPE_CHECKING:
    from shared.settings import Settings

EPILOG = "Examples: tenstep cost; tenstep cost 0197f3a2; tenstep cost --by model"
SHOW_EPILOG = (
    "Examples: tenstep cost --jobs; tenstep cost --by day --since 2026-11-01; "
    "tenstep cost --by batch --tag campaign=spring; "
    "tenstep cost 0197f3a2 --by job --csv jobs.csv"
)
DEFAULT = "show"


class CostCommands(TyperGroup):
    """A group of commands, one of which is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default before arguments that begin with no command's name."""
        is_named = bool(args) and args[0] in {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if is_named else [DEFAULT, *args])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Tell of the commands, and then all about the default."""
        super().format_help(ctx, formatter)
        default = self.commands[DEFAULT]
        default.format_help(typer.Context(default, parent=ctx, info_name=DEFAULT), formatter)


app = typer.Typer(
    name="cost",
    cls=CostCommands,
    help="Show what a batch has cost, or what was spent on what: measured, and it adds up.",
    epilog=EPILOG,
    subcommand_metavar="[BATCH] | COMMAND [ARGS]...",
)

By = Annotated[
    CostsBy | None,
    typer.Option(
        "--by",
        metavar="WHAT",
        help="A report by batch, model, device, worker, tenant, tag or day, of BATCH or of "
        "everything; or by job, of BATCH.",
    ),
]
All = Annotated[
    bool, typer.Option("--all", help="Everything, rather than the newest batch; by batch.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="DATE", help="The first day, in UTC: 2026-11-25.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="DATE", help="The last day.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's batches.")]
Tag = Annotated[
    str | None, typer.Option("--tag", metavar="KEY=VALUE", help="Only batches with this tag.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Groups or jobs at most; default 20, but all for --json, --csv and --parquet.",
    ),
]
After = Annotated[
    int | None, typer.Option("--after", min=0, metavar="POSITION", help="Jobs after this one.")
]
Csv = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; to stdout, if FILE is -.")
]
Parquet = Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write Parquet.")]
Jobs = Annotated[
    bool, typer.Option("--jobs", help="With the bill, what each job has cost, of all jobs.")
]


@app.command(epilog=SHOW_EPILOG)
def show(
    batch: options.Batch = None,
    by: By = None,
    since: Since = None,
    until: Until = None,
    tenant: Tenant = None,
    tag: Tag = None,
    limit: Limit = None,
    after: After = None,
    csv: Csv = None,
    parquet: Parquet = None,
    *,
    list_all: All = False,
    jobs: Jobs = False,
    as_json: options.Json = False,
) -> None:
    """Show the bill of a batch, the newest by default; or with --by, what was spent on what."""
    from producer.cli.server import command_settings

    first, last = _day("--since", since), _day("--until", until)
    if first and last and first > last:
        raise InputError(f"--since {first} is after --until {last}")
    filters = {"since": first, "until": last, "tenant": tenant, "tag": _tag(tag)}
    is_filtered = any(value is not None for value in filters.values())
    if by is None and (list_all or is_filtered):
        by = CostsBy.BATCH
    output = Output(as_json, csv, parquet, limit, after)
    _check(batch, by, output, list_all=list_all, is_filtered=is_filtered, jobs=jobs)
    settings = command_settings()
    if settings.server is not None:
        _show_over(settings, batch, by, filters, output, jobs=jobs)
    else:
        _show_here(settings, batch, by, filters, output, jobs=jobs)


def _show_here(
    settings: Settings,
    batch: str | None,
    by: CostsBy | None,
    filters: dict[str, Any],
    output: Output,
    *,
    jobs: bool,
) -> None:
    from producer.cli.database import opened
    from producer.costs import cost_report, job_costs, make_bill
    from shared.db.batches import find_batch
    from shared.db.details import require_details

    with opened(settings) as database, database.read() as session:
        found = None if by and batch is None else find_batch(session, batch)
        if found and (jobs or by is CostsBy.JOB):
            require_details(found)
        if by is CostsBy.JOB and found:
            show_jobs(session, found, output)
        elif by is not None:
            show_report(cost_report(session, by=by, batch=found, **filters), output)
        elif found:
            each = job_costs(session, found) if jobs else None
            show_bill(make_bill(session, found), each, as_json=output.as_json)


def _show_over(
    settings: Settings,
    batch: str | None,
    by: CostsBy | None,
    filters: dict[str, Any],
    output: Output,
    *,
    jobs: bool,
) -> None:
    from producer.cli.remote.costs import read_bill, read_report
    from producer.cli.remote.references import find
    from producer.cli.server import opened_server

    if jobs or by is CostsBy.JOB:
        raise InputError(
            "a server does not list costs by job",
            hint="tenstep jobs has what each has cost, and tenstep pull --manifest-only writes it.",
        )
    with opened_server(settings) as client:
        batch_id = None if by and batch is None else find(client, batch)
        if by is not None:
            show_report(read_report(client, by, batch_id, filters, output.rows), output)
        elif batch_id:
            show_bill(read_bill(client, batch_id), None, as_json=output.as_json)


def _day(option: str, text: str | None) -> date | None:
    try:
        return text if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a date such as 2026-11-25") from None


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise InputError(f"--tag: {text!r} is not KEY=VALUE, such as campaign=spring")
    return key, value


def _check(
    batch: str | None,
    by: CostsBy | None,
    output: Output,
    *,
    list_all: bool,
    is_filtered: bool,
    jobs: bool,
) -> None:
    """Refuse what does not go together."""
    if output.as_json + (output.csv is not None) + (output.parquet is not None) > 1:
        raise InputError("give one of --json, --csv and --parquet")
    if batch is not None and list_all:
        raise InputError(f"--all is everything: leave it out, or batch {batch}")
    if by is None and (output.is_file or output.limit is not None):
        raise InputError(
            "--csv, --parquet and --limit are for a report, not for a bill",
            hint="Say by what, such as --by batch.",
        )
    if jobs and by is not None:
        raise InputError("--jobs goes with a bill", hint="For a report: --by job.")
    if by is CostsBy.JOB:
        if batch is None:
            raise InputError("--by job needs a batch", hint="tenstep cost BATCH --by job")
        if is_filtered:
            raise InputError("--by job is of one whole batch: leave out the other filters")
    elif output.after is not None:
        raise InputError("--after is a job's position: it goes with --by job")
