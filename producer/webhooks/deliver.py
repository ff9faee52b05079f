"""Sends one event to one webhook, signed, by https://www.standardwebhooks.com."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import httpx
from standardwebhooks import Webhook as Signer

from producer.webhooks.addresses import Target, parse_url, resolve
from producer.webhooks.outbox import Answer, Parcel
from shared.errors import InputError
from shared.version import VERSION

CONNECT_SECONDS = 5
TOTAL_SECONDS = 15
ADDRESSES_TRIED = 3
LOOKUPS_AT_ONCE = 16
MAX_ERROR_CHARACTERS = 500


class Courier:
    """Sends to the public Internet, or wherever it is allowed to."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._tls = httpx.create_ssl_context(trust_env=False)
        # A name server that does not answer holds up lookups, and nothing else.
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")

    def close(self) -> None:
        """Wait for no lookup that is under way."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def send(self, parcel: Parcel, now: datetime) -> Answer:
        """Send an event, and tell what came of it; never longer than 15 s.

        Args:
            parcel: what, and where to.
            now: the time, which is signed too: receivers refuse what is old.
        """
        body = json.dumps(parcel.payload, ensure_ascii=False, separators=(",", ":"))
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                target = parse_url(parcel.url, allow_private=self._allow_private)
                # Looked up once: what is connected to is what was checked.
                addresses = await asyncio.get_running_loop().run_in_executor(
                    self._lookups, partial(resolve, target, allow_private=self._allow_private)
                )
                headers = headers_of(parcel, body, now)
                return _judged(await self._post(target, addresses, headers, body.encode()))
        except InputError as error:
            return Answer(None, error.message)
        except TimeoutError:
            return Answer(None, f"no answer within {TOTAL_SECONDS} s")
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            reason = f"{type(error).__name__}: {error}".strip(": ")
            return Answer(None, reason[:MAX_ERROR_CHARACTERS])

    async def _post(
        self, target: Target, addresses: Sequence[str], headers: Mapping[str, str], body: bytes
    ) -> int:
        *first, last = addresses[:ADDRESSES_TRIED]
        for address in first:
            try:
                return await self._post_to(address, target, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post_to(last, target, headers, body)

    async def _post_to(
        self, address: str, target: Target, headers: Mapping[str, str], body: bytes
    ) -> int:
        """Post to an address under the name of the host; returns the status."""
        # A connection that is kept is known by its address alone, not by whose it is.
        async with (
            httpx.AsyncClient(
                verify=self._tls,
                # Proxies of the environment would look the name up once more.
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
            ) as client,
            client.stream(
                "POST",
                target.url.copy_with(host=address),
                content=body,
                headers={**headers, "Host": target.url.netloc.decode("ascii")},
                extensions={"sni_hostname": target.host.rstrip(".")},
            ) as response,
        ):
            # What else it says is not read: nobody asked for it.
            return response.status_code


def headers_of(parcel: Parcel, body: str, now: datetime) -> dict[str, str]:
    """Return the headers of an event, its signature among them."""
    event_id = str(parcel.event_id)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"tenstep/{VERSION}",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(parcel.secret).sign(event_id, now, body),
    }


def _judged(status: int) -> Answer:
    if httpx.codes.is_success(status):
        return Answer(status, None)
    note = "; redirects are not followed" if httpx.codes.is_redirect(status) else ""
    return Answer(status, f"answered {status}{note}")
