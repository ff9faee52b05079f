"""Which of a host's programs a model is drawn with on a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ConfigurationError
from worker.models.exported import DENOISER, TEXT_ENCODER, VAE_DECODER
from worker.qaic.cards import QaicCard
from worker.qaic.store import QpcStore, StoredQpc, compile_command
from worker.qaic.tools import Sdk

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ProgramsOfModel:
    """A text encoder, and a denoiser and a decoder for each size."""

    text_encoder: StoredQpc
    denoisers: Sequence[StoredQpc]
    decoders: Sequence[StoredQpc]

    @property
    def sizes(self) -> list[Size]:
        """(width, height) in pixels, in order."""
        return sorted(set(map(_size, self.denoisers)) & set(map(_size, self.decoders)))

    @property
    def most_images(self) -> int:
        """How many images a denoiser takes at once, at most."""
        return max(program.record.images for program in self.denoisers)

    @property
    def in_order(self) -> list[StoredQpc]:
        """All, in the order in which they are to be loaded."""
        sized = [
            program
            for size in self.sizes
            for program in (*self.denoisers, *self.decoders)
            if _size(program) == size
        ]
        return [self.text_encoder, *sized]

    def denoiser(self, size: Size, batch: int) -> StoredQpc:
        """Return the one that takes so many samples in the fewest runs, filled best."""
        return _for_batch(self.denoisers, size, batch)

    def decoder(self, size: Size, batch: int) -> StoredQpc:
        """Return the one that takes so many samples in the fewest runs, filled best."""
        return _for_batch(self.decoders, size, batch)


def find_programs(
    store: QpcStore, model: str, weights_sha256: str, sdk: Sdk, card: QaicCard
) -> ProgramsOfModel:
    """Find what was compiled of a model for a card.

    Raises:
        ConfigurationError: nothing, or only for other weights, another SDK or more cores.
    """
    command = compile_command(model)
    of_model = [qpc for qpc in store.all() if _is_of(qpc, model, weights_sha256)]
    if not of_model:
        raise ConfigurationError(
            f"{model} was not compiled for Cloud AI 100: nothing of it in {store.folder}",
            hint=command,
        )
    of_weights = [qpc for qpc in of_model if qpc.record.weights_sha256 == weights_sha256]
    if not of_weights:
        there = ", ".join(sorted({qpc.record.weights_sha256 for qpc in of_model}))
        raise ConfigurationError(
            f"{model} was compiled for other weights: for sha256 {there}, "
            f"and it has {weights_sha256}",
            hint=command,
        )
    of_sdk = [qpc for qpc in of_weights if qpc.record.sdk_version == sdk.version]
    if not of_sdk:
        there = ", ".join(sorted({qpc.record.sdk_version for qpc in of_weights}))
        raise ConfigurationError(
            f"{model} was compiled by SDK {there}, and this host has SDK {sdk.version} "
            f"(says {sdk.read_from})",
            hint=command,
        )
    found = [qpc for qpc in of_sdk if not card.cores or qpc.record.cores <= card.cores]
    return _whole(found, of_sdk, model, card)


def _whole(
    found: Sequence[StoredQpc], of_sdk: Sequence[StoredQpc], model: str, card: QaicCard
) -> ProgramsOfModel:
    by_component = {
        name: [qpc for qpc in found if qpc.record.component == name]
        for name in (TEXT_ENCODER, DENOISER, VAE_DECODER)
    }
    missing = [name for name, programs in by_component.items() if not programs]
    if missing:
        most = max(qpc.record.cores for qpc in of_sdk)
        why = f"; others take {most} cores, and the card has {card.cores}"
        raise ConfigurationError(
            f"{model}: no {' and no '.join(missing)} was compiled that fits qaic:{card.qid}"
            f"{why if len(found) < len(of_sdk) else ''}",
            hint=f"{compile_command(model)}{f' --sku {card.sku}' if card.sku else ''}",
        )
    programs = ProgramsOfModel(
        text_encoder=by_component[TEXT_ENCODER][-1],
        denoisers=by_component[DENOISER],
        decoders=by_component[VAE_DECODER],
    )
    if not programs.sizes:
        raise ConfigurationError(
            f"{model}: for no size both the denoiser and the decoder were compiled",
            hint=compile_command(model),
        )
    return programs


def _is_of(qpc: StoredQpc, model: str, weights_sha256: str) -> bool:
    return qpc.record.model == model or qpc.record.weights_sha256 == weights_sha256


def _size(program: StoredQpc) -> Size:
    return program.record.width, program.record.height


def _for_batch(programs: Sequence[StoredQpc], size: Size, batch: int) -> StoredQpc:
    """Choose by the number of runs, then by how little is left over, then by cores."""
    of_size = [program for program in programs if _size(program) == size]
    return min(
        of_size,
        key=lambda program: (
            -(-batch // program.record.batch),
            program.record.batch,
            -program.record.cores,
        ),
    )
