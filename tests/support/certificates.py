"""Certificates that sign themselves, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HAS_OPENSSL = shutil.which("openssl") is not None


def certificate_for(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a certificate, which is its own authority, and its key.

    Args:
        name: such as ``DNS:api.example`` or ``IP:127.0.0.1``.
        folder: where they are put.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name.partition(':')[2]}", "-addext", f"subjectAltName={name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
