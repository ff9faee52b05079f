"""A model's folder for ONNX Runtime, whole and checked, or not at all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from shared.domain.identifiers import new_id
from shared.errors import ConfigurationError, InputError
from shared.files import ensure_writable
from shared.models.card import CARD, INDEX, SAFETY_CHECKER, ModelCard, read_card, read_json
from shared.models.catalog import load_card
from worker.export.check import TOLERANCE, check_graph, references
from worker.export.components import Component, by_component, components_of
from worker.export.graph import OPSET, write_graph
from worker.export.quantise import quantise_denoiser
from worker.models.exported import DENOISER, EXPORT_RECORD, GRAPH, GRAPH_DATA, ExportPrecision
from worker.models.networks import load_networks
from worker.models.weights import hash_weights, weights_identity

EXTERNAL_OVER_BYTES = 100_000_000
"""Protocol Buffers end at 2 GiB a file. Long before, weights in a file of their own are worth
it: a session maps them, where it parses and copies those in the graph.
"""
BYTES_A_PARAMETER = 4
COPIED_FOLDERS = ("scheduler", SAFETY_CHECKER, "feature_extractor")
COPIED_FILES = (INDEX, "LICENSE*", "NOTICE*", "README*")

Report = Callable[[str], None]


class ExportedComponent(BaseModel):
    """One graph, and how it compares with torch."""

    model_config = ConfigDict(frozen=True)

    name: str
    parameters: int
    bytes: int
    has_external_data: bool
    largest_difference: float
    """From torch, as a share of the output's standard deviation."""
    seconds: float


class ExportReport(BaseModel):
    """What was exported: ``export.json`` in the new folder."""

    model_config = ConfigDict(frozen=True)

    model: str
    precision: ExportPrecision = ExportPrecision.FLOAT32
    opset: int
    torch: str
    onnx: str
    weights_sha256: str
    """Identity of the weights that it was made from; manifests name it."""
    files_sha256: str
    """`worker.models.weights.hash_weights` of the new folder."""
    tolerance: float
    """Of `ExportedComponent.largest_difference`, before anything became int8."""
    components: tuple[ExportedComponent, ...]


