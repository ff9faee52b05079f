"""``tenstep jobs`` and ``tenstep show``: a batch's jobs, and one of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import complain, print_json
from shared.domain.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from producer.listed_jobs import JobFilter, JobPage

JOBS_EPILOG = (
    "Examples: tenstep jobs --state failed --error out_of_memory; "
    'tenstep jobs 0197f3a2 --text "red fox" --after 49'
)
SHOW_EPILOG = "Examples: tenstep show 17; tenstep show my-own-id --batch 0197f3a2"
MOST_JOBS = 1_000
SECONDS_A_LINE = 1.0

State = Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")]
Error = Annotated[
    str | None,
    typer.Option("--error", metavar="CODE", help="Only jobs that failed with this error code."),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text", metavar="WORDS", help="Only jobs with these words in prompt or custom_id."
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=MOST_JOBS, help="How many at most.")]
After = Annotated[
    int | None,
    typer.Option("--after", metavar="POSITION", min=0, help="Begin after this; else at the first."),
]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, or its position or custom_id in a batch.")
]
InBatch = Annotated[
    str | None,
    typer.Option(
        "--batch", metavar="BATCH", help="Id of a batch or its start; default the newest."
    ),
]


def jobs(
    batch: options.Batch = None,
    state: State = None,
    error: Error = None,
    text: Text = None,
    limit: Limit = 50,
    after: After = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List jobs of a batch in order, a page at a time.

    Upper and lower case are the same to --text. A search that no index serves goes through
    the batch until the page is full; Ctrl-C shows what it has found.
    """
    from producer.cli.backend import opened_backend
    from producer.cli.server import command_settings
    from producer.listed_jobs import JobFilter

    only = JobFilter(state=state, error=error, text=text)
    with opened_backend(command_settings()) as backend:
        batch_id = backend.find(batch)
        pages = backend.job_pages(batch_id, only, after, limit)
        page, is_cut_off = _last(pages, quiet=as_json)
    if page is not None:
        _print(batch_id, only, page, as_json=as_json)
    if is_cut_off:
        raise KeyboardInterrupt("interrupted: the batch was not looked through to its end")


def _last(pages: Iterator[JobPage], *, quiet: bool) -> tuple[JobPage | None, bool]:
    """Return the last page, and whether Ctrl-C made it the last; tells how far it is."""
    page = None
    due = time.monotonic() + SECONDS_A_LINE
    try:
        for page in pages:
            if not quiet and page.looked_through and time.monotonic() >= due:
                complain(_how_far(page.looked_through))
                due = time.monotonic() + SECONDS_A_LINE
    except KeyboardInterrupt:
        return page, True
    return page, False


def _how_far(looked_through: tuple[int, int]) -> str:
    first, last = looked_through
    return f"looked through positions {first:,} to {last:,}"


def _print(batch_id: UUID, only: JobFilter, page: JobPage, *, as_json: bool) -> None:
    from producer.cli.job_views import print_jobs

    if as_json:
        print_json({"batch_id": str(batch_id), **page.to_json()})
        return
    print_jobs(page.jobs)
    if page.looked_through:
        complain(_how_far(page.looked_through))
    if page.next is not None:
        complain(f"more: {_next_command(batch_id, only, page.next)}")
    elif not page.jobs:
        complain("no job is like that")


def _next_command(batch_id: UUID, only: JobFilter, after: int) -> str:
    import shlex

    wanted = {"--state": only.state, "--error": only.error, "--text": only.text}
    given = [part for option, value in wanted.items() if value for part in (option, str(value))]
    return shlex.join(["tenstep", "jobs", str(batch_id), *given, "--after", str(after)])


def show(job: JobName, in_batch: InBatch = None, *, as_json: options.Json = False) -> None:
    """Show a job: what it asks for, every attempt at it with its times, and why it waits."""
    from producer.cli.backend import opened_backend
    from producer.cli.job_views import print_job
    from producer.cli.server import command_settings

    with opened_backend(command_settings()) as backend:
        history = backend.job(job, in_batch)
    if as_json:
        print_json(history.to_json())
    else:
        print_job(history)
