"""Denoisers exported in int8: that they draw, that their records tell, and who refuses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.domain.prompts import ImageSettings
from shared.errors import ConfigurationError
from shared.models.card import ModelCard, read_card
from support.tiny_model import write_tiny_model
from worker.devices import Device
from worker.export.export import export_model
from worker.loading import load_pipeline
from worker.models.exported import ExportPrecision
from worker.qaic.compile import make_order

INT8 = (ExportPrecision.INT8, ExportPrecision.INT8_STATIC)


@pytest.fixture(scope="module", params=INT8)
def precision(request: pytest.FixtureRequest) -> ExportPrecision:
    found: ExportPrecision = request.param
    return found


@pytest.fixture(scope="module")
def exported(precision: ExportPrecision, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    folder = tmp_path_factory.mktemp(precision)
    source = read_card(write_tiny_model(folder / "tiny"))
    export_model(source, folder / "onnx", precision=precision)
    return read_card(folder / "onnx")


def test_it_draws_and_its_record_and_name_tell(
    exported: ModelCard, precision: ExportPrecision
) -> None:
    pipeline = load_pipeline(exported, Device.parse("cpu"), threads=1)
    settings = ImageSettings(
        prompt="a", seed=1, width=64, height=64, **exported.sampler.model_dump()
    )

    (drawn,) = pipeline.draw([settings])

    assert drawn.pixels.std() > 1
    assert pipeline.describe().precision == precision
    assert pipeline.describe().model == exported.name == f"tiny-{precision}"


def test_no_card_takes_it(exported: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="for the processor alone"):
        make_order(exported, [], 1, "ai100-std")
    with pytest.raises(ConfigurationError, match="for the processor alone"):
        load_pipeline(exported, Device.parse("qaic:0"), models_dir=tmp_path)
