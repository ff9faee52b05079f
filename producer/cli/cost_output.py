"""Where bills and reports of costs go: to the terminal, as JSON, CSV or Parquet."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from producer.cli.console import complain, print_json, say, shown
from shared.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from producer.costs import Bill, CostReport, JobCost
    from producer.costs.export import Exported
    from shared.db.tables import Batch

ROWS_ON_A_TERMINAL = 20
STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Output:
    """Where a report goes, and how much of it."""

    as_json: bool
    csv: str | None
    parquet: Path | None
    limit: int | None
    after: int | None

    @property
    def is_file(self) -> bool:
        """Whether it is a table for programs."""
        return self.csv is not None or self.parquet is not None

    @property
    def rows(self) -> int | None:
        """How many at most; None is all."""
        is_for_programs = self.as_json or self.is_file
        return self.limit or (None if is_for_programs else ROWS_ON_A_TERMINAL)


def show_bill(bill: Bill, jobs: Iterator[JobCost] | None, *, as_json: bool) -> None:
    """Write a bill, with what each job has cost if that is wanted."""
    from producer.cli.cost_views import print_bill, print_job_costs

    if as_json:
        listed = {} if jobs is None else {"jobs": [job.to_json() for job in jobs]}
        print_json({**bill.to_json(), **listed})
        return
    print_job_costs(jobs or ())
    print_bill(bill)


def show_report(report: CostReport, output: Output) -> None:
    """Write a report."""
    from producer.cli.cost_views import print_report

    if output.rows is not None:
        report = report.first(output.rows)
    if output.as_json:
        print_json(report.to_json())
    elif output.is_file:
        from producer.costs.export import exported_report

        _write(exported_report(report), output)
    else:
        print_report(report)


def show_jobs(session: Session, batch: Batch, output: Output) -> None:
    """Write what the jobs of a batch have cost, a page of them or all."""
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


def _write(exported: Exported, output: Output) -> None:
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
