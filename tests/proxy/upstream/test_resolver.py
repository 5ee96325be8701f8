"""Names of targets: literals need no look-up, no name waits for another, and the last good addresses serve."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from passthrough.errors import UpstreamFailure
from passthrough.proxy.upstream.pool import ConnectionPool
from passthrough.proxy.upstream.resolver import MAX_LOOK_UPS, Ages, Resolver
from tests.harness.client import asking, client
from tests.harness.proxy import road, route_to
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import WAIT_S, until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


class Names:
    """Where names are looked up: each has addresses, or hangs until it is let go, or is not known."""

    def __init__(self, **known: list[Any]) -> None:
        self.known = known
        self.asked: Counter[str] = Counter()
        self.hanging: dict[str, threading.Event] = {}

    def hang(self, host: str) -> None:
        """Answer no question about a name from now on."""
        self.hanging[host] = threading.Event()

    def look_up(self, host: str, port: None, **options: Any) -> list[Any]:
        """Answer as `socket.getaddrinfo` does, on whatever thread."""
        self.asked[host] += 1
        if host in self.hanging:
            self.hanging[host].wait(WAIT_S)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.known[host]


@contextmanager
def names(**known: list[Any]) -> Iterator[Names]:
    """Give such a place; in the end nothing hangs any more."""
    found = Names(**known)
    try:
        yield found
    finally:
        for event in found.hanging.values():
            event.set()


async def addresses(resolving: Resolver, host: str, port: int = 80) -> list[Any]:
    """Return what a host's addresses are."""
    async with asyncio.timeout(WAIT_S):
        return [at for *_, at in await resolving.addresses(host, port)]


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", ("127.0.0.1", 80)), ("::1", ("::1", 80, 0, 0)), ("fe80::1%1", ("fe80::1%1", 80, 0, 1))]
)
async def test_an_address_needs_no_look_up(host: str, address: tuple[Any, ...]) -> None:
    """Nothing is asked for it; a zone is a number in it."""
    with names() as given:
        assert [address] == await addresses(Resolver(given.look_up), host)
        assert {} == given.asked


async def test_a_zone_that_this_machine_does_not_have() -> None:
    """It is said, and not asked for anywhere."""
    with names() as given, pytest.raises(UpstreamFailure, match="no such interface"):
        await addresses(Resolver(given.look_up), "fe80::1%nowhere9")
    assert {} == given.asked


async def test_all_who_wait_share_one_look_up() -> None:
    """A hundred at once ask once, whatever their ports; one who leaves takes nothing from the others."""
    with names(api=FOUND) as given:
        given.hang("api")
        resolving = Resolver(given.look_up)
        waiting = [asyncio.create_task(addresses(resolving, "api", port)) for port in range(1, 101)]
        await until(lambda: given.asked["api"] == 1)
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        given.hanging["api"].set()
        assert [[("127.0.0.1", port)] for port in range(2, 101)] == await asyncio.gather(*waiting[1:])
        assert {"api": 1} == given.asked


async def test_names_that_hang_keep_no_other_waiting() -> None:
    """Each name has threads of its own, few of them, however often it is asked for; a name that works is found meanwhile."""
    with names(good=FOUND) as given:
        hung = [f"hung{number}" for number in range(50)]
        for host in hung:
            given.hang(host)
        resolving = Resolver(given.look_up)
        waiting = [asyncio.create_task(addresses(resolving, host)) for host in hung * 3]
        await until(lambda: len(given.asked) == 50)
        assert [("127.0.0.1", 80)] == await addresses(resolving, "good")
        assert {1} == set(given.asked.values())
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


async def test_a_name_that_is_not_found_is_asked_for_again() -> None:
    """A failure is told to who waits, and not remembered: the next one asks."""
    with names() as given:
        resolving = Resolver(given.look_up)
        for _ in range(3):
            with pytest.raises(UpstreamFailure, match="The name api cannot be resolved"):
                await addresses(resolving, "api")
        given.known["api"] = FOUND
        assert [("127.0.0.1", 80)] == await addresses(resolving, "api")
        assert {"api": 4} == given.asked


async def test_a_name_that_dns_could_not_hold_is_not_resolved() -> None:
    """The system's own look-up says so in another way."""
    with pytest.raises(UpstreamFailure):
        await addresses(Resolver(), "a" * 70 + ".test")


MOVED = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0))]


