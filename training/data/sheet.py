"""Every picture of a data set at a glance."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from training.data.dataset import Dataset, Row

_TILE = 36
_GAP = 4
_HEADING = 20
_COLUMNS = 48
#: Frames of what training does not see.
_FRAMES = {"held-out pair": "orange", "held-out concept": "red"}


def save_sheet(data: Dataset, path: Path) -> None:
    """Write one PNG of all pictures, small, style below style; what is held out has a frame."""
    styles: dict[str, list[Row]] = {}
    for row in data.rows:
        styles.setdefault(row.style, []).append(row)
    pitch = _TILE + _GAP
    height = sum(_HEADING + pitch * _lines(len(rows)) for rows in styles.values())
    sheet = Image.new("RGB", (_COLUMNS * pitch + _GAP, height + _GAP), "white")
    drawing = ImageDraw.Draw(sheet)
    top = _GAP
    for style, rows in styles.items():
        heading = f"{style}: {len(rows)} pictures; orange: held-out pair, red: held-out concept"
        drawing.text((_GAP, top), heading, fill="black")
        top += _HEADING
        for place, row in enumerate(rows):
            left, upper = _GAP + pitch * (place % _COLUMNS), top + pitch * (place // _COLUMNS)
            picture = Image.fromarray(data.images[row.index])
            sheet.paste(picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS), (left, upper))
            if colour := _FRAMES.get(row.split):
                box = (left - 2, upper - 2, left + _TILE + 1, upper + _TILE + 1)
                drawing.rectangle(box, outline=colour, width=2)
        top += pitch * _lines(len(rows))
    sheet.save(path, optimize=True)


def _lines(pictures: int) -> int:
    return -(-pictures // _COLUMNS)
