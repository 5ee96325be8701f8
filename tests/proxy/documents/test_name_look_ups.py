"""Look-ups of names that clients choose: bounded, and never kept."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from passthrough.proxy.documents.document import DownloadLimits
from passthrough.proxy.documents.name_look_ups import MAX_AT_ONCE, NameLookUps
from tests.harness.downloads import ANY, Hanging, documents, fetched, refusal_of
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire


async def test_only_so_many_look_ups_run_at_once() -> None:
    """Names that hang do not make threads without end: those beyond wait, and go on when one ends."""
    hanging = Hanging()
    names = NameLookUps(hanging)
    tasks = [asyncio.create_task(names.addresses(f"{number}.test", 80)) for number in range(MAX_AT_ONCE + 5)]
    await until(lambda: len(hanging.asked) == MAX_AT_ONCE)
    for _ in range(10):
        await asyncio.sleep(0)
    assert MAX_AT_ONCE == len(hanging.asked)
    tasks[0].cancel()  # Its thread hangs on, and its place is not free for that.
    await asyncio.wait([tasks[0]])
    assert MAX_AT_ONCE == len(hanging.asked)
    hanging.go_on.set()
    found = await asyncio.gather(*tasks[1:])
    assert [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]] * (MAX_AT_ONCE + 4) == found
    assert MAX_AT_ONCE + 5 == len(hanging.asked)


async def test_a_name_is_looked_up_each_time() -> None:
    """Nothing is remembered: what a client names is checked by what is true now."""
    hanging = Hanging()
    hanging.go_on.set()
    names = NameLookUps(hanging)
    for _ in range(3):
        await names.addresses("a.test", 80)
    assert ["a.test"] * 3 == hanging.asked


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no such name"), OSError("broken"), UnicodeError("label too long")])
async def test_a_name_that_is_not_resolved(error: Exception) -> None:
    """Whatever the resolver raises, there is no address, and the next look-up has a place."""

    def failing(host: str, port: None, **options: Any) -> list[Any]:
        raise error

    names = NameLookUps(failing)
    assert [[]] * (2 * MAX_AT_ONCE) == [await names.addresses("a.test", 80) for _ in range(2 * MAX_AT_ONCE)]


async def test_a_name_whose_resolver_hangs() -> None:
    """The download ends in time, and an address needs no look-up meanwhile."""
    hanging = Hanging()
    async with upstream(answering(ok(b"%PDF-1.7"))) as raw, documents(ANY, hanging, limits=DownloadLimits(connect_s=0.05)) as of:
        expected = ("document_unreachable", "No connection to the document's host in time.")
        assert expected == await refusal_of(of, f"http://doc.test:{raw.port}/")
        of._limits = DownloadLimits()
        assert b"%PDF-1.7" == (await fetched(of, f"http://127.0.0.1:{raw.port}/"))[2]
        hanging.go_on.set()
        assert 1 == raw.connections
