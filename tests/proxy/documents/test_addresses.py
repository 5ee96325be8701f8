"""Which addresses are public, row by row of IANA's registries, and what the clouds put beside them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.proxy.documents.addresses import is_public

pytestmark = pytest.mark.fast

PUBLIC = [
    ("a name server", "8.8.8.8"),
    ("the lowest", "1.0.0.0"),
    ("below private 10/8", "9.255.255.255"),
    ("above private 10/8", "11.0.0.0"),
    ("below carriers' NAT", "100.63.255.255"),
    ("above carriers' NAT", "100.128.0.0"),
    ("below loopback", "126.255.255.255"),
    ("above loopback", "128.0.0.0"),
    ("below link-local", "169.253.255.255"),
    ("above link-local", "169.255.0.0"),
    ("below private 172.16/12", "172.15.255.255"),
    ("above private 172.16/12", "172.32.0.0"),
    ("above protocol assignments", "192.0.1.0"),
    ("above documentation", "192.0.3.0"),
    ("AS112, which the registry calls global", "192.31.196.1"),
    ("AMT, which the registry calls global", "192.52.193.1"),
    ("below 192.168/16", "192.167.255.255"),
    ("above 192.168/16", "192.169.0.0"),
    ("AS112, direct", "192.175.48.1"),
    ("below benchmarks", "198.17.255.255"),
    ("above benchmarks", "198.20.0.0"),
    ("the last before multicast", "223.255.255.255"),
    ("a neighbour of Azure's host", "168.63.129.15"),
    ("the other neighbour", "168.63.129.17"),
    ("a name server", "2001:4860:4860::8888"),
    ("the first above protocol assignments", "2001:200::1"),
    ("a common one", "2606:4700:4700::1111"),
    ("the last that is allocated", "3ffe:ffff::1"),
    ("a public one that IPv6 holds", "::ffff:8.8.8.8"),
    ("a public one by NAT64", "64:ff9b::8.8.8.8"),
]

NOT_PUBLIC = [
    ("unspecified", "0.0.0.0"),
    ("this network", "0.1.2.3"),
    ("private", "10.0.0.1"),
    ("private, the last", "10.255.255.255"),
    ("carriers' NAT", "100.64.0.1"),
    ("metadata of Alibaba", "100.100.100.200"),
    ("carriers' NAT, the last", "100.127.255.255"),
    ("loopback", "127.0.0.1"),
    ("loopback, another", "127.1.2.3"),
    ("the host of Azure's machines", "168.63.129.16"),
    ("link-local", "169.254.1.1"),
    ("metadata of AWS, Google, Azure", "169.254.169.254"),
    ("credentials of AWS's containers", "169.254.170.2"),
    ("metadata of Tencent", "169.254.0.23"),
    ("private", "172.16.0.1"),
    ("a Docker bridge", "172.17.0.1"),
    ("private, the last", "172.31.255.255"),
    ("protocol assignments", "192.0.0.1"),
    ("metadata of Oracle", "192.0.0.192"),
    ("an anycast address that the registry calls global, in 192.0.0.0/24", "192.0.0.9"),
    ("NAT64's discovery", "192.0.0.170"),
    ("documentation", "192.0.2.1"),
    ("a relay of 6to4", "192.88.99.1"),
    ("private", "192.168.0.1"),
    ("benchmarks", "198.18.0.1"),
    ("benchmarks, the last", "198.19.255.255"),
    ("documentation", "198.51.100.1"),
    ("documentation", "203.0.113.1"),
    ("multicast", "224.0.0.1"),
    ("multicast, the last", "239.255.255.255"),
    ("reserved", "240.0.0.1"),
    ("broadcast", "255.255.255.255"),
    ("unspecified", "::"),
    ("loopback", "::1"),
    ("IPv4-compatible", "::8.8.8.8"),
    ("IPv4-compatible loopback", "::127.0.0.1"),
    ("IPv4-mapped loopback", "::ffff:127.0.0.1"),
    ("IPv4-mapped, private", "::ffff:10.0.0.1"),
    ("IPv4-mapped metadata", "::ffff:169.254.169.254"),
    ("IPv4-mapped, Azure's host", "::ffff:168.63.129.16"),
    ("IPv4-translated", "::ffff:0:8.8.8.8"),
    ("NAT64 of loopback", "64:ff9b::127.0.0.1"),
    ("NAT64 of private", "64:ff9b::192.168.1.1"),
    ("NAT64 of metadata", "64:ff9b::169.254.169.254"),
    ("NAT64 with something between", "64:ff9b:0:0:1::8.8.8.8"),
    ("local NAT64", "64:ff9b:1::1"),
    ("local NAT64 of a public address", "64:ff9b:1::8.8.8.8"),
    ("local NAT64, the last", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("discard", "100::1"),
    ("a dummy prefix", "100:0:0:1::1"),
    ("Teredo", "2001::1"),
    ("Teredo of a public address", "2001:0:808:808::1"),
    ("benchmarks", "2001:2::1"),
    ("ORCHID", "2001:10::1"),
    ("ORCHIDv2", "2001:20::1"),
    ("drones", "2001:30::1"),
    ("documentation", "2001:db8::1"),
    ("6to4 of private", "2002:a00:1::1"),
    ("6to4 of loopback", "2002:7f00:1::1"),
    ("6to4 of a public address", "2002:808:808::1"),
    ("documentation", "3fff::1"),
    ("documentation, the last", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("not allocated", "4000::1"),
    ("segment routing", "5f00::1"),
    ("unique local", "fc00::1"),
    ("metadata of AWS", "fd00:ec2::254"),
    ("metadata of Google", "fd20:ce::254"),
    ("link-local", "fe80::1"),
    ("link-local, the last", "febf::1"),
    ("site-local, given up", "fec0::1"),
    ("multicast", "ff02::1"),
    ("global multicast", "ff0e::1"),
    ("a zone", "fe80::1%eth0"),
    ("a public one with a zone", "2606:4700:4700::1111%1"),
]


@pytest.mark.parametrize(
    ("text", "public"),
    [(text, True) for _, text in PUBLIC] + [(text, False) for _, text in NOT_PUBLIC],
    ids=[f"{what}: {text}" for what, text in PUBLIC + NOT_PUBLIC],
)
def test_whether_an_address_is_public(text: str, public: bool) -> None:
    """Public is what is allocated, global, and embeds nothing else."""
    assert public == is_public(ipaddress.ip_address(text))


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_an_embedded_address_is_public_at_most_where_it_is_by_itself(address: ipaddress.IPv4Address) -> None:
    """Each form of IPv6 that embeds an IPv4 address hides nothing."""
    bits, public = int(address), is_public(address)
    forms = {
        "mapped": (ipaddress.IPv6Address(0xFFFF << 32 | bits), public),
        "NAT64": (ipaddress.IPv6Address((0x64 << 112) | (0xFF9B << 96) | bits), public),
        "compatible": (ipaddress.IPv6Address(bits), False),
        "6to4": (ipaddress.IPv6Address((0x2002 << 112) | (bits << 80) | 1), False),
        "Teredo's server": (ipaddress.IPv6Address((0x2001 << 112) | (bits << 64) | 1), False),
        "Teredo's client": (ipaddress.IPv6Address((0x2001 << 112) | (bits ^ 0xFFFF_FFFF)), False),
        "local NAT64": (ipaddress.IPv6Address((0x64 << 112) | (0xFF9B << 96) | (1 << 80) | bits), False),
    }
    assert {name: expected for name, (_, expected) in forms.items()} == {
        name: is_public(form) for name, (form, _) in forms.items()
    }


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address) | st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_what_every_release_of_python_calls_local_is_not_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever else it is: these properties have been the same since Python 3.11."""
    local = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    assert not (local and is_public(address))
