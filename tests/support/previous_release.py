"""The previous release's code, unpacked beside this version's; both run in one environment."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZipFile

REPOSITORY = Path(__file__).parents[2]
[ARCHIVE] = (REPOSITORY / "tests/previous_release").glob("tenstep-*.zip")
HEAD = ARCHIVE.stem.removeprefix("tenstep-")
"""Its last migration."""


def unpack(folder: Path) -> Path:
    """Unpack it, and give it this version's trained models; returns the folder.

    What two releases do differently is told from what two sets of weights do.
    """
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for record in (folder / "shared/models").glob("*/training.json"):
        shutil.rmtree(record.parent)
        record.parent.symlink_to(REPOSITORY / record.parent.relative_to(folder))
    return folder


def with_code_of(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment whose processes run the code in a folder."""
    return {**environment, "PYTHONPATH": str(folder)}
