"""How jobs look in a terminal of 80 columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from producer.cli.console import print_rich, say
from shared.domain.money import NANOSECONDS, format_dollars
from shared.domain.quality import Quality

if TYPE_CHECKING:
    from rich.text import Text

    from producer.job_details import JobAttempt, JobHistory, JobImage, TimelineEvent
    from producer.listed_jobs import ListedJob

COST_DECIMALS = 6
EXACT_DECIMALS = 9
NARROW = 16
"""Columns for a custom_id or an error code, that the prompt keeps the rest."""
SHORT_NAME = 8
"""Characters of an image's name that tell it from others at a glance."""
LABEL_WIDTH = 11
BAR = "█"
WIDEST_BAR = 40
LONG_MILLISECONDS = 10_000
STYLES = {
    "done": "green",
    "failed": "red",
    "lost": "red",
    "cancelled": "dim",
    "returned": "dim",
    "leased": "cyan",
    "running": "cyan",
    "held": "yellow",
}
PHASE_WORDS = {
    "text_encode": "text encode",
    "denoise": "denoise",
    "decode": "decode",
    "safety_check": "safety check",
    "png_encode": "PNG encode",
    "upload": "upload",
}
EVENT_WORDS = {
    "submitted": "submitted",
    "sent": "sent to a queue",
    "claimed": "claimed by a worker",
    "running": "under way",
}


def print_jobs(jobs: Sequence[ListedJob]) -> None:
    """Write jobs, a line each; prompts are cut to what is left of the width."""
    from rich.table import Table
    from rich.text import Text

    if not jobs:
        return
    has_ids = any(job.custom_id for job in jobs)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("job", justify="right", no_wrap=True)
    if has_ids:
        table.add_column("custom_id", no_wrap=True, overflow="ellipsis", max_width=NARROW)
    table.add_column("state", no_wrap=True)
    table.add_column("tries", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("result", no_wrap=True, overflow="ellipsis", max_width=NARROW)
    for job in jobs:
        table.add_row(
            str(job.position),
            *([Text(job.custom_id or "")] if has_ids else []),
            _styled(job.state.value),
            str(job.attempts),
            format_dollars(job.cost_nanodollars, decimals=COST_DECIMALS),
            Text(job.prompt),
            Text(job.error_code or _short_name(job.image_key)),
        )
    print_rich(table)


def _styled(word: str) -> Text:
    """Colour a state or an outcome."""
    from rich.text import Text

    return Text(word, STYLES.get(word, ""))


def _short_name(key: str | None) -> str:
    return f"{key.rpartition('/')[2][:SHORT_NAME]}…" if key else ""


def print_job(job: JobHistory) -> None:
    """Write all that is known of a job."""
    say(f"job {job.position}: {job.state.value}")
    _print_facts(_facts(job))
    if job.image:
        _print_image(job.image)
    if job.attempts:
        say("\nattempts")
    for attempt in job.attempts:
        _print_attempt(attempt)
    say("\ntimeline (UTC)")
    _print_timeline(job.timeline)


def _facts(job: JobHistory) -> Iterator[tuple[str, str]]:
    yield "id", str(job.id)
    yield "batch", f"{job.batch_id} ({job.batch_name})"
    if job.custom_id is not None:
        yield "custom_id", job.custom_id
    yield "prompt", job.prompt
    if job.negative_prompt:
        yield "negative", job.negative_prompt
    yield "model", job.model
    yield "settings", _settings(job)
    if job.details:
        yield "details", json.dumps(job.details, ensure_ascii=False)
    if job.reused_from:
        yield "reused", f"drawn before, as job {job.reused_from}"
    if job.error:
        yield "error", _named(job.error.code, job.error.message)
    tries = "1 attempt" if len(job.attempts) == 1 else f"{len(job.attempts)} attempts"
    yield "cost", f"{_dollars(job.cost_nanodollars)} for {tries}"
    if job.why_waiting:
        yield "waiting", job.why_waiting


def _settings(job: JobHistory) -> str:
    chosen = job.settings
    squeeze = f" squeezed to {chosen['squeeze']}" if chosen["squeeze"] else ""
    quality = chosen.get("quality", Quality.EXACT)  # a server before it knows none
    shortened = "" if quality == Quality.EXACT else f", quality {quality}"
    return (
        f"seed {chosen['seed']}, {chosen['width']}x{chosen['height']}, "
        f"{chosen['scheduler']} {chosen['steps']} steps{squeeze}, "
        f"guidance {chosen['guidance_scale']:g}, rescale {chosen['guidance_rescale']:g}{shortened}"
    )


def _print_image(image: JobImage) -> None:
    """Write where it is; unbroken, a key takes all 80 columns."""
    size = "" if image.bytes is None else f", {image.bytes:,} bytes"
    say(f"\nimage{size}\n  {image.key}")
    if image.sha256:
        say(f"  sha256 {image.sha256}")


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=LABEL_WIDTH)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(f"  {name}", "dim"), Text(value))
    print_rich(table)


def _print_attempt(attempt: JobAttempt) -> None:
    from rich.text import Text

    host = attempt.host or str(attempt.worker_id)
    place = f"  on {host}, {attempt.device or attempt.device_kind} ({attempt.device_name})"
    print_rich(Text(f"  {attempt.number}  ") + _styled(attempt.outcome.value) + Text(place))
    if attempt.reason:
        print_rich(Text(f"     {_named(attempt.reason.code, attempt.reason.message)}"))
    figures = [f"claimed {_time(attempt.claimed_at)}"]
    if attempt.queue_wait_ns is not None:
        figures.append(f"queued {_span(attempt.queue_wait_ns)}")
    if attempt.device_ns is not None:
        figures.append(f"device {_span(attempt.device_ns)}")
    if attempt.cost_nanodollars is not None:
        figures.append(_dollars(attempt.cost_nanodollars))
    say(f"     {', '.join(figures)}")
    _print_phases(attempt)


def _print_phases(attempt: JobAttempt) -> None:
    """Draw a bar a phase, as wide as its share of the longest."""
    longest = max(attempt.phases.values(), default=0)
    for name, nanoseconds in attempt.phases.items():
        if nanoseconds:
            bar = BAR * max(1, round(WIDEST_BAR * nanoseconds / longest))
            say(f"     {PHASE_WORDS[name]:<12} {_span(nanoseconds):>11}  {bar}")


def _print_timeline(events: Sequence[TimelineEvent]) -> None:
    begin = events[0].at
    for event in events:
        what = EVENT_WORDS.get(event.event, event.event)
        which = "" if event.attempt is None else f" (attempt {event.attempt})"
        later = (event.at - begin).total_seconds()
        say(f"  {event.at:%Y-%m-%d %H:%M:%S}  {later:>+12,.3f} s  {what}{which}")


def _named(code: str | None, message: str) -> str:
    return f"{code}: {message}" if code else message


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


def _span(nanoseconds: int) -> str:
    milliseconds = nanoseconds * 1_000 / NANOSECONDS
    if milliseconds < LONG_MILLISECONDS:
        return f"{milliseconds:,.1f} ms"
    return f"{nanoseconds / NANOSECONDS:,.1f} s"


def _dollars(nanodollars: int) -> str:
    return format_dollars(nanodollars, decimals=EXACT_DECIMALS)
