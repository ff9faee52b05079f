"""``tenstep calibrate``: how fast is this device, and what does an image cost on it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, progress_view, say
from producer.cli.errors import FAILED
from producer.cli.quote_view import counted, span
from producer.cli.render import Device, follow
from shared.domain.jobs import DEFAULT_TENANT, LedgerKind
from shared.domain.money import NANOSECONDS, format_dollars
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.batch_status import BatchStatus
    from producer.calibrated import CalibratedRate, Calibration, TriedPass
    from producer.calibration import Calibrator
    from producer.render import Render
    from producer.services import Services

EPILOG = "Example: tenstep calibrate --chunk-sizes 1,4,16 --width 512 --height 512"
WORDS = {
    LedgerKind.RENDER: "images",
    LedgerKind.MODEL_LOAD: "loading the model",
    LedgerKind.FAILED_ATTEMPT: "failed attempts",
}
MILLIONTHS_OF_A_PER_CENT = 10_000

MOST_AT_ONCE = 1_024
MEBIBYTE = 2**20

Images = Annotated[
    int,
    typer.Option("--images", min=1, max=10_000, help="How many images to draw at each chunk size."),
]
ChunkSizes = Annotated[
    str | None,
    typer.Option(
        "--chunk-sizes",
        metavar="N,N,…",
        help="How many images to draw at once; default 1,2,4,8, and 1,2 if all devices are cpus.",
    ),
]


def calibrate(
    images: Images = 16,
    chunk_sizes: ChunkSizes = None,
    model: options.Model = None,
    device: Device = None,
    width: options.Width = None,
    height: options.Height = None,
    scheduler: options.Scheduler = None,
    steps: options.Steps = None,
    squeeze: options.Squeeze = None,
    guidance_scale: options.GuidanceScale = None,
    guidance_rescale: options.GuidanceRescale = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Draw a few images to measure how long they take, and how many are best drawn at once.

    tenstep quote and tenstep plan go by it, and so do workers: the largest number that draws
    faster by 3 % than any smaller one is what they draw at once from then on.

    The images are drawn as any batch is, by the workers that are alive, else by one that is
    started for it; they cost what they cost, and that is in the books as batches named
    calibration. Every batch that is drawn later makes the rates better.
    """
    from producer.calibration import NAME, TAGS, Calibrator
    from producer.logs import log_to_file
    from producer.services import open_services
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    sizes = None if chunk_sizes is None else _sizes(chunk_sizes)
    chosen = {"model": model, "device": device}
    settings = load_settings().model_copy(
        update={option: value for option, value in chosen.items() if value is not None}
    )
    card = load_card(settings.model, settings.resolved_models_dir)
    order = options.make_order(
        NAME,
        0,
        tenant=DEFAULT_TENANT,
        deadline_hours=None,
        safety_checker=True,
        tags=[f"{key}={value}" for key, value in TAGS.items()],
        local_workers=1,
        width=width,
        height=height,
        scheduler=scheduler,
        steps=steps,
        squeeze=squeeze,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
    )
    log_to_file(settings)
    with open_services(settings) as services:
        calibrator = Calibrator(services, card, order, images, sizes)
        statuses = _draw(services, calibrator, as_json=as_json)
        calibration = calibrator.read()
    total = sum(status.summary.total for status in statuses)
    done, failed = (sum(each) for each in zip(*((s.done, s.failed) for s in statuses), strict=True))
    if as_json:
        print_json({**calibration.to_json(), "done": done, "failed": failed})
    else:
        _print(statuses, calibration)
    if done < total:
        raise typer.Exit(FAILED)


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"--chunk-sizes: {text!r} is not whole numbers with commas between them")
    sizes = sorted({int(part) for part in parts})
    if not 1 <= sizes[0] <= sizes[-1] <= MOST_AT_ONCE:
        raise InputError(f"--chunk-sizes: from 1 to {MOST_AT_ONCE:,} images are drawn at once")
    return sizes


