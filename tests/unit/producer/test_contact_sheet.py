"""A contact sheet shows the images with their prompts, the same way every time."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops

from producer.contact_sheet import draw_contact_sheet, write_contact_sheet
from producer.pull import PulledFolder, PulledImage


def images_in(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> list[PulledImage]:
    found = []
    for index in range(count):
        path = folder / f"{index}.png"
        Image.new("RGB", size, (index * 40 % 256, 20, 200)).save(path)
        found.append(PulledImage(path, f"prompt number {index} of a test"))
    return found


def pulled(folder: Path, shown: list[PulledImage], images: int) -> PulledFolder:
    return PulledFolder(
        to=str(folder),
        images=images,
        written=images,
        bytes_written=0,
        problems=[],
        not_fetched=0,
        manifests=["manifest.jsonl"],
        cut=0,
        folder=folder,
        manifest=folder / "manifest.jsonl",
        first=shown,
    )


def test_every_image_is_on_the_sheet_twice_its_size(tmp_path: Path) -> None:
    sheet = draw_contact_sheet(images_in(tmp_path, 6))
    areas = {colour: count for count, colour in sheet.getcolors(1 << 20) or []}

    assert all(areas[(index * 40 % 256, 20, 200)] == 128 * 128 for index in range(6))


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    shown = images_in(tmp_path, 5)
    first = write_contact_sheet(pulled(tmp_path, shown, 5))
    assert first is not None
    before = first.read_bytes()

    assert write_contact_sheet(pulled(tmp_path, shown, 5)) == first
    assert first.read_bytes() == before


def test_the_prompt_is_under_its_image(tmp_path: Path) -> None:
    [image] = images_in(tmp_path, 1)
    blank = draw_contact_sheet([PulledImage(image.path, "")])
    captioned = draw_contact_sheet([image])
    box = ImageChops.difference(blank, captioned).getbbox()

    assert box is not None
    assert box[1] >= 12 + 128


def test_a_long_prompt_stays_within_its_column(tmp_path: Path) -> None:
    [image] = images_in(tmp_path, 1)
    for prompt in ("word " * 200, "w" * 500):
        blank = draw_contact_sheet([PulledImage(image.path, "")])
        captioned = draw_contact_sheet([PulledImage(image.path, prompt)])
        box = ImageChops.difference(blank, captioned).getbbox()

        assert box is not None
        assert box[2] <= 12 + 128 + 12


def test_images_that_are_left_out_are_counted_on_the_sheet(tmp_path: Path) -> None:
    shown = images_in(tmp_path, 3)

    assert draw_contact_sheet(shown, left_out=7).height > draw_contact_sheet(shown).height


def test_an_oblong_image_keeps_its_shape(tmp_path: Path) -> None:
    [image] = images_in(tmp_path, 1, size=(512, 256))
    areas = {
        colour: count for count, colour in draw_contact_sheet([image]).getcolors(1 << 20) or []
    }

    assert areas[(0, 20, 200)] == 192 * 96


def test_no_image_means_no_sheet(tmp_path: Path) -> None:
    assert write_contact_sheet(pulled(tmp_path, [], 0)) is None
