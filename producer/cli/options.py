"""Arguments and options that several commands share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli.values import dollars, tenant_name
from producer.prompt_format import PromptFormat
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.order import Order

MODEL = "What it draws"
IMAGES = "How it draws"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Batch = Annotated[
    str | None,
    typer.Argument(metavar="[BATCH]", help="Id of a batch or its start; default the newest."),
]
BatchToChange = Annotated[
    str, typer.Argument(metavar="BATCH", help="Id of a batch, or the start of it.")
]
PromptFile = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        help="Prompts as .txt, .jsonl, .csv, .tsv or .parquet, also .gz and .zst; "
        "s3://bucket/key; - reads stdin.",
    ),
]
PromptFileOrPrompt = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE|-|PROMPT",
        help="Prompts as .txt, .jsonl, .csv, .tsv or .parquet; - reads stdin; or a prompt.",
    ),
]
Format = Annotated[
    PromptFormat | None,
    typer.Option("--format", help="How FILE is written, if its name does not tell."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="A model's name or folder; default TENSTEP_MODEL.", rich_help_panel=MODEL
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the batch; default the file's.")]
Priority = Annotated[
    int, typer.Option("--priority", min=-1000, max=1000, help="Higher goes before lower.")
]
Tenant = Annotated[
    str,
    typer.Option("--tenant", help="Whose it is: queues are shared fairly between tenants."),
]
DeadlineHours = Annotated[
    float | None,
    typer.Option(
        "--deadline-hours",
        min=0,
        max=87_600,
        help="Wanted within so many hours: of equal priority the earlier goes first.",
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="KEY=VALUE",
        help="What its costs can be grouped by, such as campaign=spring; repeatable.",
    ),
]
MaxCost = Annotated[
    str | None,
    typer.Option("--max-cost", metavar="USD", help="What it may cost; then the rest is held."),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option("--negative-prompt", help="What images should not show.", rich_help_panel=IMAGES),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Seed of the first image, default 0; each image after it takes the next.",
        rich_help_panel=IMAGES,
    ),
]
Count = Annotated[
    int | None, typer.Option("--n", help="Images a prompt, default 1.", rich_help_panel=IMAGES)
]
Width = Annotated[
    int | None,
    typer.Option("--width", help="Pixels, a multiple of 8.", rich_help_panel=IMAGES),
]
Height = Annotated[
    int | None,
    typer.Option("--height", help="Pixels, a multiple of 8.", rich_help_panel=IMAGES),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="NAME",
        help="dpmsolver++, ddim, euler, unipc, or searched: the model's own grid of so many steps; "
        "default the model's.",
        rich_help_panel=IMAGES,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        help="Steps of the base grid; without --squeeze all of them are taken.",
        rich_help_panel=IMAGES,
    ),
]
Squeeze = Annotated[
    str | None,
    typer.Option(
        "--squeeze",
        metavar="N,I",
        help="Keep the first I timesteps, end after N, such as 10,6; or none.",
        rich_help_panel=IMAGES,
    ),
]
GuidanceScale = Annotated[
    float | None,
    typer.Option("--guidance-scale", help="0 to 50; 1 is none.", rich_help_panel=IMAGES),
]
GuidanceRescale = Annotated[
    float | None,
    typer.Option("--guidance-rescale", help="0 to 1.", rich_help_panel=IMAGES),
]
QualityName = Annotated[
    str | None,
    typer.Option(
        "--quality",
        metavar="NAME",
        help="exact, balanced or fast: the less exact, the faster; default exact.",
        rich_help_panel=IMAGES,
    ),
]


NoSafetyChecker = Annotated[
    bool,
    typer.Option(
        "--no-safety-checker",
        help="Publish what the model's safety checker would hold back; operators allow it.",
        rich_help_panel=IMAGES,
    ),
]


def make_order(
    name: str | None,
    priority: int,
    *,
    tenant: str,
    deadline_hours: float | None,
    safety_checker: bool,
    takes_good_lines: bool = True,
    is_held: bool = False,
    sample: int = 0,
    reuses: bool = False,
    tags: Sequence[str] = (),
    max_cost: str | None = None,
    local_workers: int = 0,
    **defaults: str | float | None,
) -> Order:
    """Turn options into an order; a default that is None is left out.

    Raises:
        InputError: an option has a bad value; names it.
    """
    from pydantic import ValidationError

    from producer.order import Order
    from producer.rejects import first_reason
    from producer.settle import BatchDefaults

    given = {field: value for field, value in defaults.items() if value is not None}
    try:
        return Order(
            BatchDefaults.model_validate(given),
            name=name,
            priority=priority,
            tenant=tenant_name(tenant),
            wanted_within=None if deadline_hours is None else timedelta(hours=deadline_hours),
            safety_checker=safety_checker,
            takes_good_lines=takes_good_lines,
            is_held=is_held,
            sample=sample,
            reuses=reuses,
            tags=_tags(tags),
            max_nanodollars=None if max_cost is None else dollars("--max-cost", max_cost),
            local_workers=local_workers,
        )
    except ValidationError as error:
        field, reason = first_reason(error)
        raise InputError(f"--{str(field).replace('_', '-')}: {reason}") from None


def _tags(texts: Sequence[str]) -> dict[str, str]:
    from producer.order import check_tags

    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--tag {text}: is not KEY=VALUE")
        if key in tags:
            raise InputError(f"--tag {key}: is given twice")
        tags[key] = value
    check_tags(tags)
    return tags
