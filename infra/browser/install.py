"""See to it that there is a Chromium that the tests can use.

    PYTHONPATH=tests python infra/browser/install.py

The machine's own is taken if it has one. Else root on Debian gets Debian's, which any mirror
has, and everybody else Playwright's, which comes from the internet.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from playwright.sync_api import Error

from support.browser import installed_browser, launched_browser

DEBIANS = [
    ["apt-get", "update"],
    ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
]
HINT = (
    "Install Chromium or Google Chrome so that it is on PATH (on Debian: apt-get install "
    "chromium), or run .venv/bin/playwright install --with-deps --only-shell chromium."
)


def main() -> int:
    """Install one if there is none; returns 1 if that was in vain."""
    problem = _why_none_starts()
    if problem is not None and installed_browser() is None:
        for way in _ways():
            _try(way)
            problem = _why_none_starts()
            if problem is None:
                break
    if problem is not None:
        print(f"error: the tests have no browser: {problem}\n{HINT}", file=sys.stderr)
    return 0 if problem is None else 1


def _ways() -> list[list[list[str]]]:
    playwrights = [[sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]]
    return [DEBIANS, playwrights] if _is_root_on_debian() else [playwrights]


def _try(way: list[list[str]]) -> None:
    """Run commands that say nothing unless they fail."""
    for command in way:
        done = subprocess.run(
            command,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            print(f"{' '.join(command)}:\n{done.stdout[-2000:]}", file=sys.stderr)


def _is_root_on_debian() -> bool:
    # Ubuntu's package of this name is a snap, which no container can run.
    try:
        return os.geteuid() == 0 and platform.freedesktop_os_release()["ID"] == "debian"
    except OSError:  # no Linux
        return False


def _why_none_starts() -> str | None:
    try:
        with launched_browser():
            return None
    except Error as error:
        return error.message


if __name__ == "__main__":
    sys.exit(main())
