from __future__ import annotations

import pytest

from shared.errors import ConfigurationError
from worker.devices import Device, pin_environment


@pytest.mark.parametrize(
    ("text", "kind", "index", "again"),
    [("cpu", "cpu", None, "cpu"), ("cuda", "cuda", 0, "cuda:0"), ("cuda:3", "cuda", 3, "cuda:3")],
)
def test_a_device_is_read_and_written(text: str, kind: str, index: int | None, again: str) -> None:
    device = Device.parse(text)
    assert (device.kind, device.index, str(device)) == (kind, index, again)


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "cuda:0;rm"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no such device"):
        Device.parse(text)


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
