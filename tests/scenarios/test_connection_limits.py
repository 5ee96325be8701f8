"""Who is silent gives way to who comes; the admin port has places of its own; too few descriptors are said."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path

import pytest
import trustme
import uvloop

from tests.harness.client import RawClient, asking, client
from tests.harness.process import clean_environment, program
from tests.harness.proxy import road, route_to, street
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

PING = asking(b"GET /healthz HTTP/1.1").replace(b"proxy.test", b"localhost")
ROUTE = "ledger: none\npass_through_endpoints:\n  - {path: /a, target: 'http://127.0.0.1:9'}\n"


async def silent(port: int, count: int, stack: ExitStack) -> list[socket.socket]:
    """Connect so often, and say nothing."""
    found = []
    for _ in range(count):
        sock = stack.enter_context(closing(socket.socket()))
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        found.append(sock)
    return found


async def test_silent_connections_give_way() -> None:
    """The one that has been silent for longest is closed; whoever comes is served, and nobody is told that there are too many."""
    async with street(answering(ok())) as (house, _), AsyncExitStack() as stack:
        house.listener.max_connections = 3
        first, second, third = [await stack.enter_async_context(client(house.port)) for _ in range(3)]
        await until(lambda: len(house.listener.connections) == 3)
        for longest in (first, second):
            raw = await stack.enter_async_context(client(house.port))
            await raw.send(asking())
            assert (await raw.head()).startswith(b"HTTP/1.1 200")
            assert b"" == await longest.rest()
            await until(lambda: len(house.listener.connections) == 3)
        await third.send(asking())
        assert (await third.head()).startswith(b"HTTP/1.1 200")
        assert ["completed"] * 3 == [str(each.outcome) for each in await house.booked(3)]


async def test_silent_tls_connections_give_way_at_once() -> None:
    """Their places are free without their help: a silent client need not read that the connection is closed, and never closes."""
    authority = trustme.CA()
    served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trusting)

    def connect(port: int) -> socket.socket:
        return trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), WAIT_S), server_hostname="localhost")

    async with upstream(answering(ok())) as above, road(route_to(above.port), tls=served) as house:
        house.listener.max_connections = 3
        with ExitStack() as stack:
            for count in range(1, 10):
                stack.enter_context(closing(await asyncio.to_thread(connect, house.port)))
                await until(lambda: len(house.listener.connections) == min(count, 3))  # noqa: B023 - called at once
            async with client(house.port, ssl=trusting, server_hostname="localhost") as raw:
                await raw.send(asking())
                assert (await raw.head()).startswith(b"HTTP/1.1 200")


async def test_who_has_begun_is_not_closed_for_another() -> None:
    """Where all have sent a part of a request there is no room: the next one is 503, and they go on."""
    async with street(answering(ok())) as (house, _), client(house.port) as one, client(house.port) as other:
        house.listener.max_connections = 2
        for raw in (one, other):
            await raw.send(b"GET / HTTP/1.1\r\n")
        await until(lambda: len(house.listener.connections) == 2)
        await asyncio.sleep(0.05)
        async with client(house.port) as late:
            assert b"\r\nX-Passthrough-Error: overloaded\r\n" in await late.rest()
        for raw in (one, other):
            await raw.send(b"Host: a\r\n\r\n")
            assert (await raw.head()).startswith(b"HTTP/1.1 200")


@pytest.mark.process
async def test_the_admin_port_has_places_of_its_own(tmp_path: Path) -> None:
    """Two hundred silent connections to it take nothing from the traffic, and it answers all the same."""
    async with program(tmp_path, ROUTE) as running:
        with ExitStack() as stack:
            await silent(running.admin_port, 200, stack)
            async with client(running.admin_port) as raw:
                await raw.send(PING)
                head, _ = await raw.answer()
                assert head.startswith(b"HTTP/1.1 200")
            open_files = len(os.listdir(f"/proc/{running.process.pid}/fd")) if sys.platform == "linux" else 0
            assert open_files < 64 + 40
            async with client(running.port) as raw:
                await raw.send(asking(b"GET /b HTTP/1.1"))
                head, _ = await raw.answer()
                assert head.startswith(b"HTTP/1.1 404")
        assert 0 == await running.stop()


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(("limit", "code", "said"), [(64, None, "serves 8 connections"), (40, 1, "open 40 files only")])
async def test_too_few_descriptors_are_said(tmp_path: Path, limit: int, code: int | None, said: str) -> None:
    """Where few can be served that is a warning, where nobody can it is an error, both with the cure."""
    (tmp_path / "routes.yaml").write_text(ROUTE)
    started = f"import resource, runpy\nresource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
    script = started + "import sys\nsys.argv = ['passthrough', 'serve', '--port', '0', '--admin-port', '0']\n"
    script += "runpy.run_module('passthrough', run_name='__main__')\n"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), cwd=tmp_path, env=clean_environment(), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    text = b""
    try:
        async with asyncio.timeout(30):
            while line := await process.stderr.readline():
                text += line
                if code is None and b"Listening on" in line:
                    break
            assert said in text.decode()
            assert "ulimit -n" in text.decode()
            if code is not None:
                assert code == await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _speaking() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
def test_silent_tls_handshakes_give_way(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """They count from the accept on; the longest silent is closed for who comes, before a connection that waits for a request."""
    server, trusting = _speaking()

    async def talk() -> None:
        async with upstream(answering(ok())) as above, road(route_to(above.port), tls=server) as house:
            house.listener.max_connections = 5
            async with client(house.port, ssl=trusting, server_hostname="localhost") as kept:
                await kept.send(asking())
                assert (await kept.answer())[0].startswith(b"HTTP/1.1 200")
                with ExitStack() as stack:
                    connected = await silent(house.port, 30, stack)
                    await until(lambda: house.listener.open == 5 and _is_closed(connected[25]))
                    assert [True] * 26 + [False] * 4 == [_is_closed(each) for each in connected]
                    async with client(house.port, ssl=trusting, server_hostname="localhost") as raw:
                        assert house.listener.open == 5
                        for each in (raw, kept):
                            await each.send(asking())
                            assert (await each.answer())[0].startswith(b"HTTP/1.1 200")
                await until(lambda: house.listener.open == 1)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


def _is_closed(sock: socket.socket) -> bool:
    """Tell whether the other side has closed."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@LOOPS
