"""What tenstep's metadata says that it needs, and what of that is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

PACKAGE = "tenstep"


def requirements_of(extra: str = "") -> Iterator[Requirement]:
    """Yield what an extra needs on this platform, or with none what tenstep always needs.

    Raises:
        PackageNotFoundError: tenstep itself is not installed, such as in a bare checkout.
    """
    for line in requires(PACKAGE) or ():
        requirement = Requirement(line)
        is_always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        is_of_extra = requirement.marker is not None and requirement.marker.evaluate(
            {"extra": extra}
        )
        if is_always if not extra else is_of_extra and not is_always:
            yield requirement


def installed_version(name: str) -> str | None:
    """Return a package's version; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing_of_extra(extra: str) -> Sequence[str]:
    """Return what an extra needs and is not installed."""
    try:
        needed = [requirement.name for requirement in requirements_of(extra)]
    except PackageNotFoundError:
        return []
    return [name for name in needed if installed_version(name) is None]
