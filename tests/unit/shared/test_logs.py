from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from shared.telemetry.logs import configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    known = structlog.get_config()
    yield
    structlog.configure(**known)


def fail_with(secret: str) -> None:
    raise ValueError(len(secret))


def test_a_traceback_in_the_log_has_places_but_no_values_of_variables() -> None:
    stream = io.StringIO()
    configure_logs(stream)
    try:
        fail_with("tsk_very-secret")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    line = json.loads(stream.getvalue())
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert [frame["name"] for frame in line["exception"][0]["frames"]][-1] == "fail_with"
    assert "very-secret" not in stream.getvalue()