def test_a_tls_newcomer_is_closed_where_all_others_have_begun(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It cannot be answered yet; those that have begun a request go on."""
    server, trusting = _speaking()

    async def talk() -> None:
        async with upstream(answering(ok())) as above, road(route_to(above.port), tls=server) as house:
            house.listener.max_connections = 1
            async with client(house.port, ssl=trusting, server_hostname="localhost") as first:
                await first.send(b"GET / HTTP/1.1\r\n")
                # Not silent is also what waits for nothing yet: it must wait, and its head must have begun.
                begun = [(True, False)]
                await until(lambda: begun == [(each.awaits_request, each.is_idle) for each in house.listener.connections])  # type: ignore[attr-defined]
                with pytest.raises(OSError):  # noqa: PT011 - a reset or an end, as it comes
                    async with client(house.port, ssl=trusting, server_hostname="localhost"):
                        pass
                await first.send(b"Host: a\r\n\r\n")
                assert (await first.answer())[0].startswith(b"HTTP/1.1 200")

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


@LOOPS
def test_handshakes_that_fail_are_no_news(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Plain HTTP, half a greeting, an end and a reset on the TLS port leave nothing behind, nor does the end of the listener."""
    server, trusting = _speaking()
    said: list[object] = []

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        async with upstream(answering(ok())) as above, road(route_to(above.port), tls=server) as house:
            for sent in (asking(), b"\x16\x03\x01\x02\x00", b"\x16", b""):
                async with client(house.port) as raw:
                    await raw.send(sent)
                    await asyncio.sleep(0.02)  # It may have been closed by now, or not: either is a case.
                await until(lambda: house.listener.open == 0)
                async with client(house.port) as raw:
                    await raw.send(sent)
                    raw.reset()
                await until(lambda: house.listener.open == 0)
            async with client(house.port, ssl=trusting, server_hostname="localhost") as raw:
                await raw.send(asking())
                assert (await raw.answer())[0].startswith(b"HTTP/1.1 200")
            async with client(house.port) as left, client(house.port) as begun:
                await begun.send(b"\x16\x03\x01")
                await until(lambda: len(house.listener.handshakes.begun) == 1 and len(house.listener.handshakes.silent) == 1)
                house.listener.close_idle()
                assert b"" == await _end(left)
                await house.listener.shutdown(1)
                assert b"" == await _end(begun)
        assert [] == said

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


async def _end(raw: RawClient) -> bytes:
    """Return what comes until the end; a reset is one."""
    try:
        return await raw.rest()
    except ConnectionResetError:
        return b""
