"""Timesteps as exported models take them."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.errors import PermanentRenderError


def whole_timesteps(timestep: Tensor) -> Tensor:
    """Return timesteps (B,) as int64.

    Raises:
        PermanentRenderError: one is no whole number.
    """
    whole = timestep.to(torch.int64)
    if not torch.equal(whole.to(timestep.dtype), timestep):
        found = float(timestep[whole.to(timestep.dtype) != timestep][0])
        raise PermanentRenderError(
            f"timestep {found:g} is no whole number, and exported models take no others",
            hint="Take the scheduler dpmsolver++, or draw with torch.",
        )
    return whole
