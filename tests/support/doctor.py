"""``tenstep doctor``, and what it is to find."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

from producer.doctor.examination import Examination, run_all
from producer.doctor.finding import Finding, Verdict
from support.shell import Shell

PATIENCE_SECONDS = 30


def doctor(shell: Shell, *arguments: str) -> tuple[int, Mapping[str, Finding]]:
    """Run the command; returns its exit code, and what it found by check."""
    code = shell("doctor", "--json", *arguments)
    document = json.loads(shell.out)
    assert document["ok"] is (code == 0)
    found = [
        Finding(**{**check, "verdict": Verdict(check["verdict"])}) for check in document["checks"]
    ]
    return code, {finding.check: finding for finding in found}


def examined(checks: Sequence[str], findings: Iterator[Finding]) -> Mapping[str, Finding]:
    """Make one examination as the command does."""
    examination = Examination(checks, lambda: findings, PATIENCE_SECONDS)
    return {finding.check: finding for finding in run_all([examination])}


def verdicts(found: Mapping[str, Finding]) -> Mapping[str, Verdict]:
    return {check: finding.verdict for check, finding in found.items()}


def remedy(finding: Finding) -> str:
    """Return what is to be done about it, which every warning and fault has."""
    assert finding.remedy
    return finding.remedy


@contextmanager
def silent_ports(count: int) -> Iterator[Sequence[int]]:
    """Listen on ports that accept and never answer."""
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            for _ in range(count)
        ]
        yield [listener.getsockname()[1] for listener in listeners]