def _draw(services: Services, calibrator: Calibrator, *, as_json: bool) -> list[BatchStatus]:
    """Draw batch after batch; workers that the first one starts draw all of them."""
    from producer.render import Render

    statuses: list[BatchStatus] = []
    renders: list[Render] = []
    try:
        with (
            TemporaryDirectory(prefix="tenstep-calibration-") as folder,
            ExitStack() as stack,
        ):
            for batch_id in calibrator.batches():
                out = Path(folder) / str(batch_id)
                renders.append(stack.enter_context(Render(services, batch_id, out, workers=1)))
                statuses.append(_followed(renders, as_json=as_json))
            renders[0].finish()
    except BaseException:
        calibrator.call_off()
        raise
    return statuses


def _followed(renders: Sequence[Render], *, as_json: bool) -> BatchStatus:
    with progress_view(quiet=as_json) as show:

        def shown(status: BatchStatus) -> None:
            show(status)
            for before in renders[:-1]:
                # One of them may have started the workers, and revives those that die.
                before.poll()

        return follow(renders[-1], shown)


def _print(statuses: Sequence[BatchStatus], calibration: Calibration) -> None:
    for group in (group for status in statuses for group in status.failures):
        say(f"failed: {group.count:,} x {group.code}, for example: {group.example_message}")
    for rate in calibration.rates:
        _print_rate(rate, calibration.model)
    for device in calibration.unmeasured:
        say(
            f"{device.device_kind} {device.device_name} is alive and drew none "
            f"{device.images_per_pass} at once: others were quicker; --images draws more"
        )
    parts = [
        f"{WORDS.get(kind, kind.value)} {format_dollars(amount)}"
        for kind, amount in calibration.spent.items()
    ]
    listed = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    say(f"to find this out cost {format_dollars(calibration.nanodollars)}{listed}")
    several = "batches" if len(calibration.batch_ids) > 1 else "batch"
    say(f"it is in the books as {several} {', '.join(map(str, calibration.batch_ids))}")


def _print_rate(calibrated: CalibratedRate, model: str) -> None:
    rate, shape = calibrated.rate, calibrated.rate.shape
    guidance = "guidance" if shape.is_guided else "no guidance"
    name = f"{rate.device_kind} {rate.sku}".rstrip()
    price = format_dollars(calibrated.nanodollars_per_hour)
    facts = {
        "images": f"{shape.width} x {shape.height} pixels, {shape.iterations} iterations, "
        f"{guidance}",
        "measured": f"on {counted(rate.images)}",
        "device": f"{_seconds(rate.device_ns)} an image, {_per_cent(rate.image_spread)} "
        "standard deviation",
        "rate": f"{calibrated.images_per_second:.3g} images/s a worker, waiting included",
        "model load": span(rate.load_ns),
        "cost": f"{format_dollars(calibrated.image_nanodollars, decimals=9)} an image, "
        f"at {price} an hour",
    }
    say(f"{model} on {name} ({rate.device_name})")
    for fact, value in facts.items():
        say(f"  {fact:<11}{value}")
    for tried in calibrated.tried:
        say(f"  {f'{tried.images} at once':<11}{_tried(tried, calibrated.images_per_pass)}")
    if calibrated.images_per_pass not in {tried.images for tried in calibrated.tried}:
        say(f"  from now on {calibrated.images_per_pass} are drawn at once")


def _tried(tried: TriedPass, chosen: int) -> str:
    if not tried.fits:
        return "does not fit"
    if tried.measured is None:
        return "not measured"
    peak = tried.measured.peak_bytes
    memory = f", {peak / MEBIBYTE:,.0f} MiB" if peak else ""
    passes = "1 pass" if tried.measured.passes == 1 else f"{tried.measured.passes:,} passes"
    mark = " <- chosen" if tried.images == chosen else ""
    return (
        f"{tried.images_per_second:>8.3g} images/s, {_seconds(tried.image_ns)} an image{memory}, "
        f"{passes}{mark}"
    )


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:.4g} s"


def _per_cent(millionths: int) -> str:
    return f"{millionths / MILLIONTHS_OF_A_PER_CENT:.1f} %"
