"""Carry out the steps of operations: one driver for blocking code, one for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource

from producer.client.steps import Call, Emit, Next, Open, Pause, Send, Step, Stream

T = TypeVar("T")

EVENTS = {"Accept": "text/event-stream", "Cache-Control": "no-store"}


def drive(http: httpx.Client, stream: Stream[T]) -> Generator[T]:
    """Yield what a stream emits."""
    run = _Run(http)
    try:
        step = next(stream)
        while True:
            if isinstance(step, Emit):
                yield step.value
                step = stream.send(None)
                continue
            try:
                answer = run.do(step)
            except httpx.TransportError as error:
                step = stream.throw(error)
            else:
                step = stream.send(answer)
    except StopIteration:
        return
    finally:
        run.close()
        stream.close()


class _Run:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._parts: Iterator[Any] = iter(())

    def do(self, step: Step) -> Any:
        match step:
            case Send(call):
                content = None if call.content is None else call.content()
                request = self._http.build_request(**_request(self._http, call), content=content)
                return self._http.send(request, follow_redirects=_may_be_led_on(call))
            case Open(call):
                return self._open(step)
            case Next():
                return next(self._parts, None)
            case Pause(seconds):
                time.sleep(seconds)
        return None

    def _open(self, step: Open) -> httpx.Response:
        self.close()
        events = step.parts == "events"
        made = _request(self._http, step.call, EVENTS if events else {})
        response = self._http.send(self._http.build_request(**made), stream=True)
        self._response = response
        if response.is_success:
            self._parts = EventSource(response).iter_sse() if events else response.iter_bytes()
        else:
            response.read()
        return response

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


async def drive_async(http: httpx.AsyncClient, stream: Stream[T]) -> AsyncGenerator[T]:
    """Yield what a stream emits."""
    run = _AsyncRun(http)
    try:
        step = next(stream)
        while True:
            if isinstance(step, Emit):
                yield step.value
                step = stream.send(None)
                continue
            try:
                answer = await run.do(step)
            except httpx.TransportError as error:
                step = stream.throw(error)
            else:
                step = stream.send(answer)
    except StopIteration:
        return
    finally:
        await run.close()
        stream.close()


class _AsyncRun:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[Any] | None = None

    async def do(self, step: Step) -> Any:
        match step:
            case Send(call):
                content = None if call.content is None else _in_threads(call.content())
                request = self._http.build_request(**_request(self._http, call), content=content)
                return await self._http.send(request, follow_redirects=_may_be_led_on(call))
            case Open(call):
                return await self._open(step)
            case Next():
                return None if self._parts is None else await anext(self._parts, None)
            case Pause(seconds):
                await asyncio.sleep(seconds)
        return None

    async def _open(self, step: Open) -> httpx.Response:
        await self.close()
        events = step.parts == "events"
        made = _request(self._http, step.call, EVENTS if events else {})
        response = await self._http.send(self._http.build_request(**made), stream=True)
        self._response = response
        if response.is_success:
            self._parts = EventSource(response).aiter_sse() if events else response.aiter_bytes()
        else:
            await response.aread()
        return response

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()


def _may_be_led_on(call: Call) -> bool:
    """Tell whether another address may answer it: what is sent goes to the server alone.

    httpx takes the key out of a request that goes to another host.
    """
    return call.method == "GET"


def _request(
    http: httpx.Client | httpx.AsyncClient, call: Call, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Say a call in httpx' words."""
    timeout = http.timeout
    if call.silence_seconds is not None:
        limits = timeout.as_dict() | {"read": call.silence_seconds, "write": call.silence_seconds}
        timeout = httpx.Timeout(**limits)
    return {
        "method": call.method,
        "url": call.path,
        "params": {name: value for name, value in call.params.items() if value is not None},
        "json": call.json,
        "headers": {**(headers or {}), **call.headers},
        "timeout": timeout,
    }


async def _in_threads(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Read a file without holding up the loop."""
    remaining = iter(blocks)
    while (block := await asyncio.to_thread(next, remaining, None)) is not None:
        yield block
