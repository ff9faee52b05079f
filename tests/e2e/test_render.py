"""``tenstep render``: from a file of prompts to images, a manifest and a bill."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard, read_card, read_json
from shared.models.catalog import load_card
from support.commands import (
    TENSTEP,
    processes_of,
    tenstep,
    tenstep_json,
    wait_until,
    worker_processes,
)
from support.grids import THREE, keep_grids
from worker.devices import Device
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import plot_grid
from worker.loading import load_pipeline

pytestmark = pytest.mark.timeout(300)

PROMPTS = ["a red apple, glossy 3d style", "a dog face", "a rocket", "fire, noto style"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n", "utf-8")
    return path


def write_many_prompts(folder: Path, count: int) -> Path:
    path = folder / "many.txt"
    path.write_text("".join(f"{PROMPTS[i % 4]}\n" for i in range(count)), "utf-8")
    return path


def images_in(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("[0-9]*.png")
    }


def manifest_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def data_dir_of(environment: Mapping[str, str]) -> Path:
    return Path(environment["TENSTEP_DATA_DIR"])


def assert_books_are_right(environment: Mapping[str, str], cwd: Path, images: int) -> None:
    """Every image once in the books, every attempt ended, and the bill adds up."""
    status = tenstep_json(environment, "status", cwd=cwd)
    assert status["counts"]["done"] == images
    assert sum(status["counts"].values()) == status["total"] == images
    bill = tenstep_json(environment, "cost", cwd=cwd)
    lines = {line["kind"]: line for line in bill["lines"]}
    assert lines["render"]["count"] == images
    assert sum(line["nanodollars"] for line in bill["lines"]) == bill["total_nanodollars"]
    assert bill["total_nanodollars"] == status["cost_nanodollars"] > 0


def test_render_leaves_images_a_manifest_a_contact_sheet_and_a_bill(
    stack_env: dict[str, str], prompts: Path, tmp_path: Path
) -> None:
    done = tenstep(stack_env, "render", str(prompts), "--out", "out", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    images = images_in(out)
    assert len(images) == len(PROMPTS)
    assert len(set(images.values())) == len(PROMPTS)
    manifest = manifest_of(out)
    assert [line["prompt"] for line in manifest] == PROMPTS
    assert all(images[str(line["file"])] == line["sha256"] for line in manifest)
    assert (out / "contact-sheet.png").stat().st_size > 0
    assert "total" in done.stdout.lower()
    assert_books_are_right(stack_env, tmp_path, len(PROMPTS))
    assert not processes_of(data_dir_of(stack_env))


def test_an_image_carries_what_it_takes_to_draw_it_again(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    tenstep(stack_env, "render", "a dog face", "--seed", "7", "--out", "out", cwd=tmp_path)

    [path] = (tmp_path / "out").glob("[0-9]*.png")
    with Image.open(path) as image:
        assert image.size == (64, 64)
        text = image.text  # type: ignore[attr-defined]
    assert text["prompt"] == "a dog face"
    assert text["seed"] == "7"
    assert len(json.loads(text["timesteps"])) == 10
    assert text["model"] == "emoji-64"
    assert text["precision"] == "float32"
    assert text["Software"].startswith("tenstep ")
    assert len(text["weights_sha256"]) == 64


def test_an_image_depends_on_its_own_job_alone(
    stack_env: dict[str, str], prompts: Path, tmp_path: Path
) -> None:
    """Neither on the run, nor on the chunk that it travels in."""
    tenstep(stack_env, "render", str(prompts), "--out", "one", cwd=tmp_path)
    singles = {**stack_env, "TENSTEP_CHUNK_SIZE": "1"}
    tenstep(singles, "render", str(prompts), "--out", "two", cwd=tmp_path)

    assert images_in(tmp_path / "one") == images_in(tmp_path / "two")
    assert len(images_in(tmp_path / "one")) == len(PROMPTS)


def start_render(environment: dict[str, str], folder: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TENSTEP, "render", str(write_many_prompts(folder, count)), "--out", "out"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_worker_killed_under_way_loses_nothing(stack_env: dict[str, str], tmp_path: Path) -> None:
    count = 14
    data_dir = data_dir_of(stack_env)
    render = start_render(stack_env, tmp_path, count)
    out = tmp_path / "out"
    wait_until(lambda: len(images_in(out)) >= 5)
    for process in worker_processes(data_dir):
        if process.pid != render.pid:
            process.kill()
    output, _ = render.communicate(timeout=240)

    assert render.returncode == 0, output
    assert len(images_in(out)) == count
    assert_books_are_right(stack_env, tmp_path, count)
    assert not processes_of(data_dir)


def test_an_interrupted_render_says_how_to_go_on_and_is_finished_by_resume(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    count = 60
    render = start_render(stack_env, tmp_path, count)
    out = tmp_path / "out"
    wait_until(lambda: len(images_in(out)) >= 3)
    render.send_signal(signal.SIGINT)
    output, _ = render.communicate(timeout=120)

    assert render.returncode == 130
    assert "tenstep render --resume" in output.strip().splitlines()[-1]
    assert not processes_of(data_dir_of(stack_env))
    drawn_before = images_in(out)
    assert 3 <= len(drawn_before) < count

    resumed = tenstep(stack_env, "render", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(images_in(out)) == count
    assert drawn_before.items() <= images_in(out).items()
    assert len(manifest_of(out)) == count
    assert_books_are_right(stack_env, tmp_path, count)
    assert not processes_of(data_dir_of(stack_env))


def test_a_searched_grid_is_drawn_along_and_each_image_says_so(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    model = Path(shutil.copytree(load_card("emoji-64").folder, tmp_path / "model"))
    card = read_card(keep_grids(model, THREE))
    ours = ("--model", str(model), "--scheduler", "searched", "--seed", "7", "--out", "out")

    refused = tenstep(stack_env, "render", "a dog face", *ours, "--steps", "5", cwd=tmp_path)
    done = tenstep(stack_env, "render", "a dog face", *ours, "--steps", "3", cwd=tmp_path)

    assert refused.returncode == 2
    assert "no grid of 5 steps was searched for this model" in refused.stderr
    assert "there are grids of 3" in refused.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (tmp_path / "out").glob("[0-9]*.png")
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
        text = image.text  # type: ignore[attr-defined]
    assert text["scheduler"] == "searched"
    assert json.loads(text["timesteps"]) == list(THREE)
    assert np.abs(pixels - drawn_along(card, THREE)).max() <= 1
    assert_books_are_right(stack_env, tmp_path, 1)


@torch.inference_mode()
def drawn_along(card: ModelCard, grid: Sequence[int]) -> npt.NDArray[np.int64]:
    """Call the sampler with timesteps: pixels (height, width, 3)."""
    sampler = card.sampler.model_dump()
    asked = ImageSettings(prompt="a dog face", seed=7, width=64, height=64, **sampler)
    pipeline = load_pipeline(card, Device.parse("cpu"))
    prepared = pipeline.prepare([asked])
    latents = denoise(
        pipeline.backend.denoise,
        plot_grid(read_json(card.folder / "scheduler" / "scheduler_config.json"), grid).solver(),
        prepared.noise,
        prepared.embeddings,
        guidance_scale=torch.tensor([asked.guidance_scale]),
        guidance_rescale=torch.tensor([asked.guidance_rescale]),
    )
    return pipeline.backend.decode(latents)[0].numpy().astype(int)
