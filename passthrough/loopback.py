"""Recognises loopback hosts, by name or by address: one rule for every port, at the start and on reload."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_AUTHORITY: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?)\]|([^:\[\]@]+))(?::[0-9]*)?", re.ASCII)


def is_loopback(host: str) -> bool:
    """Tell whether a host (without port, without brackets) is a loopback one.

    1. `localhost` and every name below it (RFC 6761 §6.3), in any case, also with the root's dot at the end.
    2. 127.0.0.0/8 and ::1; also 127.0.0.0/8 mapped into IPv6, which Python before 3.13 denies.

    0.0.0.0 and :: are not: they stand for all addresses of the machine.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def names_loopback(authority: str) -> bool:
    """Tell whether the value of a Host field, or a URL's host and port, names a loopback host; the port may be any."""
    match = _AUTHORITY.fullmatch(authority)
    return match is not None and is_loopback(match[1] or match[2])
