"""The version of tenstep, for records."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("tenstep")
except PackageNotFoundError:
    VERSION = "0+uninstalled"
