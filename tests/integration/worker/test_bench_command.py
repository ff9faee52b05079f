"""``tenstep bench cost``, as a person types it, with two models that are small."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.db.engine import Database
from shared.domain.money import NANODOLLARS, device_cost
from support.factories import add_price
from support.families import MAX_TOKENS, Family, write_family
from support.shell import Shell
from support.tiny_model import write_json

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSTEP_CPU_THREADS", "1")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Name both by options of the command line."""
    folder = tmp_path_factory.mktemp("families")
    stable, deci = (write_family(name, folder / name) for name in ("sd-1.5", "decidiffusion-2.0"))
    return ("--baseline", str(stable), "--candidate", str(deci), "--size", "64")


def write_preset(folder: Path, family: Family) -> str:
    """Write a small model whose card says that its weights are random."""
    write_family(family, folder)
    sampler = {"steps": 2, "squeeze": None, "guidance_scale": 7.5, "guidance_rescale": 0.0}
    card = {"name": "preset", "title": "Preset", "licence": "mit", "max_prompt_tokens": MAX_TOKENS}
    noted = {"weights": "random", "note": "A reconstruction."}
    size = {"width": 64, "height": 64}
    write_json(folder / "tenstep.json", card | noted | size | {"sampler": sampler})
    return str(folder)


def test_each_model_draws_by_its_own_sampler_and_is_priced(
    shell: Shell, models: tuple[str, ...]
) -> None:
    report = shell.json("bench", "cost", *models, "--rounds", "3", "--usd-per-hour", "1000")

    baseline, candidate = report["baseline"], report["candidate"]
    assert (baseline["steps"], baseline["sampler"]["squeeze"]) == (16, None)
    assert (candidate["steps"], candidate["sampler"]["squeeze"]) == (10, "10,6")
    assert (report["width"], report["height"], report["rounds"]) == (64, 64, 3)
    assert (report["backend"], report["precision"], report["device"]) == ("torch", "float32", "cpu")
    assert report["price"]["nanodollars_per_hour"] == 1000 * NANODOLLARS
    for model in (baseline, candidate):
        whole = sorted(each["device_ns"] for each in model["rounds"])
        assert len(whole) == 3
        assert model["device_ns"] == whole[1]
        assert all(
            each[phase] > 0
            for each in model["rounds"]
            for phase in ("text_encode_ns", "denoise_ns", "decode_ns")
        )
        assert model["cost_nanodollars"] == device_cost(model["device_ns"], 1000 * NANODOLLARS)
        assert model["iteration_ns"] == pytest.approx(model["denoise_ns"] / model["steps"], abs=0.5)


def test_what_was_measured_stands_beside_what_was_published(
    shell: Shell, models: tuple[str, ...]
) -> None:
    report = shell.json("bench", "cost", *models, "--rounds", "1", "--usd-per-hour", "1000")

    baseline, candidate, gains = report["baseline"], report["candidate"], report["measured"]
    assert gains["speedup_per_iteration"] == pytest.approx(
        baseline["denoise_ns"] / 16 / (candidate["denoise_ns"] / 10)
    )
    assert gains["speedup_end_to_end"] == pytest.approx(
        baseline["device_ns"] / candidate["device_ns"]
    )
    assert gains["cost_saved_percent"] == pytest.approx(
        100 * (1 - candidate["cost_nanodollars"] / baseline["cost_nanodollars"])
    )
    assert report["published"] == {
        "speedup_per_iteration": 1.73,
        "speedup_end_to_end": 2.6,
        "cost_saved_percent": 61.0,
        "device_name": "Qualcomm Cloud AI 100",
    }
    assert (baseline["weights"], candidate["weights"], report["note"]) == ("stored", "stored", None)


def test_the_table_fits_a_terminal_and_progress_is_told_apart_from_it(
    shell: Shell, models: tuple[str, ...]
) -> None:
    assert shell("bench", "cost", *models) == 0

    assert max(map(len, shell.out.splitlines())) <= 80
    for words in ("1.73x", "2.6x", "61 %", "decidiffusion-2.0", "10,6", "medians of 2 rounds"):
        assert words in shell.out
    assert "random" not in shell.out
    begun = [line.split(" (")[0] for line in shell.err.splitlines()]
    assert begun[-4:] == [
        *("round 1 of 2: sd-1.5", "round 1 of 2: decidiffusion-2.0"),
        *("round 2 of 2: sd-1.5", "round 2 of 2: decidiffusion-2.0"),
    ]


