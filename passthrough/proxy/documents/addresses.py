"""Tells which IP addresses are public: those that anyone on the internet reaches, and that lead nowhere inside.

The table is our own. `ipaddress.is_global` differs between releases of Python (3.13 and 3.12.4 changed it), it does not look into
forms of IPv6 that embed an IPv4 address, and knows no metadata services.
"""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; 100.100.100.200 is Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's virtual machines reach their host there, in the midst of public addresses
        "169.254.0.0/16",  # link-local; 169.254.169.254 and others are metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""IANA's special-purpose registry of IPv4 (RFC 6890), without what it calls globally reachable; and metadata services."""

_UNICAST6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is allocated for global unicast. The rest is loopback, local, multicast, reserved, or embeds an IPv4 address."""

_NOT_PUBLIC6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo (2001::/32) and ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: embeds an IPv4 address, and is given up (RFC 7526)
        "3fff::/20",  # documentation
    )
)
"""The same of IPv6, within 2000::/3."""

_EMBEDDING: Final = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""The forms of IPv6 that stand for the IPv4 address in their last 32 bits: IPv4-mapped, and what a resolver that serves a network
without IPv4 makes of names (NAT64, RFC 6052). NAT64 by a prefix of the network's own (64:ff9b:1::/48, RFC 8215) is local."""


def is_public(address: Address) -> bool:
    """Tell whether an address is public. One with a zone is not, whatever it is: it means something on one machine only."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC4)
    if address.scope_id is not None:
        return False
    if any(address in network for network in _EMBEDDING):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _UNICAST6 and not any(address in network for network in _NOT_PUBLIC6)
