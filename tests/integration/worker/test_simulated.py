"""A simulated device: how long it takes, and that it always paints the same."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from shared.db.cost_tables import DeclaredRate
from shared.db.engine import Database
from shared.db.rates import record_rates
from shared.domain.prompts import ImageSettings
from shared.domain.rates import Measured, Shape
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.base import image_key, sha256_of, thumbnail_key
from shared.storage.folder import FolderStore
from support.factories import START, add_worker
from worker.devices import Device
from worker.images.png import encode_png
from worker.latency import BACK_TO_BACK_NS, MOST_LOAD_NS, DeviceClock, Latency
from worker.simulated import SimulatedPipeline, simulated_pipeline
from worker.slow_store import SlowStore

CARD = load_card("emoji-64", Path("models"))
SHAPE = Shape(64, 64, 10, is_guided=True)
MILLISECOND = 10**6
JOB = ImageSettings(
    prompt="a red apple",
    seed=7,
    width=64,
    height=64,
    steps=10,
    guidance_scale=7.5,
    guidance_rescale=0.8,
)
LARGER = JOB.model_copy(update={"width": 128})


def record(session: Session, kind: str, device_ns: int, *, sku: str = "", images: int = 1) -> None:
    """Let a worker of a kind draw images, each of which takes so long."""
    worker = add_worker(session, device_kind=kind, sku=sku)
    worker.model, worker.load_ns = CARD.name, 3 * MILLISECOND
    measured = Measured(images, images * device_ns, 0, images * device_ns)
    record_rates(session, worker.id, worker.model, {SHAPE: measured}, START)


def settings(tmp_path: Path, **values: float | str) -> Settings:
    """Have images take one millisecond unless something else is known."""
    return Settings(data_dir=tmp_path, **({"simulated_image_seconds": 0.001} | values))  # type: ignore[arg-type]  # as the environment would have them


def image_ns(pipeline: SimulatedPipeline, *jobs: ImageSettings) -> list[int]:
    return [drawing.times.device_ns for drawing in pipeline.draw_prepared(pipeline.prepare(jobs))]


def test_an_image_takes_what_the_settings_say_and_a_share_of_its_pass(
    database: Database, tmp_path: Path
) -> None:
    told = settings(tmp_path, simulated_pass_seconds=0.004)
    pipeline = simulated_pipeline(CARD, Device.parse("simulated"), told, database)

    begin = time.monotonic_ns()
    taken = image_ns(pipeline, JOB, LARGER)

    assert taken == [3 * MILLISECOND, 3 * MILLISECOND]
    assert time.monotonic_ns() - begin >= 6 * MILLISECOND


def test_its_time_is_divided_among_phases_and_none_of_it_is_lost(
    database: Database, tmp_path: Path
) -> None:
    pipeline = simulated_pipeline(CARD, Device.parse("simulated"), settings(tmp_path), database)

    (drawing,) = pipeline.draw_prepared(pipeline.prepare([JOB]))

    times = drawing.times
    assert (times.text_encode_ns, times.denoise_ns, times.decode_ns) == (20_000, 900_000, 80_000)


def test_an_imitation_keeps_the_pace_that_is_known_of_a_kind(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        record(session, "qaic", 2 * MILLISECOND)
        record(session, "cpu", 9 * MILLISECOND)

    pipeline = simulated_pipeline(
        CARD, Device.parse("simulated:qaic:3"), settings(tmp_path), database
    )

    assert image_ns(pipeline, JOB, LARGER) == [2 * MILLISECOND, 4 * MILLISECOND]
    drawn_by = pipeline.describe()
    assert drawn_by.device_name == "simulated qaic"
    assert drawn_by.note is not None
    assert "qaic, of which 1 images were measured" in drawn_by.note
    assert drawn_by.note.startswith("Simulated")


def test_of_several_skus_it_imitates_that_of_the_settings_or_else_the_best_known(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        record(session, "cuda", 2 * MILLISECOND, sku="g5.xlarge", images=5)
        record(session, "cuda", 3 * MILLISECOND, sku="g6.xlarge", images=9)

    paces = [
        image_ns(
            simulated_pipeline(
                CARD, Device.parse("simulated:cuda"), settings(tmp_path, device_sku=sku), database
            ),
            JOB,
        )
        for sku in ("g5.xlarge", "p5.48xlarge")
    ]

    assert paces == [[2 * MILLISECOND], [3 * MILLISECOND]]


def test_what_was_only_declared_is_said_to_be(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        session.add(
            DeclaredRate(
                device_kind="qaic",
                sku="",
                model=CARD.name,
                width=64,
                height=64,
                iterations=10,
                device_ns=2 * MILLISECOND,
                load_ns=3600 * 10**9,
                source="a data sheet",
            )
        )

    with database.read() as session:
        latency = Latency.imitating(session, "qaic", CARD, settings(tmp_path))

    assert "as was declared" in latency.note
    assert latency.load_ns == MOST_LOAD_NS


def test_an_imitation_of_what_nobody_knows_takes_what_the_settings_say_and_tells(
    database: Database, tmp_path: Path
) -> None:
    pipeline = simulated_pipeline(
        CARD, Device.parse("simulated:qaic"), settings(tmp_path), database
    )

    assert image_ns(pipeline, JOB) == [MILLISECOND]
    assert "Nothing is known of qaic" in (pipeline.describe().note or "")


def test_the_same_job_is_the_same_file_on_any_device_and_beside_any_other(
    database: Database, tmp_path: Path
) -> None:
    told = settings(tmp_path)
    first, second = (
        simulated_pipeline(CARD, Device.parse(name), told, database)
        for name in ("simulated:0", "simulated:1")
    )
    other = JOB.model_copy(update={"seed": 8})

    def files(pipeline: SimulatedPipeline, *jobs: ImageSettings) -> list[bytes]:
        drawings = pipeline.draw_prepared(pipeline.prepare(jobs))
        return [
            encode_png(drawing.pixels, job, drawing.timesteps, pipeline.describe())
            for job, drawing in zip(jobs, drawings, strict=True)
        ]

    (alone,) = files(first, JOB)
    beside, different = files(second, JOB, other)

    assert alone == beside
    assert alone != different


def test_passes_that_follow_each_other_do_not_add_up_what_sleeping_is_late() -> None:
    clock = DeviceClock()
    clock.work(0)
    begin = time.monotonic_ns()

    ends = []
    for _ in range(50):
        clock.work(MILLISECOND)
        ends.append(time.monotonic_ns() - begin)

    # What one is late the next makes up for, but for what the host was away.
    assert min(after - before for before, after in itertools.pairwise(ends)) < MILLISECOND
    assert ends[-1] >= 49 * MILLISECOND


def test_a_pass_after_a_pause_takes_its_whole_time() -> None:
    clock = DeviceClock()
    clock.work(MILLISECOND)
    time.sleep(2 * BACK_TO_BACK_NS / 10**9)

    begin = time.monotonic_ns()
    clock.work(MILLISECOND)

    assert time.monotonic_ns() - begin >= MILLISECOND


def test_a_slow_store_takes_longer_for_images_and_for_nothing_else(tmp_path: Path) -> None:
    behind = FolderStore(tmp_path)
    store = SlowStore(behind, 0.02)
    image, small = image_key(sha256_of(b"image")), thumbnail_key(sha256_of(b"image"))

    begin = time.monotonic()
    store.put(image, b"image", "image/png")
    taken = time.monotonic() - begin
    store.put(small, b"small", "image/webp")

    assert taken >= 0.02
    assert behind.get(image) == b"image"
    assert [found.key for found in store.list("thumbnails/")] == [small]


def test_a_rate_that_is_not_known_leaves_what_was_told() -> None:
    told = Latency(image_ns=5)

    (times,) = told.of_pass([JOB])

    assert times.device_ns == 5
    assert replace(told, pass_ns=3).of_pass([JOB, JOB])[0].device_ns == 7
