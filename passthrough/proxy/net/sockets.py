"""Socket options and queries that asyncio has no call for: unread input, unsent output, keep-alive, a reset on close."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 45), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_UNREAD_BYTES: Final = 64 * 1024
_RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def input_probe(transport: asyncio.Transport) -> Callable[[], bool]:
    """Return a function that tells whether a transport's socket has unread input or was closed by its peer; it never waits.

    It may be called only while the transport is open: later the descriptor may be another socket's.
    """
    descriptor = transport.get_extra_info("socket").fileno()
    if sys.platform == "win32":
        return lambda: bool(select.select([descriptor], [], [], 0)[0])  # It has no poll, and no limit of 1024 descriptors.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
    return lambda: bool(poll.poll(0))


def unread_input(transport: asyncio.Transport) -> Iterator[bytes]:
    """Yield the input that the kernel still holds of a connection on which a write has failed, without waiting.

    A peer that responds and closes with input unread resets the connection (RFC 9112 §9.6): the next write fails, and the event
    loop reads no more. On Linux the response can still be read: a reset leaves the receive queue as it is (tcp_reset). To be
    called from the transport's own `connection_lost`: later the descriptor may be another socket's. Whether the end was clean is
    not known: after a reset whose error the write has consumed, the kernel reports a clean end.
    """
    if sys.platform == "win32":
        return  # Its descriptors are not for `os.read`, and it drops what was not read.
    descriptor = transport.get_extra_info("socket").fileno()
    with suppress(OSError):
        while piece := os.read(descriptor, _UNREAD_BYTES):
            yield piece


def unsent_bytes(transport: asyncio.Transport | None) -> int:
    """Return how many of the written bytes the peer has not received yet: in our buffer, and on Linux in the kernel's too.

    The kernel buffers megabytes and takes more only when a good part of them is gone: by our own buffer alone, a slow reader
    would look dead.
    """
    if transport is None:
        return 0
    unsent = transport.get_write_buffer_size()
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not on every system
        import termios  # noqa: PLC0415 - not on every system

        try:
            queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except OSError:  # The socket has been closed meanwhile.
            return unsent
        unsent += int(struct.unpack("i", queued)[0])
    return unsent


def keep_alive(sock: socket.socket) -> None:
    """Switch on TCP keep-alive, so that NAT keeps the path: OCR of a thousand pages is minutes of silence on the connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def reset_on_close(transport: asyncio.Transport) -> None:
    """Make the socket send a reset when the transport is closed, never a clean end."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
