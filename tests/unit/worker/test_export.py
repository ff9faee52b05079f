"""Exported folders: what is in them, what they refuse, and that nothing is left half done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch

from shared.domain.prompts import ImageSettings
from shared.errors import ConfigurationError, InputError, PermanentRenderError, TenstepError
from shared.models.card import ModelCard, read_card, read_json
from support.families import write_safety_checker
from support.tiny_model import CONTEXT_WIDTH, MAX_TOKENS, write_json, write_tiny_model
from worker.backends.onnx_backend import OnnxBackend
from worker.backends.onnx_sessions import CPU, CUDA, QAIC, providers_for
from worker.devices import Device
from worker.export.export import ExportReport, export_model
from worker.loading import load_pipeline
from worker.models.weights import hash_weights, weights_identity

COMPONENTS = ("text_encoder", "denoiser", "vae_decoder")
EXTERNAL_OVER = 200_000
PROCESSOR = Device.parse("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    folder = write_tiny_model(tmp_path_factory.mktemp("source") / "tiny")
    write_safety_checker(folder)
    (folder / "NOTICE").write_text("Whose weights these are.", "utf-8")
    return read_card(folder)


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What `exported` was told while it was made."""
    return []


@pytest.fixture(scope="module")
def exported(
    source: ModelCard, told: list[str], tmp_path_factory: pytest.TempPathFactory
) -> ModelCard:
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    export_model(source, folder, report=told.append)
    return read_card(folder)


