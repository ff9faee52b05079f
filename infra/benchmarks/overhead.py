"""What tenstep itself costs the processor for an image of 512 x 512, the networks left out.

    PYTHONPATH=infra:tests python infra/benchmarks/overhead.py

A worker as it is, claims, preparation, scheduler, guidance, books in Postgres and all, whose
networks return zeros. Encoding (PNG and thumbnail) and the store are measured apart, by the
processor time of their threads, and not counted; nor is the queue's message, one a chunk. Beside
it, in turn: diffusers' loop around such networks, as its own pipeline goes, with no queue and no
books; its PNG is not counted either. Processor time is less moved by neighbours than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from diffusers import DPMSolverMultistepScheduler
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import CLIPTokenizer

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Job
from shared.domain.identifiers import new_id
from shared.messaging.contracts import RenderChunk
from shared.models.card import ModelCard, read_json
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from shared.telemetry.logs import configure_logs
from support.factories import add_batch, dispatch
from support.postgres import run_postgres
from worker.backends.base import BackendRecord
from worker.devices import Device
from worker.models.networks import silence_libraries
from worker.models.tokenizer import PromptTokenizer
from worker.pipeline import Pipeline
from worker.process import WorkerProcess, start_process
from worker.slow_store import SlowStore

MODEL = "decidiffusion-2.0"
SIDE = 512
CHUNK = 8
"""Jobs a chunk by default, and so a pass on a GPU; calibration may find that more are better."""
PASSES = (1, CHUNK, 2 * CHUNK)
TOKENS, WIDTH = 77, 768


class NullBackend:
    """Networks that cost nothing: every tensor that they return is zeros made before."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._zeros: dict[tuple[int, ...], Tensor] = {}

    @property
    def compiled_sizes(self) -> None:
        """Any size."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        return 4, height // 8, width // 8

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Return text tokens (B, T, D)."""
        return self._of(len(token_ids), TOKENS, WIDTH)

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        return self._of(*sample.shape)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, height, width, 3), uint8."""
        return self._of(len(latents), SIDE, SIDE, 3, dtype=torch.uint8)

    def to_device(self, tensor: Tensor) -> Tensor:
        """Leave it where it is."""
        return tensor

    def beside(self) -> AbstractContextManager[None]:
        """Have nothing run beside nothing."""
        return nullcontext()

    def synchronize(self) -> None:
        """Wait for nothing."""

    def describe(self) -> BackendRecord:
        """Tell that nothing draws."""
        return BackendRecord(
            backend="null",
            backend_version="0",
            precision="none",
            threads=None,
            device="cpu",
            device_name="none",
            model=self._card.name,
            weights_sha256="none",
            licence=self._card.licence,
            note="No network ran.",
        )

    def _of(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        if shape not in self._zeros:
            self._zeros[shape] = torch.zeros(shape, dtype=dtype)
        return self._zeros[shape]


class Aside:
    """Processor time of what is not counted, by what it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function, so that what it takes is put aside."""

        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                taken = time.thread_time() - begin
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + taken

        return call

    @property
    def all(self) -> float:
        """Sum of it."""
        return sum(self.seconds.values())


class TimedStore(SlowStore):
    """Puts what it takes aside."""

    def __init__(self, store: ObjectStore, aside: Aside) -> None:
        super().__init__(store, 0)
        self._put = aside.timed("store", store.put)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object."""
        self._put(key, data, content_type)


@contextmanager
def started_worker(
    folder: Path, url: str, card: ModelCard, images_per_pass: int, aside: Aside
) -> Iterator[WorkerProcess]:
    """Have a worker with null networks."""
    settings = Settings(
        data_dir=folder,
        database_url=SecretStr(url),
        model=card.name,
        device="cpu",
        images_per_pass=images_per_pass,
    )

    def load(found: ModelCard, _device: Device, **_: Any) -> Pipeline:
        scheduler = read_json(found.folder / "scheduler" / "scheduler_config.json")
        return Pipeline(NullBackend(found), PromptTokenizer(found), scheduler)

    with (
        patch("worker.loading.load_pipeline", load),
        patch("worker.runtime.open_store", lambda found: TimedStore(open_store(found), aside)),
    ):
        process = start_process(settings, [Device.parse("cpu")], [new_id()])
    yield process
    process.stop()


def tenstep_round(process: WorkerProcess, chunks: Sequence[RenderChunk]) -> None:
    """Draw chunks, two at a time at the device as Celery brings them."""
    with ThreadPoolExecutor(process.places) as pool:
        list(pool.map(process.render, chunks))
    process.wait_for_images()


