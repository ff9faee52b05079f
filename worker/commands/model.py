"""``tenstep model``: what there is, what it is made of, from where, and for which devices."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.models.card import ModelCard

app = typer.Typer(
    name="model",
    help="List, show, pull, export, compile and verify models.",
    epilog="Example: tenstep model show decidiffusion-2.0 --json",
    no_args_is_help=True,
)


class ExportAs(StrEnum):
    """What a denoiser can be exported in."""

    FLOAT32 = "float32"
    INT8 = "int8"
    INT8_STATIC = "int8-static"


class Target(StrEnum):
    """What models are compiled for."""

    QAIC = "qaic"


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model's name or folder, or OWNER/NAME[@REVISION].")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write; must be new.")]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the conditions of the weights' licence.")
]


@app.command("list", epilog="Example: tenstep model list --json")
def list_models(*, as_json: Json = False) -> None:
    """List the models that ship with tenstep, its presets, and those that were pulled."""
    from shared.models.card import card_facts, read_card
    from shared.models.catalog import pulled_folders, shipped_folders
    from shared.settings import load_settings

    folders = [*shipped_folders(), *pulled_folders(load_settings().resolved_models_dir)]
    facts = [card_facts(read_card(folder)) for folder in folders]
    if as_json:
        _print_json({"models": facts})
        return
    table = _table("model", "pixels", "weights", "licence", "note")
    for model in facts:
        size = f"{model['width']} x {model['height']}"
        disk = _bytes(model["disk_bytes"]) if model["disk_bytes"] else model["weights"]
        table.add_row(model["name"], size, disk, model["licence"], model["note"] or "")
    _print(table)


@app.command(epilog="Example: tenstep model show emoji-64")
def show(model: Model, *, as_json: Json = False) -> None:
    """Show parameters, multiply-accumulates, precision, disk and memory of each component."""
    from worker.extra import require_worker_extra

    require_worker_extra()
    from worker.inspection import model_facts

    facts = model_facts(_card(model))
    if as_json:
        _print_json(facts)
        return
    table = _table("component", "parameters", "GMACs", "stored as", "disk", right=(1, 2, 4))
    for part in facts["components"]:
        table.add_row(
            part["component"],
            f"{part['parameters']:,}",
            f"{part['gmacs']:,.1f}",
            part["precision"] or "random",
            _bytes(part["disk_bytes"]),
        )
    _print(table)
    memory = ", ".join(f"{_bytes(size)} in {name}" for name, size in facts["memory_bytes"].items())
    rows = {
        "model": facts["name"],
        "note": facts["note"],
        "licence": facts["licence"],
        "image": f"{facts['width']} x {facts['height']} pixels",
        "memory": f"{memory}, for the weights",
        "safety checker": "yes" if facts["safety_checker"] else "none",
        "backend": facts["backend"],
        "weights": f"sha256 {facts['weights_sha256']}",
        "searched grids": _numbers_of_steps(facts["searched_timesteps"]),
    }
    for name, value in rows.items():
        if value:
            sys.stdout.write(f"{name:<15} {value}\n")


@app.command(epilog="Example: tenstep model pull Deci/DeciDiffusion-v2-0@1234abcd --accept-licence")
def pull(
    model: Annotated[str, typer.Argument(metavar="OWNER/NAME[@REVISION]")],
    *,
    accept_licence: AcceptLicence = False,
    as_json: Json = False,
) -> None:
    """Fetch a model from Hugging Face, pinned to the commit that the revision means now.

    Only settings and weights are fetched, never code. HF_ENDPOINT names another hub,
    HF_TOKEN lets you in where a token is needed.
    """
    from shared.models.card import card_facts
    from shared.settings import load_settings
    from worker.extra import require_worker_extra

    require_worker_extra()
    from worker.hub import pull as pull_model

    card = pull_model(
        model,
        load_settings().resolved_models_dir,
        accept_licence=accept_licence,
        quiet=as_json,
    )
    if as_json:
        _print_json({**card_facts(card), "weights_sha256": card.weights_sha256})
        return
    sys.stdout.write(f"{card.name}, under {card.licence}, is in {card.folder}\n")
    sys.stdout.write(f'draw with: tenstep render "a red apple" --model {card.name}\n')


@app.command(epilog="Example: tenstep model export emoji-64 --to emoji-64-onnx")
def export(
    model: Model,
    to: To,
    *,
    precision: Annotated[
        ExportAs, typer.Option(help="Of the denoiser; int8 is for the processor, and not exact.")
    ] = ExportAs.FLOAT32,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX for onnxruntime, and check each part against torch.

    In int8 the new model's name ends in its precision, and all its images' records tell.
    """
    from worker.extra import require_worker_extra

    require_worker_extra()
    from worker.export.export import export_model
    from worker.models.exported import ExportPrecision

    report = export_model(_card(model), to, precision=ExportPrecision(precision), report=_complain)
    if as_json:
        _print_json(report.model_dump())
    else:
        sys.stdout.write(f'draw with: tenstep render "a red apple" --model {to}\n')