@pytest.fixture(scope="module")
def beside(source: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The denoiser's weights in a file of their own; written into an empty folder."""
    folder = tmp_path_factory.mktemp("beside")
    export_model(source, folder, external_over=EXTERNAL_OVER)
    return read_card(folder)


@pytest.fixture(scope="module")
def backend(exported: ModelCard) -> OnnxBackend:
    return OnnxBackend(exported, PROCESSOR, threads=1)


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def job(card: ModelCard) -> ImageSettings:
    return ImageSettings(prompt="a", seed=1, width=64, height=64, **card.sampler.model_dump())


def test_graphs_have_the_recipes_opset_and_symbols_for_all_sizes(exported: ModelCard) -> None:
    graphs = {name: onnx.load(exported.folder / name / "model.onnx") for name in COMPONENTS}

    assert [
        [(own.domain, own.version) for own in graph.opset_import] for graph in graphs.values()
    ] == [[("", 14)]] * 3
    assert {
        name: {value.name: dims(value) for value in (*graph.graph.input, *graph.graph.output)}
        for name, graph in graphs.items()
    } == {
        "text_encoder": {
            "input_ids": ["batch", MAX_TOKENS],
            "last_hidden_state": ["batch", MAX_TOKENS, CONTEXT_WIDTH],
        },
        "denoiser": {
            "sample": ["batch", 4, "height", "width"],
            "timestep": ["batch"],
            "encoder_hidden_states": ["batch", MAX_TOKENS, CONTEXT_WIDTH],
            "out_sample": ["batch", 4, "height", "width"],
        },
        "vae_decoder": {
            "latents": ["batch", 4, "height", "width"],
            "image": ["batch", 3, "image_height", "image_width"],
        },
    }
    timestep = graphs["denoiser"].graph.input[1].type.tensor_type.elem_type
    assert timestep == onnx.TensorProto.INT64


def test_the_folder_is_the_same_model_to_all_who_ask(
    source: ModelCard, exported: ModelCard
) -> None:
    expected = source.model_copy(
        update={"folder": exported.folder, "weights_sha256": weights_identity(source)}
    )

    assert exported == expected
    assert exported.backend == "onnxruntime"


def test_the_folder_holds_what_a_worker_reads_and_no_other_weights(exported: ModelCard) -> None:
    files = {
        path.relative_to(exported.folder).as_posix()
        for path in exported.folder.rglob("*")
        if path.is_file()
    }

    assert files == {
        "NOTICE",
        "denoiser/model.onnx",
        "export.json",
        "feature_extractor/preprocessor_config.json",
        "flexible_unet/config.json",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json",
        "tenstep.json",
        "text_encoder/config.json",
        "text_encoder/model.onnx",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "vae/config.json",
        "vae_decoder/model.onnx",
    }


def test_the_record_tells_how_it_was_made_and_how_it_compares(
    source: ModelCard, exported: ModelCard
) -> None:
    record = ExportReport.model_validate(read_json(exported.folder / "export.json"))

    assert (record.model, record.opset, record.torch) == ("tiny", 14, torch.__version__)
    assert record.weights_sha256 == weights_identity(source)
    assert record.files_sha256 == hash_weights(exported.folder)
    assert [component.name for component in record.components] == list(COMPONENTS)
    assert all(
        0 < component.largest_difference <= record.tolerance for component in record.components
    )


@pytest.mark.usefixtures("exported")
def test_progress_is_told_component_by_component(told: list[str]) -> None:
    assert told[0] == "tiny: loading"
    assert [line for line in told if line.endswith("writing")] == [
        f"{name}: writing" for name in COMPONENTS
    ]
    assert told[-1] == "tiny: done"


def test_large_weights_lie_beside_their_graph(beside: ModelCard) -> None:
    record = ExportReport.model_validate(read_json(beside.folder / "export.json"))

    assert [part.has_external_data for part in record.components] == [False, True, False]
    graph = beside.folder / "denoiser" / "model.onnx"
    data = beside.folder / "denoiser" / "model.onnx.data"
    assert data.stat().st_size > EXTERNAL_OVER
    assert graph.stat().st_size < data.stat().st_size / 3
    assert data.stat().st_mode == graph.stat().st_mode


def test_weights_draw_the_same_wherever_they_lie(exported: ModelCard, beside: ModelCard) -> None:
    one, other = (
        load_pipeline(card, PROCESSOR, threads=1).sample([job(card)]) for card in (exported, beside)
    )

    assert torch.equal(one, other)


def test_a_preset_borrows_no_vocabulary_any_more(source: ModelCard, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    shutil.copytree(source.folder, preset, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.rmtree(preset / "tokenizer")
    shutil.rmtree(preset / "safety_checker")
    changes = {"weights": "random", "vocabulary_of": "emoji-64", "note": "A reconstruction."}
    write_json(preset / "tenstep.json", {**read_json(preset / "tenstep.json"), **changes})

    export_model(read_card(preset), tmp_path / "onnx")

    card = read_card(tmp_path / "onnx")
    assert (card.vocabulary_of, card.note) == (None, "A reconstruction.")
    assert (card.folder / "tokenizer" / "vocab.json").is_file()
    assert card.weights_sha256 == weights_identity(read_card(preset))


def test_an_exported_model_with_a_safety_checker_has_its_images_looked_at(
    exported: ModelCard,
) -> None:
    (drawn,) = load_pipeline(exported, PROCESSOR, threads=1).draw([job(exported)])

    assert drawn.is_flagged is False


def keep_a_file(to: Path) -> None:
    to.mkdir()
    (to / "mine.txt").write_text("mine", "utf-8")


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [(keep_a_file, "is not empty"), (Path.touch, "is a file, not a folder")],
)
def test_what_is_there_already_is_left_alone(
    source: ModelCard, tmp_path: Path, prepare: Callable[[Path], None], complaint: str
) -> None:
    prepare(tmp_path / "onnx")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(InputError, match=complaint):
        export_model(source, tmp_path / "onnx")

    assert sorted(tmp_path.rglob("*")) == before


def test_a_graph_that_differs_from_torch_is_an_error_and_leaves_nothing(
    source: ModelCard, tmp_path: Path
) -> None:
    with pytest.raises(TenstepError, match=r"text_encoder: .* differs from torch by"):
        export_model(source, tmp_path / "onnx", tolerance=0.0)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["denoiser: writing", "vae_decoder: comparing with torch"])
def test_an_interrupted_export_leaves_nothing(
    source: ModelCard, tmp_path: Path, stage: str
) -> None:
    def interrupt(line: str) -> None:
        if line == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(source, tmp_path / "onnx", report=interrupt)

    assert not list(tmp_path.iterdir())


def test_a_broken_source_is_named_and_leaves_nothing(source: ModelCard, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(source.folder, broken)
    (broken / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")

    with pytest.raises(ConfigurationError, match="vae"):
        export_model(read_card(broken), tmp_path / "onnx")

    assert list(tmp_path.iterdir()) == [broken]


def test_a_full_disk_is_noticed_before_anything_is_written(
    source: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))

    with pytest.raises(InputError, match=r"needs 0\.0 GB on disk"):
        export_model(source, tmp_path / "onnx")

    assert not list(tmp_path.iterdir())


def test_an_export_is_not_exported_again(exported: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is exported already"):
        export_model(exported, tmp_path / "again")


def test_each_folder_is_drawn_with_by_the_backend_that_it_is_made_for(
    source: ModelCard, exported: ModelCard
) -> None:
    drawn_by = [
        load_pipeline(card, PROCESSOR, threads=1).backend.describe().backend
        for card in (source, exported)
    ]

    assert drawn_by == ["torch", "onnxruntime"]


def test_the_wrong_backend_is_refused_and_the_way_out_is_told(
    source: ModelCard, exported: ModelCard
) -> None:
    with pytest.raises(ConfigurationError, match="a model for torch") as caught:
        load_pipeline(source, PROCESSOR, backend="onnxruntime")
    assert caught.value.hint is not None
    assert "tenstep model export tiny --to DIR" in caught.value.hint

    with pytest.raises(ConfigurationError, match="a model for onnxruntime"):
        load_pipeline(exported, PROCESSOR, backend="torch")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_graphs_are_not_drawn_with_in_another_precision(
    exported: ModelCard, precision: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"precision {precision}"):
        load_pipeline(exported, PROCESSOR, precision=precision)


@pytest.mark.parametrize("part", ["denoiser/model.onnx.data", "vae_decoder/model.onnx"])
def test_a_broken_graph_is_named(beside: ModelCard, tmp_path: Path, part: str) -> None:
    shutil.copytree(beside.folder, tmp_path / "onnx")
    path = tmp_path / "onnx" / part
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(ConfigurationError, match=f"{path.parent.name}/model.onnx: "):
        load_pipeline(read_card(tmp_path / "onnx"), PROCESSOR)


def test_a_timestep_between_two_is_refused_for_good(backend: OnnxBackend) -> None:
    sample, text = torch.zeros(2, 4, 8, 8), torch.zeros(2, MAX_TOKENS, CONTEXT_WIDTH)

    with pytest.raises(PermanentRenderError, match=r"timestep 932\.4 is no whole number"):
        backend.denoise(sample, torch.tensor([932.4, 932.4]), text)
    assert torch.equal(
        backend.denoise(sample, torch.tensor([932.0, 932.0]), text),
        backend.denoise(sample, torch.tensor([932, 932]), text),
    )


def test_an_identity_that_the_card_lost_is_taken_from_the_graphs(
    exported: ModelCard,
) -> None:
    forgetful = OnnxBackend(
        exported.model_copy(update={"weights_sha256": None}), PROCESSOR, threads=1
    )

    assert forgetful.describe().weights_sha256 == hash_weights(exported.folder)


def test_the_processor_is_run_on_whatever_else_there_is() -> None:
    assert providers_for("cpu", available=[CUDA, QAIC, CPU]) == [(CPU, {})]


def test_a_cuda_device_is_named_by_its_number_and_the_processor_fills_in() -> None:
    assert providers_for("cuda", 3, available=[CUDA, CPU]) == [
        (CUDA, {"device_id": "3"}),
        (CPU, {}),
    ]


def test_a_cloud_ai_card_takes_its_compilers_options_from_a_file() -> None:
    assert providers_for("qaic", 5, available=[QAIC, CPU], qaic_config=Path("unet.yaml")) == [
        (QAIC, {"device_id": "5", "config": "unet.yaml"}),
        (CPU, {}),
    ]
    with pytest.raises(ConfigurationError, match="needs a YAML file"):
        providers_for("qaic", 5, available=[QAIC, CPU])


@pytest.mark.parametrize(("kind", "package"), [("cuda", "onnxruntime-gpu"), ("qaic", "Qualcomm")])
def test_a_provider_that_is_missing_is_named_with_what_brings_it(kind: str, package: str) -> None:
    with pytest.raises(ConfigurationError, match="ExecutionProvider") as caught:
        providers_for(kind, 0, available=[CPU])

    assert caught.value.hint is not None
    assert package in caught.value.hint


def test_a_device_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no device of kind 'tpu'"):
        providers_for("tpu", available=[CPU])
