"""Make the model: data, tokenizer, autoencoder, denoiser, export.

Started again, it goes on where it stopped. With --until it ends after a phase, such as
the one before the solver's, and writes what there is then. With --control its last phase
is trained at all noise levels alike: what a fine-tuning to the solver's is compared with.
With --distilled a copy of its model learns, in one phase more, to draw without guidance
what the model draws with it, by half as many predictions.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path

import torch

from training import autoencoder, decoder, denoiser, parallel, text, tokenizer
from training.config import DISTILLED, RunConfig
from training.data.captions import all_captions
from training.data.dataset import load_dataset
from training.data.emoji import build, fetch
from training.data.notice import keep_notice
from training.data.sources import first_captions, open_source
from training.export import export
from training.sample import Model


def make(run: RunConfig, work: Path, downloads: Path, out: Path) -> None:
    """Do every step that is not done yet, and write the finished model to `out`."""
    first_stages(run, work, downloads)
    for stage in (denoiser, decoder):
        parallel.launch(run.processes, stage.train, run, work)
    if parallel.state().is_main_process:
        finish(run, work, out)


def first_stages(run: RunConfig, work: Path, downloads: Path) -> None:
    """Do the steps that come before the denoiser's training and are not done yet.

    Raises:
        InputError: a file that the configuration names is not there, or not what it has to be.
    """
    torch.set_num_threads(run.threads)
    with parallel.main_first():
        prepare(run, work, downloads)
    parallel.launch(run.autoencoder.processes or run.processes, autoencoder.train, run, work)
    parallel.launch(run.processes, text.train, run, work)


def finish(run: RunConfig, work: Path, out: Path) -> None:
    """Write the model that the last phase of the denoiser's training left, to `out`."""
    vae = autoencoder.load(work / "vae")
    decoder.load_into(vae, work)
    networks = denoiser.load_averaged(run, work)
    export(run, Model(tokenizer.load(work / "tokenizer"), networks, vae), work, out)


def prepare(run: RunConfig, work: Path, downloads: Path) -> None:
    """Leave a tokenizer in `work`, of emoji pictures and captions too, of a stream its NOTICE.

    Raises:
        InputError: a file that the configuration names is not there, or not what it has to be.
    """
    if run.data.source != "emoji":
        keep_notice(Path(run.data.notice), work / "data")
    elif not (work / "data" / "images.npz").exists():
        fetch(downloads)
        build(downloads, work / "data", run.data)
    folder = work / "tokenizer"
    if (folder / "tokenizer_config.json").exists():
        return
    if run.tokenizer.folder:
        tokenizer.adopt(run.tokenizer, folder)
    else:
        tokenizer.train(_captions(run, work), run.tokenizer, folder)


def _captions(run: RunConfig, work: Path) -> Iterable[str]:
    """Return what a tokenizer is learned from."""
    if run.data.source != "emoji":
        return first_captions(open_source(run.data), run.tokenizer.captions)
    rows = load_dataset(work / "data").rows
    return (text for row in rows for text in all_captions(row.names, row.style))


def main() -> None:
    """Train a model from its configuration."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("runs"), help="folder of downloads, checkpoints and logs"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the finished model; default: WORK/NAME/model, control or distilled",
    )
    parser.add_argument(
        "--until", metavar="PHASE", help="the last phase of the denoiser; default: all of them"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--control", action="store_true", help="train the last phase without the solver's levels"
    )
    other.add_argument(
        "--distilled", action="store_true", help="teach the model to draw without guidance"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=parallel.LOG_FORMAT)
    result = "model"
    try:
        run = RunConfig.read(arguments.config)
        work = arguments.work / run.name
        if arguments.until:
            run = run.until(arguments.until)
        if arguments.control:
            run, result = run.control(), "control"
        if arguments.distilled:
            run, result = run.distilled(), DISTILLED
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.config}: {error}")
    try:
        make(run, work, arguments.work / "downloads", arguments.out or work / result)
    except KeyboardInterrupt:
        parser.exit(130, f"{work}: was stopped; the same command goes on\n")


if __name__ == "__main__":
    main()
