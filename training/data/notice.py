"""Whose works the pictures and names are, and how that is told to whoever gets them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import InputError

#: File of a folder of pictures, or of a model.
NOTICE = "NOTICE"
_WIDTH = 95
_HINT = "notice in [data] names a text file that says whose works the pictures and captions are"

_DATA = """\
Pictures and names for training

The files in this folder were made from these works, each under its own licence; the pictures
were scaled and put on white:

{works}
"""

_MODEL = """\
{title}
The weights in this folder are licensed under the Apache License, Version 2.0.

They were trained, from scratch, on pictures (scaled, put on white) and names from these works,
which the model learned from and draws anew:

{works}
"""

_MODEL_OF_OTHER_DATA = """\
{title}
The weights in this folder are licensed under: {licence}

They were trained on pictures and captions of these works:

{works}
"""


@dataclass(frozen=True)
class Credit:
    """What a work's licence asks to be said of it."""

    title: str
    holder: str
    #: Its name, and where it can be read if the licence asks for that.
    licence: str
    #: Name and version: "name@1.0.0".
    package: str
    #: What it gives, if not pictures.
    use: str = ""
    #: A sentence for whoever shows what a model learned from it.
    advice: str = ""

    @property
    def line(self) -> str:
        """The whole credit in one line."""
        name, version = self.package.rsplit("@", 1)
        text = (
            f"{self.title}, copyright {self.holder}, {self.licence} (npm package {name} {version})"
        )
        return f"{text}: {self.use}" if self.use else text


def data_notice(works: Sequence[Credit]) -> str:
    """Return the NOTICE of a folder of pictures."""
    return _DATA.format(works=_listed(works))


def model_notice(title: str, works: Sequence[Credit]) -> str:
    """Return the NOTICE of a model that was trained on works."""
    return _MODEL.format(title=title, works=_listed(works))


def keep_notice(path: Path, folder: Path) -> None:
    """Keep a text on the works of a stream in a run's data folder.

    Raises:
        InputError: it cannot be read, or says nothing.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise InputError(f"{path}: {reason}", hint=_HINT) from None
    if not text:
        raise InputError(f"{path}: is empty", hint=_HINT)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTICE).write_text(f"{text}\n", "utf-8")


def notice_of_other_data(title: str, licence: str, folder: Path) -> str:
    """Return the NOTICE of a model that was trained on a stream.

    Args:
        title: of the model.
        licence: of its weights.
        folder: of the data, with what `keep_notice` left.
    """
    works = (folder / NOTICE).read_text("utf-8").rstrip()
    return _MODEL_OF_OTHER_DATA.format(title=title, licence=licence, works=works)


def _listed(works: Sequence[Credit]) -> str:
    lines = [_folded(work.line, initial_indent="* ", subsequent_indent="  ") for work in works]
    advice = [f"\n{_folded(work.advice)}" for work in works if work.advice]
    return "\n".join(lines + advice)


def _folded(text: str, initial_indent: str = "", subsequent_indent: str = "") -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=initial_indent,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
