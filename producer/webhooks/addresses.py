"""Where webhooks may go: to hosts of the public Internet, and from there nowhere else.

A URL that a tenant chooses must not reach what only this server's network reaches. What
counts is the address that is connected to, not the name: a name may answer with another one
the next time, and an address has many spellings.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from shared.errors import InputError

MAX_URL_CHARACTERS = 2_048
MAX_PORT = 65_535
PORTS = {"https": 443, "http": 80}
NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # of protocols; clouds keep their metadata there
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16/32",  # Azure's own, from within each of its machines
        ),
    )
)
"""Of IPv4, beside what Python knows: its lists differ between its versions."""
UNICAST = ip_network("2000::/3")
NOT_PUBLIC_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # of protocols; Teredo, which has an IPv4 address in it
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which has an IPv4 address in it
            "3fff::/20",  # documentation
        ),
    )
)
NAT64 = ip_network("64:ff9b::/96")
"""The last 32 bits of these are the IPv4 address that is meant."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that has the form which one of a webhook must have."""

    url: httpx.URL
    host: str
    """In ASCII, without brackets."""
    port: int


def parse_url(text: str, *, allow_private: bool) -> Target:
    """Read a webhook's URL; any port is fine.

    Args:
        text: as it was given.
        allow_private: whether the own network may be reached; then http may be spoken.

    Raises:
        InputError: it has not the form that it must have.
    """
    schemes = ("https", "http") if allow_private else ("https",)
    if len(text) > MAX_URL_CHARACTERS or not text.isprintable() or " " in text:
        raise InputError("url: this is no URL")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"url: this is no URL: {error}") from None
    if url.scheme not in schemes:
        raise InputError(f"url: must begin with {' or '.join(f'{one}://' for one in schemes)}")
    if url.userinfo:
        raise InputError("url: must not have a name or password in it")
    if url.fragment:
        raise InputError("url: must not have a fragment")
    port = PORTS[url.scheme] if url.port is None else url.port
    # What is escaped in it is no name.
    if not host or "%" in host or not 0 < port <= MAX_PORT:
        raise InputError("url: names no host that could be called")
    return Target(url, host, port)


def resolve(target: Target, *, allow_private: bool) -> Sequence[str]:
    """Return the addresses of a URL's host, each of which may be connected to.

    Args:
        target: whose.
        allow_private: whether the own network may be reached.

    Raises:
        InputError: the name has no address, or one that is not of the public Internet.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"url: the host {target.host} is not found") from None
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    # One that is private among others that are not is how a name is made to look harmless.
    if not addresses or not (allow_private or all(map(is_public, addresses))):
        raise InputError(
            f"url: the host {target.host} is not on the public Internet",
            hint="Operators can allow it: TENSTEP_WEBHOOKS_TO_PRIVATE_ADDRESSES=true.",
        )
    return addresses


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public Internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    return _is_public_6(address)


def _is_public_4(address: IPv4Address) -> bool:
    is_special = address.is_multicast or any(address in network for network in NOT_PUBLIC)
    return address.is_global and not is_special


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if (meant := address.ipv4_mapped) is not None:
        return _is_public_4(meant)
    if address in NAT64:
        return _is_public_4(IPv4Address(int(address) & 0xFFFF_FFFF))
    is_special = any(address in network for network in NOT_PUBLIC_6)
    return address in UNICAST and address.is_global and not is_special
