"""A name server on loopback that gives what a test says, for programs that ask one by themselves."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

_A = 1
_NO_ERROR, _NO_SUCH_NAME = 0, 3
_IS_RESPONSE = 0x8180
"""A response, to a recursive question, from a server that recurses (RFC 1035 §4.1.1)."""


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers questions for IPv4 addresses; every other name and type has none (RFC 1035)."""

    names: dict[str, list[str]] = field(default_factory=dict)
    is_silent: bool = False
    asked: int = 0
    port: int = 0
    _transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are sent by; uvloop's is no asyncio.DatagramTransport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Answer one question, unless it is silent."""
        self.asked += 1
        if self.is_silent:
            return
        labels, end = [], 12
        while data[end]:
            labels.append(data[end + 1 : end + 1 + data[end]].decode())
            end += 1 + data[end]
        question = data[12 : end + 5]
        addresses = self.names.get(".".join(labels).lower())
        code = _NO_SUCH_NAME if addresses is None else _NO_ERROR
        given = (addresses or []) if struct.unpack("!H", question[-4:-2])[0] == _A else []
        head = data[:2] + struct.pack("!5H", _IS_RESPONSE | code, 1, len(given), 0, 0)
        # 0xC00C: the name is that of the question.
        records = b"".join(struct.pack("!3HIH", 0xC00C, _A, 1, 60, 4) + socket.inet_aton(address) for address in given)
        self._transport.sendto(head + question + records, addr)


@asynccontextmanager
async def name_server(**names: list[str]) -> AsyncIterator[NameServer]:
    """Run one on a free port of loopback."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(dict(names)), local_addr=("127.0.0.1", 0)
    )
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
