"""The report of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from shared.domain.sampling import SamplerSettings
from training.evaluation.judge import ScorerRecord
from training.quality.intervals import Interval


class Measure(BaseModel):
    """One figure of a contestant, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    value: Interval
    change: Interval | None
    """From the first contestant, question by question; None for the first."""


class ContestantReport(BaseModel):
    """One model with one sampler."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    weights_sha256: str
    sampler: SamplerSettings
    evaluations: int
    """Runs of the denoiser for a drawing."""
    measures: Mapping[str, Measure]


class Report(BaseModel):
    """All contestants, and what is needed to repeat what was measured."""

    model_config = ConfigDict(frozen=True)

    version: str
    """Of tenstep."""
    device: str
    processor: str
    torch: str
    data_sha256: str
    pictures: int
    """Of the data: all of them are what drawings are compared with."""
    questions: str
    """Where they are from."""
    seed: int
    drawings: int
    """Of each contestant."""
    captions: int
    """Among which a drawing's own is to be found."""
    reference_steps: int
    """0 where no solver's error was measured."""
    feature_network: str
    feature_network_sha256: str
    scorer: ScorerRecord
    ceiling: Mapping[str, Mapping[str, Interval]]
    """How often the scorer finds the caption of a picture of the data, by style."""
    contestants: list[ContestantReport]
