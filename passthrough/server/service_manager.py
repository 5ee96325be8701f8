"""Tells the service manager that the program serves, by systemd's protocol (sd_notify(3)).

Without it a manager takes the program for started as soon as its process is there. A reload that comes at once, as `systemctl
reload` right behind `systemctl start` does, would then be a SIGHUP that nothing handles yet, and end it.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

_log: Final = logging.getLogger("passthrough")


def notify_ready(address: str | None) -> None:
    """Say to the socket that the variable NOTIFY_SOCKET names that this process serves; without one, do nothing.

    Never blocks and never raises: a manager that does not listen is no reason not to serve.
    """
    if not address:
        return
    path = f"\0{address[1:]}" if address.startswith("@") else address  # sd_notify(3): @ is the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(b"READY=1", path)
    except OSError as error:
        _log.warning("The service manager at NOTIFY_SOCKET cannot be notified: %s.", error)
