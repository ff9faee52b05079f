"""The trainings of a search: the supernet's, and those of members to the end of a schedule."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from training import autoencoder, denoiser, loop, parallel, tokenizer
from training.config import PhaseConfig, RunConfig
from training.data.dataset import load_dataset
from training.networks import create
from training.noise_levels import NoiseLevels
from training.search.cost import cost
from training.search.exam import Exam, make_exam
from training.search.family import Member
from training.search.proxy import Proxy, load_proxy, save_proxy
from training.search.ranking import RankedMember, Ranking
from training.search.space import Space
from training.search.supernet import Supernet, TextToMember, draw_member
from training.section import Section

QUESTIONS = 256
"""Of each kind, in the exam."""


class SearchConfig(Section):
    """The trainings of one search; data, autoencoder and text encoder are those of a run."""

    #: File of the run, beside this one.
    run: str
    space: str
    supernet: PhaseConfig
    #: The training of one member by itself.
    member: PhaseConfig
    #: Places, from 0 to 1 in the order of cost, of members drawn by chance that are trained by
    #: themselves.
    ranked: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    #: Of that draw.
    seed: int = 0
    #: Members that people will ask for: they are trained beside those, and compared with what
    #: was found.
    named: dict[str, Member]
    #: The phase of the run that such a comparison ends with.
    contest_until: str

    @classmethod
    def read(cls, path: Path) -> tuple[Self, RunConfig]:
        """Parse a TOML file, and the run's that it names."""
        config = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        return config, RunConfig.read(path.parent / config.run)


def train_supernet(config: SearchConfig, run: RunConfig, space: Space, folder: Path) -> None:
    """Train one member after the other, and leave the proxy in `folder`.

    Args:
        config: of the search.
        run: whose first stages are done.
        space: of the members.
        folder: of the run, with its data, tokenizer, latents and the text encoder's lesson.
    """
    phase = config.supernet
    data = denoiser.PhaseData(_with(run, phase), 0, folder)
    model, averaged = _untaught(run, space, folder)

    def batch(step: int, part: slice) -> tuple[Tensor, ...]:
        model.member = draw_member(space, run.seed, step)
        return data.batch(step, part)

    def losses(
        network: nn.Module, noisy: Tensor, velocity: Tensor, timesteps: Tensor, *rest: Tensor
    ) -> loop.Losses:
        tokens, weights = rest
        error = (network(noisy, timesteps, tokens) - velocity).square().mean(dim=(1, 2, 3))
        return {"loss": (weights * error).mean()}

    def average(step: int) -> None:
        denoiser.update_average(averaged, model, denoiser.warmed_up(phase.ema_decay, step))

    stage = loop.Stage(
        phase.name, model, {"model": model, "averaged": averaged}, batch, losses, phase, average
    )
    loop.run(stage, folder, run.checkpoint_seconds, autocast=run.autocast)
    if parallel.state().is_main_process:
        asked = exam(run, folder).encoded(averaged.text_encoder)
        save_proxy(Proxy(averaged.supernet, asked), folder)


def rank(
    config: SearchConfig,
    run: RunConfig,
    space: Space,
    members: Sequence[Member],
    folder: Path,
) -> Ranking:
    """Train members to the end of a schedule, where they are not yet, and ask the proxy too."""
    asked, proxy = exam(run, folder), load_proxy(folder, space)
    ranked = []
    for number, member in enumerate(members):
        phase = config.member.model_copy(update={"name": f"{config.member.name}-{number}"})
        variant = _with(run, phase, member.configurations(space.trunk))
        parallel.launch(run.processes, denoiser.train, variant, folder)
        parameters, macs = cost(member, space.trunk).tolist()
        ranked.append(
            RankedMember(
                member=member,
                parameters=parameters,
                macs=macs,
                proxy=proxy.marks(member),
                trained=asked.marks(denoiser.load_averaged(variant, folder)),
            )
        )
    return Ranking(
        samples=config.member.steps * config.member.batch,
        supernet_samples=config.supernet.steps * config.supernet.batch,
        members=tuple(ranked),
    )


def exam(run: RunConfig, folder: Path) -> Exam:
    """Return the questions about a run's pictures, at its sampler's noise levels."""
    dataset = load_dataset(folder / "data")
    latents = autoencoder.latents_of_size(run, dataset, folder, run.data.image_size)
    levels = NoiseLevels(run.denoiser.phases[-1], run.sample)
    return make_exam(dataset, latents, tokenizer.load(folder / "tokenizer"), levels, QUESTIONS)


def _with(run: RunConfig, phase: PhaseConfig, settings: dict[str, Any] | None = None) -> RunConfig:
    """Return a run of one phase alone, maybe of another U-Net."""
    if settings is None:
        return run.with_denoiser(phases=(phase,))
    return run.with_denoiser(phases=(phase,), denoiser=settings)


def _untaught(run: RunConfig, space: Space, folder: Path) -> tuple[TextToMember, TextToMember]:
    """Return a supernet behind the text encoder of the run's lesson, and its average."""
    trunk = space.trunk
    torch.manual_seed(run.seed)
    networks = create(
        run.denoiser,
        tokenizer.load(folder / "tokenizer"),
        (trunk.latent_channels, trunk.side, trunk.side),
    )
    lesson = loop.read_checkpoint(folder, "text")["modules"]["text_encoder"]
    networks.text_encoder.load_state_dict(lesson)
    model = TextToMember(networks.text_encoder, Supernet(space))
    return model, copy.deepcopy(model).eval().requires_grad_(False)
