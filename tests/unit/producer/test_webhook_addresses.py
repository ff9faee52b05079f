"""Webhooks reach the public Internet alone, however an address is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.webhooks.addresses import is_public, parse_url, resolve
from shared.errors import InputError

PRIVATE_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "192.88.99.0/24"),
)
PRIVATE_6 = (
    *("::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:10::/28", "2001:db8::/32"),
    *("2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e")
LOCAL_HOSTS = (
    *("127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0"),
    *("localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "[::1]", "[::]", "0.0"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]"),
    *("[0:0:0:0:0:ffff:a9fe:a9fe]", "[2002:7f00:1::]", "[fe80::1]", "[fd00:ec2::254]"),
    *("169.254.169.254", "0xa9fea9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    *("10.0.0.1", "192.168.1.1", "172.31.255.255", "\uff11\uff12\uff17.0.0.1", "127。0。0。1"),
)


def addresses_of(*networks: str) -> st.SearchStrategy[str]:
    spans = [ip_network(one) for one in networks]
    return st.one_of(
        *(
            st.integers(int(one[0]), int(one[-1])).map(
                IPv6Address if isinstance(one, IPv6Network) else IPv4Address
            )
            for one in spans
        )
    ).map(str)


@given(addresses_of(*PRIVATE_4, *PRIVATE_6))
def test_no_address_of_a_special_network_is_public(address: str) -> None:
    assert not is_public(address)


@given(addresses_of(*PRIVATE_4))
def test_what_is_special_stays_so_inside_an_address_of_version_six(address: str) -> None:
    number = int(IPv4Address(address))

    assert not is_public(f"::ffff:{address}")
    assert not is_public(str(IPv6Address(int(IPv6Address("64:ff9b::")) | number)))
    assert not is_public(str(IPv6Address(0x2002 << 112 | number << 80)))
    assert not is_public(str(IPv6Address(int(IPv6Address("2001::")) | number)))


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["", "example.com", "fe80::1%eth0", "2606:4700::1%1", "1"])
def test_what_is_no_plain_address_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_no_spelling_of_a_private_address_gets_through(host: str) -> None:
    with pytest.raises(InputError, match=r"not on the public Internet|not found|is no URL"):
        resolve(parse_url(f"https://{host}/hook", allow_private=False), allow_private=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_what_is_connected_to(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    target = parse_url(f"https://{host}:8443/hook?a=b", allow_private=False)

    assert resolve(target, allow_private=False) == [address]
    assert target.port == 8443


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/hook", "must begin with https://"),
        ("ftp://example.com/hook", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("//example.com/hook", "must begin with https://"),
        ("example.com", "must begin with https://"),
        ("https://anna@example.com/hook", "name or password"),
        ("https://anna:secret@example.com/hook", "name or password"),
        ("https://8.8.8.8@127.0.0.1/hook", "name or password"),
        ("https://example.com/hook#part", "fragment"),
        ("https:///hook", "no host"),
        ("https://example.com:0/hook", "no host"),
        ("https://example.com:65536/hook", "no host"),
        ("https://exa mple.com/hook", "is no URL"),
        ("https://example.com/a\r\nHost: b", "is no URL"),
        ("https://[::1/hook", "is no URL"),
        (f"https://example.com/{'a' * 2_048}", "is no URL"),
        ("", "must begin with https://"),
    ],
)
def test_a_url_of_another_form_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_url(url, allow_private=False)


@given(st.text(max_size=60))
def test_whatever_is_given_is_a_target_or_an_error_for_its_sender(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            target = parse_url(url, allow_private=False)
        except InputError:
            continue
        assert target.url.scheme == "https"
        assert httpx.URL(str(target.url)).raw_host == target.host.encode()


def test_operators_can_allow_the_own_network_and_plain_http() -> None:
    target = parse_url("http://127.0.0.1:8080/hook", allow_private=True)

    assert resolve(target, allow_private=True) == ["127.0.0.1"]
