"""What loading a checkpoint takes, measured from outside by the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from support.families import FLEXIBLE
from worker.models.unet import UNetNAS

WIDE: dict[str, Any] = FLEXIBLE | {
    "cross_attention_dim": 256,
    "down_blocks_in_channels": [128, 128, 256],
    "down_blocks_out_channels": [128, 256, 512],
    "prev_output_channels": [512, 512, 256],
    "temb_dim": 512,
}
MOST = 1.2
"""Times the size of the loaded network, at the highest point."""

LOADER = """
import json, sys
import torch
from pathlib import Path
from worker.models.unet import UNetNAS
from worker.models.weights import load_strictly

def kilobytes(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])

config, path = json.loads(sys.argv[1]), Path(sys.argv[2])
with torch.device("meta"):
    network = UNetNAS(config)
before = kilobytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
load_strictly(network, path)
size = sum(tensor.nbytes for tensor in network.state_dict().values())
print(json.dumps({"peak": (kilobytes("VmHWM") - before) * 1024, "size": size}))
"""


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_the_peak_stays_near_the_size_of_the_network(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in UNetNAS(WIDE).state_dict().items()}
    ones = {name: torch.ones(shape) for name, shape in shapes.items()}
    if suffix == "bin":
        torch.save(ones, path)
    else:
        save_file(ones, path)
    done = subprocess.run(
        [sys.executable, "-c", LOADER, json.dumps(WIDE), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )

    measured = json.loads(done.stdout)
    assert measured["size"] > 200e6  # large against what else a process holds
    assert measured["peak"] < MOST * measured["size"]
