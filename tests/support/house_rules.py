"""Rules of the house that no linter knows, checked on the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
WALL_CLOCKS = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"),
    *("time.time", "time.time_ns"),
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"}
BARE = {
    "os": {name.removeprefix("os.") for name in ENVIRONMENT},
    "time": {"time", "time_ns"},
}
"""Names that must not be imported bare, for then the rules would not know them."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A line that breaks a rule."""

    rule: str
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What is not done, but in ``exempt`` files or folders (these end in a slash)."""

    breaks: Callable[[ast.AST], bool]
    exempt: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """Where it is not done; nowhere, if this is empty."""

    def applies_to(self, path: PurePosixPath) -> bool:
        """Tell whether a file of the repository must keep the rule."""
        return not _is_in(path, self.exempt) and (not self.only or _is_in(path, self.only))


def _is_in(path: PurePosixPath, places: tuple[str, ...]) -> bool:
    text = path.as_posix()
    return any(text.startswith(place) if place.endswith("/") else text == place for place in places)


def violations(source: str, path: PurePosixPath) -> Iterator[Violation]:
    """Find what a file does that it must not."""
    nodes = list(ast.walk(ast.parse(source)))
    for name, rule in RULES.items():
        if rule.applies_to(path):
            for node in nodes:
                if rule.breaks(node):
                    yield Violation(name, getattr(node, "lineno", 0))


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _dotted(node.func) == "print"


def _reads_environment(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and _dotted(node) in ENVIRONMENT) or _imports(
        node, "os"
    )


def _reads_wall_clock(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and _dotted(node) in WALL_CLOCKS) or _imports(
        node, "time"
    )


def _imports(node: ast.AST, module: str) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and any(alias.name in BARE[module] for alias in node.names)
    )


def _commits(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    )


def _unpickles(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in UNSAFE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in UNSAFE_MODULES
    return (
        isinstance(node, ast.Call)
        and _dotted(node.func) in {"torch.load", "torch.hub.load"}
        and not any(
            keyword.arg == "weights_only" and _is_constant(keyword.value, expected=True)
            for keyword in node.keywords
        )
    )


def _runs_remote_code(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.keyword)
        and node.arg == "trust_remote_code"
        and not _is_constant(node.value, expected=False)
    )


def _is_constant(node: ast.AST, *, expected: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is expected


def _computes_with_floats(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return isinstance(node.op, ast.Div)
    return isinstance(node, ast.Call) and (
        _dotted(node.func) in {"float", "round", "math.sqrt", "sqrt"}
        or (isinstance(node.func, ast.Attribute) and node.func.attr == "total_seconds")
    )


def _makes_money_inexact(node: ast.AST) -> bool:
    """Tell whether what is named after nano-dollars is divided, rounded or made a float."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _speaks_of_money(node)
    return (
        isinstance(node, ast.Call)
        and _dotted(node.func) in {"float", "round"}
        and any(_speaks_of_money(argument) for argument in node.args)
    )


def _speaks_of_money(node: ast.AST) -> bool:
    return any("nanodollars" in _dotted(part).lower() for part in ast.walk(node))


WHERE_MONEY_IS_COUNTED = (
    "shared/domain/money.py",
    "shared/domain/rates.py",
    *(
        f"shared/db/{name}.py"
        for name in (
            "activity",
            "activity_tables",
            "adding",
            "attempt_costs",
            "budgets",
            "corrections",
            "cost_sums",
            "cost_tables",
            "ledger",
            "prices",
            "settlement",
            "storage_costs",
            "tallies",
        )
    ),
    "producer/budgets.py",
    "producer/costs/",
    "producer/planning/",
    "producer/price_book.py",
    "producer/price_changes.py",
    "producer/price_file.py",
    "producer/quote.py",
    "producer/quote_batch.py",
    "producer/quote_grounds.py",
    "producer/reconcile/",
)

RULES: Mapping[str, Rule] = {
    "only commands print": Rule(_prints, ("producer/cli/", "training/", "infra/")),
    "only settings read the environment": Rule(
        _reads_environment,
        # Threads and devices are pinned through it; scripts hand theirs on.
        (
            *("shared/settings.py", "worker/__main__.py", "worker/devices.py"),
            *("training/parallel.py", "infra/"),
        ),
    ),
    "only the clock tells the time of day": Rule(
        _reads_wall_clock, ("shared/clock.py", "infra/chaos/skewed/")
    ),
    "only the engine commits": Rule(_commits, ("shared/db/engine.py",)),
    "data is never unpickled": Rule(_unpickles),
    "no remote code": Rule(_runs_remote_code),
    "no floats where money is counted": Rule(_computes_with_floats, only=WHERE_MONEY_IS_COUNTED),
    "money stays exact": Rule(_makes_money_inexact),
}
