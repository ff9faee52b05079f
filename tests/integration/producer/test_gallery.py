"""A gallery is one page that loads and runs nothing, whatever the prompts say."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image

from producer.gallery import write_gallery
from producer.gallery_state import GalleryState
from shared.db.engine import Database
from shared.errors import InputError
from shared.storage.base import image_key, sha256_of
from shared.storage.folder import FolderStore
from support.drawing import Drawer, picture
from support.factories import START, add_batch, jobs_of

JOBS = 6
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}</style><!--'


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=JOBS).id


@pytest.fixture
def images(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "images")


@pytest.fixture
def drawer(database: Database, images: FolderStore) -> Drawer:
    return Drawer(database, images, now=START)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pages" / "gallery.html"


def test_it_shows_the_images_with_their_prompts_seeds_and_costs(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    drawer.draw(batch_id, 2)
    gallery = write_gallery(database, images, batch_id, file)
    page = Page(file.read_text("utf-8"))

    assert (gallery.shown, gallery.of, gallery.missing) == (2, 2, 0)
    shown = page.attributes("img")
    assert [image["alt"] for image in shown] == ["prompt 0", "prompt 1"]
    data = base64.b64decode((shown[1]["src"] or "").removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(picture(1))) as drawn:
        assert image.convert("RGB").tobytes() == drawn.convert("RGB").tobytes()
    assert "2 of 6 images are drawn, with tiny , for $0.000043." in page.text
    assert "All 2 images." in page.text
    for fact in ("$0.000021250", "a device (cpu)", "64 x 64"):
        assert fact in page.text


def test_it_loads_and_runs_nothing(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    drawer.draw(batch_id)
    write_gallery(database, images, batch_id, file)
    page = Page(file.read_text("utf-8"))

    policy = next(
        meta["content"] or ""
        for meta in page.attributes("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    [style] = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "url(" not in style
    assert "@import" not in style


def test_a_hostile_prompt_is_shown_as_text(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    with database.write() as session:
        for job in jobs_of(session, batch_id):
            job.prompt = job.negative_prompt = HOSTILE
            job.custom_id = f"{HOSTILE}{job.position}"
    drawer.fail(drawer.claim(batch_id, 1)[0], code="<b>bad</b>")
    drawer.draw(batch_id)
    write_gallery(database, images, batch_id, file, state=GalleryState.ALL)
    page = Page(file.read_text("utf-8"))

    assert page.source.count(html.escape(HOSTILE, quote=True).replace("&quot;", "&#34;")) > JOBS
    assert " ".join(HOSTILE.split()) in page.text
    assert [image["alt"] for image in page.attributes("img")] == [HOSTILE] * (JOBS - 1)
    assert "<b>bad</b>" in page.text
    assert not {"script", "b"} & {tag for tag, _ in page.elements}


def test_jobs_that_failed_are_shown_with_their_reason(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    first, _, third = drawer.claim(batch_id, 3)
    drawer.fail(first)
    drawer.finish(third)
    gallery = write_gallery(database, images, batch_id, file, state=GalleryState.FAILED)
    page = Page(file.read_text("utf-8"))

    assert (gallery.shown, gallery.of) == (1, 1)
    assert "job 0 cannot be drawn" in page.text
    assert "1 failed" in page.text
    assert not page.attributes("img")


def test_of_more_images_than_fit_it_shows_an_even_sample_and_says_so(
    database: Database, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=40).id
    drawer.draw(batch_id)
    for state in (GalleryState.DONE, GalleryState.ALL):
        gallery = write_gallery(database, images, batch_id, file, state=state, limit=4)
        page = Page(file.read_text("utf-8"))

        assert (gallery.shown, gallery.of) == (4, 40)
        assert [image["alt"] for image in page.attributes("img")] == [
            f"prompt {position}" for position in (0, 10, 20, 30)
        ]
        assert "An even sample: 4 of 40" in page.text


def test_a_large_image_is_made_small(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    drawer.draw(batch_id, 1)
    large = io.BytesIO()
    Image.new("RGB", (1024, 512), "red").save(large, "PNG")
    sha256 = sha256_of(large.getvalue())
    images.put(image_key(sha256), large.getvalue(), "image/png")
    with database.write() as session:
        job = jobs_of(session, batch_id)[0]
        job.image_key, job.image_sha256 = image_key(sha256), sha256
    write_gallery(database, images, batch_id, file)

    [image] = Page(file.read_text("utf-8")).attributes("img")
    assert (image["width"], image["height"]) == ("256", "128")


def test_an_image_that_cannot_be_had_is_told_on_the_page(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, file: Path
) -> None:
    drawer.draw(batch_id, 2)
    images.delete(image_key(sha256_of(picture(0))))
    gallery = write_gallery(database, images, batch_id, file)

    assert gallery.missing == 1
    assert "no object images/" in Page(file.read_text("utf-8")).text


def test_what_must_be_said_of_a_model_is_on_the_page(
    database: Database,
    batch_id: UUID,
    images: FolderStore,
    drawer: Drawer,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("support.drawing.RECORD", {"note": "Not to be used for <harm>."})
    drawer.draw(batch_id, 3)
    write_gallery(database, images, batch_id, file)

    assert Page(file.read_text("utf-8")).text.count("Not to be used for <harm>.") == 1


def test_a_batch_without_images_is_an_empty_page(
    database: Database, batch_id: UUID, images: FolderStore, file: Path
) -> None:
    assert write_gallery(database, images, batch_id, file).shown == 0
    assert "There is nothing to show yet." in Page(file.read_text("utf-8")).text


def test_a_file_that_cannot_be_written_is_told(
    database: Database, batch_id: UUID, images: FolderStore, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_gallery(database, images, batch_id, tmp_path / "file" / "gallery.html")
