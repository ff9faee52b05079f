from __future__ import annotations

import pytest

from shared.errors import ConfigurationError
from worker.devices import Device, pin_environment


@pytest.mark.parametrize(
    ("text", "kind", "index", "again"),
    [
        ("cpu", "cpu", None, "cpu"),
        ("cuda", "cuda", 0, "cuda:0"),
        ("cuda:3", "cuda", 3, "cuda:3"),
        ("qaic:7", "qaic", 7, "qaic:7"),
        ("simulated", "simulated", 0, "simulated:0"),
        ("simulated:qaic:4", "simulated", 4, "simulated:qaic:4"),
        ("simulated:cpu", "simulated", 0, "simulated:cpu:0"),
    ],
)
def test_a_device_is_read_and_written(text: str, kind: str, index: int | None, again: str) -> None:
    device = Device.parse(text)
    assert (device.kind, device.index, str(device)) == (kind, index, again)


@pytest.mark.parametrize(
    "text",
    [
        *("", "gpu", "cuda:", "cuda:-1", "cpu:0", "cuda:0;rm", "cuda:0-3", "qaic:cuda:0"),
        *("simulated:tpu:0", "simulated:3-1", "simulated:0-", "simulated:٣", "auto"),
    ],
)
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no such device"):
        Device.parse_all(text)


def test_one_process_may_have_a_range_of_simulated_devices() -> None:
    assert [str(device) for device in Device.parse_all("simulated:8-10")] == [
        *("simulated:8", "simulated:9", "simulated:10")
    ]
    cards = Device.parse_all("simulated:qaic:0-1")
    assert [(card.kind, card.index, card.imitates) for card in cards] == [
        *(("simulated", 0, "qaic"), ("simulated", 1, "qaic"))
    ]
    with pytest.raises(ConfigurationError, match="is 2 devices, where one is wanted"):
        Device.parse("simulated:0-1")


def test_a_process_sees_only_the_device_that_it_is_pinned_to() -> None:
    environment: dict[str, str] = {}
    pin_environment(Device.parse("cuda:2"), cpu_threads=0, environ=environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"

    pin_environment(Device.parse("cpu"), cpu_threads=3, environ=environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("shown", "device", "pinned"),
    [("2,3", "cuda:1", "3"), ("GPU-8932f937", "cuda", "GPU-8932f937"), ("2,3", "cpu", "")],
)
def test_devices_are_counted_among_those_that_a_scheduler_shows(
    shown: str, device: str, pinned: str
) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": shown}
    pin_environment(Device.parse(device), cpu_threads=0, environ=environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == pinned


def test_a_device_that_the_environment_does_not_show_is_refused() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "5"}
    with pytest.raises(ConfigurationError, match=r"cuda:1: CUDA_VISIBLE_DEVICES=5 shows 1"):
        pin_environment(Device.parse("cuda:1"), cpu_threads=0, environ=environment)
