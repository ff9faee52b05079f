"""The rules of the house are kept, and can be broken."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from support.house_rules import RULES, violations

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("producer", "worker", "shared", "training")
SOURCES = sorted(
    path.relative_to(REPOSITORY)
    for package in (*PACKAGES, "infra")
    for path in (REPOSITORY / package).rglob("*.py")
)
ELSEWHERE = PurePosixPath("worker/somewhere.py")
PLACES = {"no floats where money is counted": PurePosixPath("shared/domain/money.py")}
"""Where a rule is broken that does not hold everywhere."""

BROKEN_BY = {
    "only commands print": ["print('hello')", "if x:\n    print()"],
    "only settings read the environment": [
        "import os\nos.environ['HOME']",
        "import os\nos.environ.get('HOME')",
        "import os\nos.getenv('HOME')",
        "from os import environ",
    ],
    "only the clock tells the time of day": [
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "import time\ntime.time()",
        "from time import time",
        "field(default_factory=datetime.utcnow)",
    ],
    "only the engine commits": ["session.commit()", "self.database.session().commit()"],
    "data is never unpickled": [
        "import pickle",
        "from pickle import loads",
        "import joblib.memory",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
    ],
    "no remote code": [
        "Model.from_pretrained(path, trust_remote_code=True)",
        "Model.from_pretrained(path, trust_remote_code=trusted)",
    ],
    "no floats where money is counted": [
        "share = 0.5",
        "each = total / parts",
        "total /= parts",
        "amount = float(text)",
        "amount = round(amount)",
        "spent = (end - begin).total_seconds()",
    ],
    "money stays exact": [
        "mean = spent_nanodollars / images",
        "mean = images / self.tally.nanodollars",
        "dollars = float(row.nanodollars)",
        "cost = round(nanodollars_per_hour * hours)",
    ],
}
KEPT_BY = [
    "console.print('hello')",
    "import os\nos.getpid()",
    "import time\ntime.monotonic()\ntime.sleep(1)",
    "from shared.clock import utc_now\nutc_now()",
    "datetime.fromisoformat(text)",
    "with database.write() as session:\n    session.add(job)",
    "torch.load(path, weights_only=True)",
    "Model.from_pretrained(path, trust_remote_code=False)",
    "note = 'print(os.environ), session.commit()'",
    "mean = -(-spent_nanodollars // images)",
    "seconds = device_ns / 10**9",
]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_file_keeps_the_rules(path: Path) -> None:
    source = (REPOSITORY / path).read_text("utf-8")

    assert not list(violations(source, PurePosixPath(path)))


@pytest.mark.parametrize(
    ("rule", "source"),
    [(rule, source) for rule, sources in BROKEN_BY.items() for source in sources],
)
def test_a_rule_finds_what_breaks_it(rule: str, source: str) -> None:
    path = PLACES.get(rule, ELSEWHERE)

    assert {found.rule for found in violations(source, path)} == {rule}


@pytest.mark.parametrize("source", KEPT_BY)
def test_a_rule_lets_through_what_keeps_it(source: str) -> None:
    assert not list(violations(source, ELSEWHERE))


def test_every_rule_has_a_sample_that_breaks_it_and_exempts_only_what_exists() -> None:
    assert BROKEN_BY.keys() == RULES.keys()
    for rule in RULES.values():
        assert all((REPOSITORY / place).exists() for place in (*rule.exempt, *rule.only))


def test_a_place_that_is_exempt_may_do_it() -> None:
    assert not list(violations("print('hello')", PurePosixPath("producer/cli/main.py")))
    assert list(violations("print('hello')", PurePosixPath("producer/clipping.py")))
