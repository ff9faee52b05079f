"""Files that appear whole or not at all."""

from __future__ import annotations

import os
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
def atomic_file(target: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Write beside the target, then rename over it, if the block ends well.

    Args:
        target: what the file is called in the end.
        durable: have it on the disk before it gets its name, as a store has to.
    """
    partial = target.with_name(f".partial-{new_id().hex}")
    try:
        with partial.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
