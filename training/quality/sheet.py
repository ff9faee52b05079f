"""A sheet of drawings: a row for each prompt, a column for each way of drawing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from training.data.dataset import Pictures
from training.quality.fidelity import Asked

_SIDE = 128
_TOP, _LEFT = 28, 150
_LINE = 20
"""Characters that fit above a drawing."""


def sheet(drawn: Mapping[str, Pictures], asked: Sequence[Asked], rows: int) -> Image.Image:
    """Return the drawings of some questions, spread over all of them, at the same seeds.

    Args:
        drawn: pictures (N, H, W, 3) of each way, in the order of the questions.
        asked: the questions.
        rows: how many of them are shown, if there are as many.
    """
    shown = range(0, len(asked), max(1, len(asked) // rows))[:rows]
    page = Image.new("RGB", (_LEFT + len(drawn) * _SIDE, _TOP + len(shown) * _SIDE), "white")
    pen = ImageDraw.Draw(page)
    for column, (name, pictures) in enumerate(drawn.items()):
        x = _LEFT + column * _SIDE
        pen.text((x + 2, 2), f"{name[:_LINE]}\n{name[_LINE:]}", fill="black")
        for row, index in enumerate(shown):
            picture = Image.fromarray(pictures[index])
            enlarged = picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            page.paste(enlarged, (x, _TOP + row * _SIDE))
    for row, index in enumerate(shown):
        pen.text((2, _TOP + row * _SIDE + _SIDE // 2), asked[index].prompt[:26], fill="black")
    return page
