"""The nginx that is shipped for replicas: it passes by a replica that is away, sends nothing twice, and waits for no name."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
from asyncio import Event
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.harness.client import asking, client
from tests.harness.name_server import NameServer, name_server
from tests.harness.nginx import PATH, REPLICAS, SHIPPED, WHY_NOT, Nginx, nginx
from tests.harness.ports import free_port
from tests.harness.process import program
from tests.harness.upstream import Peer, RawUpstream, Script, answering, chunk, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process, pytest.mark.skipif(WHY_NOT != "", reason=WHY_NOT)]

ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
"""Addresses of replicas: all listen on the same port, as containers do."""
MANY = 24
"""So many requests that each replica is surely the first choice of some: the order is random."""
OCR = b"POST /mistral/v1/ocr HTTP/1.1"
CUT_OFF = b"HTTP/1.1 502 "
AWAY = b"HTTP/1.1 503 "


@asynccontextmanager
async def balanced(folder: Path, *addresses: str) -> AsyncIterator[tuple[Nginx, NameServer, int]]:
    """Run nginx before replicas at these addresses, which need not be there; yield it, the names, and the replicas' port."""
    port = free_port()
    async with name_server(**{REPLICAS: list(addresses)}) as names, nginx(folder / "nginx", names, port) as running:
        yield running, names, port


async def post(port: int, line: bytes = OCR, body: bytes | None = b"{}") -> tuple[bytes, bytes]:
    """Send one request on a connection of its own, and return its response."""
    async with client(port) as raw:
        await raw.send(asking(line, body=body))
        return await raw.answer()


def is_own_error(answer: tuple[bytes, bytes], status: bytes, code: str) -> bool:
    """Tell whether a response is nginx's own, in the shape of the proxy's, and says that it is nginx's."""
    head, body = answer
    told = json.loads(body)
    assert (code, int(status[9:12])) == (told["code"], told["raw_status_code"])
    assert b"x-passthrough-error" not in head.lower()
    assert (b"\r\nRetry-After: 1\r\n" in head) is (status == AWAY)
    return head.startswith(status)


@contextmanager
def deaf(port: int) -> Iterator[str]:
    """Yield the address of a machine that does not respond: its queue of connections is full, so that it drops what comes."""
    with socket.socket() as listening:
        listening.bind((THREE, port))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex((THREE, port))
        yield THREE
        for each in waiting:
            each.close()


# ── what the script writes ──


@pytest.mark.parametrize(
    ("resolv", "resolver"),
    [
        ("nameserver 127.0.0.11\noptions ndots:0\n", "127.0.0.11"),
        ("search dns.podman\nnameserver 10.89.0.1\nnameserver 192.0.2.1\n", "10.89.0.1"),
        ("search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5", "10.96.0.10"),
        ("# nameserver 192.0.2.9\nnameserver\tfd00::a  # here\n", "[fd00::a]"),
        ("nameserver fe80::1%eth0\nnameserver 192.0.2.53", "192.0.2.53"),
    ],
    ids=["docker", "podman", "kubernetes", "ipv6", "an address with a zone"],
)
def test_the_name_server_is_that_of_where_it_runs(tmp_path: Path, resolv: str, resolver: str) -> None:
    """The first server of resolv.conf that nginx can ask; nginx itself takes the configuration that is written."""
    (tmp_path / "resolv.conf").write_text(resolv)
    told = started(tmp_path, "-t")
    assert 0 == told.returncode, told.stderr
    assert f"resolver {resolver} " in (tmp_path / "run/names.conf").read_text()
    assert "warn" not in told.stderr


