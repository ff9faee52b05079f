"""What every backend promises, for each of the four model families at test size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from shared.domain.prompts import ImageSettings
from shared.domain.quality import QUALITIES, Quality
from shared.domain.sampling import SamplerSettings, SchedulerName
from shared.models.card import read_card
from support.families import FAMILIES, MAX_TOKENS, SCHEDULERS, Family, write_family
from support.grids import FOUR, keep_grids
from worker.backends.base import Backend
from worker.devices import Device
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import plot_grid
from worker.export.check import relative_difference
from worker.export.export import export_model
from worker.loading import load_pipeline
from worker.models.networks import Networks, load_networks
from worker.models.weights import weights_identity
from worker.pipeline import Pipeline
from worker.qaic.compile import compile_order, make_order
from worker.qaic.store import QpcStore

"""A family is exported, and compiled for three sizes, within the first test that asks for it."""

BACKENDS = ("torch", "onnxruntime", "qaic")
AGREEMENT = 1e-4
"""Of a network's output with what it must be, as a share of its standard deviation."""
WITH_TORCH = {
    "torch": {"text": AGREEMENT, "step": AGREEMENT},
    "onnxruntime": {"text": AGREEMENT, "step": AGREEMENT},
    "qaic": {"text": 1e-2, "step": 1e-1},
}
"""Of a network's output with torch's in float32; same share.

The emulated card's constants are float16. In weights that makes 0.5 %. The denoiser has a table
of frequencies too, by which timesteps of up to 999 are multiplied: that makes up to 6 %, and a
network that mixes up its samples is off by 100 %.
"""
CHUNK_LATENTS = 2e-4
"""Of a job's latents after ten guided steps in chunks of different sizes; same share."""
SHADES = {"torch": 1, "onnxruntime": 1, "qaic": 3}
"""Of 255, by which an image may differ from torch's, of the same latents."""
DRAWN_SHADES = {"torch": 1, "onnxruntime": 1, "qaic": 64}
"""The same after ten guided steps, in which networks of random weights magnify a difference."""

CPU = Device.parse("cpu")
DEVICES = {"torch": CPU, "onnxruntime": CPU, "qaic": Device.parse("qaic:0")}
SIZES = [(64, 64), (88, 72), (64, 128)]
"""What the card's programs are compiled for: width and height of all images drawn here."""
THREADS = 1
SAMPLER = SamplerSettings(steps=16, squeeze="10,6", guidance_scale=7.5, guidance_rescale=0.8)
PROMPTS = ("a red apple", "", "an old oak, in oil", "two blue fish", "a cat")


@dataclass(frozen=True)
class Model:
    """One family: the networks alone, and a pipeline with each backend."""

    source: Path
    networks: Networks
    pipelines: Mapping[str, Pipeline]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Model]:
    """Make each family once, in whatever order tests ask for them."""

    @cache
    def make(family: Family) -> Model:
        folder = tmp_path_factory.mktemp(family)
        source = keep_grids(write_family(family, folder / family), FOUR)
        export_model(read_card(source), folder / "onnx")
        exported = read_card(folder / "onnx")
        compile_order(make_order(exported, SIZES, 1, "ai100-std"), QpcStore(folder))
        made_for = {"torch": read_card(source), "onnxruntime": exported, "qaic": exported}
        return Model(
            source,
            load_networks(read_card(source)),
            {
                name: load_pipeline(
                    made_for[name], DEVICES[name], backend=name, threads=THREADS, models_dir=folder
                )
                for name in BACKENDS
            },
        )

    return make


@pytest.fixture(scope="module")
def model(family: Family, models: Callable[[Family], Model]) -> Model:
    return models(family)


