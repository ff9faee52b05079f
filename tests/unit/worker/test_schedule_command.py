"""``tenstep schedule``: what a job of these settings would walk along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producer.cli.main import run
from support.families import SCHEDULERS, Family, rewrite_json
from support.grids import FOUR, keep_grids
from support.tiny_model import write_json

Printed = pytest.CaptureFixture[str]


def schedule(capsys: Printed, *options: str) -> dict[str, Any]:
    assert run(["schedule", *options, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def write_card(folder: Path, family: Family, **sampler: Any) -> str:
    """Write what of a model's folder tells its schedule; returns its name."""
    settings = {"steps": 10, "guidance_scale": 7.5, "guidance_rescale": 0.0} | sampler
    card = {"name": "m", "title": "M", "licence": "mit", "max_prompt_tokens": 77}
    write_json(folder / "tenstep.json", card | {"width": 64, "height": 64, "sampler": settings})
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[family])
    return str(folder)


def test_schedule_prints_the_squeezed_timesteps_and_one_sigma_more(capsys: Printed) -> None:
    document = schedule(capsys, "--steps", "16", "--squeeze", "10,6")

    timesteps = document["timesteps"]
    spacing = timesteps[5] // 5
    assert len(timesteps) == 10
    assert timesteps[6:] == [spacing * multiple for multiple in (4, 3, 2, 1)]
    assert len(document["sigmas"]) == 11
    assert document["sigmas"] == sorted(document["sigmas"], reverse=True)


def test_what_is_left_out_is_the_models_own(capsys: Printed) -> None:
    document = schedule(capsys, "--model", "emoji-64")

    assert document["scheduler"] == "dpmsolver++"
    assert (document["steps"], document["squeeze"]) == (16, "10,6")
    assert document["timesteps"] == [998, 936, 873, 811, 748, 686, 548, 411, 274, 137]


def test_the_whole_command_line_of_the_second_published_mode(capsys: Printed) -> None:
    document = schedule(
        capsys,
        *("--model", "emoji-64", "--scheduler", "dpmsolver++", "--steps", "16"),
        *("--squeeze", "11,7"),
    )

    assert document["timesteps"] == [998, 936, 873, 811, 748, 686, 624, 496, 372, 248, 124]


@pytest.mark.parametrize("options", [("--steps", "12"), ("--squeeze", "none"), ()])
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "unipc"])
def test_another_scheduler_is_not_squeezed(
    scheduler: str, options: tuple[str, ...], capsys: Printed
) -> None:
    document = schedule(capsys, "--scheduler", scheduler, *options)

    assert (document["scheduler"], document["squeeze"]) == (scheduler, None)
    assert len(document["timesteps"]) == document["steps"] == (12 if "12" in options else 16)
    assert len(document["sigmas"]) == document["steps"] + 1


def test_steps_without_a_squeeze_are_all_taken_as_in_render(capsys: Printed) -> None:
    document = schedule(capsys, "--steps", "5")

    assert (document["squeeze"], len(document["timesteps"])) == (None, 5)


def test_a_model_that_asks_for_a_scheduler_gets_it(tmp_path: Path, capsys: Printed) -> None:
    document = schedule(capsys, "--model", write_card(tmp_path, "sd-1.5", scheduler="euler"))

    assert (document["model"], document["scheduler"]) == ("m", "euler")
    assert document["timesteps"] == list(range(999, -1, -111))


def test_searched_timesteps_are_printed(tmp_path: Path, capsys: Printed) -> None:
    model = write_card(tmp_path, "sd-1.5")
    keep_grids(tmp_path, FOUR)

    document = schedule(capsys, "--model", model, "--scheduler", "searched", "--steps", "4")

    assert document["timesteps"] == list(FOUR)
    assert (document["scheduler"], document["steps"], document["squeeze"]) == ("searched", 4, None)
    assert len(document["sigmas"]) == 5


def test_timesteps_are_whole_numbers_where_they_are_whole(capsys: Printed) -> None:
    timesteps = schedule(capsys, "--scheduler", "euler", "--steps", "3")["timesteps"]

    assert timesteps == [999, 499.5, 0]
    assert [type(timestep) for timestep in timesteps] == [int, float, int]


def test_ddims_sigmas_end_at_its_final_alpha(tmp_path: Path, capsys: Printed) -> None:
    model = write_card(tmp_path, "sd-1.5")

    kept = schedule(capsys, "--model", model, "--scheduler", "ddim")
    rewrite_json(tmp_path / "scheduler" / "scheduler_config.json", set_alpha_to_one=True)
    clean = schedule(capsys, "--model", model, "--scheduler", "ddim")

    assert kept["timesteps"] == clean["timesteps"] == list(range(901, 0, -100))
    assert kept["sigmas"][-1] == pytest.approx(0.0292, abs=1e-4)
    assert clean["sigmas"][-1] == 0
    assert kept["sigmas"][:-1] == clean["sigmas"][:-1]


def test_the_table_fits_a_terminal(capsys: Printed) -> None:
    assert run(["schedule", "--scheduler", "euler", "--steps", "7"]) == 0

    title, heading, *rows = capsys.readouterr().out.splitlines()
    assert title == "emoji-64: euler, 7 steps, not squeezed"
    assert heading.split() == ["step", "timestep", "sigma"]
    assert [row.split()[0] for row in rows] == [*"1234567", "end"]
    assert rows[1].split()[1] == "832.5"
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize("squeeze", ["6,10", "ten", "10"])
def test_a_squeeze_that_is_none_is_refused(squeeze: str, capsys: Printed) -> None:
    assert run(["schedule", "--squeeze", squeeze]) == 2
    assert capsys.readouterr().err.startswith("error: squeeze ")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--scheduler", "dpm"), "no scheduler 'dpm'; there are dpmsolver++, ddim, euler, unipc"),
        (("--scheduler", "searched", "--steps", "7"), "no grid of 7 steps was searched for this"),
        (("--scheduler", "searched", "--squeeze", "9,5"), "a squeeze is for dpmsolver++, not for"),
        (("--model", "nobody"), "no model 'nobody'"),
        (("--scheduler", "euler", "--squeeze", "10,6"), "a squeeze is for dpmsolver++, not for"),
        (("--steps", "5", "--squeeze", "10,6"), "keeps 6 of only 5 steps"),
        (("--steps", "1000"), "1000 steps are more than this scheduler's grid has room for"),
        (("--steps", "16", "--squeeze", "900,15"), "no room for 885 timesteps below"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    options: tuple[str, ...], complaint: str, capsys: Printed
) -> None:
    assert run(["schedule", *options]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert complaint in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_broken_scheduler_configuration_is_told_in_a_line(
    tmp_path: Path, capsys: Printed
) -> None:
    model = write_card(tmp_path, "sd-1.5")
    rewrite_json(tmp_path / "scheduler" / "scheduler_config.json", beta_schedule="cubic")

    assert run(["schedule", "--model", model]) == 2
    assert "scheduler_config.json: cubic is not implemented" in capsys.readouterr().err