def started(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the shipped script with flags of nginx; what it writes goes below a folder."""
    for source in SHIPPED.iterdir():
        (folder / source.name).write_text(source.read_text("utf-8").replace("/tmp/nginx", str(folder / "run")))
    return subprocess.run(
        ["sh", str(folder / "start.sh"), *flags],
        env={"PATH": PATH, "RESOLV_CONF": str(folder / "resolv.conf")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_name_server_it_does_not_start(tmp_path: Path) -> None:
    """It says which file names none."""
    (tmp_path / "resolv.conf").write_text("search example\n")
    told = started(tmp_path)
    assert (1, f"start.sh: {tmp_path}/resolv.conf names no server that nginx can ask.\n") == (told.returncode, told.stderr)


# ── a replica is away ──


async def test_requests_pass_by_a_replica_that_refuses_connections(tmp_path: Path) -> None:
    """Its process has died, its address is still there: every request reaches the other one, once, large uploads too."""
    large = b"x" * 1_000_000
    async with balanced(tmp_path, ONE, TWO) as (balancer, _, port), upstream(answering(ok()), port=port, host=TWO) as alive:
        heads = [(await post(balancer.port, body=large))[0] for _ in range(MANY)]
        assert {b"HTTP/1.1 200 OK"} == {head.partition(b"\r\n")[0] for head in heads}
        assert [large] * MANY == [each.body for each in alive.received]
        assert 0 == await balancer.stop()


async def test_requests_pass_by_a_machine_that_does_not_respond(tmp_path: Path) -> None:
    """Nothing says that it is away: after half a second the next one is tried, instead of nginx's own minute."""
    async with balanced(tmp_path, TWO) as (balancer, names, port), upstream(answering(ok()), port=port, host=TWO) as alive:
        with deaf(port) as address:
            names.names[REPLICAS] = [address, TWO]
            answers = await asyncio.gather(*(post(balancer.port) for _ in range(MANY)))
        assert [b"{}"] * MANY == [body for _, body in answers]
        assert MANY == len(alive.received)


async def test_nothing_is_reachable(tmp_path: Path) -> None:
    """All replicas refuse, do not respond, have no name, or the name server is silent: a 503 says that nothing was sent."""
    async with balanced(tmp_path, ONE, TWO) as (balancer, names, port):
        assert is_own_error(await post(balancer.port), AWAY, "no_replica")
        assert is_own_error(await post(balancer.port, body=b"x" * 1_000_000), AWAY, "no_replica")
        with deaf(port) as address:
            names.names[REPLICAS] = [address]
            await eventually(lambda: asked_anew(balancer, names), bool)
            assert is_own_error(await post(balancer.port), AWAY, "no_replica")
        del names.names[REPLICAS]
        await eventually(lambda: asked_anew(balancer, names), bool)
        assert is_own_error(await post(balancer.port), AWAY, "no_replica")
        names.is_silent = True
        await eventually(lambda: asked_anew(balancer, names), bool)
        assert is_own_error(await post(balancer.port), AWAY, "no_replica")


async def asked_anew(balancer: Nginx, names: NameServer) -> bool:
    """Send a request, and tell whether nginx asked for the name for it: what it knew before is too old by now."""
    before = names.asked
    await post(balancer.port)
    return names.asked > before


async def test_it_may_start_before_the_replicas(tmp_path: Path) -> None:
    """Without a name yet it runs, and the first replica that comes is found."""
    async with balanced(tmp_path) as (balancer, names, port):
        del names.names[REPLICAS]
        assert is_own_error(await post(balancer.port), AWAY, "no_replica")
        names.names[REPLICAS] = [ONE]
        async with upstream(answering(ok()), port=port, host=ONE):
            await eventually(lambda: post(balancer.port), lambda answer: answer[1] == b"{}")


async def test_a_replica_comes_back_with_another_address(tmp_path: Path) -> None:
    """Containers do: no request fails meanwhile, and the new one gets its share."""
    async with (
        balanced(tmp_path, ONE, TWO) as (balancer, names, port),
        upstream(answering(ok()), port=port, host=TWO),
        upstream(answering(ok(b"new")), port=port, host=THREE) as new,
    ):
        assert (await post(balancer.port))[0].startswith(b"HTTP/1.1 200 ")
        names.names[REPLICAS] = [TWO, THREE]
        while not new.received:
            assert (await post(balancer.port))[0].startswith(b"HTTP/1.1 200 ")


# ── nothing is sent twice ──


def breaking(method: bytes) -> Script:
    """Return a replica's script that takes a request of a method and breaks off without a response, and answers others."""

    async def script(peer: Peer) -> None:
        while True:
            if (await peer.request()).line.startswith(method):
                peer.reset()
                return
            await peer.send(ok())

    return script


@pytest.mark.parametrize("body", [b"{}", b"x" * 1_000_000], ids=["small", "large"])
async def test_what_was_sent_to_a_replica_goes_to_no_other(tmp_path: Path, body: bytes) -> None:
    """The provider may have billed it: each request is seen once, and the 502 says so."""
    async with (
        balanced(tmp_path, ONE, TWO) as (balancer, _, port),
        upstream(breaking(b"POST "), port=port, host=ONE) as one,
        upstream(breaking(b"POST "), port=port, host=TWO) as two,
    ):
        for _ in range(MANY):
            assert is_own_error(await post(balancer.port, body=body), CUT_OFF, "replica_lost")
        assert MANY == len(one.received) + len(two.received)


async def test_what_may_be_repeated_is_repeated(tmp_path: Path) -> None:
    """A GET that a dying replica had is sent to the other one (RFC 9110 §9.2.2)."""
    async with (
        balanced(tmp_path, ONE, TWO) as (balancer, _, port),
        upstream(breaking(b"GET "), port=port, host=ONE) as dying,
        upstream(answering(ok()), port=port, host=TWO),
    ):
        while not dying.received:
            head, _ = await post(balancer.port, b"GET /mistral/v1/models HTTP/1.1", None)
            assert head.startswith(b"HTTP/1.1 200 ")


# ── bytes go straight through ──


async def test_targets_and_errors_pass_untouched(tmp_path: Path) -> None:
    """A path goes on as it came, and a replica's 502, 503 or 504 is not nginx's."""
    target = b"//mistral/%2Fv1/a%20b//c;x=1?q=%2F&r=a+b"
    async with balanced(tmp_path, ONE) as (balancer, _, port):
        for status in (b"502 Bad Gateway", b"503 Service Unavailable", b"504 Gateway Timeout"):
            answer = ok(b"ours", b"X-Passthrough-Error: upstream_timeout", status=status)
            async with upstream(answering(answer), port=port, host=ONE) as replica:
                head, body = await post(balancer.port, b"POST " + target + b" HTTP/1.1")
                assert b"HTTP/1.1 " + status == head.partition(b"\r\n")[0]
                assert b"\r\nX-Passthrough-Error: upstream_timeout\r\n" in head
                assert b"ours" == body
                assert b"POST " + target + b" HTTP/1.1" == replica.received[0].line
                assert [b"localhost"] == replica.received[0].values(b"host")


async def test_fields_of_requests_pass_whatever_they_are_called(tmp_path: Path) -> None:
    """A name may have any of a token's signs (RFC 9110 §5.6.2); nginx by itself drops all but letters, digits and hyphens."""
    odd = {b"X_Label": b"team_a", b"X-Odd.Name": b"1", b"x!#$%&'*+.^`|~": b"\xe4"}
    async with balanced(tmp_path, ONE) as (balancer, _, port), upstream(answering(ok()), port=port, host=ONE) as replica:
        async with client(balancer.port) as raw:
            await raw.send(asking(OCR, *(b"%b: %b" % pair for pair in odd.items()), body=b"{}"))
            await raw.answer()
        received = replica.received[0]
        assert odd == {name: value for name, value in received.fields if name in odd}


ACCEL = ("Redirect: /mistral/v1/other", "Expires: 60", "Limit-Rate: 1", "Buffering: yes", "Charset: utf-8")
"""Fields of responses that nginx by itself obeys, and keeps to itself."""


async def test_fields_of_responses_are_no_orders_for_nginx(tmp_path: Path) -> None:
    """They come from the provider: X-Accel-Redirect alone would make nginx send another request, and show its response."""
    fields = [b"X-Accel-" + each.encode() for each in ACCEL]
    fields += [b"Date: Thu, 01 Jan 2026 00:00:00 GMT", b"Server: provider", b"X-Pad: 1", b"Vary: *", b"Set-Cookie: a=b"]
    fields += [b"Location: http://replicas/other", b"X_Odd.Name: 1"]
    async with (
        balanced(tmp_path, ONE) as (balancer, _, port),
        upstream(answering(ok(b"ours", *fields)), port=port, host=ONE) as replica,
    ):
        head, body = await post(balancer.port)
        assert b"ours" == body
        assert 1 == len(replica.received)
        lines = head.split(b"\r\n")
        assert fields == [each for each in fields if each in lines]
        assert 1 == head.count(b"\r\nDate: ") == head.count(b"\r\nServer: ")


async def test_large_heads_pass(tmp_path: Path) -> None:
    """What a replica relays, nginx does: heads of up to 64 KB, whose response was paid for."""
    large = [b"X-Large-%d: %b" % (number, b"v" * 7_000) for number in range(8)]
    async with (
        balanced(tmp_path, ONE) as (balancer, _, port),
        upstream(answering(ok(b"ours", *large)), port=port, host=ONE) as replica,
        client(balancer.port) as raw,
    ):
        await raw.send(asking(OCR, *large, body=b"{}"))
        head, body = await raw.answer()
        assert b"ours" == body
        assert large == [line for line in head.split(b"\r\n") if line in large]
        assert large == [b"%b: %b" % field for field in replica.received[0].fields if field[0].startswith(b"X-Large")]


ROUTES = """\
pass_through_endpoints:
  - {{path: /mistral, target: "http://127.0.0.1:{port}", include_subpath: true, headers: {{Authorization: Bearer upstream}}}}
client_keys: [{{name: team, key: pt-a-key-of-some-length}}]
ledger: none
"""
KEY = b"Authorization: Bearer pt-a-key-of-some-length"


@asynccontextmanager
async def relayed(folder: Path, target: RawUpstream) -> AsyncIterator[Nginx]:
    """Run nginx before one real replica that relays to a target; both are stopped in the end, as the composition does."""
    (folder / "replica").mkdir()
    async with balanced(folder, ONE) as (balancer, _, port):
        flags = ("--host", ONE, "--port", str(port))
        async with program(folder / "replica", ROUTES.format(port=target.port), *flags) as replica:
            yield balancer
            assert 0 == await balancer.stop()
            assert 0 == await replica.stop()


async def test_uploads_and_streams_pass_as_they_come(tmp_path: Path) -> None:
    """What is sent on is seen before the rest is sent: both ways, for a body of known length and a chunked one."""
    half, event = b"x" * 200_000, b'data: {"n": 1}\n\n'
    seen, heard = Event(), Event()

    async def script(peer: Peer) -> None:
        for _ in range(2):
            _, fields, _ = await peer.head()
            if dict(fields).keys() & {b"Transfer-Encoding", b"transfer-encoding"}:
                await peer.reader.readuntil(half[:1000])
                seen.set()
                while not (await peer.reader.readline()).startswith(b"0\r\n"):
                    pass
                await peer.reader.readexactly(2)
            else:
                await peer.reader.readexactly(len(half))
                seen.set()
                await peer.reader.readexactly(len(half))
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(event)
            )
            await heard.wait()
            heard.clear()
            await peer.send(chunk(event), chunk(b""))

    async with upstream(script) as target, relayed(tmp_path, target) as balancer, client(balancer.port) as raw:
        for is_chunked in (False, True):
            length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % (2 * len(half))
            await raw.send(asking(b"POST /mistral/v1/chat/completions HTTP/1.1", KEY, length))
            await raw.send(chunk(half) if is_chunked else half)
            await seen.wait()
            seen.clear()
            await raw.send(chunk(half) + chunk(b"") if is_chunked else half)
            assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
            assert chunk(event) == await raw.reader.readexactly(len(chunk(event)))
            heard.set()
            rest = chunk(event) + chunk(b"")
            assert rest == await raw.reader.readexactly(len(rest))


