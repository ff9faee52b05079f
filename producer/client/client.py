"""A tenstep server, as Python sees it: `Client` for blocking code, `AsyncClient` for asyncio."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload
from uuid import UUID

import httpx
from pydantic import SecretStr

from producer.client import following, operations, streams, uploads
from producer.client.drivers import drive, drive_async
from producer.client.following import Tell
from producer.client.retries import Patience, patiently
from producer.client.steps import Operation, Stream, only_result
from producer.wire.batches import BatchDocument
from shared.errors import InputError
from shared.version import VERSION

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LOCALHOST = "localhost"


class _Asks(Generic[P, T]):
    """A method of both clients that comes to one result."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: Client, owner: type | None = None) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, client: AsyncClient, owner: type | None = None
    ) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: None, owner: type | None = None) -> Self: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type | None = None) -> Any:
        """Bind it to a client."""
        if client is None:
            return self

        @functools.wraps(self._make)
        def ask(*args: P.args, **kwargs: P.kwargs) -> T | Awaitable[T]:
            return client.ask(self._make(*args, **kwargs))

        return ask


class _Tells(Generic[P, T]):
    """A method of both clients that comes to any number of results."""

    def __init__(self, make: Callable[P, Stream[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: Client, owner: type | None = None) -> Callable[P, Generator[T]]: ...
    @overload
    def __get__(
        self, client: AsyncClient, owner: type | None = None
    ) -> Callable[P, AsyncGenerator[T]]: ...
    @overload
    def __get__(self, client: None, owner: type | None = None) -> Self: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type | None = None) -> Any:
        """Bind it to a client."""
        if client is None:
            return self

        @functools.wraps(self._make)
        def tell(*args: P.args, **kwargs: P.kwargs) -> Generator[T] | AsyncGenerator[T]:
            return client.tell(self._make(*args, **kwargs))

        return tell


def _wait(batch_id: UUID, *, on_progress: Tell | None = None) -> Operation[BatchDocument]:
    """Follow a batch until it is finished; returns its last status.

    ``on_progress`` is called with every new status. What waits for an approval or for a budget
    is not finished.
    """
    return following.wait(batch_id, on_progress or (lambda _status: None))


class _Methods:
    """What both clients can do; errors are those of `shared.errors`."""

    upload = _Asks(uploads.upload)
    remove_file = _Asks(operations.remove_file)
    submit = _Asks(operations.submit)
    quote = _Asks(operations.quote)
    batch = _Asks(operations.batch)
    batches = _Tells(streams.batches)
    wait = _Asks(_wait)
    job_page = _Asks(streams.job_page)
    jobs = _Tells(streams.jobs)
    job = _Asks(operations.job)
    image = _Asks(streams.image)
    images = _Tells(streams.images)
    manifest = _Tells(streams.manifest)
    rejects = _Tells(streams.rejects)
    cancel = _Asks(operations.cancel)
    retry = _Asks(operations.retry)
    approve = _Asks(operations.approve)
    reject = _Asks(operations.reject)
    pause = _Asks(operations.pause)
    resume = _Asks(operations.resume)
    change = _Asks(operations.change)
    bill = _Asks(operations.bill)
    costs = _Asks(operations.costs)
    workers = _Asks(operations.workers)
    fleet = _Asks(operations.fleet)
    drain_worker = _Asks(operations.drain_worker)
    resume_worker = _Asks(operations.resume_worker)
    prices = _Asks(operations.prices)
    models = _Asks(operations.models)
    ready = _Asks(operations.ready)

    def __init__(
        self,
        server: str,
        api_key: str | SecretStr | None = None,
        *,
        patience: Patience | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """Connect to nothing yet.

        Args:
            server: such as ``https://tenstep.example``.
            api_key: from ``tenstep keys create``; a server on this host may need none.
            patience: how often what fails for a while is tried.
            allow_insecure: send the key over plain HTTP to another host, where everybody
                between can read it.

        Raises:
            InputError: the address is none, or the key would go over plain HTTP.
        """
        secret = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        self.patience = patience or Patience()
        self.server = str(_checked(server, has_key=secret is not None, any_way=allow_insecure))
        headers = {"User-Agent": f"tenstep/{VERSION}"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        self._open(headers)

    def _open(self, headers: dict[str, str]) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server!r})"


class Client(_Methods):
    """A server, for blocking code; threads may share it. Use it as a context, or close it."""

    def _open(self, headers: dict[str, str]) -> None:
        self._http = httpx.Client(base_url=self.server, headers=headers, timeout=TIMEOUT)

    def ask(self, operation: Operation[T]) -> T:
        """Carry out an operation."""
        [result] = self.tell(only_result(operation))
        return result

    def tell(self, stream: Stream[T]) -> Generator[T]:
        """Carry out a stream."""
        return drive(self._http, patiently(stream, self.patience))

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Methods):
    """A server, for asyncio. Use it as a context, or close it."""

    def _open(self, headers: dict[str, str]) -> None:
        self._http = httpx.AsyncClient(base_url=self.server, headers=headers, timeout=TIMEOUT)

    async def ask(self, operation: Operation[T]) -> T:
        """Carry out an operation."""
        async with aclosing(
            drive_async(self._http, patiently(only_result(operation), self.patience))
        ) as results:
            return await anext(results)

    def tell(self, stream: Stream[T]) -> AsyncGenerator[T]:
        """Carry out a stream."""
        return drive_async(self._http, patiently(stream, self.patience))

    async def close(self) -> None:
        """Give back the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _checked(server: str, *, has_key: bool, any_way: bool) -> httpx.URL:
    try:
        url = httpx.URL(server.rstrip("/"))
    except httpx.InvalidURL as error:
        raise InputError(f"{server!r} is no address of a server: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InputError(
            "the address of a server begins with http:// or https://",
            hint="Such as https://tenstep.example, or http://127.0.0.1:8000.",
        )
    if url.userinfo:
        raise InputError("an address with a password in it would be told to everybody")
    if has_key and url.scheme == "http" and not _is_loopback(url.host) and not any_way:
        raise InputError(
            f"the key would go to {url.host} over plain HTTP, where everybody between can read it",
            hint=f"Use https://{url.netloc.decode()}.",
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == LOCALHOST:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
