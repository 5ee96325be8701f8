"""A run without a batch that is stopped: what was billed is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from passthrough.client.runs.run import run
from tests.client.batch.test_run import LARGE, troubled
from tests.harness.batch_desk import Desk, Forward, Heard, desk_at

pytestmark = pytest.mark.wire


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose API is a sandbox at full speed."""
    async with desk_at(tmp_path) as made:
        yield made


async def stopped(desk: Desk, moment: asyncio.Event, then: asyncio.Event) -> Heard:
    """Begin a run, and stop it at a moment; return what its listener heard to its end. `then` is set once it is stopped."""
    heard = Heard()
    task = asyncio.ensure_future(desk.work(run, heard))
    await moment.wait()
    task.cancel()
    await asyncio.sleep(0)
    then.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    return heard


async def test_a_response_that_had_come_is_counted(desk: Desk) -> None:
    """The run is stopped while the upload is deleted: the next one uses the response, and counts nothing."""
    desk.write(a=LARGE)
    deleting, then = asyncio.Event(), asyncio.Event()

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        if request.method == "DELETE" and not deleting.is_set():
            deleting.set()
            await then.wait()
        return await forward()

    async with troubled(desk, trouble):
        heard = await stopped(desk, deleting, then)
        assert (0, 2) == (heard.sums.done, heard.sums.pages)
        assert (1, 0) == ((heard := await desk.run()).sums.done, heard.sums.pages)
