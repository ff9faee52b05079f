"""Qualcomm Cloud AI 100, through the SDK's own module: compiled programs of static shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from shared.errors import ConfigurationError, DeviceFaultError, PermanentRenderError
from shared.models.card import ModelCard, read_json
from worker.backends.base import BackendRecord
from worker.backends.between_runs import TensorsOnProcessor
from worker.backends.pixels import to_pixels
from worker.backends.timesteps import whole_timesteps
from worker.devices import Device
from worker.models.exported import require_exact
from worker.models.rows import spread
from worker.models.vae import VAEDecoderConfig
from worker.models.weights import exported_from
from worker.qaic.cards import QaicCard, find_cards
from worker.qaic.loaded import LoadedPrograms
from worker.qaic.programs import find_programs
from worker.qaic.store import QpcStore, StoredQpc, compile_command
from worker.qaic.tools import find_sdk, import_qaic

PRECISION = "float16"
EMULATED = "Drawn on an emulated Cloud AI 100: the processor did the work."


class QaicBackend(TensorsOnProcessor):
    """A model's compiled programs on one card; tensors stay on the processor between them.

    Batches of any size are cut into those that were compiled, and the last is filled up.
    """

    def __init__(
        self,
        card: ModelCard,
        device: Device,
        models_dir: Path,
        *,
        precision: str = "auto",
        threads: int = 0,
    ) -> None:
        """Load as many of a model's programs as the card holds.

        Args:
            card: names the folder of a model, for torch or exported.
            device: the card, by its QID.
            models_dir: where programs are kept, among the models.
            precision: "auto" or "float16", in which programs are compiled.
            threads: of the processor, for what is between the networks; 0 takes one a core.

        Raises:
            ConfigurationError: the model was not compiled, or not for this SDK, these weights
                or this card; the SDK's module is missing.
            DeviceFaultError: the card is gone or not ready.
        """
        if precision not in {"auto", PRECISION}:
            raise ConfigurationError(
                f"precision {precision}: programs for Cloud AI 100 are compiled in {PRECISION}"
            )
        require_exact(card.folder)
        torch.set_num_threads(threads or os.cpu_count() or 1)
        self._card = card
        self._device = device
        self._hardware = _ready_card(device)
        self._weights_sha256 = exported_from(card)
        self._sdk = find_sdk()
        vae = VAEDecoderConfig.from_json(read_json(card.folder / "vae" / "config.json"))
        self._latent_channels, self._factor = vae.latent_channels, vae.factor
        self._programs = find_programs(
            QpcStore(models_dir), card.name, self._weights_sha256, self._sdk, self._hardware
        )
        self._loaded = LoadedPrograms(self._hardware.qid, self._hardware.memory_bytes)
        self._load_what_fits()

    @property
    def compiled_sizes(self) -> list[tuple[int, int]]:
        """(width, height) in pixels of the images that can be drawn."""
        return self._programs.sizes

    @property
    def images_per_pass(self) -> int:
        """How many images the denoiser takes at once, at most."""
        return self._programs.most_images

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        return self._latent_channels, height // self._factor, width // self._factor

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        program = self._programs.text_encoder
        return self._run(program, {"input_ids": token_ids}, torch.arange(len(token_ids)))

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (R, T, D) to (R, C, H, W), R B or 2 B.

        Raises:
            PermanentRenderError: the size was not compiled, or a timestep is no whole number.
        """
        batch = len(encoder_hidden_states)
        inputs = {
            "sample": spread(sample, batch),
            "timestep": spread(whole_timesteps(timestep), batch),
            "encoder_hidden_states": encoder_hidden_states,
        }
        program = self._programs.denoiser(self._size_of(sample), batch)
        return self._run(program, inputs, _by_pairs(batch))

    def decode(self, latents: Tensor, *, tiny: bool = False) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8.

        Raises:
            PermanentRenderError: the size was not compiled.
        """
        program = self._programs.decoder(self._size_of(latents), len(latents))
        return to_pixels(self._run(program, {"latents": latents}, torch.arange(len(latents))))

    def describe(self) -> BackendRecord:
        """Tell what drew an image."""
        notes = [self._card.note, EMULATED if self._hardware.is_emulated else None]
        return BackendRecord(
            backend="qaic",
            backend_version=self._sdk.version,
            precision=PRECISION,
            threads=None,
            device=str(self._device),
            device_name=self._hardware.name,
            model=self._card.name,
            weights_sha256=self._weights_sha256,
            licence=self._card.licence,
            note=" ".join(note for note in notes if note) or None,
        )

    def _size_of(self, latents: Tensor) -> tuple[int, int]:
        """Return width and height in pixels.

        Raises:
            PermanentRenderError: that size was not compiled.
        """
        height, width = latents.shape[-2:]
        size = width * self._factor, height * self._factor
        if size not in self.compiled_sizes:
            there = ", ".join(f"{width}x{height}" for width, height in self.compiled_sizes)
            raise PermanentRenderError(
                f"size {size[0]}x{size[1]} of {self._card.name} was not compiled for "
                f"Cloud AI 100; there are {there}",
                hint=f"{compile_command(self._card.name)} --size {size[0]}x{size[1]}",
            )
        return size

    def _run(self, program: StoredQpc, inputs: Mapping[str, Tensor], order: Tensor) -> Tensor:
        """Run a program on all samples.

        Args:
            program: takes so many samples at once.
            inputs: (B, …) each.
            order: (B,), in which samples are taken; the last is repeated to fill a run.
        """
        results: list[Tensor] = []
        with self._loaded.use(program) as session:
            for taken in torch.split(order, session.batch):
                filled = torch.cat([taken, taken[-1:].expand(session.batch - len(taken))])
                output = session.run({name: values[filled] for name, values in inputs.items()})
                results.append(output[: len(taken)])
        return torch.cat(results)[order.argsort()]

    def _load_what_fits(self) -> None:
        """Load programs size by size; those that do not fit are loaded when they are asked for."""
        for program in self._programs.in_order:
            if self._loaded.fits(program):
                with self._loaded.use(program):
                    pass


def _by_pairs(batch: int) -> Tensor:
    """Return an order in which the two samples of an image come together.

    They come as all unconditional ones, then all others. An image's pair then shares a run
    whatever its neighbours, so an image does not depend on them.
    """
    if batch % 2:
        return torch.arange(batch)
    return torch.arange(batch).view(2, batch // 2).T.flatten()


def _ready_card(device: Device) -> QaicCard:
    cards = find_cards()
    card = next((card for card in cards if card.qid == device.index), None)
    if card is None:
        there = ", ".join(f"qaic:{card.qid}" for card in cards) or "none"
        raise DeviceFaultError(f"no card {device}; this host has {there}")
    if not card.is_ready:
        raise DeviceFaultError(
            f"{device}: the card is not ready: Status:{card.status}",
            hint="qaic-util -q tells more; a reset of the card may help.",
        )
    module = import_qaic()
    if not card.is_emulated and "emulator" in str(getattr(module, "__version__", "")):
        raise ConfigurationError(
            f"{device} is a card, and the module qaic of {module.__file__} is the emulator's",
            hint="pip uninstall tenstep-qaic-emulator, and install the SDK's module.",
        )
    return card
