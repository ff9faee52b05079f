"""``tenstep calibrate``: how fast is this device, and what does an image cost on it?"""

from __future__ import annotations

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

if TYPE_CHECKING:
    from producer.calibration import CalibratedRate, Calibration
    from producer.order import Order
    from producer.services import Services
    from producer.status import BatchStatus
    from shared.models.card import ModelCard

EPILOG = "Example: tenstep calibrate --images 32 --width 512 --height 512"
WORDS = {
    LedgerKind.RENDER: "images",
    LedgerKind.MODEL_LOAD: "loading the model",
    LedgerKind.FAILED_ATTEMPT: "failed attempts",
}
MILLIONTHS_OF_A_PER_CENT = 10_000

Images = Annotated[
    int, typer.Option("--images", min=1, max=10_000, help="How many images to draw for it.")
]


def calibrate(
    images: Images = 16,
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
    """Draw a few images to measure how long they take, for tenstep quote and tenstep plan.

    They are drawn as any batch is, by the workers that are alive, else by one that is started
    for it; they cost what they cost, and that is in the books as a batch named calibration.
    Every batch that is drawn later makes the rates better.
    """
    from producer.calibration import NAME, TAGS
    from producer.logs import log_to_file
    from producer.services import open_services
    from shared.models.catalog import load_card
    from shared.settings import load_settings

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
        n=images,
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
        status, calibration = _calibrate(services, card, order, as_json=as_json)
    if as_json:
        print_json({**calibration.to_json(), "done": status.done, "failed": status.failed})
    else:
        _print(status, calibration)
    if status.done < images:
        raise typer.Exit(FAILED)


def _calibrate(
    services: Services, card: ModelCard, order: Order, *, as_json: bool
) -> tuple[BatchStatus, Calibration]:
    from producer.calibration import Calibrator
    from producer.render import Render

    calibrator = Calibrator(services, card, order)
    try:
        with (
            TemporaryDirectory(prefix="tenstep-calibration-") as folder,
            Render(services, calibrator.batch_id, Path(folder), workers=1) as work,
            progress_view(quiet=as_json) as show,
        ):
            status = follow(work, show)
            calibrator.wait_for_rates()
            work.finish()
    except BaseException:
        calibrator.call_off()
        raise
    return status, calibrator.read()


def _print(status: BatchStatus, calibration: Calibration) -> None:
    for group in status.failures:
        say(f"failed: {group.count:,} x {group.code}, for example: {group.example_message}")
    for rate in calibration.rates:
        _print_rate(rate, calibration.model)
    parts = [
        f"{WORDS.get(kind, kind.value)} {format_dollars(amount)}"
        for kind, amount in calibration.spent.items()
    ]
    listed = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    say(f"to find this out cost {format_dollars(calibration.nanodollars)}{listed}")
    say(f"it is in the books as batch {calibration.batch_id}")


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


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:.4g} s"


def _per_cent(millionths: int) -> str:
    return f"{millionths / MILLIONTHS_OF_A_PER_CENT:.1f} %"
