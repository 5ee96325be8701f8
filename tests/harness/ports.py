"""A port for a program that must be told one and cannot find one for itself, or that must have the same after it was killed."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port that nobody has, below those that the system gives away: it must still be free when the program starts."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
