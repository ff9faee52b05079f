"""Which server a command works with, if with any: ``--server``, or TENSTEP_SERVER."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec

from shared.errors import InputError

if TYPE_CHECKING:
    from producer.client import Client
    from shared.settings import Settings

P = ParamSpec("P")

TRIES = 4
"""Of a request: whoever waits at a terminal would rather be told after some seconds."""

_chosen: ContextVar[str | None] = ContextVar("server", default=None)


def choose_server(url: str | None) -> None:
    """Note the ``--server`` of this command line; None is none."""
    _chosen.set(url)


def command_settings() -> Settings:
    """Read the settings, with the ``--server`` of this command line in them.

    Raises:
        ConfigurationError: one has a bad value.
    """
    from shared.settings import load_settings

    settings, chosen = load_settings(), _chosen.get()
    return settings if chosen is None else settings.model_copy(update={"server": chosen})


@contextmanager
def opened_server(settings: Settings) -> Iterator[Client]:
    """Make a client of the server in the settings.

    Raises:
        InputError: its address is none, or the key would go over plain HTTP.
    """
    from producer.client import Client, Patience

    patience = Patience(tries=TRIES)
    with Client(settings.server or "", settings.api_key, patience=patience) as client:
        yield client


def without_server(command: Callable[P, None], name: str | None = None) -> Callable[P, None]:
    """Make a command refuse to be run with a server: it works with the database itself.

    Args:
        command: the function.
        name: what users call it; default the function's.
    """

    @functools.wraps(command)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> None:
        refuse_server(name or command.__name__)
        command(*args, **kwargs)

    return refusing


def without_named_server(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command refuse ``--server`` and not look at TENSTEP_SERVER: it is for its host."""

    @functools.wraps(command)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> None:
        if _chosen.get() is not None:
            raise _refusal(command.__name__)
        command(*args, **kwargs)

    return refusing


def refuse_server(what: str) -> None:
    """Refuse what no server does for others.

    Raises:
        InputError: a server is set.
    """
    if command_settings().server is not None:
        raise _refusal(what)


def _refusal(what: str) -> InputError:
    return InputError(
        f"tenstep {what} does not work over a server",
        hint="Run it where the database is, without --server and TENSTEP_SERVER.",
    )
