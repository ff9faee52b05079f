"""What KEDA does with the query of a worker pool: it sends it to Postgres, and divides."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import ceil
from pathlib import Path

import psycopg
from sqlalchemy import URL

QUERY = Path(__file__).parents[2] / "infra/kubernetes/tenstep/files/backlog.sql"
PLACEHOLDER = re.compile(r":'(\w+)'")


def query_of(models: Collection[str], device_kind: str) -> str:
    """Fill in a pool's query, as the chart does."""
    values = {"models": ",".join(models), "device_kind": device_kind}

    def quoted(found: re.Match[str]) -> str:
        return "'" + values[found[1]].replace("'", "''") + "'"

    return PLACEHOLDER.sub(quoted, QUERY.read_text("utf-8"))


def ask(url: URL, query: str) -> float | None:
    """Run a query as KEDA's driver does, which prepares it; the one number of its one row."""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        rows = connection.execute(query.encode(), prepare=True).fetchall()
    ((number,),) = rows
    assert number is None or isinstance(number, float)
    return number


def desired_replicas(number: float | None, target: float) -> int:
    """Work out how many pods a number calls for, with an average value as the target."""
    assert number is not None
    return ceil(number / target)