def dispatched(
    database: Database, card: ModelCard, images: int, chunk: int
) -> Sequence[RenderChunk]:
    """Write a batch, and chunks of it as a dispatcher does."""
    sampler = card.sampler
    with database.write() as session:
        batch = add_batch(session, jobs=images)
        batch.model = card.name
        for job in session.query(Job).where(Job.batch_id == batch.id):
            job.prompt = f"a photo of a red apple number {job.position}, studio light"
            job.width = job.height = SIDE
            job.steps, job.squeeze = sampler.steps, sampler.squeeze
        batch_id = batch.id
        chunks = [dispatch(session, batch_id, jobs=chunk) for _ in range(0, images, chunk)]
    return [RenderChunk(batch_id=batch_id, chunk_id=chunk_id) for chunk_id in chunks]


class Diffusers:
    """The loop of diffusers' own pipeline around null networks, one image at a time."""

    def __init__(self, card: ModelCard) -> None:
        # Its pipelines warn of what is not installed as they are imported.
        silence_libraries()
        from diffusers.image_processor import VaeImageProcessor
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

        self._rescaled = rescale_noise_cfg
        self._card = card
        self._networks = NullBackend(card)
        owner = load_card(card.vocabulary_of) if card.vocabulary_of else card
        self._tokenizer = CLIPTokenizer.from_pretrained(str(owner.folder / "tokenizer"))
        config = read_json(card.folder / "scheduler" / "scheduler_config.json")
        self._scheduler = DPMSolverMultistepScheduler.from_config(config)
        self._pixels = VaeImageProcessor(vae_scale_factor=8)
        self._decoded = torch.zeros(1, 3, SIDE, SIDE)

    @torch.inference_mode()
    def draw(self, seed: int) -> None:
        """Draw an image up to its pixels, as PIL has them."""
        prompt = f"a photo of a red apple number {seed}, studio light"
        context = torch.cat([self._encoded(""), self._encoded(prompt)])
        scheduler, sampler = self._scheduler, self._card.sampler
        scheduler.set_timesteps(sampler.evaluations)
        noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.manual_seed(seed))
        latents = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            twice = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            negative, positive = self._networks.denoise(twice, timestep, context).chunk(2)
            guided = negative + 7.5 * (positive - negative)
            guided = self._rescaled(guided, positive, guidance_rescale=0.8)
            latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
        self._pixels.postprocess(self._decoded, output_type="pil", do_denormalize=[True])

    def _encoded(self, text: str) -> Tensor:
        tokens = self._tokenizer(
            text,
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        return self._networks.encode_text(tokens.input_ids)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=96, help="a round, of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    taken = measure(asked.images, asked.rounds)
    medians = {name: median(ms) for name, ms in taken.items()}
    if asked.json:
        print(json.dumps({name.replace(" ", "_"): ms for name, ms in medians.items()}))
        return
    table = Table("CPU ms an image", "median", "least", "most", title=f"{SIDE} x {SIDE}, {MODEL}")
    for name, ms in taken.items():
        table.add_row(name, *(f"{figure:.2f}" for figure in (medians[name], min(ms), max(ms))))
    Console().print(table)


def measure(images: int, rounds: int) -> dict[str, list[float]]:
    """Return processor milliseconds an image by what they were spent on, one a round."""
    card = load_card(MODEL)
    peer = Diffusers(card)
    taken: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        taken.setdefault(name, []).append(1000 * seconds / images)

    aside = Aside()
    with (
        Path(os.devnull).open("w") as nowhere,
        tempfile.TemporaryDirectory(prefix="tenstep-overhead-") as folder,
        run_postgres() as postgres,
        patch("worker.publish.encode_png", aside.timed("PNG", _publishing("encode_png"))),
        patch(
            "worker.publish.encode_thumbnail",
            aside.timed("thumbnail", _publishing("encode_thumbnail")),
        ),
    ):
        configure_logs(nowhere)
        url = postgres.url(postgres.create_database())
        database = Database(url)
        migrate(database)
        for images_per_pass in PASSES:
            chunk = max(CHUNK, images_per_pass)
            with started_worker(Path(folder), url, card, images_per_pass, aside) as process:
                tenstep_round(process, dispatched(database, card, chunk, chunk))  # warm
                for _ in range(rounds):
                    aside.seconds.clear()
                    # What producers do is not a worker's.
                    chunks = dispatched(database, card, images, chunk)
                    begin = time.process_time()
                    tenstep_round(process, chunks)
                    whole = time.process_time() - begin
                    note(f"tenstep, passes of {images_per_pass}", whole - aside.all)
                    for name, seconds in aside.seconds.items():
                        note(f"not counted: {name}, passes of {images_per_pass}", seconds)
                    begin = time.process_time()
                    for seed in range(images):
                        peer.draw(seed)
                    note("diffusers' loop, no queue, no books", time.process_time() - begin)
        database.close()
    return taken


def _publishing(name: str) -> Callable[..., Any]:
    import worker.publish

    function: Callable[..., Any] = getattr(worker.publish, name)
    return function


if __name__ == "__main__":
    main()
