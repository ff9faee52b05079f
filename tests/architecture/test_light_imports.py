"""What must start fast, or must not touch a device, imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "onnxruntime")
TYPED_AT_EVERY_START = ("sqlalchemy", "celery", "boto3", "alembic")


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "producer.cli.main",
        "producer.render",
        "producer.dispatch",
        "producer.api.app",
        "producer.clerk.clerk",
        "shared.storage.open",
        "worker.__main__",
        "worker.lifecycle",
        "worker.commands.schedule",
        "training.commands.eval",
    ],
)
def test_neither_producers_nor_celerys_parent_process_import_torch(module: str) -> None:
    assert not imported_by(module).intersection(HEAVY)


def test_the_command_line_shows_its_help_without_a_database_or_a_queue() -> None:
    assert not imported_by("producer.cli.main").intersection(TYPED_AT_EVERY_START)
