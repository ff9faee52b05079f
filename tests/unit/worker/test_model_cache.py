"""Which models stay in a device's memory, and which makes way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shared.models.card import ModelCard, read_card
from support.families import write_family
from worker.backends.base import BackendRecord
from worker.devices import Device
from worker.model_cache import ModelCache

NAMES = ("first", "second", "third")
MANY_BYTES = 2**40


class Drawer:
    """A loaded model, as far as the cache looks at it."""

    compiled_sizes = None

    def __init__(self, name: str) -> None:
        self._name = name

    def prepare(self, jobs: Sequence[Any]) -> Any:
        raise NotImplementedError

    def draw_prepared(self, prepared: Any, *, check_safety: bool = True) -> list[Any]:
        raise NotImplementedError

    def describe(self) -> BackendRecord:
        return BackendRecord(
            backend="torch",
            backend_version="0",
            precision="float32",
            threads=1,
            device="cpu",
            device_name="a device",
            model=self._name,
            weights_sha256="00",
            licence="unknown",
            note=None,
        )


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return read_card(write_family("sd-1.5", tmp_path_factory.mktemp("models") / "a model"))


def cache_of(
    card: ModelCard,
    most_bytes: int,
    opens: Callable[[ModelCard], Any] = lambda card: Drawer(card.name),
) -> ModelCache:
    """Make a cache of three models of equal size."""
    cards = [card.model_copy(update={"name": name}) for name in NAMES]
    return ModelCache(cards, Device.parse("cpu"), opens, most_bytes, {})


def bytes_of_one(card: ModelCard) -> int:
    return cache_of(card, MANY_BYTES).load("first").bytes_


def test_the_one_that_was_not_used_longest_makes_way(card: ModelCard) -> None:
    cache = cache_of(card, 2 * bytes_of_one(card))
    first, second = cache.load("first"), cache.load("second")
    with cache.hold("first") as held:
        assert held is first

    cache.load("third")

    assert list(cache.in_memory) == ["first", "third"]
    assert first.pipeline is not None
    with pytest.raises(RuntimeError, match="second has made way"):
        _ = second.pipeline
    assert second.drawn_by.model == "second", "its last images are still on their way"


def test_one_that_is_larger_than_the_bound_is_loaded_alone(card: ModelCard) -> None:
    cache = cache_of(card, 1)
    cache.load("first")
    cache.load("second")

    assert list(cache.in_memory) == ["second"]


def test_where_a_device_has_less_room_than_was_thought_all_others_make_way(
    card: ModelCard,
) -> None:
    """Its first try finds no room; the second has the device alone."""

    def opens(card: ModelCard) -> Drawer:
        if card.name == "third" and cache.in_memory:
            raise MemoryError("CUDA out of memory")
        return Drawer(card.name)

    cache = cache_of(card, MANY_BYTES, opens)
    for name in NAMES[:2]:
        cache.load(name)

    cache.load("third")

    assert list(cache.in_memory) == ["third"]


def test_what_does_not_load_for_another_reason_costs_no_other_its_place(card: ModelCard) -> None:
    def opens(card: ModelCard) -> Drawer:
        if card.name == "second":
            raise ValueError("broken")
        return Drawer(card.name)

    cache = cache_of(card, MANY_BYTES, opens)
    cache.load("first")

    with pytest.raises(ValueError, match="broken"):
        cache.load("second")
    assert list(cache.in_memory) == ["first"]


def test_one_that_is_held_stays_until_it_is_let_go(card: ModelCard) -> None:
    cache = cache_of(card, 1)
    first = cache.load("first")
    loading = threading.Thread(target=cache.load, args=("second",))
    with cache.hold("first"):
        loading.start()
        loading.join(0.2)
        assert loading.is_alive()
        assert first.pipeline is not None
    loading.join(10)

    assert list(cache.in_memory) == ["second"]
    with cache.hold("first") as gone:
        assert gone is None


def test_lessons_and_rates_outlive_a_loading(card: ModelCard) -> None:
    cache = cache_of(card, 1)
    before = cache.load("first")
    before.fits[64, 64] = 3
    cache.load("second")
    after = cache.load("first")

    assert after.fits == {(64, 64): 3}
    assert after.rates is before.rates
    assert cache.load("second").fits == {}


def test_weights_on_disk_tell_what_a_model_takes(card: ModelCard) -> None:
    files = card.folder.rglob("*.safetensors")
    assert bytes_of_one(card) == sum(path.stat().st_size for path in files)
