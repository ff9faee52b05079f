"""Work that goes on in a process of its own while its results are used."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")

END_SECONDS = 5


@contextmanager
def read_ahead(items: Callable[[], Iterator[T]]) -> Iterator[Iterator[T]]:
    """Run an iterator in a forked process, a few items ahead of who takes them.

    One interpreter cannot parse prompts and write rows at the same time. What the iterator
    raises is raised here; when the block ends, the process ends too.

    Args:
        items: begins the work; what it returns travels by pickle, between these two alone.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_send_all, args=(items, sender, receiver), name="read-ahead", daemon=True
    )
    process.start()
    sender.close()
    try:
        yield _received(receiver)
    finally:
        receiver.close()
        process.terminate()
        process.join(END_SECONDS)
        process.close()


def _send_all(items: Callable[[], Iterator[T]], sender: Connection, receiver: Connection) -> None:
    receiver.close()
    # Ctrl-C reaches the whole group; the process that writes decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What is made here is counted out of existence; looking for cycles takes a tenth of the time.
    gc.disable()
    try:
        for item in items():
            sender.send((item, None))
        sender.send((None, None))
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it is awaited
        sender.send((None, error))
    # No exit handlers: they belong to the process that was forked.
    os._exit(0)


def _received(receiver: Connection) -> Iterator[T]:
    while True:
        try:
            item, error = receiver.recv()
        except EOFError:
            raise RuntimeError("the process that reads ahead has died") from None
        if error is not None:
            raise error
        if item is None:
            return
        yield item
