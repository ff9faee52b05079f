"""Make the emoji data of a run, or check pictures and captions of one's own."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import ConfigurationError, TenstepError
from shared.process import tell_error
from training.config import RunConfig
from training.data.check import check
from training.data.dataset import Dataset, load_dataset
from training.data.emoji import build, fetch
from training.data.examples import Limits

_EXAMPLES = """\
examples:
  python -m training.data emoji training/configs/emoji-64.toml --work runs
  python -m training.data check "pictures/{000..099}.tar"
  python -m training.data check pictures --json     # .tar files, or metadata.jsonl beside pictures
"""
_CHECK_EXAMPLES = """\
examples:
  python -m training.data check pictures/000.tar
  python -m training.data check "pictures/*.tar" --json
  python -m training.data check folder              # lines of folder/metadata.jsonl:
                                                    # {"file_name": "1.png", "text": "a red apple"}

exit status: 0 all examples are good, 1 some are bad, 2 the source cannot be read
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        status: int = arguments.run(arguments)
    except TenstepError as error:
        return tell_error(error)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.data",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    emoji = commands.add_parser(
        "emoji",
        help="fetch and build the emoji data of a run",
        description="Fetch the packages of emoji with npm, and build a run's data: pictures, "
        "captions, NOTICE and contact.png, which shows every picture.",
    )
    emoji.add_argument("config", type=Path, metavar="CONFIG", help="a run's TOML file")
    emoji.add_argument(
        "--work",
        type=Path,
        default=Path("runs"),
        metavar="RUNS",
        help="folder of downloads and results; default: runs",
    )
    emoji.add_argument("--json", action="store_true", help="print the summary as JSON")
    emoji.set_defaults(run=_emoji)
    checking = commands.add_parser(
        "check",
        help="read all pictures and captions once, and list the bad ones",
        description="Read WebDataset shards (.tar), or a folder with a metadata.jsonl, once.",
        epilog=_CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checking.add_argument(
        "sources", nargs="+", metavar="SOURCE", help=".tar file, pattern in quotes, or folder"
    )
    checking.add_argument("--json", action="store_true", help="print the result as JSON")
    checking.set_defaults(run=_check)
    return parser


def _emoji(arguments: argparse.Namespace) -> int:
    config = _read(arguments.config)
    if config.data.source != "emoji":
        raise ConfigurationError(
            f'{arguments.config}: its source is "{config.data.source}"; there is nothing to build',
            hint=f"python -m training.data check {' '.join(config.data.paths)}",
        )
    folder = arguments.work / config.name / "data"
    fetch(arguments.work / "downloads")
    build(arguments.work / "downloads", folder, config.data)
    summary = summary_of(load_dataset(folder))
    if arguments.json:
        _print_json(summary)
        return 0
    for style, splits in summary["pictures"].items():
        print(f"{style}: " + ", ".join(f"{count} {split}" for split, count in splits.items()))
    print(f"{summary['concepts']} concepts; SHA-256 {summary['digest']}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    report = check(arguments.sources, Limits())
    if arguments.json:
        _print_json(report.document())
    else:
        for flaw in report.flaws:
            print(flaw)
        print(f"{report.good} good, {len(report.flaws)} bad; shards: {report.shards}")
    return 1 if report.flaws else 0


def summary_of(data: Dataset) -> dict[str, Any]:
    """Return numbers of pictures by style and split, of concepts, and the data's digest."""
    pictures: dict[str, Counter[str]] = {}
    for row in data.rows:
        pictures.setdefault(row.style, Counter())[row.split] += 1
    return {
        "pictures": {style: dict(splits) for style, splits in pictures.items()},
        "concepts": len({row.concept for row in data.rows}),
        "digest": data.digest,
    }


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))


def _read(path: Path) -> RunConfig:
    try:
        return RunConfig.read(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}", hint="training/configs has one to start from"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is no TOML: {error}") from None
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
            for found in error.errors()
        ]
        raise ConfigurationError(f"{path}: {'; '.join(lines)}") from None


if __name__ == "__main__":
    sys.exit(main())
