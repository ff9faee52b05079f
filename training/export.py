"""Write a trained model as a diffusers folder, in half precision, with a card and a record."""

from __future__ import annotations

import copy
import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from shared.models.card import CARD
from training.config import RunConfig
from training.data import emoji
from training.data.dataset import load_dataset
from training.data.notice import NOTICE, model_notice, notice_of_other_data
from training.data.sources import open_source
from training.denoiser import stage_name
from training.sample import Model
from worker.diffusion.schedule import build_scheduler
from worker.models.weights import hash_weights

_PACKAGES = (
    *("torch", "accelerate", "diffusers", "transformers", "tokenizers", "safetensors"),
    *("numpy", "pillow"),
)
_CURVE_POINTS = 40
UNGUIDED = "Draws without guidance: a negative prompt changes nothing."
"""What a model's card says that needs none."""


def export(run: RunConfig, model: Model, work: Path, out: Path) -> None:
    """Write the whole folder; `work` holds the data, the tokenizer and the stages' logs."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(work / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    _half(model.networks.text_encoder).save_pretrained(out / "text_encoder")
    _save_vae(model.vae, out / "vae")
    _save_scheduler(run, out / "scheduler")
    _save_denoiser(model.networks.denoiser, out / "flexible_unet")
    _write_json(out / "model_index.json", _index())
    _write_json(out / "training.json", record(run, model, work))
    (out / NOTICE).write_text(_notice(run, work), "utf-8")
    for weights in out.rglob("*.safetensors"):
        weights.chmod(0o644)
    _write_json(out / CARD, card(run) | {"weights_sha256": hash_weights(out)})


def _notice(run: RunConfig, work: Path) -> str:
    if run.data.source == "emoji":
        return model_notice(run.title, emoji.works())
    return notice_of_other_data(run.title, run.data.licence, work / "data")


def _half(module: Any) -> Any:
    return copy.deepcopy(module).half()


def _save_vae(vae: Any, folder: Path) -> None:
    _half(vae).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    # Where it was read from is nobody's business.
    config.pop("_name_or_path", None)
    _write_json(folder / "config.json", config)


def _save_denoiser(denoiser: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", {"configurations": denoiser.config.model_dump(mode="json")})
    weights = {name: weight.half().contiguous() for name, weight in denoiser.state_dict().items()}
    save_file(weights, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def _save_scheduler(run: RunConfig, folder: Path) -> None:
    build_scheduler().save_pretrained(folder)
    if (grid := run.sample.timesteps) is not None:
        path = folder / "scheduler_config.json"
        searched = {"searched_timesteps": {str(len(grid)): grid}}
        _write_json(path, json.loads(path.read_text("utf-8")) | searched)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": version("diffusers"),
        "flexible_unet": ["worker.models.unet", "UNetNAS"],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def card(run: RunConfig) -> dict[str, Any]:
    """Return the model's card, without its weights' hash."""
    return {
        "name": run.name,
        "title": run.title,
        "licence": run.data.licence or "Apache-2.0",
        "notice": NOTICE,
        "width": run.data.image_size,
        "height": run.data.image_size,
        "sampler": {
            **_grid(run),
            "guidance_scale": run.sample.guidance_scale,
            "guidance_rescale": run.sample.guidance_rescale,
        },
        "max_prompt_tokens": run.tokenizer.max_tokens,
        **({"note": UNGUIDED} if run.sample.guidance_scale == 1 else {}),
    }


def _grid(run: RunConfig) -> dict[str, Any]:
    """Return the card's words for the timesteps that the denoiser was trained for."""
    sample = run.sample
    if sample.timesteps is not None:
        return {"scheduler": "searched", "steps": len(sample.timesteps), "squeeze": None}
    return {"steps": sample.grid_steps, "squeeze": sample.squeeze}


def record(run: RunConfig, model: Model, work: Path) -> dict[str, Any]:
    """Return what was trained, on what, for how long, and how the losses fell."""
    return {
        "config": _published(run),
        "data": _data(run, work),
        "parameters": {
            "text_encoder": parameter_count(model.networks.text_encoder),
            "denoiser": parameter_count(model.networks.denoiser),
            "vae": parameter_count(model.vae),
        },
        "stages": {name: curve(work / f"{name}.jsonl") for name in _stages(run)},
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _stages(run: RunConfig) -> list[str]:
    """Return the run's own stages: others that began as it did are logged beside them."""
    phases = [stage_name(phase) for phase in run.denoiser.phases]
    return ["autoencoder", "text", *phases, "decoder"]


def _published(run: RunConfig) -> dict[str, Any]:
    """Return the configuration; of its paths the names, for where they lie is nobody's business."""
    document = run.model_dump(mode="json")
    data, words = document["data"], document["tokenizer"]
    data["paths"] = [Path(path).name for path in data["paths"]]
    for section, key in ((data, "concepts"), (data, "notice"), (words, "folder")):
        section[key] = Path(section[key]).name
    return document


def _data(run: RunConfig, work: Path) -> dict[str, Any]:
    if run.data.source != "emoji":
        return {"shards": len(open_source(run.data))}
    data = load_dataset(work / "data")
    return {
        "sha256": data.digest,
        "pictures": len(data.rows),
        "concepts": len({row.concept for row in data.rows}),
        "held_out": [f"{row.label} ({row.style})" for row in data.rows if row.split != "train"],
    }


def curve(path: Path) -> list[dict[str, float]]:
    """Return evenly spaced lines of a stage's log, the last one among them."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    stride = max(1, len(lines) // _CURVE_POINTS)
    return lines[::-stride][::-1]


def parameter_count(module: nn.Module) -> int:
    """Return the number of a network's weights."""
    return sum(weight.numel() for weight in module.parameters())
