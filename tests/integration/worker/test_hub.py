"""Pulling a model from a hub, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, InputError, ServiceUnavailableError
from shared.models.card import CARD, ModelCard
from shared.models.catalog import load_card, pulled_folders
from support.families import write_family
from support.hub import COMMIT, StandInHub, serving
from worker.hub import pull, wanted_files

NAME = "some/model"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "repository"
    write_family("decidiffusion-2.0", folder, with_safety_checker=True)
    (folder / "pipeline.py").write_text("raise SystemExit('never run')\n", "utf-8")
    (folder / "README.md").write_text("---\nlicense: openrail++\n---\n", "utf-8")
    return folder


@pytest.fixture
def hub(repository: Path) -> Iterator[StandInHub]:
    with serving() as hub:
        hub.folders[NAME] = repository
        yield hub


def pull_from(
    hub: StandInHub, models_dir: Path, name: str = NAME, *, accept_licence: bool = False
) -> ModelCard:
    return pull(name, models_dir, accept_licence=accept_licence, quiet=True, endpoint=hub.url)


def test_a_model_is_pulled_at_the_commit_that_its_revision_means(
    hub: StandInHub, tmp_path: Path
) -> None:
    card = pull_from(hub, tmp_path)

    assert (card.name, card.revision) == (f"{NAME}@{COMMIT[:12]}", COMMIT)
    assert card.weights_sha256 is not None
    for name in (NAME, f"{NAME}@{COMMIT[:7]}", f"{NAME}@{COMMIT}", card.name, str(card.folder)):
        assert load_card(name, tmp_path) == card
    assert "pipeline.py" not in hub.fetched
    assert not list(tmp_path.rglob("*.py"))


def test_what_is_there_already_is_not_fetched_again(hub: StandInHub, tmp_path: Path) -> None:
    first = pull_from(hub, tmp_path)
    hub.fetched.clear()

    assert pull_from(hub, tmp_path, f"{NAME}@{COMMIT[:12]}") == first
    assert not hub.fetched


def test_conditions_of_use_have_to_be_accepted(hub: StandInHub, tmp_path: Path) -> None:
    hub.licences[NAME] = "creativeml-openrail-m"
    with pytest.raises(InputError, match="creativeml-openrail-m") as refused:
        pull_from(hub, tmp_path)

    assert "--accept-licence" in (refused.value.hint or "")
    assert not hub.fetched
    assert not list(tmp_path.iterdir())
    assert pull_from(hub, tmp_path, accept_licence=True).licence == "creativeml-openrail-m"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("some/other", "there is no model some/other"),
        (f"{NAME}@v9", "has no revision 'v9'"),
        ("../etc/passwd", "no model of a hub"),
        ("plain", "no model of a hub"),
    ],
)
def test_what_is_not_there_is_named_and_leaves_nothing(
    hub: StandInHub, tmp_path: Path, name: str, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        pull_from(hub, tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    hub = StandInHub(url="http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        pull_from(hub, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_pull_is_no_model_and_the_next_finishes_it(
    hub: StandInHub, tmp_path: Path
) -> None:
    hub.gives_out_after = 3
    with pytest.raises(ServiceUnavailableError):
        pull_from(hub, tmp_path)
    assert not pulled_folders(tmp_path)
    with pytest.raises(ConfigurationError):
        load_card(NAME, tmp_path)

    hub.gives_out_after = None
    assert pull_from(hub, tmp_path).revision == COMMIT


def test_what_does_not_load_is_not_kept(
    hub: StandInHub, repository: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken")
    for path in repository.rglob("*"):
        target = broken / path.relative_to(repository)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    weights = broken / "flexible_unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    hub.folders[NAME] = broken

    with pytest.raises(ConfigurationError, match=weights.name):
        pull_from(hub, tmp_path)
    assert not list(tmp_path.iterdir())


FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in ("text_encoder", "vae", "unet")),
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "vae/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "model.ckpt",
    "unet/extra.py",
]


def test_of_each_component_one_file_of_weights_is_fetched() -> None:
    wanted = wanted_files(FILES)

    assert {name for name in wanted if name.endswith((".safetensors", ".bin"))} == {
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    }
    assert not {"model.ckpt", "unet/extra.py"} & set(wanted)
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt"} <= set(wanted)


def test_the_flexible_unet_is_fetched_in_place_of_the_unet() -> None:
    flexible = [
        "flexible_unet/config.json",
        "flexible_unet/diffusion_pytorch_model.safetensors",
    ]
    wanted = wanted_files([*FILES, *flexible])

    assert set(flexible) <= set(wanted)
    assert not [name for name in wanted if name.startswith("unet/")]


@pytest.mark.parametrize("missing", ["model_index.json", "vae/config.json", "unet/config.json"])
def test_a_repository_of_something_else_is_refused(missing: str) -> None:
    with pytest.raises(InputError, match=missing):
        wanted_files([name for name in FILES if name != missing])


def test_a_partly_written_model_has_no_card(hub: StandInHub, tmp_path: Path) -> None:
    """The card is written last, so that a folder with one is whole."""
    card = pull_from(hub, tmp_path)
    (card.folder / CARD).unlink()

    assert not pulled_folders(tmp_path)
