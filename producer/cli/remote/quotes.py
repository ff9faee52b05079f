"""Quotes as a server tells them, read back for the view."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from producer.cli.quote_view import print_left_out
from producer.cli.remote.submission import options_of, send
from producer.client import RefusedLinesError
from producer.client.answers import rejects_of
from producer.prompt_shapes import CountedPrompts
from producer.quote import Devices, Fleet, Origin, Quote, Rated
from producer.quote_grounds import Grounds
from producer.quoting import QuotedPrompts
from shared.domain.money import NANODOLLARS
from shared.domain.rates import Basis, Range, Shape

if TYPE_CHECKING:
    from producer.cli.remote.prompts import Upload
    from producer.client import Client
    from producer.order import Order


def quote_over(
    client: Client, upload: Upload, order: Order, model: str | None, *, quiet: bool
) -> QuotedPrompts:
    """Upload prompts and ask what they would cost; lists the lines that are left out.

    Raises:
        InputError: no line can be drawn, or nothing was measured yet.
        ServiceUnavailableError: the server does not answer.
    """
    file_id = send(client, upload, quiet=quiet)
    try:
        told = client.quote(file_id=file_id, format=upload.format, **options_of(order, model))
    except RefusedLinesError as error:
        print_left_out(error.rejects)
        raise
    quoted = quotes_of(told.model_dump(mode="json"), upload.name)
    if not quiet:
        print_left_out(quoted.prompts.rejects)
    return quoted


def quotes_of(told: Mapping[str, Any], source: str) -> QuotedPrompts:
    """Read what `QuotedPrompts.to_json` wrote.

    Args:
        told: by the server.
        source: what the user calls the prompts.
    """
    images = {
        Shape(*(shape[name] for name in Shape._fields)): shape["images"] for shape in told["shapes"]
    }
    rated = {
        (price["device_kind"], price["sku"]): Rated(
            [], price["nanodollars_per_hour"], is_example=price["is_example"]
        )
        for price in told["prices"]
    }
    waste = Fraction(told["waste_nanodollars_per_dollar"], NANODOLLARS)
    return QuotedPrompts(
        told["model"],
        CountedPrompts(images, rejects_of(told["rejected"], source)),
        Grounds(rated, None, waste),
        [_quote(quote) for quote in told["quotes"]],
        None,
    )


def _quote(told: Mapping[str, Any]) -> Quote:
    return Quote(
        Fleet([_devices(devices) for devices in told["devices"]], Origin(told["origin"])),
        told["images"],
        render=Range(**told["render_nanodollars"]),
        waste=Range(**told["waste_nanodollars"]),
        model_loads=Range(**told["model_loads_nanodollars"]),
        fully_loaded=Range(**told["fully_loaded_nanodollars"]),
        device_ns=Range(**told["device_ns"]),
        finish_ns=Range(**told["finish_ns"]),
        basis=Basis(told["basis"]),
        measured_images=told["measured_images"],
        guessed_images=told["guessed_images"],
    )


def _devices(told: Mapping[str, Any]) -> Devices:
    return Devices(
        told["device_kind"], told["sku"], told["count"], is_loaded=told["has_model_loaded"]
    )
