"""Parts and whole members made ready to run as a worker runs them, with weights by chance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import onnx
import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from training.search.cost import make_part
from training.search.family import Kind, Member, Part, Trunk
from training.search.latency import ONNXRUNTIME, TORCH, Conditions
from training.search.order import PAIR, Step
from worker.backends.onnx_denoiser import CutDenoiser
from worker.backends.onnx_graphs import fuse_attention
from worker.backends.onnx_sessions import open_session, providers_for
from worker.devices import processor_name
from worker.export.components import TRAIN_TIMESTEPS, Case, Component, Dims
from worker.export.graph import write_graph
from worker.host_memory import available_bytes
from worker.models.exported import BATCH, DENOISER, GRAPH, HEIGHT, WIDTH
from worker.models.fusion import fuse, fuse_convolutions, fuse_transformers, remember
from worker.models.rows import spread
from worker.models.unet import UNetNAS

ONE_FILE_BYTES = 100_000_000
"""Above, weights lie beside a graph, as the worker's export has them."""

Run = Callable[[], object]


class Engine(Protocol):
    """Runs networks on one target."""

    @property
    def conditions(self) -> Conditions:
        """What a table of it says of all its entries."""
        ...

    def part(self, step: Step) -> Run:
        """Make a part ready: what is returned runs it once."""
        ...

    def whole(self, member: Member) -> Run:
        """Make a member ready: what is returned makes one guided prediction."""
        ...


def open_engine(target: str, trunk: Trunk, *, batch: int, threads: int) -> Engine:
    """Return what runs networks on a target.

    Args:
        target: torch or onnxruntime.
        trunk: of the members.
        batch: images of a pass.
        threads: of the processor.

    Raises:
        ValueError: there is no such target.
    """
    torch.set_num_threads(threads)
    if target == TORCH:
        return TorchEngine(trunk, batch=batch, threads=threads)
    if target == ONNXRUNTIME:
        return OnnxEngine(trunk, batch=batch, threads=threads)
    raise ValueError(target)


