"""``tenstep cost``: the bill of a batch, and reports of what was spent on what."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from producer.cli import options
from producer.cli.console import complain, print_json, say, shown
from producer.costs_by import CostsBy
from shared.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from producer.costs.export import Exported
    from shared.db.tables import Batch

EPILOG = "Examples: tenstep cost; tenstep cost 0197f3a2; tenstep cost --by model"
SHOW_EPILOG = (
    "Examples: tenstep cost --jobs; tenstep cost --by day --since 2026-11-01; "
    "tenstep cost --by batch --tag campaign=spring; "
    "tenstep cost 0197f3a2 --by job --csv jobs.csv"
)
ROWS_ON_A_TERMINAL = 20
STDOUT = "-"
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


@dataclass(frozen=True, slots=True)
class _Output:
    """Where a report goes, and how much of it."""

    as_json: bool
    csv: str | None
    parquet: Path | None
    limit: int | None
    after: int | None

    @property
    def is_file(self) -> bool:
        return self.csv is not None or self.parquet is not None

    @property
    def rows(self) -> int | None:
        """How many at most; None is all."""
        is_for_programs = self.as_json or self.is_file
        return self.limit or (None if is_for_programs else ROWS_ON_A_TERMINAL)


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
    from producer.cli.database import opened
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    first, last = _day("--since", since), _day("--until", until)
    if first and last and first > last:
        raise InputError(f"--since {first} is after --until {last}")
    filters = {"since": first, "until": last, "tenant": tenant, "tag": _tag(tag)}
    is_filtered = any(value is not None for value in filters.values())
    if by is None and (list_all or is_filtered):
        by = CostsBy.BATCH
    output = _Output(as_json, csv, parquet, limit, after)
    _check(batch, by, output, list_all=list_all, is_filtered=is_filtered, jobs=jobs)
    with opened(load_settings()) as database, database.read() as session:
        found = None if by and batch is None else find_batch(session, batch)
        if by is CostsBy.JOB and found:
            _show_jobs(session, found, output)
        elif by is not None:
            _show_report(session, by, found, filters, output)
        elif found:
            _show_bill(session, found, jobs=jobs, as_json=as_json)


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
    output: _Output,
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


def _show_bill(session: Session, batch: Batch, *, jobs: bool, as_json: bool) -> None:
    from producer.cli.cost_views import print_bill, print_job_costs
    from producer.costs import job_costs, make_bill

    bill = make_bill(session, batch)
    each = job_costs(session, batch) if jobs else iter(())
    if as_json:
        listed = {"jobs": [job.to_json() for job in each]} if jobs else {}
        print_json({**bill.to_json(), **listed})
        return
    print_job_costs(each)
    print_bill(bill)


def _show_report(
    session: Session, by: CostsBy, batch: Batch | None, filters: dict[str, Any], output: _Output
) -> None:
    from producer.cli.cost_views import print_report
    from producer.costs import cost_report

    report = cost_report(session, by=by, batch=batch, **filters)
    if output.rows is not None:
        report = report.first(output.rows)
    if output.as_json:
        print_json(report.to_json())
    elif output.is_file:
        from producer.costs.export import exported_report

        _write(exported_report(report), output)
    else:
        print_report(report)


def _show_jobs(session: Session, batch: Batch, output: _Output) -> None:
    from producer.cli.cost_views import print_job_costs, print_jobs_json
    from producer.costs import job_costs

    rows = output.rows
    one_more = None if rows is None else rows + 1
    jobs = job_costs(session, batch, after=output.after, limit=one_more)
    page = islice(jobs, rows)
    if output.is_file:
        from producer.costs.export import exported_jobs

        _write(exported_jobs(page), output)
    elif output.as_json:
        print_jobs_json(batch.id, page, jobs)
    else:
        last = print_job_costs(page)
        if next(jobs, None) is not None:
            limit = "" if output.limit is None else f" --limit {output.limit}"
            complain(f"more: tenstep cost {batch.id} --by job --after {last}{limit}")


def _write(exported: Exported, output: _Output) -> None:
    from producer.costs.export import write_csv, write_parquet

    if output.csv == STDOUT:
        write_csv(exported, sys.stdout)
        sys.stdout.flush()
        return
    path = output.parquet or Path(output.csv or "")
    with _new_file(path) as file:
        if output.parquet is not None:
            rows = write_parquet(exported, file)
        else:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            rows = write_csv(exported, text)
            text.flush()
            text.detach()
    say(f"{rows:,} rows in {shown(path)}" if rows != 1 else f"1 row in {shown(path)}")


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    from shared.files import atomic_file

    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a file")
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written to: {error.strerror}") from None
