"""The service manager is told when the program serves, so that a reload right behind the start does not end it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from passthrough.server.service_manager import notify_ready
from tests.harness.process import WAIT_S, program

ROUTES = "pass_through_endpoints:\n  - {path: /mistral, target: 'http://127.0.0.1:9'}\nledger: none\n"


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """Listen as a service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.setblocking(False)
        yield listening


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_right_behind_the_start_reloads(tmp_path: Path, workers: int) -> None:
    """The manager learns once, and only when all listen, that it serves: its SIGHUP from then on is a reload, and no end."""
    with manager(str(tmp_path / "notify")) as listening:
        loop = asyncio.get_running_loop()
        told = asyncio.ensure_future(loop.sock_recv(listening, 4096))
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with program(tmp_path, ROUTES, "--workers", str(workers), env=env) as running:
            assert b"READY=1" == await asyncio.wait_for(told, WAIT_S)
            (tmp_path / "routes.yaml").write_text(ROUTES + "admin_key: 0123456789abcdef0123456789abcdef\n")
            running.signal(signal.SIGHUP)
            await running.says("(?i)reloaded")
            assert 0 == await running.stop()
        with pytest.raises(BlockingIOError):
            listening.recv(4096)


@pytest.mark.process
async def test_a_manager_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    """It is said once, and the program serves."""
    async with program(tmp_path, ROUTES, env={"NOTIFY_SOCKET": str(tmp_path / "gone")}) as running:
        await running.says("The service manager at NOTIFY_SOCKET cannot be notified: .*No such file")
        assert 0 == await running.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
def test_an_abstract_address_is_reached(caplog: pytest.LogCaptureFixture) -> None:
    """Where the address begins with @, it is no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # Linux chooses one
        address = listening.getsockname()
        notify_ready("@" + address[1:].decode())
        assert b"READY=1" == listening.recv(4096)
    assert [] == caplog.messages


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_said(address: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """On a terminal, and in a container, there is none."""
    notify_ready(address)
    assert [] == caplog.messages
