"""All images of a batch on one sheet, with their prompts beneath."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from producer.pull import PulledFolder, PulledImage
from shared.errors import InputError
from shared.files import atomic_file

CONTACT_SHEET = "contact-sheet.png"
CELL_PIXELS = 128
LARGE_CELL_PIXELS = 192
MARGIN_PIXELS = 12
FONT_POINTS = 12
LINE_PIXELS = 15
CAPTION_LINES = 2
BACKGROUND = "white"
INK = "#222222"
PALE = "#777777"

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def write_contact_sheet(pulled: PulledFolder) -> Path | None:
    """Draw the first 200 images beside the manifest; the same images give the same bytes.

    Returns:
        The sheet, or None if there is no image to show.

    Raises:
        InputError: the folder cannot be written to.
    """
    if not pulled.first:
        return None
    path = pulled.folder / CONTACT_SHEET
    sheet = draw_contact_sheet(pulled.first, left_out=pulled.images - len(pulled.first))
    try:
        with atomic_file(path) as file:
            sheet.save(file, "PNG")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def draw_contact_sheet(images: Sequence[PulledImage], *, left_out: int = 0) -> Image.Image:
    """Draw a grid of images, about as wide as high, and say how many are not on it."""
    font = ImageFont.load_default(FONT_POINTS)
    cell = _cell_pixels(images[0].path)
    columns = ceil(sqrt(len(images) * (cell + LINE_PIXELS * CAPTION_LINES) / cell))
    step = cell + MARGIN_PIXELS
    row = step + LINE_PIXELS * CAPTION_LINES
    footer = LINE_PIXELS + MARGIN_PIXELS if left_out else 0
    size = (
        MARGIN_PIXELS + columns * step,
        MARGIN_PIXELS + ceil(len(images) / columns) * row + footer,
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left = MARGIN_PIXELS + index % columns * step
        top = MARGIN_PIXELS + index // columns * row
        sheet.paste(_thumbnail(image.path, cell), (left, top))
        for number, line in enumerate(_wrapped(_drawable(image.prompt), font, cell)):
            draw.text((left, top + cell + 1 + number * LINE_PIXELS), line, INK, font)
    if left_out:
        left_out_text = f"and {left_out:,} more"
        draw.text((MARGIN_PIXELS, size[1] - footer), left_out_text, PALE, font)
    return sheet


def _cell_pixels(path: Path) -> int:
    with Image.open(path) as image:
        longest = max(image.size)
    return CELL_PIXELS if longest <= CELL_PIXELS else LARGE_CELL_PIXELS


def _thumbnail(path: Path, cell: int) -> Image.Image:
    """Fit an image into a square, centred; a small one is doubled, not blown up."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    scale = min(cell / max(picture.size), 2)
    size = (round(picture.width * scale), round(picture.height * scale))
    square = Image.new("RGB", (cell, cell), BACKGROUND)
    resized = picture.resize(size, Image.Resampling.LANCZOS)
    square.paste(resized, ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return square


def _drawable(text: str) -> str:
    """Leave out accents, and what else Pillow's own font has no shape for."""
    plain = unicodedata.normalize("NFKD", text)
    without_accents = "".join(c for c in plain if not unicodedata.combining(c))
    return without_accents.encode("ascii", "replace").decode()


def _wrapped(text: str, font: Font, width: int) -> Sequence[str]:
    """Break a caption between words, and cut with an ellipsis what does not fit."""
    lines = [""]
    for word in text[: CAPTION_LINES * width].split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > CAPTION_LINES:
        rest = " ".join(lines[CAPTION_LINES - 1 :])
        lines = [*lines[: CAPTION_LINES - 1], rest]
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: Font, width: int) -> str:
    if len(line) <= width and font.getlength(line) <= width:
        return line
    line = line[:width]  # no letter is narrower than a pixel
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"