class Inputs:
    """What goes into networks and their parts: numbers by chance, the same each time."""

    def __init__(self, trunk: Trunk, batch: int) -> None:
        """Draw what all share: latents of images, timesteps (B,), texts (R, T, D)."""
        self._generator = torch.Generator().manual_seed(0)
        self._batch = batch
        rows = PAIR * batch
        self.latents = self._draw(batch, trunk.latent_channels, trunk.side, trunk.side)
        self.timesteps = torch.full((batch,), TRAIN_TIMESTEPS // 2)
        self.text = self._draw(rows, trunk.text_tokens, trunk.text_width)
        # Of each number of rows one, for parts remember what they made of it.
        self._embedded = {
            given: self._draw(given * batch, trunk.temb_width) for given in range(1, PAIR + 1)
        }

    def hidden(self, step: Step) -> Tensor:
        """Return a feature map (B or R, C, H, W)."""
        part = step.part
        return self._draw(step.rows * self._batch, part.in_channels, part.side, part.side)

    def beside(self, step: Step) -> tuple[Tensor, ...]:
        """Return what a part takes beside a feature map: the embedded timestep or the text."""
        if step.part.kind is Kind.RESNET:
            return (self._embedded[step.rows],)
        return (self.text,) if step.part.kind is Kind.TRANSFORMER else ()

    def _draw(self, *shape: int) -> Tensor:
        with torch.inference_mode():
            return torch.randn(shape, generator=self._generator)


class TorchEngine:
    """The worker's torch on the processor: fused parts, in float32."""

    def __init__(self, trunk: Trunk, *, batch: int, threads: int) -> None:
        self._trunk, self._inputs = trunk, Inputs(trunk, batch)
        self.conditions = Conditions(
            target=f"torch-cpu-float32-{_threads(threads)}",
            processor=processor_name(),
            threads=threads,
            batch=batch,
            shares_rows=True,
            trunk=trunk,
        )

    def part(self, step: Step) -> Run:
        """Fuse a part as a worker does within a U-Net; timestep and text stay the same."""
        carrier = _carrier(step.part, self._trunk)
        if step.part.kind is Kind.TRUNK:
            _fuse(carrier)
            return self._trunk_run(carrier)
        carrier.add_module("mid_block", nn.ModuleList([make_part(step.part, self._trunk).eval()]))
        _fuse(carrier)
        module = carrier.get_submodule("mid_block.0")
        hidden, beside = self._inputs.hidden(step), self._inputs.beside(step)
        return lambda: module(hidden, *beside)

    def whole(self, member: Member) -> Run:
        """Fuse a member as a worker does."""
        network = UNetNAS(member.configurations(self._trunk)).eval()
        _fuse(network)
        inputs = self._inputs
        return lambda: network(inputs.latents, inputs.timesteps, inputs.text)

    def _trunk_run(self, carrier: UNetNAS) -> Run:
        ends, inputs = Ends(carrier), self._inputs
        rows = len(inputs.text)

        def run() -> object:
            carrier._embedded(inputs.latents, inputs.timesteps, rows)  # noqa: SLF001 - no block's
            return ends(inputs.latents)

        return run


class OnnxEngine:
    """The worker's ONNX Runtime on the processor, in float32.

    The worker computes what follows from timestep and text alone once a job. In a part's graph
    they are constants, so that ONNX Runtime does so when it loads it.
    """

    def __init__(self, trunk: Trunk, *, batch: int, threads: int) -> None:
        self._trunk, self._inputs = trunk, Inputs(trunk, batch)
        self._threads, self._rows = threads, PAIR * batch
        self.conditions = Conditions(
            target=f"onnxruntime-cpu-float32-{_threads(threads)}",
            processor=processor_name(),
            threads=threads,
            batch=batch,
            shares_rows=False,
            trunk=trunk,
        )

    def part(self, step: Step) -> Run:
        """Export a part alone, as the worker exports networks."""
        part = step.part
        if part.kind is Kind.TRUNK:
            network: nn.Module = Ends(_carrier(part, self._trunk))
            hidden, channels = spread(self._inputs.latents, self._rows), self._trunk.latent_channels
        else:
            network = _AloneInGraph(make_part(part, self._trunk), self._inputs.beside(step))
            hidden, channels = self._inputs.hidden(step), part.out_channels
        component = Component(
            name="part",
            inputs={"hidden": (BATCH, hidden.shape[1], HEIGHT, WIDTH)},
            output="out",
            output_dims=(BATCH, channels, "out_height", "out_width"),
            make_inputs=lambda *_: (hidden,),
        )
        with tempfile.TemporaryDirectory() as folder:
            path = _written(component, network, Path(folder))
            model = onnx.load(path, load_external_data=False)
            fuse_attention(model)
            session = self._open(path, model.SerializeToString())
        array = hidden.contiguous().numpy()
        return lambda: session.run(None, {"hidden": array})

    def whole(self, member: Member) -> Run:
        """Export a member and cut its graph, as the worker does."""
        trunk, inputs = self._trunk, self._inputs
        network = UNetNAS(member.configurations(trunk)).eval()
        latents: Dims = (BATCH, trunk.latent_channels, HEIGHT, WIDTH)
        component = Component(
            name=DENOISER,
            inputs={
                "sample": latents,
                "timestep": (BATCH,),
                "encoder_hidden_states": (BATCH, trunk.text_tokens, trunk.text_width),
            },
            output="out_sample",
            output_dims=latents,
            make_inputs=self._traced,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = _written(component, network, Path(folder))
            denoise = CutDenoiser(path, lambda graph: self._open(path, graph))
        sample, times = spread(inputs.latents, self._rows), spread(inputs.timesteps, self._rows)
        return lambda: denoise(sample, times, inputs.text)

    def _traced(self, case: Case, generator: torch.Generator) -> tuple[Tensor, ...]:
        trunk = self._trunk
        shape = (case.batch, trunk.latent_channels, case.height, case.width)
        timesteps = torch.zeros(case.batch, dtype=torch.int64)
        text = torch.zeros(case.batch, trunk.text_tokens, trunk.text_width)
        return torch.zeros(shape), timesteps, text

    def _open(self, path: Path, graph: bytes) -> Any:
        return open_session(path, providers_for("cpu"), self._threads, graph=graph)


class Ends(nn.Module):
    """What a U-Net does to latents before its first block and behind its last one."""

    def __init__(self, network: UNetNAS) -> None:
        """Take its ends over, which share one width."""
        super().__init__()
        self.into, self.norm = network.conv_in, network.conv_norm_out
        self.activation, self.out = network.conv_act, network.conv_out

    def forward(self, hidden: Tensor) -> Tensor:
        """Map latents (B, C, H, W) to others."""
        found: Tensor = self.out(self.activation(self.norm(self.into(hidden))))
        return found


class _AloneInGraph(nn.Module):
    """A part whose other inputs, which are those of the whole job, are constants."""

    def __init__(self, part: nn.Module, beside: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.part = part
        for index, tensor in enumerate(beside):
            self.register_buffer(f"beside_{index}", tensor.clone())

    def forward(self, hidden: Tensor) -> Tensor:
        beside: list[Any] = list(self.buffers(recurse=False))
        if isinstance(self.part, Upsample2D):
            # A U-Net asks for the size of the skip state that is next.
            beside.append([2 * side for side in hidden.shape[-2:]])
        found: Tensor = self.part(hidden, *beside)
        return found


def _carrier(part: Part, trunk: Trunk) -> UNetNAS:
    """Return a smallest U-Net, for what a worker does to parts it does to a network's."""
    base = part.in_channels if part.kind is Kind.TRUNK else trunk.norm_groups
    smallest = Member((base,), (1,), (0,), 0, 0, halves_bottom=False)
    return UNetNAS(smallest.configurations(trunk)).eval()


def _fuse(network: UNetNAS) -> None:
    """Do what `worker.models.fusion.fuse_networks` does to a denoiser."""
    fuse([network], available_bytes() // 2)
    fuse_convolutions(network)
    fuse_transformers(network)
    remember(network)


def _written(component: Component, network: nn.Module, parent: Path) -> Path:
    folder = parent / component.name
    write_graph(component, network.eval(), folder, ONE_FILE_BYTES)
    return folder / GRAPH


def _threads(count: int) -> str:
    return f"{count}-thread{'s' * (count > 1)}"
