"""What everything that draws promises the worker, a simulated device among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard, read_card
from shared.settings import Settings
from support.qaic import compiled, exported_tiny
from worker.devices import Device
from worker.drawing import Drawing, Draws
from worker.latency import Latency
from worker.loading import load_pipeline
from worker.simulated import SimulatedPipeline

DEVICES = {
    "torch": "cpu",
    "onnxruntime": "cpu",
    "qaic": "qaic:0",
    "simulated": "simulated:0",
}
NO_MODEL = {"simulated"}
"""Draw without one, and say so in what they tell of the weights."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("draws")


@pytest.fixture(scope="module")
def exported(folder: Path) -> ModelCard:
    card = exported_tiny(folder)
    compiled(card, folder, sizes=[(72, 64)])
    return card


@pytest.fixture(scope="module", params=DEVICES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def draws(name: str, exported: ModelCard, folder: Path) -> Draws[Any]:
    device = Device.parse(DEVICES[name])
    if name == "simulated":
        latency = Latency.of(Settings(simulated_image_seconds=0))
        return SimulatedPipeline(exported, device, latency)
    card = read_card(folder / "tiny") if name == "torch" else exported
    return load_pipeline(card, device, backend=name, threads=1, models_dir=folder)


def job(card: ModelCard, seed: int) -> ImageSettings:
    settings = card.sampler.model_dump() | {"steps": 2, "squeeze": None}
    return ImageSettings(prompt=f"apple {seed}", seed=seed, width=72, height=64, **settings)


def draw(draws: Draws[Any], jobs: Sequence[ImageSettings]) -> list[Drawing]:
    return draws.draw_prepared(draws.prepare(jobs))


def shades_apart(first: Drawing, second: Drawing) -> int:
    return int(np.abs(first.pixels.astype(int) - second.pixels.astype(int)).max())


def test_an_image_comes_for_each_job_in_their_order(draws: Draws[Any], exported: ModelCard) -> None:
    jobs = [job(exported, seed) for seed in (1, 2, 3)]

    drawn = draw(draws, jobs)

    assert [drawing.pixels.shape for drawing in drawn] == [(64, 72, 3)] * 3
    assert {drawing.pixels.dtype for drawing in drawn} == {np.dtype(np.uint8)}
    for drawing, asked in zip(drawn, jobs, strict=True):
        assert shades_apart(drawing, draw(draws, [asked])[0]) <= 1
    assert shades_apart(drawn[0], drawn[1]) > 1


def test_the_same_job_is_the_same_image_every_time(draws: Draws[Any], exported: ModelCard) -> None:
    first, again = (draw(draws, [job(exported, 7)])[0] for _ in range(2))

    assert shades_apart(first, again) == 0


def test_a_batch_is_made_ready_while_another_is_drawn(
    draws: Draws[Any], exported: ModelCard
) -> None:
    expected = draw(draws, [job(exported, 9)])[0]
    with ThreadPoolExecutor(1) as beside:
        for seed in (4, 5):
            prepared: Callable[[], Any] = partial(draws.prepare, [job(exported, 9)])
            soon = beside.submit(prepared)
            draw(draws, [job(exported, seed)])
            (drawn,) = draws.draw_prepared(soon.result())
            assert shades_apart(drawn, expected) <= 1


def test_the_record_names_device_and_model_and_what_is_not_real(
    draws: Draws[Any], name: str, exported: ModelCard
) -> None:
    record = draws.describe()

    assert record.backend == name
    assert record.device == DEVICES[name]
    assert (record.model, record.licence) == (exported.name, exported.licence)
    assert record.backend_version
    assert record.device_name
    if name in NO_MODEL:
        assert record.weights_sha256 == "none"
        assert "imulated" in (record.note or "")
    else:
        assert record.weights_sha256 == exported.weights_sha256
    if name == "qaic":
        assert "emulated" in (record.note or "")