@pytest.fixture(scope="module", params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def pipeline(model: Model, backend_name: str) -> Pipeline:
    return model.pipelines[backend_name]


@pytest.fixture
def backend(pipeline: Pipeline) -> Backend:
    return pipeline.backend


def ids(batch: int) -> Tensor:
    return torch.randint(190, (batch, MAX_TOKENS), generator=torch.Generator().manual_seed(0))


def step(model: Model, batch: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make random latents, timesteps and text tokens."""
    generator = torch.Generator().manual_seed(batch)
    text_width = model.networks.text_encoder.config.hidden_size
    return (
        torch.randn(batch, 4, height, width, generator=generator),
        torch.randint(1000, (batch,), generator=generator),
        torch.randn(batch, MAX_TOKENS, text_width, generator=generator),
    )


def job(index: int, *, width: int = 64, height: int = 64) -> ImageSettings:
    return ImageSettings(
        prompt=PROMPTS[index],
        seed=100 + index,
        width=width,
        height=height,
        **SAMPLER.model_dump(),
    )


def latents_and_pixels(
    pipeline: Pipeline, chunk: Sequence[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    latents = pipeline.sample([job(index) for index in chunk])
    pixels = pipeline.backend.decode(latents)
    return {index: (latents[place], pixels[place]) for place, index in enumerate(chunk)}


@torch.inference_mode()
def along(grid: Sequence[int], pipeline: Pipeline, asked: ImageSettings, family: Family) -> Tensor:
    """Call the sampler with timesteps, whatever the model's folder has."""
    prepared = pipeline.prepare([asked])
    return denoise(
        pipeline.backend.denoise,
        plot_grid(SCHEDULERS[family], grid).solver(),
        prepared.noise,
        prepared.embeddings,
        guidance_scale=torch.tensor([asked.guidance_scale]),
        guidance_rescale=torch.tensor([asked.guidance_rescale]),
        shortcuts=QUALITIES[asked.quality],
        deep=pipeline.backend.deep_denoiser,
    )


def shades_apart(pixels: Tensor, expected: Tensor) -> int:
    return int((pixels.float() - expected.float()).abs().max())


def test_latents_have_an_eighth_of_the_pixels_a_side(backend: Backend) -> None:
    assert backend.latent_shape(width=128, height=72) == (4, 9, 16)


def test_text_is_encoded_to_one_token_an_id(backend: Backend, model: Model) -> None:
    tokens = backend.encode_text(ids(3))

    assert tokens.shape == (3, MAX_TOKENS, model.networks.text_encoder.config.hidden_size)
    assert tokens.dtype == torch.float32


def test_text_agrees_with_torch(backend: Backend, backend_name: str, model: Model) -> None:
    with torch.inference_mode():
        expected = model.networks.text_encoder(ids(3))

    difference = relative_difference(backend.encode_text(ids(3)), expected)
    assert difference <= WITH_TORCH[backend_name]["text"]


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 8, 8), (2, 9, 11), (5, 16, 8), (5, 8, 8), (1, 9, 11)]
)
def test_a_step_agrees_with_torch_at_every_batch_and_size(
    backend: Backend, backend_name: str, model: Model, batch: int, height: int, width: int
) -> None:
    inputs = step(model, batch, height, width)
    with torch.inference_mode():
        expected = model.networks.denoiser(*inputs)

    predicted = backend.denoise(*inputs)

    assert (predicted.shape, predicted.dtype) == (inputs[0].shape, torch.float32)
    assert relative_difference(predicted, expected) <= WITH_TORCH[backend_name]["step"]


@pytest.mark.parametrize(("batch", "height", "width"), [(2, 9, 11), (5, 16, 8)])
def test_the_card_computes_what_constants_in_float16_make(
    model: Model, batch: int, height: int, width: int
) -> None:
    inputs = step(model, batch, height, width)
    graph = model.source.with_name("onnx") / "denoiser" / "model.onnx"
    names = ("sample", "timestep", "encoder_hidden_states")
    arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    (expected,) = rounded(graph).run(None, arrays)

    predicted = model.pipelines["qaic"].backend.denoise(*inputs)

    assert relative_difference(predicted, torch.from_numpy(expected)) <= AGREEMENT


