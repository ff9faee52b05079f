from __future__ import annotations

import json

import pytest

from producer.cli.main import run


def test_schedule_prints_the_squeezed_timesteps_and_one_sigma_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["schedule", "--steps", "16", "--squeeze", "10,6", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    timesteps = document["timesteps"]
    spacing = timesteps[5] // 5
    assert len(timesteps) == 10
    assert timesteps[6:] == [spacing * multiple for multiple in (4, 3, 2, 1)]
    assert len(document["sigmas"]) == 11
    assert document["sigmas"] == sorted(document["sigmas"], reverse=True)


@pytest.mark.parametrize("squeeze", ["6,10", "ten", "10"])
def test_a_squeeze_that_is_none_is_refused(
    squeeze: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schedule", "--squeeze", squeeze]) == 2
    assert capsys.readouterr().err.startswith("error: squeeze ")
