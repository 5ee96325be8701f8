"""The order of a job: it is sent once more only where it cannot be on its way any longer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from passthrough.client.batch.folder import NAME
from tests.client.batch.test_run import cancelled_at, troubled
from tests.harness.batch_desk import Desk, Forward, desk_at
from tests.harness.documents import pdf

pytestmark = pytest.mark.wire


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose API is a sandbox at full speed."""
    async with desk_at(tmp_path) as made:
        yield made


async def test_an_order_that_arrives_after_the_stop_is_found(desk: Desk) -> None:
    """Resuming at once looks for it until it must have arrived: it is not ordered again."""
    desk.write(a=pdf(3))
    sent = asyncio.Event()
    late: list[Forward] = []
    searches = 0

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        nonlocal searches
        if (request.method, request.path) == ("POST", "/v1/batch/jobs") and not late:
            late.append(forward)
            sent.set()
            await asyncio.Event().wait()
        if (request.method, request.path) == ("GET", "/v1/batch/jobs"):
            searches += 1
            if searches == 6:
                await late[0]()
        return await forward()

    async with troubled(desk, trouble):
        task = asyncio.ensure_future(desk.begin())
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        heard = await desk.resume()
        assert (1, 3, 1) == (heard.sums.done, heard.sums.pages, len(await desk.jobs()))


@pytest.mark.parametrize(("age_s", "searches"), [(0, 16), (20, 6), (29, 3), (1000, 3), (-1000, 16)])
async def test_an_order_is_looked_for_until_it_must_have_arrived(desk: Desk, age_s: int, searches: int) -> None:
    """For 30 s from the order, every two seconds; three times at least, and not longer where the clock was set back."""
    desk.write(a=pdf(3))
    seen = 0

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        nonlocal seen
        seen += (request.method, request.path) == ("GET", "/v1/batch/jobs")
        return await forward()

    async with troubled(desk, trouble):
        await cancelled_at(desk, "ordering")
        os.utime(desk.out / NAME / "state.json", (time.time() - age_s,) * 2)
        assert 1 == (await desk.resume()).sums.done
    assert searches - 1 <= seen <= searches + 1  # a second may pass in between
    assert 1 == len(await desk.jobs())
