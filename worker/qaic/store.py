"""Compiled programs on disk, by what they were made of.

A folder a program, named by a SHA-256 of its component, weights, flags and SDK version. It holds
``programqpc.bin`` and ``qpc.json``, and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.domain.identifiers import new_id
from shared.errors import ConfigurationError
from shared.files import ensure_writable

QPC = "programqpc.bin"
RECORD = "qpc.json"
FOLDER = "qpc"
"""Among the models."""
HASH_CHUNK_BYTES = 1 << 20


class QpcRecord(BaseModel):
    """``qpc.json``: what a program was made of, and for what. Sizes are in pixels."""

    model_config = ConfigDict(frozen=True)

    component: str
    model: str
    weights_sha256: str
    """Identity of the model's weights, as manifests name it."""
    sdk_version: str
    sdk_read_from: str
    flags: tuple[str, ...]
    width: int
    height: int
    """0 for a text encoder, as the width."""
    images: int
    batch: int
    cores: int
    file_sha256: str
    file_bytes: int
    compiled_at: datetime


@dataclass(frozen=True, slots=True)
class StoredQpc:
    """One program and where it is."""

    folder: Path
    record: QpcRecord

    @property
    def path(self) -> Path:
        """The program."""
        return self.folder / QPC

    @property
    def size(self) -> int:
        """Bytes of the program."""
        return self.record.file_bytes

    def verify(self) -> None:
        """Hash the program.

        Raises:
            ConfigurationError: it is gone, or not what was compiled.
        """
        try:
            found = hash_file(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.path}: {error.strerror or error}") from None
        if found != self.record.file_sha256:
            raise ConfigurationError(
                f"{self.path}: has changed: SHA-256 {found}, not {self.record.file_sha256}",
                hint=f"{compile_command(self.record.model)} --force makes it anew",
            )


class QpcStore:
    """The programs of this host."""

    def __init__(self, models_dir: Path) -> None:
        """Look among the models; nothing needs to be there."""
        self.folder = models_dir / FOLDER

    def all(self) -> list[StoredQpc]:
        """Return every program, in order of time.

        Raises:
            ConfigurationError: a record is broken; names it.
        """
        found = [
            StoredQpc(path.parent, _read_record(path))
            for path in self.folder.glob(f"[0-9a-f]*/{RECORD}")
        ]
        return sorted(found, key=lambda qpc: qpc.record.compiled_at)

    def find(self, identity: str) -> StoredQpc | None:
        """Return a program that was compiled before.

        Raises:
            ConfigurationError: its record is broken.
        """
        path = self.folder / identity / RECORD
        return StoredQpc(path.parent, _read_record(path)) if path.is_file() else None

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Make a folder on the store's disk that is gone after the block.

        Raises:
            InputError: the store cannot be written to.
        """
        ensure_writable(self.folder)
        partial = self.folder / f".partial-{new_id().hex}"
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def put(self, identity: str, compiled: Path, record: QpcRecord) -> StoredQpc:
        """Take a folder with a program into the store; one of the same identity gives way.

        Args:
            identity: from `identity_of`.
            compiled: on the store's disk; is moved.
            record: of the program.
        """
        (compiled / RECORD).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
        target = self.folder / identity
        # A folder cannot be renamed over one that holds something.
        before = compiled.with_name(f"{compiled.name}-before")
        if target.exists():
            target.replace(before)
        compiled.replace(target)
        return StoredQpc(target, record)


def identity_of(component: str, weights_sha256: str, flags: tuple[str, ...], sdk: str) -> str:
    """Return what tells a program from all others: a SHA-256, in hexadecimal."""
    made_of = {"component": component, "weights": weights_sha256, "flags": flags, "sdk": sdk}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def compile_command(model: str) -> str:
    """Return the command that compiles a model."""
    return f"tenstep model compile {model} --target qaic"


def _read_record(path: Path) -> QpcRecord:
    try:
        return QpcRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{path}: {where}: {first['msg']}", hint="Remove its folder and compile again."
        ) from None
