"""Makes the archive of the previous release: ``python tests/previous_release/make.py REVISION``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
WEIGHTS = ".safetensors"
MIGRATIONS = "shared/db/migrations/versions/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a revision's wheel, and keep it without its weights in place of the one before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="of git: a tag or a commit")
    revision = parser.parse_args(arguments).revision
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(revision, Path(folder))
        for old in HERE.glob("tenstep-*.zip"):
            old.unlink()
        made = HERE / f"tenstep-{head_of(wheel)}.zip"
        copy(wheel, made)
    sys.stdout.write(f"{made}: {made.stat().st_size:,} bytes\n")
    return 0


def build(revision: str, folder: Path) -> Path:
    """Return the wheel of a revision, built in an empty folder."""
    source, archive = folder / "source", folder / "source.tar"
    source.mkdir()
    run("git", "-C", REPOSITORY, "archive", f"--output={archive}", revision)
    run("tar", "-x", "-C", source, "-f", archive)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source)
    [wheel] = folder.glob("*.whl")
    return wheel


def run(*command: str | Path) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command, check=True)


def head_of(wheel: Path) -> str:
    """Return the last of a wheel's migrations, by their files' names."""
    with ZipFile(wheel) as names:
        found = [name.removeprefix(MIGRATIONS) for name in names.namelist()]
    return max(name.split("_")[0] for name in found if name[:4].isdigit())


def copy(wheel: Path, made: Path) -> None:
    """Copy all but the weights: the tests draw with those of this version."""
    with ZipFile(wheel) as source, ZipFile(made, "w", ZIP_DEFLATED, compresslevel=9) as target:
        for member in source.infolist():
            if not member.filename.endswith(WEIGHTS):
                target.writestr(member, source.read(member), ZIP_DEFLATED, 9)


if __name__ == "__main__":
    sys.exit(main())
