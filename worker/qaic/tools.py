"""The Cloud AI SDK's commands and its version."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from shared.errors import ConfigurationError

SDK = Path("/opt/qti-aic")
UTIL = "qaic-util"
COMPILER = "qaic-exec"
FOLDERS = ("tools", "exec")
VERSIONS = ("apps.xml", "platform.xml")
NOT_INSTALLED = (
    "Install Qualcomm's Cloud AI SDK, or the emulator that comes with tenstep's sources: "
    "pip install ./infra/qaic-emulator"
)

_VERSION = re.compile(r"(?:AIC\.)?\d+(?:\.\d+)+[\w.+-]*")


@dataclass(frozen=True, slots=True)
class Sdk:
    """What programs are compiled by; they run with the same version alone."""

    version: str
    read_from: str
    """The file or the module that told it."""


def find_tool(name: str, sdk: Path = SDK) -> Path | None:
    """Find one of the SDK's commands: where it is installed, beside Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    places = [*(sdk / folder / name for folder in FOLDERS), beside]
    found = next((str(place) for place in places if place.is_file()), None) or shutil.which(name)
    return Path(found) if found else None


def find_sdk(sdk: Path = SDK) -> Sdk:
    """Find out the SDK's version.

    Raises:
        ConfigurationError: there is none, or it does not tell.
    """
    for path in (sdk / "versions" / name for name in VERSIONS):
        if path.is_file() and (found := _VERSION.search(_without_head(path))):
            return Sdk(found[0], str(path))
    module = import_qaic()
    version = getattr(module, "__version__", None)
    if not version:
        raise ConfigurationError(
            f"the module qaic of {module.__file__} does not tell its version, "
            f"and there is no {sdk / 'versions' / VERSIONS[0]}"
        )
    return Sdk(str(version), "qaic.__version__")


def import_qaic() -> ModuleType:
    """Import the SDK's module, or the emulator's.

    Raises:
        ConfigurationError: neither is installed, or it does not work here.
    """
    try:
        return import_module("qaic")
    except ImportError as error:
        raise ConfigurationError(
            f"the module qaic cannot be imported: {error}", hint=NOT_INSTALLED
        ) from None


def _without_head(path: Path) -> str:
    """Return a file of XML without its first line, which has a version of its own."""
    return re.sub(r"<\?xml.*?\?>", "", path.read_text("utf-8", errors="replace"))
