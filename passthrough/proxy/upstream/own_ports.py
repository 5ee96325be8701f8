"""Detects loops: a connection that leads back to this proxy, whose route would call itself without end.

The connection's addresses show it, not a header field, which would go to providers too. Whatever changes addresses in between,
such as a reverse proxy or NAT, hides a loop.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

SocketName = Sequence[Any]
"""What `getsockname` returns for IPv4 or IPv6: the address, the port, and more."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_ANY4: Final = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 - compared with, not bound to
_ANY6: Final = ipaddress.IPv6Address("::")


def leads_back(local: SocketName, peer: SocketName, listening: Iterable[SocketName]) -> bool:
    """Tell whether the peer of a connection is one of the proxy's listening sockets, whichever worker accepts from it.

    A socket that is bound to the wildcard is reached at each address of the machine; `::` serves both families.
    """
    mine = [name for name in listening if name[1] == peer[1]]
    if not mine or not is_same_machine(local, peer):
        return False
    there = _address(peer)
    wildcards = {_ANY6, _ANY4} if there.version == 4 else {_ANY6}
    return any(_address(name) == there or _address(name) in wildcards for name in mine)


def is_same_machine(local: SocketName, peer: SocketName) -> bool:
    """Tell whether a connection stays within this machine.

    Its ends have the same address then, or one of loopback each: so the kernel chooses them.
    """
    here, there = _address(local), _address(peer)
    return here == there or (here.is_loopback and there.is_loopback)


def _address(name: SocketName) -> _Address:
    """Return the address of a socket's name: without a zone, and an IPv4-mapped one as IPv4."""
    address = ipaddress.ip_address(name[0].partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
