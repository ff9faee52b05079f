"""What only a CUDA device can show. Without one these tests are left out, and pytest says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline
from worker.model_cache import ModelCache
from worker.pipeline import Pipeline

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

SHADES_OF_HALF = 12
"""Of 255: how far float16 may be from float32 in a pixel of the small model, at most."""
MEAN_SHADES_OF_HALF = 0.5
SHADES_OF_BATCHES = 6
PROMPTS = ("a red apple", "a green pear", "a blue fish", "an oak", "a cat", "", "a dog", "a key")


@pytest.fixture(scope="module")
def card() -> Any:
    return load_card("emoji-64")


@pytest.fixture(scope="module")
def cuda(card: Any) -> Pipeline:
    return load_pipeline(card, Device.parse("cuda:0"))


def jobs(count: int, **changes: Any) -> list[ImageSettings]:
    sampler = load_card("emoji-64").sampler.model_dump()
    return [
        ImageSettings(
            prompt=PROMPTS[seed % len(PROMPTS)], seed=seed, width=64, height=64, **sampler | changes
        )
        for seed in range(count)
    ]


def pixels(pipeline: Pipeline, asked: list[ImageSettings]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.stack([drawing.pixels for drawing in pipeline.draw(asked)]).astype(int)


def test_float32_draws_what_a_processor_draws(card: Any) -> None:
    on_cpu = load_pipeline(card, Device.parse("cpu"))
    on_cuda = load_pipeline(card, Device.parse("cuda:0"), precision="float32")
    difference = abs(pixels(on_cpu, jobs(4)) - pixels(on_cuda, jobs(4)))
    assert difference.max() <= 2


def test_float16_is_close_to_it(card: Any, cuda: Pipeline) -> None:
    exact = load_pipeline(card, Device.parse("cuda:0"), precision="float32")
    difference = abs(pixels(cuda, jobs(8)) - pixels(exact, jobs(8)))
    assert cuda.describe().precision == "float16"
    assert difference.mean() <= MEAN_SHADES_OF_HALF
    assert difference.max() <= SHADES_OF_HALF


def test_an_image_is_nearly_the_same_in_a_batch_of_any_size(cuda: Pipeline) -> None:
    alone = np.concatenate([pixels(cuda, [job]) for job in jobs(8)])
    together = pixels(cuda, jobs(8))
    assert abs(alone - together).max() <= SHADES_OF_BATCHES


def test_what_is_prepared_beside_a_drawing_is_drawn_as_if_it_was_alone(card: Any) -> None:
    quiet = load_pipeline(card, Device.parse("cuda:0"))
    expected = [pixels(quiet, jobs(4, guidance_scale=scale)) for scale in (2.0, 3.0, 4.0, 5.0)]
    busy = load_pipeline(card, Device.parse("cuda:0"))
    with ThreadPoolExecutor(1) as preparer:
        soon = preparer.submit(busy.prepare, jobs(4, guidance_scale=2.0))
        for turn in range(40):
            ready = soon.result()
            asked = jobs(4, guidance_scale=2.0 + (turn + 1) % 4)
            # Prompts that nobody has encoded yet keep the encoder busy meanwhile.
            fresh = [job.model_copy(update={"negative_prompt": f"{turn}"}) for job in asked]
            preparer.submit(busy.prepare, fresh)
            soon = preparer.submit(busy.prepare, asked)
            drawn = np.stack([one.pixels for one in busy.draw_prepared(ready)]).astype(int)
            assert (drawn == expected[turn % 4]).all()


def test_times_of_phases_are_those_of_the_device(cuda: Pipeline) -> None:
    cuda.draw(jobs(8))
    begin = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    begin.record()
    drawings = cuda.draw(jobs(8))
    end.record()
    end.synchronize()
    told_ms = sum(one.times.device_ns for one in drawings) / 1e6
    assert 0.5 < told_ms / begin.elapsed_time(end) <= 1.05
    assert drawings[0].peak_bytes > 0


def test_compiled_networks_draw_the_same(card: Any, cuda: Pipeline) -> None:
    compiled = load_pipeline(card, Device.parse("cuda:0"), manner="compiled")
    assert compiled.describe().backend_version.endswith(", compiled")
    difference = abs(pixels(compiled, jobs(4)) - pixels(cuda, jobs(4)))
    assert difference.mean() <= MEAN_SHADES_OF_HALF
    assert difference.max() <= SHADES_OF_HALF


def test_a_model_that_made_way_leaves_its_memory_and_draws_the_same_again(card: Any) -> None:
    device = Device.parse("cuda:0")
    other = load_card("decidiffusion-2.0")
    cache = ModelCache(
        [card, other],
        device,
        lambda wanted: load_pipeline(wanted, device),
        most_bytes=1,  # there is room for one, whichever that is
        fits={},
    )
    before = torch.cuda.memory_allocated()
    first = pixels(cache.load(card.name).pipeline, jobs(4))

    large = cache.load(other.name)
    assert list(cache.in_memory) == [other.name]
    assert pixels(large.pipeline, jobs(2)).std() > 0

    again = pixels(cache.load(card.name).pipeline, jobs(4))
    assert list(cache.in_memory) == [card.name]
    assert (again == first).all()
    # What cuBLAS works in stays, some 64 MiB.
    assert torch.cuda.memory_allocated() - before < large.bytes_ / 4


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from producer.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "TENSTEP_DATA_DIR": str(folder), "TENSTEP_DEVICE": "cuda:0"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_worker_draws_on_it(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS[:5]) + "\n", "utf-8")
    drawn = run(tmp_path / "data", "render", str(prompts), "--out", str(tmp_path / "out"))
    assert drawn.returncode == 0, drawn.stderr
    [first, *_] = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    record = json.loads(first)
    assert torch.cuda.get_device_name() in json.dumps(record)


def test_it_is_listed(tmp_path: Path) -> None:
    listed = run(tmp_path / "data", "devices", "--json")
    assert listed.returncode == 0, listed.stderr
    names = [device["name"] for device in json.loads(listed.stdout)["devices"]]
    assert torch.cuda.get_device_name() in names
