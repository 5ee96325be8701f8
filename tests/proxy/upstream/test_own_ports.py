"""A route whose target turns out to be the proxy itself: it is refused at the connection, whatever the target is called."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from passthrough.proxy.upstream.own_ports import is_same_machine, leads_back
from passthrough.proxy.upstream.pool import ConnectionPool
from tests.harness.client import asking, client, once
from tests.harness.ports import free_port
from tests.harness.process import program
from tests.harness.proxy import road, route_to
from tests.harness.upstream import answering, ok, upstream

CASES = [
    ("the same address", "10.0.0.5", "10.0.0.5", ["10.0.0.5"], True),
    ("a wildcard, by an address of the machine", "10.0.0.5", "10.0.0.5", ["0.0.0.0"], True),
    ("a wildcard, by loopback", "127.0.0.1", "127.0.0.1", ["0.0.0.0"], True),
    ("a wildcard, by another address of loopback", "127.0.0.1", "127.0.0.9", ["0.0.0.0"], True),
    ("IPv6's wildcard, by IPv6", "fd00::2", "fd00::2", ["::"], True),
    ("IPv6's wildcard, by IPv4", "10.0.0.5", "10.0.0.5", ["::"], True),
    ("an IPv4 address that IPv6 holds", "::ffff:127.0.0.1", "::ffff:127.0.0.1", ["127.0.0.1"], True),
    ("a link-local address", "fe80::1%eth0", "fe80::1", ["::"], True),
    ("one of two", "::1", "::1", ["127.0.0.1", "::1"], True),
    ("another machine's port of the same number", "10.0.0.5", "10.0.0.6", ["0.0.0.0", "::", "10.0.0.5"], False),
    ("another program on another address", "127.0.0.1", "127.0.0.9", ["127.0.0.1"], False),
    ("another program of the other family", "::1", "::1", ["0.0.0.0"], False),
    ("nothing listens", "127.0.0.1", "127.0.0.1", [], False),
]


@pytest.mark.parametrize(("local", "peer", "bound", "ours"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_whose_port_it_is(local: str, peer: str, bound: list[str], ours: bool) -> None:
    """Ours are the addresses that are bound, or all of the machine's; another port never is."""
    listening = [(each, 4000) for each in bound]
    assert ours == leads_back((local, 50000), (peer, 4000), listening)
    assert not leads_back((local, 50000), (peer, 4001), listening)


@pytest.mark.parametrize(
    ("local", "peer", "same"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("127.0.0.1", "127.0.0.9", True),
        ("::ffff:10.0.0.5", "10.0.0.5", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("2606:4700::1", "2606:4700::1", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.5", "127.0.0.1", False),
        ("2606:4700::1", "2606:4700::2", False),
    ],
)
def test_whether_a_connection_stays_within_the_machine(local: str, peer: str, same: bool) -> None:
    """It does where both ends have one address, whatever the port and whoever listens there."""
    assert same == is_same_machine((local, 50000), (peer, 80))


@pytest.mark.wire
async def test_a_route_that_leads_back_by_a_name() -> None:
    """One connection is made, nothing is sent on it, and the client gets the error; its neighbour on the machine is reached."""

    def look_up(host: str, port: None, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    pool = ConnectionPool(look_up=look_up)
    async with upstream(answering(ok(b"a"))) as raw, road(pool=pool) as house, client(house.port) as one:
        itself = route_to(house.port, b"/itself", target={"host": "proxy.test"})
        house.adopt([itself, route_to(raw.port, b"/other", target={"host": "other.test"})])
        pool.listening = [house.server.sockets[0].getsockname()]
        for _ in range(3):
            await one.send(asking(b"GET /itself HTTP/1.1"))
            head, body = await one.answer()
            assert (b"508", True) == (head[9:12], b'"proxy_loop"' in body)
        await one.send(asking(b"GET /other HTTP/1.1"))
        assert b"a" == (await one.answer())[1]
        exchanges = await house.booked(4)
        assert ["proxy_loop"] * 3 + [None] == [exchange.error for exchange in exchanges]


def own_name() -> str:
    """Return the name of this machine, by which loopback or another of its addresses is reached."""
    name = socket.gethostname()
    try:
        found = {at[0] for *_, at in socket.getaddrinfo(name, None, socket.AF_INET)}
        for address in found:
            with socket.socket() as bound:
                bound.bind((address, 0))
    except OSError:
        pytest.skip("This machine's own name is not its address.")
    return name


@pytest.mark.wire
@pytest.mark.process
@pytest.mark.parametrize("port", ["traffic", "admin"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_program_and_its_own_name(workers: str, host: str, port: str, tmp_path: Path) -> None:
    """Whichever worker would accept it, and the admin port too: 508, and no connection is left that calls itself."""
    number = free_port()
    there, flag = ("--admin-port", "--admin-host") if port == "admin" else ("--port", "--host")
    config = f"""\
allow_anonymous: true
ledger: none
pass_through_endpoints: [{{path: /a, target: "http://{own_name()}:{number}", include_subpath: true}}]
"""
    async with program(tmp_path, config, there, str(number), flag, host, "--workers", workers) as running:
        found = await once(running.port, asking(b"GET /a/b HTTP/1.1", b"Connection: close"))
        assert found.startswith(b"HTTP/1.1 508 ")
        async with running.news:
            await running.news.wait_for(lambda: running.log)
        assert ["proxy_loop"] == [line["error"] for line in running.log]


@pytest.mark.process
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_address_of_both_families(workers: str, tmp_path: Path) -> None:
    """`--host ::` listens for IPv4 and IPv6 on one port, on the admin port too."""
    config = "allow_anonymous: true\nledger: none\npass_through_endpoints: [{path: /a, target: 'http://127.0.0.1:9'}]\n"
    async with program(tmp_path, config, "--host", "::", "--admin-host", "::", "--workers", workers) as running:
        for address in ("127.0.0.1", "::1"):
            for port in (running.port, running.admin_port):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 404 " if port == running.port else b"HTTP/1.1 200 ")
                writer.close()
