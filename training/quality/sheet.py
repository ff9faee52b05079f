"""A sheet of drawings: a row for each prompt, a column for each way of drawing it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from training.data.dataset import Pictures

_SIDE = 128
_TOP, _LEFT = 36, 150
_LETTERS, _HEADINGS, _WIDTH = 13, 11, 19
"""Pixels of a letter's height, of a heading's, and how many letters a column is wide."""


def sheet(drawn: Mapping[str, Pictures], prompts: Sequence[str], rows: int) -> Image.Image:
    """Return the drawings of some questions, spread over all of them, at the same seeds.

    Args:
        drawn: pictures (N, H, W, 3) of each way, in the order of the questions.
        prompts: what was asked for.
        rows: how many of them are shown, if there are as many.
    """
    shown = range(0, len(prompts), max(1, len(prompts) // rows))[:rows]
    page = Image.new("RGB", (_LEFT + len(drawn) * _SIDE, _TOP + len(shown) * _SIDE), "white")
    pen, letters = ImageDraw.Draw(page), ImageFont.load_default(_LETTERS)
    headings = ImageFont.load_default(_HEADINGS)
    for column, (name, pictures) in enumerate(drawn.items()):
        x = _LEFT + column * _SIDE
        pen.text((x + 2, 2), _wrapped(name, 2), fill="black", font=headings)
        for row, index in enumerate(shown):
            picture = Image.fromarray(pictures[index])
            enlarged = picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            page.paste(enlarged, (x, _TOP + row * _SIDE))
    for row, index in enumerate(shown):
        place = (4, _TOP + row * _SIDE + _SIDE // 4)
        pen.text(place, _wrapped(prompts[index], 5), fill="black", font=letters)
    return page


def _wrapped(text: str, lines: int) -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH, max_lines=lines, placeholder="…"))
