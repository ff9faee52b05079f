"""What a process says when it ends because of an error."""

from __future__ import annotations

import pytest

from shared.errors import ConfigurationError, InputError, TenstepError
from shared.process import tell_error


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (InputError("no data", hint="npm pack it"), ["error: no data", "hint: npm pack it"]),
        (ConfigurationError("no npm"), ["error: no npm"]),
    ],
)
def test_an_error_is_told_with_what_to_do_about_it(
    error: TenstepError, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell_error(error) == 2
    assert capsys.readouterr().err.splitlines() == lines
