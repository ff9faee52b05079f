"""``programqpc.bin`` of the emulator: a zip of a graph, its weights and what it was made by."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from qaic.environment import SDK_VERSION
from qaic.errors import QaicError
from qaic.graph import EXTERNAL_OVER_BYTES, inputs_of, shape_of, type_of

NAME = "programqpc.bin"
MANIFEST = "program.json"
GRAPH = "network.onnx"
WEIGHTS = "network.onnx.data"
MADE_BY = "Cloud AI 100 emulator"
NUMERICS = "constants rounded to float16 where asked for, sums in float32"

Tensors = Mapping[str, tuple[list[int], str]]
"""Shapes and types by name."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a program is."""

    made_by: str
    sdk_version: str
    numerics: str
    flags: Sequence[str]
    cores: int
    inputs: Tensors
    outputs: Tensors


def write(model: onnx.ModelProto, flags: Sequence[str], cores: int, path: Path) -> None:
    """Write a program."""
    manifest = Manifest(
        made_by=MADE_BY,
        sdk_version=SDK_VERSION,
        numerics=NUMERICS,
        flags=flags,
        cores=cores,
        inputs={value.name: (shape_of(value), type_of(value)) for value in inputs_of(model)},
        outputs={value.name: (shape_of(value), type_of(value)) for value in model.graph.output},
    )
    with TemporaryDirectory(prefix="qaic-emulator-") as folder:
        graph = Path(folder) / GRAPH
        is_large = model.ByteSize() > EXTERNAL_OVER_BYTES
        onnx.save_model(model, graph, save_as_external_data=is_large, location=WEIGHTS)
        with zipfile.ZipFile(path, "x") as archive:
            archive.writestr(MANIFEST, json.dumps(asdict(manifest), indent=2))
            for file in sorted(Path(folder).iterdir()):
                archive.write(file, file.name)


def read_manifest(path: Path) -> Manifest:
    """Read what a program is.

    Raises:
        QaicError: it is none, or another version's.
    """
    if not path.is_file():
        raise QaicError(f"no program at '{path}'")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest(**json.loads(archive.read(MANIFEST)))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise QaicError(f"'{path}' is not a QPC of this emulator: {error}") from error
    if manifest.sdk_version != SDK_VERSION:
        raise QaicError(
            f"'{path}' was compiled by SDK {manifest.sdk_version}, this is SDK {SDK_VERSION}"
        )
    return manifest


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a program's graph and return where it is."""
    with zipfile.ZipFile(path) as archive:
        for name in {GRAPH, WEIGHTS}.intersection(archive.namelist()):
            archive.extract(name, folder)
    return folder / GRAPH
