"""The trainings of a search, on a run of seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.models.card import read_card
from support.tiny_training import OPTIMISER, ROWS, leave_data, tiny_run
from training import autoencoder, decoder, denoiser, loop, text
from training.config import PhaseConfig, RunConfig
from training.run import finish
from training.search.contest import FOUND, entrants
from training.search.family import Member, Trunk
from training.search.proxy import load_proxy
from training.search.space import Space
from training.search.teaching import SearchConfig, rank, train_supernet
from worker.models.unet import UNetNAS
from worker.models.weights import hash_weights

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPACE = Space(
    trunk=Trunk(
        side=8,
        latent_channels=2,
        text_tokens=24,
        text_width=8,
        temb_width=16,
        heads=2,
        norm_groups=4,
    ),
    widths=((8, 16), (8, 24)),
    max_resnets=1,
    max_mid_resnets=0,
)
LAYOUT = Member((8, 8), (1, 1), (1, 1), 0, 0, halves_bottom=False)
LARGE = replace(LAYOUT, channels=(16, 24))
HELD_OUT = replace(ROWS[1], index=3, style="noto", split="held-out pair")


def phase(name: str, steps: int) -> PhaseConfig:
    return PhaseConfig.model_validate(
        {"name": name, "steps": steps, "batch": 2, "optimiser": OPTIMISER}
    )


CONFIG = SearchConfig(
    run="tiny.toml",
    space="small",
    supernet=phase("supernet", 3),
    member=phase("member", 2),
    ranked=(0.1, 0.9),
    named={"layout": LAYOUT},
    contest_until="high",
)


@pytest.fixture(scope="module")
def run() -> RunConfig:
    return tiny_run(
        {"name": "low", "steps": 1, "image_size": 32},
        {"name": "high", "steps": 1},
        {"name": "solver", "steps": 1, "solver_share": 1.0},
    )


@pytest.fixture(scope="module")
def work(run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's first stages, and a supernet behind them."""
    folder = tmp_path_factory.mktemp("search")
    leave_data(run, [*ROWS, HELD_OUT], folder)
    for stage in (autoencoder, text):
        stage.train(run, folder)
    train_supernet(CONFIG, run, SPACE, folder)
    return folder


def test_a_supernet_leaves_a_proxy_of_its_averaged_weights(work: Path) -> None:
    proxy = load_proxy(work, SPACE)
    averaged = loop.read_checkpoint(work, "supernet")["modules"]["averaged"]
    for name, weight in proxy.supernet.state_dict().items():
        assert torch.equal(weight, averaged[f"supernet.{name}"])
    assert proxy(LAYOUT) != proxy(LARGE)


def test_members_are_trained_to_the_end_once(work: Path, run: RunConfig) -> None:
    first = rank(CONFIG, run, SPACE, [LAYOUT, LARGE], work)
    written = (work / "denoiser-member-1.pt").stat().st_mtime_ns
    again = rank(CONFIG, run, SPACE, [LAYOUT, LARGE], work)
    assert again == first
    assert (work / "denoiser-member-1.pt").stat().st_mtime_ns == written
    assert first.samples == 4
    assert [one.member for one in first.members] == [LAYOUT, LARGE]
    proxy = load_proxy(work, SPACE)
    assert first.members[1].proxy == proxy.marks(LARGE)
    trained = loop.read_checkpoint(work, "denoiser-member-1")["modules"]["averaged"]
    with torch.device("meta"):
        theirs = UNetNAS(LARGE.configurations(SPACE.trunk)).state_dict()
    for name, weight in theirs.items():
        assert trained[f"denoiser.{name}"].shape == weight.shape


def test_entrants_are_trained_as_the_run_is_and_what_was_found_is_its_own(run: RunConfig) -> None:
    runs = entrants(CONFIG, run, SPACE.trunk)
    assert list(runs) == ["layout", FOUND]
    for one in runs.values():
        bare = [each.model_dump(exclude={"name"}) for each in one.denoiser.phases]
        assert bare == [each.model_dump(exclude={"name"}) for each in run.denoiser.phases[:2]]
    assert [each.name for each in runs[FOUND].denoiser.phases] == ["low", "high"]
    assert [each.name for each in runs["layout"].denoiser.phases] == ["layout-low", "layout-high"]
    assert runs["layout"].denoiser.denoiser == LAYOUT.configurations(SPACE.trunk)


def test_an_entrant_is_written_as_a_model(work: Path, run: RunConfig, tmp_path: Path) -> None:
    entrant = entrants(CONFIG, run, SPACE.trunk)["layout"]
    denoiser.train(entrant, work)
    decoder.train(entrant, work)
    finish(entrant, work, tmp_path / "layout")
    assert (tmp_path / "layout" / "flexible_unet" / "config.json").exists()
    card = read_card(tmp_path / "layout")
    assert (card.name, card.weights_sha256) == ("tiny-layout", hash_weights(card.folder))
