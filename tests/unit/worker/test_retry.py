from __future__ import annotations

from random import Random

import pytest
import torch

from shared.errors import PermanentRenderError, ServiceUnavailableError, TransientRenderError
from worker.retry import LONGEST_DELAY_SECONDS, DeviceLostError, decide, is_device_lost


@pytest.mark.parametrize(
    ("error", "code", "retries"),
    [
        (PermanentRenderError("no"), "permanent", False),
        (ValueError("a squeeze that does not fit"), "bad_settings", False),
        (TransientRenderError("later"), "transient", True),
        (ServiceUnavailableError("503"), "store_unavailable", True),
        (MemoryError(), "out_of_memory", True),
        (torch.OutOfMemoryError("CUDA out of memory."), "out_of_memory", True),
        (torch.AcceleratorError("CUDA error: out of memory"), "out_of_memory", True),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "out_of_memory",
            True,
        ),
        (RuntimeError("a driver's own"), "unexpected", True),
    ],
)
def test_an_error_is_retried_if_it_may_pass(error: Exception, code: str, *, retries: bool) -> None:
    decision = decide(error, attempts=1, max_attempts=4, random=Random(0))
    assert decision.code == code
    assert decision.message
    assert (decision.delay_seconds is not None) == retries


def test_the_last_attempt_is_not_retried() -> None:
    error = TransientRenderError("later")
    assert decide(error, attempts=4, max_attempts=4, random=Random(0)).delay_seconds is None


@pytest.mark.parametrize("attempts", [1, 2, 5, 50])
def test_the_delay_grows_with_jitter_and_is_bounded(attempts: int) -> None:
    error = TransientRenderError("later")
    delays = {
        decide(error, attempts=attempts, max_attempts=99, random=Random(seed)).delay_seconds
        for seed in range(100)
    }
    assert len(delays) > 90
    assert all(
        0 <= (delay or 0) <= min(LONGEST_DELAY_SECONDS, 2 ** (attempts - 1)) for delay in delays
    )


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (DeviceLostError("qaic:0: a driver's own"), True),
        (RuntimeError("a driver's own"), False),
    ],
)
def test_a_device_is_lost_when_its_driver_refuses_it(error: Exception, *, lost: bool) -> None:
    assert is_device_lost(error) == lost
