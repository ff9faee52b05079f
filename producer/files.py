"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shared.domain.identifiers import new_id
from shared.errors import InputError


def ensure_writable(folder: Path) -> None:
    """Make a folder if need be and try to write into it.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / ".tenstep-check"):
            pass
        (folder / ".tenstep-check").unlink()
    except FileExistsError:
        raise InputError(f"{folder}: is a file, not a folder") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error.strerror}") from None


@contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """Write beside the target, then rename over it, if the block ends well."""
    partial = target.with_name(f".partial-{new_id().hex}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
