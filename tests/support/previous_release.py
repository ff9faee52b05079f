"""The previous release's code, unpacked beside this version's; both run in one environment."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from zipfile import ZipFile

REPOSITORY = Path(__file__).parents[2]
[ARCHIVE] = (REPOSITORY / "tests/previous_release").glob("tenstep-*.zip")
HEAD = ARCHIVE.stem.removeprefix("tenstep-")
"""Its last migration."""
WEIGHTS = re.compile(r"^(?P<path>.+\.safetensors),sha256=(?P<digest>[^,]+),", re.MULTILINE)


def unpack(folder: Path) -> Path:
    """Unpack it, and link the weights that it was published with; returns the folder.

    Raises:
        ValueError: this repository's weights are not those any more.
    """
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    [record] = folder.glob("*.dist-info/RECORD")
    for found in WEIGHTS.finditer(record.read_text("utf-8")):
        ours = REPOSITORY / found["path"]
        digest = hashlib.sha256(ours.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != found["digest"]:
            raise ValueError(f"{found['path']} is not that of {ARCHIVE.name}")
        (folder / found["path"]).symlink_to(ours)
    return folder


def with_code_of(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment whose processes run the code in a folder."""
    return {**environment, "PYTHONPATH": str(folder)}
