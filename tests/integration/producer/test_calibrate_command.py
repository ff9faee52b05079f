"""What `tenstep calibrate` refuses; tests/e2e/test_calibrate.py has it draw."""

from __future__ import annotations

import pytest

from support.shell import Shell


@pytest.mark.parametrize("sizes", ["0", "1,x", "", "1,,2", "2000", "-1", "\u00b2"])
def test_chunk_sizes_that_are_none_are_refused(sizes: str, shell: Shell) -> None:
    assert shell("calibrate", f"--chunk-sizes={sizes}") == 2
    assert "--chunk-sizes" in shell.err