async def test_large_bodies_pass(tmp_path: Path) -> None:
    """A document of 50 MB in base64, up and down: nginx has no bound of its own, and holds no body back."""
    size = 67_000_000
    async with (
        upstream(answering(ok(b"y" * size))) as target,
        relayed(tmp_path, target) as balancer,
        client(balancer.port) as raw,
    ):
        await raw.send(asking(b"POST /mistral/v1/files HTTP/1.1", KEY, body=b"x" * size))
        _, body = await raw.answer()
        assert (size, b"y" * 100) == (len(body), body[-100:])
        assert size == len(target.received[0].body)


async def test_a_client_that_leaves_is_noticed(tmp_path: Path) -> None:
    """The replica learns it at once, and gives a stream up, so that the provider stops generating."""
    given_up = Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(chunk(b"data: 1\n\n"))
        await peer.ended()
        given_up.set()

    async with upstream(script) as target, relayed(tmp_path, target) as balancer:
        async with client(balancer.port) as raw:
            await raw.send(asking(b"POST /mistral/v1/chat/completions HTTP/1.1", KEY, body=b"{}"))
            await raw.head()
            raw.reset()
        await until(given_up.is_set)


async def test_a_replica_that_is_killed_costs_what_it_had_and_no_more(tmp_path: Path) -> None:
    """Two real replicas: the requests in the one are 502, those in the other and all new ones are served, each is sent once."""
    go = Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(ok(b'{"pages": [], "usage_info": {"pages_processed": 1}}', b"Content-Type: application/json"))

    async def served(port: int) -> int:
        async with client(port) as raw:
            await raw.send(asking(OCR, KEY, b"Content-Type: application/json", body=b"{}"))
            head, _ = await raw.answer()
        return int(head[9:12])

    for name in "ab":
        (tmp_path / name).mkdir()
    async with upstream(script) as target, balanced(tmp_path, ONE, TWO) as (balancer, _, port):
        config = ROUTES.format(port=target.port)
        flags = ("--port", str(port), "--host")
        async with (
            program(tmp_path / "a", config, *flags, ONE) as dying,
            program(tmp_path / "b", config, *flags, TWO) as staying,
        ):
            under_way = [asyncio.create_task(served(balancer.port)) for _ in range(MANY)]
            await until(lambda: len(target.received) == MANY)
            in_dying = await requests_in(dying.admin_port)
            dying.signal(signal.SIGKILL)
            await dying.process.wait()
            new = [asyncio.create_task(served(balancer.port)) for _ in range(MANY)]
            go.set()
            assert [200] * MANY == await asyncio.gather(*new)
            assert [200] * (MANY - in_dying) + [502] * in_dying == sorted(await asyncio.gather(*under_way))
            assert 2 * MANY == len(target.received)
            assert 0 == await staying.stop()


async def requests_in(admin_port: int) -> int:
    """Return how many requests a replica serves."""
    async with client(admin_port) as raw:
        await raw.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, body = await raw.answer()
    found = re.search(rb"^passthrough_requests_in_flight(?:{[^}]*})? (\d+)", body, re.MULTILINE)
    assert found is not None
    return int(found[1])
