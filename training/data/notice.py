"""Whose works the pictures and names are, and how that is told to whoever gets them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH = 95

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
They were trained on pictures and captions that are not tenstep's own. Whoever publishes these
weights adds the licences, holders and attributions of those works here.
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
    """Return the NOTICE of a model that was trained on works; on nobody knows which, if empty."""
    form = _MODEL if works else _MODEL_OF_OTHER_DATA
    return form.format(title=title, works=_listed(works))


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