def rounded(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph with its constants rounded to float16."""
    graph = onnx.load(path)
    attributes = (attribute for node in graph.graph.node for attribute in node.attribute)
    constants = (attribute.t for attribute in attributes if attribute.HasField("t"))
    for tensor in (*graph.graph.initializer, *constants):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).clip(-65504, 65504).astype("float16")
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float32"), tensor.name))
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def test_each_sample_has_a_timestep_of_its_own(backend: Backend, model: Model) -> None:
    sample, _, text = step(model, 2, 8, 8)
    early, late, both = (
        backend.denoise(sample, torch.tensor(timesteps), text)
        for timesteps in ([3, 3], [900, 900], [3, 900])
    )

    assert relative_difference(both, torch.stack([early[0], late[1]])) <= AGREEMENT


@pytest.mark.parametrize("batch", [1, 3])
def test_texts_beyond_the_samples_meet_these_again(
    backend: Backend, model: Model, batch: int
) -> None:
    sample, timestep, text = step(model, batch, 8, 8)
    texts = torch.cat([text.flip(0) + 1, text])

    predicted = backend.denoise(sample, timestep, texts)

    expected = backend.denoise(sample.repeat(2, 1, 1, 1), timestep.repeat(2), texts)
    assert predicted.shape == (2 * batch, *sample.shape[1:])
    assert relative_difference(predicted, expected) <= AGREEMENT


def test_a_step_leaves_what_it_is_given(backend: Backend, model: Model) -> None:
    inputs = step(model, 2, 8, 8)
    before = [tensor.clone() for tensor in inputs]

    backend.denoise(*inputs)

    assert all(torch.equal(*pair) for pair in zip(inputs, before, strict=True))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (2, 9, 11), (5, 16, 8)])
def test_pixels_agree_with_torch(
    backend: Backend, backend_name: str, model: Model, batch: int, height: int, width: int
) -> None:
    latents = step(model, batch, height, width)[0]
    with torch.inference_mode():
        decoded = model.networks.decoder(latents)
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)

    pixels = backend.decode(latents)

    assert (pixels.shape, pixels.dtype) == ((batch, 8 * height, 8 * width, 3), torch.uint8)
    assert shades_apart(pixels, expected) <= SHADES[backend_name]


def test_tensors_are_moved_in_the_networks_precision(backend: Backend) -> None:
    assert backend.to_device(torch.zeros(2, dtype=torch.float64)).dtype == torch.float32


def test_convolutions_of_float32_are_not_shortened_on_cuda(model: Model) -> None:
    assert not torch.backends.cudnn.allow_tf32


def test_the_record_tells_all_that_drew_an_image(
    backend: Backend, backend_name: str, model: Model
) -> None:
    record = backend.describe()

    assert record.backend == backend_name
    told = (record.precision, record.threads, record.device)
    if backend_name == "qaic":
        assert told == ("float16", None, "qaic:0")
        assert "emulator" in record.device_name
        assert "emulator" in record.backend_version
        assert "emulated" in (record.note or "")
    else:
        assert told == ("float32", THREADS, "cpu")
    assert (record.model, record.licence) == (model.source.name, "unknown")
    assert record.weights_sha256 == weights_identity(read_card(model.source))
    assert record.backend_version
    assert record.device_name


def test_backends_draw_the_same_image(pipeline: Pipeline, backend_name: str, model: Model) -> None:
    (drawn,) = pipeline.draw([job(0, width=88, height=72)])
    (expected,) = model.pipelines["torch"].draw([job(0, width=88, height=72)])

    pixels, expected_pixels = torch.as_tensor(drawn.pixels), torch.as_tensor(expected.pixels)
    assert pixels.shape == (72, 88, 3)
    assert pixels.float().std() > 1
    assert drawn.timesteps == expected.timesteps
    assert shades_apart(pixels, expected_pixels) <= DRAWN_SHADES[backend_name]


@pytest.mark.parametrize("quality", [Quality.EXACT, Quality.BALANCED])
def test_a_searched_grid_is_gone_along_by_every_backend_with_and_without_shortcuts(
    pipeline: Pipeline, family: Family, quality: Quality
) -> None:
    settings = {"scheduler": SchedulerName.SEARCHED, "steps": len(FOUR), "squeeze": None}
    asked = job(0).model_copy(update={**settings, "quality": quality})

    latents = pipeline.sample([asked])

    assert pipeline.prepare([asked]).course.timesteps == list(FOUR)
    assert torch.equal(latents, along(FOUR, pipeline, asked, family))
    plain = asked.model_copy(update={"scheduler": SchedulerName.DPM_SOLVER})
    assert not torch.equal(latents, pipeline.sample([plain]))


def test_a_number_of_steps_without_a_searched_grid_is_refused(pipeline: Pipeline) -> None:
    asked = job(0).model_copy(
        update={"scheduler": SchedulerName.SEARCHED, "steps": 7, "squeeze": None}
    )

    with pytest.raises(ValueError, match=r"no grid of 7 steps .* there are grids of 4"):
        pipeline.sample([asked])


@pytest.fixture(scope="module")
def alone(pipeline: Pipeline) -> dict[int, tuple[Tensor, Tensor]]:
    """Latents and pixels of two jobs in chunks of one."""
    return {index: latents_and_pixels(pipeline, [index])[index] for index in (0, 3)}


@pytest.mark.parametrize("chunk", [(3, 0), (4, 3, 2, 1, 0)], ids=["2", "5"])
def test_an_image_does_not_depend_on_chunk_size_or_neighbours(
    pipeline: Pipeline, alone: dict[int, tuple[Tensor, Tensor]], chunk: tuple[int, ...]
) -> None:
    drawn = latents_and_pixels(pipeline, chunk)

    for index, (latents, pixels) in alone.items():
        assert relative_difference(drawn[index][0], latents) <= CHUNK_LATENTS
        assert shades_apart(drawn[index][1], pixels) <= SHADES["torch"]
