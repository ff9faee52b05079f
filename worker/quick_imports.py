"""Keeps torch's compiler out of a worker that does not compile."""

from __future__ import annotations

import importlib
import sys
from typing import Any

COMPILER = "torch._dynamo"


def import_diffusers_without_compiler() -> None:
    """Import diffusers' helpers as on a torch without ``torch._dynamo``.

    They want it for one decorator that only compiled code heeds, and do without where it is
    missing; it takes a second to import. Later imports of it work as ever.
    """
    if COMPILER in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    modules[COMPILER] = None
    try:
        importlib.import_module("diffusers.utils.torch_utils")
    finally:
        del modules[COMPILER]
