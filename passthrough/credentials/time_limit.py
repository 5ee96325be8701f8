"""Limits the time of an HTTP call as a whole: when it is over, its connections are cut.

The time-outs of sockets, and so of urllib3, count from one byte to the next: a server that sends a byte now and then never meets
them. Imported with the first fetch, as it needs urllib3.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class OpenConnections:
    """The connections that urllib3 opens, by way of `pools`, until they are closed."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._are_cut = False
        self.pools = _pools(self)

    def opened(self, connection: socket.socket) -> socket.socket:
        """Note a connection. What is kept is a second descriptor: TLS takes the first one away from its object."""
        self._sockets.append(connection.dup())
        if self._are_cut:
            self.cut()
        return connection

    def cut(self) -> None:
        """Let whoever waits for one of them see its end; those that are opened later, too. Called on any thread."""
        self._are_cut = True
        for each in tuple(self._sockets):
            with suppress(OSError):  # it has ended already
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Keep none of them open."""
        while self._sockets:
            self._sockets.pop().close()


class TimeLimit:
    """Cuts connections after this time, and then raises TimeoutError instead of whatever came of that."""

    def __init__(self, connections: OpenConnections, limit_s: float) -> None:
        self._is_over = False
        self._connections = connections
        self._timer = threading.Timer(limit_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._is_over:
            raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        self._connections.cut()


def _pools(connections: OpenConnections) -> dict[str, Any]:
    """Return urllib3's pools for the schemes, whose connections are noted."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connections.opened(super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connections.opened(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
