"""Measure what each shortcut of the small model costs in quality, and what it gains."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.models.card import read_card
from training import data
from training.quality.drawing import draw_all, noise_levels
from training.quality.features import load_network
from training.quality.fidelity import core_questions
from training.quality.page import as_page
from training.quality.report import Report, measure
from training.quality.sheet import sheet
from training.quality.variants import Variant, chosen, standard
from worker.models.weights import weights_identity

_SHEET_ROWS = 12


def main() -> None:
    """Draw core concepts in every way, and write the report."""
    arguments = _arguments()
    network = load_network()  # before hours of drawing: it may not be installed
    card = read_card(arguments.model)
    dataset = data.load(arguments.data)
    asked = core_questions(dataset, arguments.every)
    levels = noise_levels(card)
    variants = chosen(
        [
            *standard(levels, has_tiny_decoder=card.has_tiny_decoder),
            *(Variant(folder.name, folder=folder) for folder in arguments.exported),
        ],
        arguments.variants,
    )
    drawn = draw_all(
        card,
        variants,
        asked,
        batch=arguments.batch,
        threads=arguments.threads,
        watch=lambda count: print(f"{count} of {len(asked)} prompts drawn", flush=True),
    )
    report = Report(
        model=card.name,
        weights_sha256=weights_identity(card),
        data_sha256=dataset.digest,
        drawings=len(asked),
        batch=arguments.batch,
        noise_levels=levels,
        variants=measure(variants, drawn, asked, dataset, network),
    )
    out: Path = arguments.out
    out.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page = as_page(report)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    pictures = {name: way.pictures for name, way in drawn.items()}
    sheet(pictures, asked, _SHEET_ROWS).save(out.with_suffix(".png"))
    print(page)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.quality", description=__doc__)
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("--data", type=Path, required=True, help="a run's data folder")
    parser.add_argument(
        "--out", type=Path, required=True, help="the report, .json; .md and .png come beside it"
    )
    parser.add_argument("--variants", nargs="*", default=[], help="their names; default all")
    parser.add_argument(
        "--exported",
        type=Path,
        nargs="*",
        default=[],
        help="folders that the model was exported to, at other precisions",
    )
    parser.add_argument("--every", type=int, default=1, help="take only each n-th core concept")
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn at once")
    parser.add_argument("--threads", type=int, default=0, help="0 is one a core")
    return parser.parse_args()


if __name__ == "__main__":
    main()