async def test_a_recent_address_serves_while_it_is_renewed() -> None:
    """Behind ten seconds (here at once) the last addresses serve without a wait, and the new ones as soon as they are there."""
    with names(api=FOUND) as given:
        resolving = Resolver(given.look_up, Ages(fresh_s=0.0))
        await addresses(resolving, "api")
        given.hang("api")
        given.known["api"] = MOVED
        for _ in range(20):
            assert [("127.0.0.1", 80)] == await addresses(resolving, "api")
        await until(lambda: given.asked["api"] == 2)
        given.hanging.pop("api").set()
        async with asyncio.timeout(WAIT_S):
            while [("127.0.0.2", 80)] != await addresses(resolving, "api"):  # noqa: ASYNC110 - a thread is on its way
                await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["hangs", "fails"])
@pytest.mark.parametrize("last_s", [86400.0, 0.0])
async def test_an_old_address_serves_where_a_look_up_brings_none(how: str, last_s: float) -> None:
    """A look-up is waited for a moment; then what was found last is used: for a day, and no longer."""
    with names(api=FOUND) as given:
        ages = Ages(fresh_s=0.0, recent_s=0.0, patience_s=0.001 if how == "hangs" else WAIT_S, last_s=last_s)
        resolving = Resolver(given.look_up, ages)
        await addresses(resolving, "api")
        del given.known["api"]
        if how == "hangs" and last_s:
            given.hang("api")
        for _ in range(5):
            if last_s:
                assert [("127.0.0.1", 80)] == await addresses(resolving, "api")
            else:
                with pytest.raises(UpstreamFailure):
                    await addresses(resolving, "api")


async def test_a_moved_name_is_followed_at_once_when_its_address_is_old() -> None:
    """A look-up that takes no longer than a moment is waited for: after a night the old address may be another's."""
    with names(api=FOUND) as given:
        resolving = Resolver(given.look_up, Ages(fresh_s=0.0, recent_s=0.0, patience_s=WAIT_S))
        await addresses(resolving, "api")
        given.known["api"] = MOVED
        assert [("127.0.0.2", 80)] == await addresses(resolving, "api")


async def test_a_look_up_that_hangs_for_long_has_others_beside_it() -> None:
    """Up to a bound, and who waits is given what any of them finds."""
    with names(api=FOUND) as given:
        given.hang("api")
        resolving = Resolver(given.look_up, Ages(hangs_s=0.0))
        waiting = []
        for number in range(1, MAX_LOOK_UPS + 3):
            waiting.append(asyncio.create_task(addresses(resolving, "api")))
            await until(lambda number=number: given.asked["api"] == min(number, MAX_LOOK_UPS))  # type: ignore[misc]
        assert {"api": MAX_LOOK_UPS} == given.asked
        given.hanging["api"].set()
        assert {("127.0.0.1", 80)} == {at for found in await asyncio.gather(*waiting) for at in found}


@pytest.mark.wire
async def test_a_hanging_name_stalls_no_other_route() -> None:
    """Twenty requests to a name that hangs, and another name's route answers meanwhile (seen: 504 after 20 s)."""
    with names(good=FOUND) as given:
        given.hang("hung")
        async with upstream(answering(ok(b"a"))) as raw:
            slow = route_to(raw.port, b"/slow", target={"host": "hung"})
            quick = route_to(raw.port, b"/quick", target={"host": "good"})
            async with road(slow, quick, pool=ConnectionPool(look_up=given.look_up)) as house:
                stuck = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(20)]
                for _, writer in stuck:
                    writer.write(asking(b"GET /slow HTTP/1.1"))
                await until(lambda: len(house.relay.active) == 20)
                async with client(house.port) as one:
                    await one.send(asking(b"GET /quick HTTP/1.1"))
                    assert b"a" == (await one.answer())[1]
                assert {"hung": 1, "good": 1} == given.asked
                for _, writer in stuck:
                    writer.close()
                await house.quiet()


@pytest.mark.process
def test_a_look_up_that_hangs_does_not_keep_the_process() -> None:
    """The process ends although a question is open that nothing cancels."""
    program = """
import asyncio, threading
from passthrough.proxy.upstream.resolver import Resolver

async def main():
    asked = asyncio.ensure_future(Resolver(lambda *_, **__: threading.Event().wait()).addresses("hung", 80))
    await asyncio.wait({asked}, timeout=0.05)
    asked.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=WAIT_S, check=True, text=True)
    assert "ended\n" == done.stdout
