"""A thumbnail is small, whole and the same every time."""

from __future__ import annotations

import io
from random import Random

import pytest
from PIL import Image, ImageChops, ImageStat
from PIL.PngImagePlugin import PngInfo

from shared.thumbnail import LONGER_SIDE_PIXELS, MOST_BYTES, make_thumbnail, thumbnail_of


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Make the picture that is hardest to compress."""
    data = Random(0).randbytes(width * height * len(mode))
    return Image.frombytes(mode, (width, height), data)


def gradient(width: int, height: int) -> Image.Image:
    """Make a picture as easy as most."""
    return Image.merge("RGB", [Image.linear_gradient("L").resize((width, height))] * 3)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((8, 8), (8, 8)),
        ((256, 256), (256, 256)),
        ((264, 256), (256, 248)),
        ((512, 768), (171, 256)),
        ((2048, 8), (256, 1)),
    ],
)
def test_it_is_as_large_as_fits_and_never_larger_than_the_picture(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = opened(make_thumbnail(gradient(*size)))

    assert (image.format, image.size) == ("WEBP", expected)


@pytest.mark.parametrize("side", [64, LONGER_SIDE_PIXELS, 512])
def test_no_picture_makes_a_large_one(side: int) -> None:
    assert len(make_thumbnail(noise(side, side))) <= MOST_BYTES


def test_it_looks_like_the_picture() -> None:
    picture = gradient(256, 256)

    off = ImageChops.difference(opened(make_thumbnail(picture)).convert("RGB"), picture)

    assert max(ImageStat.Stat(off).mean) < 3


def test_it_is_the_same_every_time_and_leaves_the_picture_as_it_is() -> None:
    picture = noise(300, 200)
    before = picture.tobytes()

    assert make_thumbnail(picture) == make_thumbnail(noise(300, 200))
    assert (picture.size, picture.tobytes()) == ((300, 200), before)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA"])
def test_pictures_of_other_kinds_have_one_without_transparency(mode: str) -> None:
    data = make_thumbnail(noise(256, 256, mode))

    assert len(data) <= MOST_BYTES
    assert opened(data).mode == "RGB"


def test_what_a_file_tells_beside_the_picture_is_left_out() -> None:
    text = PngInfo()
    text.add_itxt("prompt", "a secret plan")
    file = io.BytesIO()
    picture = gradient(64, 64)
    exif = Image.Exif()
    exif[0x010E] = "a secret plan"
    picture.save(file, "PNG", pnginfo=text, exif=exif, icc_profile=b"a secret plan")

    assert b"secret" in file.getvalue()
    assert thumbnail_of(file.getvalue()) == make_thumbnail(picture)


def test_what_is_no_picture_has_none() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        thumbnail_of(b"no picture")