def test_random_weights_and_reconstructions_are_told(
    shell: Shell, models: tuple[str, ...], tmp_path: Path
) -> None:
    preset = write_preset(tmp_path / "preset", "decidiffusion-1.0")
    command = ("bench", "cost", *models, "--candidate", preset, "--rounds", "1")

    report = shell.json(*command)
    assert (report["baseline"]["weights"], report["candidate"]["weights"]) == ("stored", "random")
    assert report["note"].startswith("Weights of preset are random.")
    assert report["candidate"]["note"] == "A reconstruction."

    assert shell(*command) == 0
    assert "Weights of preset are random." in " ".join(shell.out.split())
    assert "preset: A reconstruction." in shell.out


def test_a_model_can_be_compared_to_itself(shell: Shell) -> None:
    both = ("--baseline", "emoji-64", "--candidate", "emoji-64", "--size", "64")
    report = shell.json("bench", "cost", *both, "--rounds", "1")

    assert report["baseline"]["weights_sha256"] == report["candidate"]["weights_sha256"]
    assert report["baseline"]["weights"] == "stored"


def test_the_price_is_that_of_the_price_book(
    shell: Shell,
    models: tuple[str, ...],
    sqlite_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENSTEP_DATABASE_URL", sqlite_database.display_url)
    monkeypatch.setenv("TENSTEP_DEVICE_SKU", "c7a.large")
    with sqlite_database.write() as session:
        add_price(
            session,
            sku="c7a.large",
            nanodollars_per_hour=102_640_000,
            effective_from=datetime(2024, 1, 1, tzinfo=UTC),
        )

    report = shell.json("bench", "cost", *models, "--rounds", "1")

    assert report["price"] == {
        "device_kind": "cpu",
        "nanodollars_per_hour": 102_640_000,
        "source": "the database's price book",
    }


def test_where_there_is_no_database_none_is_made(
    shell: Shell, models: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_DATA_DIR", str(tmp_path / "data"))

    report = shell.json("bench", "cost", *models, "--rounds", "1")

    assert report["price"]["source"] == "the example that ships"
    assert report["price"]["nanodollars_per_hour"] > 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--size", "100"), "--size: a multiple of 64 up to 4096 pixels, not 100"),
        (("--size", "4160"), "--size: a multiple of 64 up to 4096 pixels, not 4160"),
        (("--size", "0"), "--size"),
        (("--rounds", "0"), "--rounds"),
        (("--baseline", "nobody"), "no model 'nobody'"),
        (("--candidate", "nobody/nothing"), "no model 'nobody/nothing'"),
        (("--usd-per-hour", "-1"), "--usd-per-hour: -1 is negative"),
        (("--usd-per-hour", "cheap"), "--usd-per-hour: 'cheap' is not a number of dollars"),
    ],
)
def test_bad_input_is_told_in_a_line_before_anything_is_loaded(
    shell: Shell, options: tuple[str, ...], complaint: str
) -> None:
    assert shell("bench", "cost", *options) == 2

    assert shell.out == ""
    complained, *_hint = shell.err.splitlines()
    assert complained.startswith("error: ")
    assert complaint in complained
    assert "loading" not in shell.err


@pytest.mark.parametrize("device", ["simulated", "cuda:1"])
def test_a_device_that_it_cannot_measure_is_refused(
    shell: Shell, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_DEVICE", device)

    assert shell("bench", "cost") == 2
    assert shell.err.startswith("error: TENSTEP_DEVICE: ")


def test_models_for_two_backends_are_not_compared(
    shell: Shell, models: tuple[str, ...], tmp_path: Path
) -> None:
    exported = Path(write_preset(tmp_path / "exported", "decidiffusion-2.0"))
    (exported / "denoiser").mkdir()
    (exported / "denoiser" / "model.onnx").touch()

    assert shell("bench", "cost", *models, "--candidate", str(exported)) == 2
    assert "only what runs on one backend can be compared" in shell.err
