"""tenstep's own backends, which draw at every quality that there is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from shared.domain.quality import Quality, Shortcuts
from shared.models.card import ModelCard
from worker.backends.base import Backend
from worker.backends.torch_backend import TorchBackend
from worker.bench.speed.contestants import NetworksContestant, Setup
from worker.bench.speed.profile import Profile, profile
from worker.devices import Device
from worker.diffusion.reuse import DeepDenoiser
from worker.embeddings import EmbeddingCache
from worker.host_memory import available_bytes
from worker.models.fused_parts import fused_parts
from worker.models.measure import ComponentWork

BYTES_A_NUMBER = 4
MEBIBYTE = 2**20
PROCESSOR = Device("cpu", None)


class TenstepContestant(NetworksContestant):
    """Draws as the pipeline does, without what a quality leaves out."""

    def __init__(self, backend: Backend, setup: Setup, loaded_as: str) -> None:
        """Prepare what all rounds share.

        Args:
            backend: loaded.
            setup: the model, the size, the chunk and the quality.
            loaded_as: what the report says of the backend, whatever the quality.
        """
        self._backend = backend
        self._embeddings = EmbeddingCache(backend.encode_text)
        self._loaded_as = loaded_as
        settings = "; ".join(filter(None, [loaded_as, *self._left_out(setup)]))
        super().__init__(backend, setup, settings)

    def at(self, setup: Setup) -> TenstepContestant:
        """Return the same networks at another quality."""
        return TenstepContestant(self._backend, setup, self._loaded_as)

    @torch.inference_mode()
    def profile(self) -> Profile:
        """Profile the second step of an image on torch: what all steps share is done by then."""
        backend = self._backend
        if not isinstance(backend, TorchBackend):
            raise TypeError("only torch is profiled")
        text = self._encode()

        def step(timestep: float) -> Tensor:
            return backend.denoise(
                self._noise, torch.tensor(timestep).expand(self._setup.chunk), text
            )

        first, second = self._course().timesteps[:2]
        step(first)
        return profile(backend.networks.denoiser, lambda: step(second))

    @property
    def _deep(self) -> DeepDenoiser | None:
        return self._backend.deep_denoiser

    @property
    def _shortcuts(self) -> Shortcuts:
        return shortcuts_of(self._setup)

    def _encode_ids(self, token_ids: Tensor) -> Tensor:
        return self._embeddings(token_ids)

    def _decode(self, latents: Tensor) -> Tensor:
        return self._backend.decode(latents, tiny=self._shortcuts.tiny_decoder)

    def _left_out(self, setup: Setup) -> Iterable[str]:
        """Say what a quality means for this model."""
        shortcuts = shortcuts_of(setup)
        if shortcuts.guidance_interval is not None:
            low, high = shortcuts.guidance_interval
            yield f"guidance from noise level {high:g} to {low:g}"
        if shortcuts.feature_reuse > 1:
            can = self._backend.deep_denoiser is not None
            yield (
                f"deep features of 1 step in {shortcuts.feature_reuse}"
                if can
                else "this U-Net reuses no features"
            )
        if shortcuts.tiny_decoder:
            yield "tiny decoder"


def shortcuts_of(setup: Setup) -> Shortcuts:
    """Return what a model's images are drawn without."""
    return setup.card.qualities[Quality(setup.quality)]


def open_torch(setup: Setup) -> TenstepContestant:
    """Load a model on torch.

    Raises:
        ConfigurationError: a part of the model is missing or broken.
    """
    backend = TorchBackend(
        setup.card, PROCESSOR, threads=setup.threads, fusion_bytes=setup.filter_bytes
    )
    parts = fused_parts(backend.networks)
    told = (
        f"{parts.fused} of {parts.could_be} parts fused with {parts.filter_bytes // MEBIBYTE} MiB "
        "of filters"
    )
    return TenstepContestant(backend, setup, f"{_record(backend)}, {told}")


def open_onnxruntime(setup: Setup, exported: ModelCard) -> TenstepContestant:
    """Load a model that was exported.

    Raises:
        ConfigurationError: a part of the model is missing or broken.
    """
    from worker.backends.onnx_backend import OnnxBackend

    backend = OnnxBackend(exported, PROCESSOR, threads=setup.threads)
    return TenstepContestant(backend, setup, _record(backend))


def equal_share(works: Iterable[Iterable[ComponentWork]], *, has_peers: bool) -> int:
    """Return how many bytes each model's fused parts may take where all models are loaded at once.

    As a worker's do, together they take half of what the weights leave free.

    Args:
        works: of each model, its components'.
        has_peers: whether a peer is loaded beside each, with weights of its own.
    """
    sizes = [sum(work.parameters for work in components) for components in works]
    most = max(sum(sizes), 2 * max(sizes) if has_peers else 0)
    left = available_bytes() - BYTES_A_NUMBER * most
    return max(0, left) // 2 // len(sizes)


def _record(backend: Backend) -> str:
    record = backend.describe()
    return f"{record.backend} {record.backend_version}, {record.precision}"
