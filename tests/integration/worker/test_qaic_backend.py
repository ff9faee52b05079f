"""Drawing on the emulated Cloud AI 100: what fits, what is refused, and what a lost card does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shared.domain.prompts import ImageSettings
from shared.errors import ConfigurationError, DeviceFaultError, PermanentRenderError
from shared.models.card import ModelCard, read_card
from support.qaic import SIZES, STATE, compiled, exported_tiny, tell
from worker.backends.qaic_backend import QaicBackend
from worker.devices import Device
from worker.loading import load_pipeline
from worker.pipeline import Pipeline
from worker.qaic.cards import find_cards
from worker.qaic.loaded import LoadedPrograms
from worker.qaic.store import QpcStore, StoredQpc
from worker.retry import is_device_lost

CARD = Device.parse("qaic:0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qaic")


@pytest.fixture(scope="module")
def card(folder: Path) -> ModelCard:
    card = exported_tiny(folder)
    compiled(card, folder)
    return card


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STATE, str(tmp_path / "cards"))
    return tmp_path / "cards"


def load(card: ModelCard, models_dir: Path, device: Device = CARD, **options: str) -> Pipeline:
    return load_pipeline(card, device, threads=1, models_dir=models_dir, **options)  # type: ignore[arg-type]


def backend_of(pipeline: Pipeline) -> QaicBackend:
    assert isinstance(pipeline.backend, QaicBackend)
    return pipeline.backend


def job(card: ModelCard, seed: int, width: int = 64, height: int = 64) -> ImageSettings:
    settings = card.sampler.model_dump() | {"steps": 2, "squeeze": None}
    return ImageSettings(prompt=f"apple {seed}", seed=seed, width=width, height=height, **settings)


def test_all_sizes_that_were_compiled_are_drawn(card: ModelCard, folder: Path) -> None:
    pipeline = load(card, folder)

    assert backend_of(pipeline).compiled_sizes == list(SIZES)
    assert backend_of(pipeline).images_per_pass == 1
    for width, height in SIZES:
        (drawn,) = pipeline.draw([job(card, 1, width, height)])
        assert drawn.pixels.shape == (height, width, 3)


def test_another_size_fails_for_good_and_names_those_that_there_are(
    card: ModelCard, folder: Path
) -> None:
    with pytest.raises(PermanentRenderError, match=r"128x64 .* there are 64x64, 88x72") as refused:
        load(card, folder).draw([job(card, 1, width=128)])

    assert refused.value.hint == "tenstep model compile tiny --target qaic --size 128x64"


def test_a_model_for_torch_takes_the_same_programs(card: ModelCard, folder: Path) -> None:
    source = read_card(folder / "tiny")
    assert source.backend == "torch"

    drawn = load(source, folder).sample([job(card, 1)])

    assert torch.equal(drawn, load(card, folder).sample([job(card, 1)]))
    assert load(source, folder).describe().backend == "qaic"


def test_a_program_of_several_images_draws_any_number(card: ModelCard, tmp_path: Path) -> None:
    compiled(card, tmp_path, sizes=[(64, 64)], images=2)
    pipeline = load(card, tmp_path)
    assert backend_of(pipeline).images_per_pass == 2

    together = pipeline.sample([job(card, seed) for seed in (1, 2, 3)])

    for index, seed in enumerate((1, 2, 3)):
        alone = pipeline.sample([job(card, seed)])[0]
        assert torch.allclose(together[index], alone, atol=1e-4)


def test_images_without_guidance_are_drawn_too(card: ModelCard, folder: Path) -> None:
    plain = [job(card, seed).model_copy(update={"guidance_scale": 1.0}) for seed in (1, 2, 3)]
    pipeline = load(card, folder)

    together = pipeline.sample(plain)

    assert torch.allclose(together[2], pipeline.sample(plain[2:])[0], atol=1e-4)


def test_what_was_not_compiled_says_how_to(card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="tiny was not compiled") as refused:
        load(card, tmp_path)

    assert refused.value.hint == "tenstep model compile tiny --target qaic"


def test_programs_for_other_weights_are_refused(card: ModelCard, folder: Path) -> None:
    other = card.model_copy(update={"weights_sha256": "0" * 64})

    with pytest.raises(ConfigurationError, match="was compiled for other weights") as refused:
        load(other, folder)

    assert str(card.weights_sha256) in refused.value.message
    assert "0" * 64 in refused.value.message


def test_programs_of_another_sdk_are_refused(
    card: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qaic.__version__", "1.99-emulator")

    with pytest.raises(
        ConfigurationError, match=r"by SDK 1\.20\.2-emulator, and this host has SDK 1\.99-emulator"
    ) as refused:
        load(card, folder)

    assert refused.value.hint == "tenstep model compile tiny --target qaic"


def test_programs_for_more_cores_than_the_card_has_are_refused(
    card: ModelCard, tmp_path: Path
) -> None:
    # The emulated cards have 14, as Standard cards do, and 14 is what the others' programs take.
    compiled(card, tmp_path, sizes=[(64, 64)], sku="ai100-ultra")
    store = QpcStore(tmp_path)
    for qpc in store.all():
        record = qpc.record.model_copy(update={"cores": 16})
        (qpc.folder / "qpc.json").write_text(record.model_dump_json(), "utf-8")

    with pytest.raises(ConfigurationError, match="take 16 cores, and the card has 14") as refused:
        load(card, tmp_path)

    assert refused.value.hint == "tenstep model compile tiny --target qaic --sku ai100-std"


def test_a_program_that_was_tampered_with_is_refused(card: ModelCard, tmp_path: Path) -> None:
    compiled(card, tmp_path, sizes=[(64, 64)])
    for qpc in QpcStore(tmp_path).all():
        qpc.path.write_bytes(qpc.path.read_bytes() + b"\0")

    with pytest.raises(ConfigurationError, match=r"programqpc\.bin: has changed"):
        load(card, tmp_path)


def test_a_card_in_error_and_one_that_is_not_there_are_refused(
    card: ModelCard, folder: Path, state: Path
) -> None:
    with pytest.raises(DeviceFaultError, match="no card qaic:4; this host has qaic:0"):
        load(card, folder, Device.parse("qaic:4"))
    tell(state, 0, "error")
    with pytest.raises(DeviceFaultError, match=r"qaic:0: the card is not ready: Status:Error"):
        load(card, folder)


@pytest.mark.parametrize("behaviour", ["error", "vanish", "fail"])
def test_a_card_that_fails_while_it_draws_is_lost(
    card: ModelCard, folder: Path, state: Path, behaviour: str
) -> None:
    pipeline = load(card, folder)
    pipeline.draw([job(card, 1)])
    tell(state, 0, behaviour)

    with pytest.raises(Exception, match="qaic:0") as lost:
        pipeline.draw([job(card, 1)])

    assert is_device_lost(lost.value)


def test_a_card_that_is_lost_before_another_program_is_loaded_is_lost(
    card: ModelCard, folder: Path, state: Path
) -> None:
    loaded = LoadedPrograms(0, 0)
    tell(state, 0, "error")

    with pytest.raises(DeviceFaultError, match="qaic:0: Error") as lost, loaded.use(any_of(folder)):
        pass

    assert is_device_lost(lost.value)


def any_of(folder: Path) -> StoredQpc:
    return QpcStore(folder).all()[0]


def test_where_not_all_programs_fit_that_used_longest_ago_gives_way(
    card: ModelCard, folder: Path
) -> None:
    first, second, third = sorted(QpcStore(folder).all(), key=lambda qpc: qpc.size)[-3:]
    room = int((first.size + third.size) / 0.9) + 1000
    loaded = LoadedPrograms(0, room)

    for qpc in (first, second, first, third):
        with loaded.use(qpc) as session:
            assert session.batch == qpc.record.batch

    assert loaded.loaded == [first.folder.name, third.folder.name]


def test_a_program_in_use_is_not_taken_off(card: ModelCard, folder: Path) -> None:
    first, second = sorted(QpcStore(folder).all(), key=lambda qpc: qpc.size)[-2:]
    loaded = LoadedPrograms(0, int(first.size / 0.9) + 1000)

    with loaded.use(first), loaded.use(second):
        assert loaded.loaded == [first.folder.name, second.folder.name]


def test_a_card_that_says_that_it_is_full_makes_room(
    card: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = sorted(QpcStore(folder).all(), key=lambda qpc: qpc.size)
    largest = programs[-1].size
    monkeypatch.setenv("QAIC_EMULATOR_DRAM_MB", str(-(-largest // 10**6)))
    monkeypatch.setenv("QAIC_EMULATOR_CARDS", "2")
    loaded = LoadedPrograms(1, memory_bytes=0)

    for qpc in programs[-2:]:
        with loaded.use(qpc):
            pass

    assert loaded.loaded == [programs[-1].folder.name]


def test_the_backend_is_chosen_by_the_device(card: ModelCard, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="backend qaic draws on Cloud AI 100, not on cpu"):
        load(card, folder, Device.parse("cpu"), backend="qaic")
    with pytest.raises(ConfigurationError, match="QAicExecutionProvider"):
        load(card, folder, backend="onnxruntime")
    with pytest.raises(ConfigurationError, match="compiled in float16"):
        load(card, folder, precision="float32")


def test_the_emulated_card_calls_itself_one() -> None:
    (found,) = find_cards()

    assert (found.qid, found.is_ready, found.sku, found.cores) == (0, True, "ai100-std", 14)
    assert found.is_emulated
    assert "emulator" in found.name
