"""Captions and noise levels that the denoiser is trained on, and its training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from training import autoencoder, decoder, denoiser, text, tokenizer
from training.config import DenoiserConfig, RunConfig, SampleConfig, TokenizerConfig
from training.data.captions import all_captions
from training.data.dataset import Row, load_dataset, save_dataset
from training.data.deck import CaptionDeck
from training.networks import TextToLatent
from training.sample import Model, draw

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OPTIMISER = {"learning_rate": 1e-3, "warmup_steps": 1, "decay_share": 0.0}
RUN = RunConfig.model_validate(
    {
        "name": "tiny",
        "title": "Tiny",
        "tokenizer": {"vocabulary": 700, "max_tokens": 24},
        "autoencoder": {
            "model": {
                "block_out_channels": [4, 4, 4, 4],
                "latent_channels": 2,
                "layers_per_block": 1,
                "norm_num_groups": 2,
            },
            "optimiser": OPTIMISER,
            "steps": 2,
            "batch": 2,
        },
        "decoder": {"optimiser": OPTIMISER, "steps": 1, "batch": 2},
        "text": {"optimiser": OPTIMISER, "steps": 1, "batch": 4},
        "denoiser": {
            "text_encoder": {
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
            "denoiser": {
                "add_upsample_mid_block": False,
                "mix_block_in_forward": True,
                "down_blocks_in_channels": [8, 8],
                "down_blocks_out_channels": [8, 8],
                "down_blocks_num_resnets": [1, 1],
                "down_blocks_num_attentions": [0, 1],
                "add_downsample": [True, False],
                "prev_output_channels": [8, 8],
                "up_blocks_num_resnets": [2, 2],
                "up_blocks_num_attentions": [1, 0],
                "add_upsample": [True, False],
                "temb_dim": 8,
                "resnet_eps": 1e-5,
                "resnet_act_fn": "silu",
                "num_attention_heads": 2,
                "mid_num_resnets": 0,
                "mid_num_attentions": 0,
                "norm_num_groups": 4,
            },
            "optimiser": OPTIMISER,
            "steps": 4,
            "batch": 2,
        },
    }
)
ROWS = [
    Row(index, code, label, style, "food-drink", True, [label], "train")
    for index, (code, label, style) in enumerate(
        [("1", "red apple", "noto"), ("2", "pear", "twemoji"), ("3", "lemon", "fluent")]
    )
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("words")
    texts = [text for row in ROWS for text in all_captions(row.names, row.style)]
    tokenizer.train(texts, TokenizerConfig(vocabulary=700, max_tokens=24), folder)
    return tokenizer.load(folder)


def test_deck_deals_captions_of_the_chosen_pictures(words: CLIPTokenizer) -> None:
    deck = CaptionDeck(ROWS, words, dropout=0.0)
    tokens = deck.deal(torch.tensor([1] * 50), torch.Generator().manual_seed(0))
    texts = {words.decode(ids, skip_special_tokens=True) for ids in tokens}
    assert len(texts) > 5
    assert all("pear" in text for text in texts)


def test_deck_drops_captions_for_guidance(words: CLIPTokenizer) -> None:
    deck = CaptionDeck(ROWS, words, dropout=0.25)
    tokens = deck.deal(torch.zeros(400, dtype=torch.int64), torch.Generator().manual_seed(0))
    empty = (tokens[:, 1:] == words.eos_token_id).all(dim=1)
    assert 0.15 < empty.float().mean() < 0.35


def test_noise_levels_cover_all_and_end_at_the_solvers_own() -> None:
    config = RUN.denoiser.model_copy(update={"steps": 100, "solver_tail": 0.1, "solver_share": 1.0})
    levels = denoiser.NoiseLevels(config, SampleConfig())
    generator = torch.Generator().manual_seed(0)
    early = levels.draw(89, 10, generator)
    assert [int(level) // 100 for level in early] == list(range(10))
    late = levels.draw(90, 10, generator)
    assert sorted(late.tolist()) == [137, 274, 411, 548, 686, 748, 811, 873, 936, 998]


def test_signal_and_noise_keep_the_variance() -> None:
    levels = denoiser.NoiseLevels(RUN.denoiser, SampleConfig())
    assert torch.allclose(levels.signal**2 + levels.noise**2, torch.ones(1000))
    assert levels.signal[0] > 0.99
    assert levels.signal[-1] < 0.01


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, tokenizer, autoencoder and latents of a tiny run."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "data").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    save_dataset(folder / "data", noise, ROWS)
    texts = [text for row in ROWS for text in all_captions(row.names, row.style)]
    tokenizer.train(texts, RUN.tokenizer, folder / "tokenizer")
    dataset = load_dataset(folder / "data")
    autoencoder.train(RUN, dataset, folder)
    text.train(RUN, folder)
    return folder


def test_latents_are_standardised(work: Path) -> None:
    latents = torch.load(work / autoencoder.LATENTS, weights_only=True)
    assert latents.shape == (3, 2, 8, 8)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert (latents.std(dim=(0, 2, 3)) < 1.01).all()


def test_resumed_training_ends_in_the_same_weights(work: Path, tmp_path: Path) -> None:
    def trained(*steps: int) -> TextToLatent:
        folder = tmp_path / "-".join(map(str, steps))
        folder.mkdir()
        for name in ("data", "tokenizer", "text.pt", autoencoder.LATENTS):
            (folder / name).symlink_to(work / name)
        for count in steps:
            part = DenoiserConfig.model_validate({**dict(RUN.denoiser), "steps": count})
            denoiser.train(RUN.model_copy(update={"denoiser": part}), folder)
        return denoiser.load_averaged(RUN, folder)

    whole, resumed = trained(4), trained(2, 4)
    pairs = zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(weight, other) for (_, weight), other in pairs)


def test_a_trained_model_draws_the_same_picture_twice(work: Path) -> None:
    denoiser.train(RUN, work)
    decoder.train(RUN, work)
    vae = autoencoder.load(work / "vae")
    decoder.load_into(vae, work)
    words, networks = tokenizer.load(work / "tokenizer"), denoiser.load_averaged(RUN, work)
    model = Model(words, networks, vae)
    both = draw(model, ["a pear", "a pear"], [7, 7], RUN.sample)
    assert both.shape == (2, 64, 64, 3)
    assert (both[0] == both[1]).all()
