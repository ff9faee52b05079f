"""Weights on disk: safetensors, or PyTorch files read without running anything in them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from shared.errors import ConfigurationError
from shared.models.card import TINY_VAE, ModelCard, weight_files

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"
TEXT_ENCODER_STEMS = ("model", "pytorch_model")
SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
HASH_CHUNK_BYTES = 1 << 20
REOPEN_AFTER_BYTES = 32 << 20
"""Pages of a mapped file count as this process's memory for as long as it is mapped."""

Shapes = Mapping[str, tuple[int, ...]]


def find_weights(folder: Path, stems: tuple[str, ...] = (STEM,)) -> Path:
    """Find a component's weights; safetensors go before PyTorch files.

    Raises:
        ConfigurationError: there are none.
    """
    for suffix in SUFFIXES:
        for stem in stems:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    raise ConfigurationError(f"{folder}: no weights here: looked for {stems[0]}{SUFFIXES[0]}")


def load_strictly(
    network: nn.Module,
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    left_aside: tuple[str, ...] = (),
    renamed: Callable[[str], str] = str,
) -> None:
    """Load weights by name into a network, a tensor at a time.

    The network may be on the meta device: no more memory is held than the loaded network
    and `REOPEN_AFTER_BYTES` take. Convolutions are laid out as `convolution_layout` says.

    Args:
        network: takes every tensor of the file, and needs no other.
        path: a safetensors file, or one of PyTorch's.
        device: where the tensors go.
        dtype: what they become.
        left_aside: how names of tensors begin that are not meant for this network.
        renamed: from a name in the file to the network's.

    Raises:
        ConfigurationError: the file is unreadable, or a tensor is missing, left over, or
            of another shape; names it.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        names = {name: renamed(name) for name in _shapes(path) if not name.startswith(left_aside)}
        found = {names[name]: shape for name, shape in _shapes(path).items() if name in names}
        _check(path, expected, found)
        loaded = {
            names[name]: _placed(tensor, device, dtype) for name, tensor in _tensors(path, names)
        }
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ConfigurationError(f"{path}: {_first_line(error)}") from None
    network.load_state_dict(loaded, strict=True, assign=True)


def _check(path: Path, expected: Shapes, found: Shapes) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ConfigurationError(f"{path}: the tensor {name} is missing")
        if name not in expected:
            raise ConfigurationError(f"{path}: the tensor {name} has no place in the model")
        if found[name] != expected[name]:
            raise ConfigurationError(
                f"{path}: the tensor {name} has shape {found[name]}, not {expected[name]}"
            )


def _placed(tensor: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    if tensor.dim() == 4:  # noqa: PLR2004
        return tensor.to(device, dtype, copy=True, memory_format=convolution_layout(device))
    return tensor.to(device, dtype, copy=True)


def convolution_layout(device: torch.device | str) -> torch.memory_format:
    """Return what the weights of convolutions are laid out in.

    Channels last is what a GPU's matrix units read. A processor gains little by it, and
    would sum in another order than diffusers does, which is far from its result after ten
    steps of a model whose latents are large.
    """
    is_cuda = torch.device(device).type == "cuda"
    return torch.channels_last if is_cuda else torch.contiguous_format


def _shapes(path: Path) -> Shapes:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return {name: tuple(tensor.shape) for name, tensor in _pytorch_file(path).items()}


def _tensors(path: Path, names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that live until the next is asked for."""
    waiting = list(names)
    while waiting:
        read = 0
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                while waiting and read < REOPEN_AFTER_BYTES:
                    tensor = file.get_tensor(waiting[-1])
                    read += tensor.nbytes
                    yield waiting.pop(), tensor
                del tensor
        else:
            state = _pytorch_file(path)
            while waiting and read < REOPEN_AFTER_BYTES:
                read += state[waiting[-1]].nbytes
                yield waiting[-1], state[waiting.pop()]
            del state


def _pytorch_file(path: Path) -> Mapping[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise ConfigurationError(f"{path}: cut short, or no PyTorch file")
    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # noqa: BLE001 - of a broken file it raises anything
        raise ConfigurationError(f"{path}: {_first_line(error)}") from None
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ConfigurationError(f"{path}: not a state dict of tensors")
    return state


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def stored_precision(path: Path) -> str:
    """Return what a file's tensors are kept in, such as float16."""
    if path.suffix != ".safetensors":
        return str(next(iter(_pytorch_file(path).values())).dtype).removeprefix("torch.")
    with safe_open(path, framework="pt") as file:
        name = next(iter(file.keys()))
        return str(file.get_tensor(name).dtype).removeprefix("torch.")


def weights_identity(card: ModelCard) -> str:
    """Return what tells a model's weights from all others: a SHA-256, in hexadecimal.

    Random weights follow from the configuration, so theirs is taken of that.
    """
    if card.weights == "stored":
        return hash_weights(card.folder)
    digest = hashlib.sha256(b"random weights")
    for path in sorted(card.folder.rglob("config.json")):
        digest.update(path.relative_to(card.folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def exported_from(card: ModelCard) -> str:
    """Return the identity of the weights that a model draws with, exported or not.

    An exported model's card names those that it was made from.
    """
    written = card.weights_sha256 if card.backend == "onnxruntime" else None
    return written or weights_identity(card)


def hash_weights(folder: Path) -> str:
    """Return one SHA-256 over all weights of a model, with their paths, in order of path.

    A tiny decoder is left aside: no image is another one because a model was given one.
    """
    digest = hashlib.sha256()
    for path in weight_files(folder):
        if path.is_relative_to(folder / TINY_VAE):
            continue
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(HASH_CHUNK_BYTES):
                digest.update(block)
    return digest.hexdigest()
