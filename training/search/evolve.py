"""The command line of the evolutionary search."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shared.errors import InputError, TenstepError
from training.search.evolution import Plan, evolve
from training.search.latency import FORMAT, LatencyTable
from training.search.members import read_member
from training.search.pareto import Report, print_front, report_of, write_files
from training.search.progress import progress
from training.search.proxy import load_proxy
from training.search.scoring import Judge, Limits, Quality, share_as_quality, size_as_quality
from training.search.space import SPACES, Space

SIZE, SHARE = "parameters", "share"
FULL_LIMITS = Limits(max_parameters=525_500_000, max_gmacs=195.7, attended_levels=2)
"""What is known of DeciDiffusion 2.0's U-Net: infra/decisions/0008-presets.md."""
ABOUT = f"""
Objectives are quality and time: milliseconds by a table, or without one GMACs of one row.

Quality is the loss of a proxy that was trained (by "teach"; --quality is its run's folder), or
what stands in for it where nothing is trained. "{SIZE}" is the number of parameters: the front
then says how many of them GMACs buy. "{SHARE}" is the exhaustive search's score, the share that a
member uses of the budget that it uses less of; it needs --max-parameters and --max-gmacs. Size is
no quality: of members as large as one another neither says which draws better, and both like what
is wide and deep.

With --space full the limits are those of DeciDiffusion 2.0's U-Net unless others are given:
--max-parameters 525.5e6 --max-gmacs 195.7 --attended-levels 2.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Search a space of U-Net-NAS for members that are good or quick: NSGA-II."""
    parser = _parser()
    options = parser.parse_args(words)
    try:
        report = search(options)
    except TenstepError as error:
        parser.exit(error.exit_code, f"{error.message}\n")
    if options.json:
        print(report.model_dump_json(indent=1, exclude={"others"}))
    else:
        print_front(report)
    if not report.is_whole:
        parser.exit(130)


def search(options: argparse.Namespace) -> Report:
    """Do what the command line asks for.

    Raises:
        InputError: a file or an option is wrong, or no member keeps to the limits.
        ConfigurationError: a file cannot be read.
    """
    space = SPACES[options.space]
    judge = _judge(options, space)
    marks = {name: read_member(path, space.trunk) for name, path in options.mark}
    plan = Plan(options.population, options.generations, options.seed)
    with progress("members", plan.trials) as done:
        is_whole = evolve(space, judge, plan, done)
    report = report_of(options.space, judge, plan, marks, is_whole=is_whole)
    if not report.front:
        raise InputError(f"none of {len(report.others)} members keeps to these limits")
    write_files(report, options.out)
    return report


def _judge(options: argparse.Namespace, space: Space) -> Judge:
    table = LatencyTable.read(options.table) if options.table else None
    if table is not None and table.trunk != space.trunk:
        raise InputError(f"{options.table}: is of networks with another trunk than these")
    if table is None and options.max_latency is not None:
        raise InputError("--max-latency needs a --table")
    limits = _limits(options)
    return Judge(space.trunk, _quality(options, space, limits), limits, table)


def _limits(options: argparse.Namespace) -> Limits:
    usual = FULL_LIMITS if options.space == "full" else Limits()
    parameters, gmacs, levels = options.max_parameters, options.max_gmacs, options.attended_levels
    return Limits(
        max_parameters=usual.max_parameters if parameters is None else int(parameters),
        max_gmacs=usual.max_gmacs if gmacs is None else gmacs,
        max_latency_ms=options.max_latency,
        attended_levels=usual.attended_levels if levels is None else levels,
    )


def _quality(options: argparse.Namespace, space: Space, limits: Limits) -> Quality:
    named = options.quality or (SIZE if options.space == "full" else None)
    if named is None:
        raise InputError(f"--quality: name a proxy's folder, or {SIZE} or {SHARE} to do without")
    if named == SIZE:
        return size_as_quality(space.trunk)
    if named == SHARE:
        if limits.max_parameters is None or limits.max_gmacs is None:
            raise InputError(f"--quality {SHARE} needs --max-parameters and --max-gmacs")
        return share_as_quality(space.trunk, limits.max_parameters, limits.max_gmacs)
    return Quality("loss of the proxy", load_proxy(Path(named), space))


def _mark(word: str) -> tuple[str, Path]:
    name, separator, path = word.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=FILE")
    return name, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.search evolve",
        description=main.__doc__,
        epilog=ABOUT + FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", choices=SPACES, required=True)
    parser.add_argument(
        "--quality", metavar="FOLDER", help=f"a proxy's folder, or {SIZE} or {SHARE}: see below"
    )
    parser.add_argument("--table", type=Path, help="of latencies, measured or supplied: see below")
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--population", type=int, default=50, help="members of a generation")
    parser.add_argument("--max-parameters", type=float)
    parser.add_argument("--max-gmacs", type=float, help="of one row of an image")
    parser.add_argument("--max-latency", type=float, metavar="MS", help="by the table")
    parser.add_argument(
        "--attended-levels",
        type=int,
        help="levels, from the deepest, with at least one attention; the text is always read",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mark",
        type=_mark,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="show another member beside the front: its flexible_unet/config.json",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of pareto.json, pareto.png, config-N.json"
    )
    parser.add_argument("--json", action="store_true", help="print the report in place of a table")
    return parser


if __name__ == "__main__":
    main()