@app.command("compile", epilog="Example: tenstep model compile emoji-64 --target qaic --dry-run")
def compile_model(
    model: Model,
    *,
    target: Annotated[Target, typer.Option(help="What it is compiled for.")],  # noqa: ARG001 - there is one
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", help="Of images; again for more. Default: the model's own."),
    ] = None,
    images: Annotated[int, typer.Option(help="Images that the denoiser takes at once.")] = 1,
    sku: Annotated[
        str | None, typer.Option(help="ai100-std, -pro or -ultra. Default: this host's cards.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compile what is there, too.")] = False,
    as_json: Json = False,
) -> None:
    """Compile a model's networks for Cloud AI 100, which takes static sizes alone.

    Programs are kept among the models by weights, flags and SDK version; what was compiled
    before is not compiled again.
    """
    from shared.settings import load_settings
    from worker.extra import require_worker_extra

    require_worker_extra()
    from worker.qaic.compile import compile_order, make_order
    from worker.qaic.store import QpcStore

    order = make_order(_card(model), [_size(text) for text in size or []], images, sku)
    if dry_run:
        if as_json:
            _print_json({"model": order.card.name, "commands": order.commands()})
        else:
            sys.stdout.write("".join(f"{command}\n" for command in order.commands()))
        return
    store = QpcStore(load_settings().resolved_models_dir)
    report = compile_order(order, store, report=_complain, force=force)
    if as_json:
        _print_json(report.model_dump(mode="json"))
        return
    table = _table("program", "pixels", "images", "size", "", right=(2, 3))
    for part in report.programs:
        pixels = f"{part.width} x {part.height}" if part.width else "any"
        how = "compiled before" if part.was_there else f"{part.seconds:.1f} s"
        table.add_row(part.component, pixels, str(part.images), _bytes(part.bytes), how)
    _print(table)
    sys.stdout.write(f"for {report.sku}, by SDK {report.sdk_version}, in {store.folder}\n")


@app.command(epilog="Example: tenstep model verify emoji-64")
def verify(model: Model, *, as_json: Json = False) -> None:
    """Hash a model's weights, load all of it, and take one step with it."""
    from worker.extra import require_worker_extra

    require_worker_extra()
    from worker.inspection import verify as verify_model

    card = _card(model)
    sha256 = verify_model(card)
    if as_json:
        _print_json({"name": card.name, "ok": True, "weights_sha256": sha256})
    else:
        sys.stdout.write(f"{card.name} is whole: sha256 {sha256}\n")


def _size(text: str) -> tuple[int, int]:
    from shared.errors import InputError

    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)
    if match is None:
        raise InputError(f"no such size: {text!r}", hint="Width and height, such as 512x512.")
    return int(match[1]), int(match[2])


def _card(model: str) -> ModelCard:
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    return load_card(model, load_settings().resolved_models_dir)


def _table(*columns: str, right: tuple[int, ...] = ()) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left")
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _complain(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _numbers_of_steps(grids: Iterable[int]) -> str | None:
    numbers = ", ".join(map(str, grids))
    return numbers and f"of {numbers} steps"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1000:  # noqa: PLR2004 - it is decimal
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
