"""A worker starts without torch's compiler, which it never uses."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch._dynamo", "torch.distributed.tensor", "sympy", "transformers.modeling_utils")
START = f"""
import sys
from worker.quick_imports import import_diffusers_without_compiler
import_diffusers_without_compiler()
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline
load_pipeline(load_card("emoji-64"), Device.parse("cpu"), threads=1)
print([name for name in {HEAVY} if name in sys.modules])
"""
COMPILE = """
import torch
doubled = torch.compile(lambda x: x * 2, backend="eager")
print(doubled(torch.ones(1)).item())
"""


def run(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def test_a_worker_loads_its_model_without_the_compiler_or_any_of_transformers_networks() -> None:
    assert run(START) == ["[]"]


def test_the_compiler_works_all_the_same_afterwards() -> None:
    assert run(START + COMPILE)[-1] == "2.0"
