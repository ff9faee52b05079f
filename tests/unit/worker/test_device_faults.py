"""Whose fault it is that a worker does not start, and how its supervisor is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.worker_ends import read_end
from shared.errors import ConfigurationError, DeviceFaultError
from worker.device_faults import tell_why
from worker.retry import DeviceLostError


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


OF_DEVICES = [
    DeviceFaultError("cuda:0 is in use"),
    DeviceLostError("an illegal memory access was encountered"),
    OutOfMemoryError("CUDA out of memory"),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("Found no NVIDIA driver on your system."),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
]
OF_OTHERS = [
    ConfigurationError("no price is set for device kind 'cuda'"),
    RuntimeError("size mismatch for conv_in.weight"),
    ValueError("CUDA error in a text that somebody wrote"),
]


def told(error: Exception, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Have a worker say why it ends; returns its log."""
    tell_why(error)
    log = folder / "worker.log"
    log.write_text(f"x\n{capsys.readouterr().err}", "utf-8")
    return log


@pytest.mark.parametrize("error", OF_DEVICES, ids=str)
def test_a_supervisor_is_told_that_the_device_is_to_blame(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = told(error, tmp_path, capsys)
    end = read_end(log, 1, was_ready=False)
    assert (end.reason, end.is_of_device, end.is_certain) == (str(error), True, False)
    assert read_end(log, DeviceFaultError.exit_code, was_ready=False).is_certain


@pytest.mark.parametrize("error", OF_OTHERS, ids=str)
def test_a_supervisor_is_told_of_what_is_wrong_on_every_device(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = told(error, tmp_path, capsys)
    with pytest.raises(ConfigurationError) as caught:
        read_end(log, 1, was_ready=False)
    assert str(error) in str(caught.value)


def test_what_to_do_about_it_is_told_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = told(ConfigurationError("not compiled", hint="tenstep model compile"), tmp_path, capsys)
    with pytest.raises(ConfigurationError, match="not compiled") as caught:
        read_end(log, 2, was_ready=False)
    assert caught.value.hint == "tenstep model compile"


def test_of_a_drivers_many_lines_the_first_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_why(DeviceLostError("CUDA error: unspecified launch failure\nFor debugging consider …"))
    assert capsys.readouterr().err == "device fault: CUDA error: unspecified launch failure\n"


def test_a_worker_that_says_nothing_is_told_of_by_its_status(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"\xff" * 100_000 + b"\nerror: of an earlier image\n")
    end = read_end(log, -9, was_ready=True)
    assert (end.reason, end.is_of_device) == ("its process ended with status -9 at work", False)
