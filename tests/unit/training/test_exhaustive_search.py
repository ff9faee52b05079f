"""The search that found the reconstructed presets, run again."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from shared.models.card import read_json
from shared.models.catalog import load_card
from training.search.cost import cost
from training.search.exhaustive import main
from training.search.family import SD_TRUNK, Member
from worker.models.measure import count
from worker.models.unet import UNetNAS, UNetNASConfig

SECOND = ["--max-parameters", "525.5e6", "--max-gmacs", "195.7"]
FIRST = ["--max-parameters", "814746884", "--exactly", "--max-gmacs", "338.6"]
FIRST += ["--channels", "320", "640", "960", "1280", "--any-bottom", "--attended-levels", "4"]


def real_cost(network: UNetNAS) -> list[int]:
    with torch.device("meta"):
        work = count(
            network,
            torch.zeros(1, 4, 64, 64),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, 77, 768),
        )
    return [work.parameters, work.layer_macs]


@pytest.mark.parametrize(
    ("preset", "arguments"), [("decidiffusion-1.0", FIRST), ("decidiffusion-2.0", SECOND)]
)
def test_a_preset_is_exactly_what_the_search_finds(
    preset: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    shipped = read_json(load_card(preset).denoiser_folder / "config.json")
    assert found["configurations"] == shipped["configurations"]
    with torch.device("meta"):
        parameters, macs = real_cost(UNetNAS(shipped))
    assert (found["parameters"], found["gmacs"]) == (parameters, macs / 1e9)
    assert parameters <= float(arguments[1])
    assert macs / 1e9 <= float(arguments[arguments.index("--max-gmacs") + 1])


@pytest.mark.parametrize(
    "member",
    [
        Member((320, 640, 1280), (1, 3, 2), (1, 4, 5), 2, 1, halves_bottom=True),
        Member((320, 640, 1280), (2, 1, 1), (0, 3, 1), 0, 1, halves_bottom=False),
        Member((320, 640, 960, 1280), (1, 1, 2, 1), (3, 0, 2, 3), 1, 2, halves_bottom=True),
        Member((320, 640), (2, 2), (2, 1), 0, 0, halves_bottom=False),
    ],
)
def test_the_sum_of_a_members_parts_is_what_the_member_costs(member: Member) -> None:
    with torch.device("meta"):
        network = UNetNAS(member.configurations(SD_TRUNK))
    assert cost(member, SD_TRUNK).tolist() == real_cost(network)


def test_a_budget_that_nothing_keeps_to_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["--max-parameters", "1e6", "--max-gmacs", "1"])
    assert ending.value.code == 1
    assert "no member of the family keeps to this budget" in capsys.readouterr().err


def test_resnets_that_fit_the_published_number_by_count_alone_cannot_run() -> None:
    """As many skips are emitted as are taken, but they do not meet in width."""
    member = Member((320, 640, 1280), (1, 2, 2), (3, 5, 13), 0, 0, halves_bottom=True)
    settings = member.configurations(SD_TRUNK) | {"up_blocks_num_resnets": [2, 4, 2]}
    with pytest.raises(ValidationError, match="up block 0 takes a skip of 640 channels"):
        UNetNASConfig.from_json(settings)
