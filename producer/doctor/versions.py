"""The versions of what is installed, against those that tenstep was made for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from producer.doctor.finding import Finding, fine, skipped, warning
from producer.doctor.requirements import PACKAGE, installed_version, requirements_of
from shared.version import VERSION

VERSION_CHECKS = ("versions",)
(VERSIONS,) = VERSION_CHECKS
EXTRAS = ("api", "worker")
TOLD = ("sqlalchemy", "celery", "redis", "torch")


def examine_versions() -> Iterator[Finding]:
    """Compare what is installed with the ranges in tenstep's metadata."""
    try:
        requirements = list(_requirements())
        python = SpecifierSet(str(metadata(PACKAGE)["Requires-Python"]))
    except PackageNotFoundError:
        yield skipped(VERSIONS, "tenstep itself is not installed, so nothing says what it needs")
        return
    wrong = [text for one in requirements if (text := _why_wrong(one)) is not None]
    if not python.contains(platform.python_version(), prereleases=True):
        wrong.insert(0, f"Python {platform.python_version()}, not {python}")
    if not wrong:
        yield fine(VERSIONS, _told())
        return
    fitting = " ".join(
        f"'{one.name}{one.specifier}'" for one in requirements if _why_wrong(one) is not None
    )
    remedy = f"pip install {fitting}" if fitting else f"Use a Python {python}."
    yield warning(VERSIONS, f"{_told()}; made for others: {', '.join(wrong)}", remedy)


def _requirements() -> Iterator[Requirement]:
    """Yield what must be installed, and of what need not be what is."""
    yield from requirements_of()
    for extra in EXTRAS:
        for one in requirements_of(extra):
            if installed_version(one.name) is not None:
                yield one


def _why_wrong(requirement: Requirement) -> str | None:
    found = installed_version(requirement.name)
    if found is None:
        return f"no {requirement.name}"
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return f"{requirement.name} {found}, not {requirement.specifier}"


def _told() -> str:
    packages = {name: installed_version(name) for name in TOLD}
    named = [f"{name} {version}" if version else f"no {name}" for name, version in packages.items()]
    return ", ".join([f"{PACKAGE} {VERSION}", f"Python {platform.python_version()}", *named])
