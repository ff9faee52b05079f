"""``tenstep bench speed``, as a person types it, with models that are small."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.families import write_family
from support.shell import Shell

pytestmark = pytest.mark.usefixtures("_one_thread")

PEERS = ("diffusers", "diffusers-onnxruntime", "openvino", "stable-diffusion.cpp")


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSTEP_CPU_THREADS", "1")


@pytest.fixture
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither of the optional peers, wherever the tests run."""
    monkeypatch.setattr("worker.bench.speed.field.find_spec", lambda _: None)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Name both by options of the command line."""
    folder = tmp_path_factory.mktemp("families")
    written = (write_family(name, folder / name) for name in ("sd-1.5", "decidiffusion-2.0"))
    return ("--models", ",".join(map(str, written)), "--size", "64")


def result(report: Any, model: str, runner: str) -> Any:
    (found,) = (
        one
        for one in report["results"]
        if (Path(one["model"]).name, one["runner"]) == (model, runner)
    )
    return found


@pytest.mark.usefixtures("_nobody_else")
def test_models_are_compared_and_peers_run_beside_tenstep(
    shell: Shell, both: tuple[str, ...], tmp_path: Path
) -> None:
    page, picture = tmp_path / "speed.md", tmp_path / "speed.svg"
    files = ("--report", str(page), "--plot", str(picture))
    report = shell.json("bench", "speed", *both, "--rounds", "1", *files)

    first, second = (model["model"] for model in report["models"])
    assert [model["steps"] for model in report["models"]] == [16, 10]
    (compared,) = report["comparisons"]
    assert (compared["first"], compared["second"]) == (first, second)
    assert report["per_iteration_ratio"] == compared["per_iteration_ratio"] > 0
    assert report["end_to_end_ratio"] == compared["end_to_end_ratio"] > 0
    assert report["ratios_on"] == "torch"
    assert report["machine"]["matrix_multiply_gflops"]["median"] > 0
    assert {(one["model"], one["runner"]) for one in report["results"]} == {
        (model, runner)
        for model in (first, second)
        for runner in ("torch", "diffusers", "diffusers-onnxruntime")
    }
    for one in report["results"]:
        assert all(one["gflops"][part] > 0 for part in ("text_encoder", "denoiser", "vae_decoder"))
        assert one["share_of_peak"] > 0
        assert one["fastest_image_ns"] <= one["image_ns"] <= one["slowest_image_ns"]
        assert (one["tenstep_end_to_end_ratio"] is None) == (one["runner"] == "torch")
    reasons = {(one["model"], one["runner"]): one["reason"] for one in report["absent"]}
    assert reasons[first, "openvino"] == "not installed: pip install openvino"
    assert reasons[second, "stable-diffusion.cpp"].startswith("not installed: pip install")

    text = page.read_text("utf-8")
    for words in (
        first,
        second,
        "tenstep torch",
        "diffusers on ORT",
        "not installed",
        "x an image",
    ):
        assert words in text
    assert picture.read_text("utf-8").lstrip().startswith("<?xml")


def test_an_image_is_reckoned_from_two_steps_or_taken_whole(shell: Shell) -> None:
    command = ("bench", "speed", "--models", "emoji-64", "--size", "64", "--peers", "none")
    reckoned = shell.json(*command, "--rounds", "1", "--chunks", "1,2")
    whole = shell.json(*command, "--rounds", "1", "--whole")

    assert (reckoned["whole"], whole["whole"]) == (False, True)
    assert [one["chunk"] for one in reckoned["results"]] == [1, 2]
    (drawn,) = whole["results"]
    assert drawn["steps"] == 10
    (times,) = drawn["rounds"]
    assert drawn["image_ns"] == sum(times.values())
    assert (whole["per_iteration_ratio"], whole["end_to_end_ratio"]) == (None, None)


def test_without_guidance_a_step_multiplies_half_as_much(shell: Shell) -> None:
    models = "emoji-64,emoji-64-distilled"
    options = ("--models", models, "--size", "64", "--peers", "none", "--rounds", "1")
    report = shell.json("bench", "speed", *options)

    guided, unguided = (
        one["gflops"]["denoiser"] * one["iteration_ns"] for one in report["results"]
    )
    assert guided / unguided == pytest.approx(2, rel=1e-6)


def test_qualities_are_rows_of_their_own_beside_the_exact_image(
    shell: Shell, both: tuple[str, ...], tmp_path: Path
) -> None:
    page = tmp_path / "speed.md"
    options = ("--rounds", "1", "--peers", "none", "--qualities", "balanced")
    report = shell.json("bench", "speed", *both, *options, "--report", str(page))

    first, second = (model["model"] for model in report["models"])
    assert [(one["model"], one["quality"]) for one in report["results"]] == [
        (model, quality) for model in (first, second) for quality in ("exact", "balanced")
    ]
    compared = {(one["second"], one["quality"]): one for one in report["comparisons"]}
    assert {one["first"] for one in compared.values()} == {first}
    assert list(compared) == [(first, "balanced"), (second, "exact"), (second, "balanced")]
    assert report["end_to_end_ratio"] == compared[second, "exact"]["end_to_end_ratio"]
    exact, shortened = (one["settings"] for one in report["results"] if one["model"] == second)
    assert shortened.startswith(exact)
    assert "guidance from noise level 1000 to 0.95; deep features of 1 step in 2" in shortened
    assert "parts fused" in exact
    text = page.read_text("utf-8")
    assert "--qualities exact,balanced" in text
    assert f"{second} at balanced over {first} on torch" in text
    # Of what is not computed no speed is told.
    assert [one["share_of_peak"] is None for one in report["results"]] == [False, True] * 2


def test_a_shortened_image_taken_whole_has_every_step(shell: Shell) -> None:
    command = ("bench", "speed", "--models", "emoji-64", "--size", "64", "--peers", "none")
    report = shell.json(*command, "--rounds", "1", "--whole", "--qualities", "all")

    assert [one["quality"] for one in report["results"]] == ["exact", "balanced", "fast"]
    for one in report["results"]:
        (times,) = one["rounds"]
        assert one["image_ns"] == sum(times.values())


def test_a_profile_tells_where_the_time_of_a_step_goes(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    command = ("bench", "speed", "--models", "emoji-64", "--size", "64", "--peers", "none")
    options = ("--rounds", "1", "--chunks", "4", "--profile", "--report", str(page))
    report = shell.json(*command, *options)

    (profile,) = report["profiles"]
    assert (profile["model"], profile["runner"], profile["chunk"]) == ("emoji-64", "torch", 4)
    parts = {one["part"]: one for one in profile["parts"]}
    for part in (
        "Winograd convolutions",
        "other convolutions",
        "projections",
        "attention",
        "normalization",
        "elementwise, copies",
    ):
        assert parts[part]["ns"] > 0
    assert sum(one["ns"] for one in parts.values()) == profile["wall_ns"]
    assert {name for name, one in parts.items() if one["gflops"] is not None} == {
        "Winograd convolutions",
        "other convolutions",
        "projections",
    }
    assert 0 < profile["multiplying"]["share"] < 1
    assert "| Winograd convolutions |" in page.read_text("utf-8")
    assert " --profile`" in page.read_text("utf-8")


@pytest.mark.parametrize("chunk", ["1", "2"])
def test_openvino_runs_by_the_hint_that_is_faster(
    shell: Shell, both: tuple[str, ...], chunk: str
) -> None:
    pytest.importorskip("openvino")
    options = ("--rounds", "1", "--peers", "openvino", "--chunks", chunk)
    report = shell.json("bench", "speed", *both, *options)

    assert report["absent"] == []
    settings = [one["settings"] for one in report["results"] if one["runner"] == "openvino"]
    assert len(settings) == 2
    for one in settings:
        assert "latency hint" in one or (chunk == "2" and "throughput hint" in one)


def test_stable_diffusion_cpp_leaves_a_u_net_nas_out(shell: Shell, tmp_path: Path) -> None:
    if find_spec("stable_diffusion_cpp") is None:
        pytest.skip("stable-diffusion.cpp is not installed")
    family = write_family("decidiffusion-2.0", tmp_path / "nas")
    command = ("bench", "speed", "--models", str(family), "--size", "64", "--rounds", "1")
    report = shell.json(*command, "--peers", "stable-diffusion.cpp")

    (absent,) = report["absent"]
    assert absent["reason"] == "runs Stable Diffusion's own U-Net, and no U-Net-NAS"


@pytest.mark.usefixtures("_nobody_else")
def test_the_table_fits_a_terminal(shell: Shell) -> None:
    command = ("bench", "speed", "--models", "emoji-64", "--size", "64", "--rounds", "1")
    assert shell(*command, "--backends", "all", "--peers", "diffusers,openvino", "--profile") == 0

    assert max(map(len, shell.out.splitlines())) <= 80
    words = " ".join(shell.out.split())
    for expected in (
        "tenstep onnxruntime",
        "emoji-64, 10 steps, one image at a time",
        "emoji-64, openvino: not installed: pip install openvino",
        "matrix-multiply peak",
        "a step of emoji-64, one image at a time",
        # diffusers has no class for a U-Net-NAS.
        "diffusers' parts",
    ):
        assert expected in words
    assert "round 1 of 1: emoji-64, diffusers" in shell.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--size", "100"), "--size: a multiple of 64 up to 4096 pixels, not 100"),
        (("--models", "nobody"), "no model 'nobody'"),
        (("--peers", "comfy"), "--peers: no 'comfy'"),
        (("--backends", "none"), "--backends: at least one"),
        (("--chunks", "two"), "--chunks: numbers such as 1,4, not 'two'"),
        (("--chunks", "0"), "--chunks: at least 1, not 0"),
        (("--qualities", "best"), "--qualities: no 'best'"),
        (
            ("--qualities", "fast", "--backends", "onnxruntime"),
            "--qualities fast: measured on torch, which is not among --backends",
        ),
        (("--profile", "--backends", "onnxruntime"), "--profile: of torch, which is not among"),
        (("--plot", "speed.jpeg"), "--plot speed.jpeg: a name that ends in .svg or .png"),
    ],
)
def test_bad_input_is_told_in_a_line_before_anything_is_loaded(
    shell: Shell, options: tuple[str, ...], complaint: str
) -> None:
    assert shell("bench", "speed", *options) == 2

    assert shell.out == ""
    assert complaint in shell.err.splitlines()[0]
    assert "loading" not in shell.err


def test_only_the_processor_is_measured(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSTEP_DEVICE", "cuda:0")

    assert shell("bench", "speed") == 2
    assert "this command measures the processor, not cuda:0" in shell.err