def export_model(
    card: ModelCard,
    to: Path,
    *,
    precision: ExportPrecision = ExportPrecision.FLOAT32,
    report: Report = lambda _: None,
    external_over: int = EXTERNAL_OVER_BYTES,
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write a model's folder for ONNX Runtime; every graph is checked against torch.

    The folder appears when all is written and checked. It keeps the model's name, so that
    its worker serves the same queue. In int8 the name says so: nobody is to get such images
    who did not ask for them.

    Args:
        card: of a model for torch.
        to: where the folder is to be; must not exist, or be empty.
        precision: of the denoiser.
        report: is told what is being done, a line at a time.
        external_over: bytes of weights above which a graph keeps them in a file of their
            own.
        tolerance: largest difference from torch, as a share of the output's standard
            deviation.

    Raises:
        InputError: the folder is not empty, cannot be written to or has no room, or the
            model was exported before.
        ConfigurationError: a part of the model is missing or broken.
        TenstepError: a graph does not compute what torch does.
    """
    if card.backend == "onnxruntime":
        raise InputError(f"{card.folder}: is exported already", hint="Export its source.")
    if not _tokenizer_of(card).is_dir():
        raise ConfigurationError(f"{_tokenizer_of(card)}: no such folder")
    with _appearing_folder(to) as folder:
        report(f"{card.name}: loading")
        weights_sha256 = weights_identity(card)
        networks = load_networks(card)
        text = networks.text_encoder.config
        components = components_of(card, text.hidden_size, text.vocab_size, networks.decoder.config)
        waiting = by_component(networks)
        del networks
        _check_space(to, folder, waiting)
        exported = tuple(
            _export(component, waiting, folder, report, external_over, tolerance)
            for component in components
        )
        _copy_settings(card, folder)
        # With it, the folder is a model.
        name = _write_card(card, folder, weights_sha256, precision)
        if precision is not ExportPrecision.FLOAT32:
            report(f"{DENOISER}: making it {precision}")
            quantise_denoiser(read_card(folder), precision)
            exported = tuple(_measured_again(part, folder) for part in exported)
        done = ExportReport(
            model=name,
            precision=precision,
            opset=OPSET,
            torch=torch.__version__,
            onnx=onnx.__version__,
            weights_sha256=weights_sha256,
            files_sha256=hash_weights(folder),
            tolerance=tolerance,
            components=exported,
        )
        (folder / EXPORT_RECORD).write_text(done.model_dump_json(indent=2) + "\n", "utf-8")
    report(f"{card.name}: done")
    return done


def _check_space(to: Path, folder: Path, networks: Mapping[str, nn.Module]) -> None:
    needed = sum(map(_parameters, networks.values())) * BYTES_A_PARAMETER
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(f"{to}: needs {needed / 1e9:.1f} GB on disk, {free / 1e9:.1f} GB are free")


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _export(
    component: Component,
    waiting: dict[str, nn.Module],
    parent: Path,
    report: Report,
    external_over: int,
    tolerance: float,
) -> ExportedComponent:
    begin = time.perf_counter()
    folder = parent / component.name
    network = waiting.pop(component.name)
    parameters = _parameters(network)
    report(f"{component.name}: running in torch")
    expected = references(component, network)
    report(f"{component.name}: writing")
    size = write_graph(component, network, folder, external_over)
    # The largest is held twice at most, not three times.
    del network
    report(f"{component.name}: comparing with torch")
    return ExportedComponent(
        name=component.name,
        parameters=parameters,
        bytes=size,
        has_external_data=(folder / GRAPH_DATA).is_file(),
        largest_difference=check_graph(component, folder, expected, tolerance),
        seconds=round(time.perf_counter() - begin, 3),
    )


def _measured_again(part: ExportedComponent, parent: Path) -> ExportedComponent:
    files = list((parent / part.name).glob(f"{GRAPH}*"))
    return part.model_copy(
        update={
            "bytes": sum(path.stat().st_size for path in files),
            "has_external_data": (parent / part.name / GRAPH_DATA).is_file(),
        }
    )


def _tokenizer_of(card: ModelCard) -> Path:
    owner = load_card(card.vocabulary_of) if card.vocabulary_of else card
    return owner.folder / "tokenizer"


def _copy_settings(card: ModelCard, folder: Path) -> None:
    """Copy what a worker reads beside the graphs, and the terms of the licence."""
    for name in COPIED_FOLDERS:
        if (card.folder / name).is_dir():
            shutil.copytree(card.folder / name, folder / name)
    shutil.copytree(_tokenizer_of(card), folder / "tokenizer")
    for part in ("text_encoder", card.denoiser_folder.name, "vae"):
        (folder / part).mkdir(exist_ok=True)
        shutil.copyfile(card.folder / part / "config.json", folder / part / "config.json")
    for pattern in COPIED_FILES:
        for path in card.folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _write_card(
    card: ModelCard, folder: Path, weights_sha256: str, precision: ExportPrecision
) -> str:
    """Write the new folder's card, and return the name on it."""
    path = card.folder / CARD
    is_exact = precision is ExportPrecision.FLOAT32
    name = card.name if is_exact else f"{card.name}-{precision}"
    document = {
        **(read_json(path) if path.is_file() else {}),
        **card.model_dump(mode="json", exclude={"folder"}),
        "name": name,
        "vocabulary_of": None,
        "weights_sha256": weights_sha256,
    }
    (folder / CARD).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return name


@contextmanager
def _appearing_folder(to: Path) -> Iterator[Path]:
    """Make a folder beside the one that is wanted, and rename it if the block ends well."""
    if to.is_dir() and any(to.iterdir()):
        raise InputError(f"{to}: is not empty", hint="Name a folder that does not exist yet.")
    if to.exists() and not to.is_dir():
        raise InputError(f"{to}: is a file, not a folder")
    ensure_writable(to.absolute().parent)
    partial = to.absolute().with_name(f".partial-{new_id().hex}")
    partial.mkdir()
    try:
        yield partial
        partial.replace(to)
    except OSError as error:
        raise InputError(f"{to}: cannot be written to: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
