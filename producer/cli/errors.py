"""From an exception to a line on stderr and an exit code, for every command."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import typer

from producer.cli.console import complain
from shared.errors import TenstepError

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell the user what went wrong; returns the exit code.

    An interruption may carry its own sentence: ``KeyboardInterrupt("…")``.
    """
    if isinstance(error, KeyboardInterrupt):
        return _say(str(error) or "interrupted", INTERRUPTED, error, as_json=as_json)
    if isinstance(error, TenstepError):
        return _say_error(error, as_json=as_json)
    if isinstance(error, typer.TyperException):
        return _say_misuse(error, as_json=as_json)
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return BROKEN_PIPE
    reason = _database_reason(error)
    if reason is not None:
        return _say(f"error: the database failed: {reason}", BAD_INPUT, error, as_json=as_json)
    return _say_unexpected(error, as_json=as_json)


def _say_error(error: TenstepError, *, as_json: bool) -> int:
    return _say(f"error: {error.message}", error.exit_code, error, hint=error.hint, as_json=as_json)


def _say_misuse(error: typer.TyperException, *, as_json: bool) -> int:
    """Report an unknown option, a missing argument and the like."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help tells what it takes." if context else None
    message = error.format_message()
    return _say(f"error: {message}", error.exit_code, error, hint=hint, as_json=as_json)


def _say_unexpected(error: BaseException, *, as_json: bool) -> int:
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return _say(
        f"error: this should not have happened: {what}",
        FAILED,
        error,
        hint=f"The traceback is in {_write_traceback(error)}.",
        as_json=as_json,
    )


def _say(
    line: str, code: int, error: BaseException, *, hint: str | None = None, as_json: bool
) -> int:
    if as_json:
        document = {
            "type": type(error).__name__,
            "message": line.removeprefix("error: "),
            "hint": hint,
            "exit_code": code,
        }
        complain(json.dumps({"error": document}))
        return code
    complain(line)
    if hint:
        complain(f"  {hint}")
    return code


def _database_reason(error: BaseException) -> str | None:
    """Return what a database said that was there at first: a full disk, a lost connection."""
    if "sqlalchemy" not in sys.modules:
        return None
    from sqlalchemy.exc import OperationalError

    if not isinstance(error, OperationalError):
        return None
    return str(error.orig).strip().splitlines()[0]


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing at its end: the reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_traceback(error: BaseException) -> Path:
    text = "".join(traceback.format_exception(error))
    name = f"error-{os.getpid()}.log"
    for folder in (_logs_folder(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        except OSError:
            continue
        return folder / name
    return Path(os.devnull)


def _logs_folder() -> Path:
    from shared.settings import load_settings

    try:
        settings = load_settings()
    except TenstepError:
        return Path(tempfile.gettempdir())
    return settings.data_dir / "logs"
