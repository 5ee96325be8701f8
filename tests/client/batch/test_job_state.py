"""What a job has at the provider: nothing is forgotten there, whatever fails or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from passthrough.client.batch.folder import NAME
from passthrough.client.errors import ClientError
from passthrough.client.pdf.parts import Limits
from tests.client.batch.test_run import LARGE, on, refused, troubled
from tests.harness.batch_desk import Desk, Forward, desk_at
from tests.harness.documents import pdf

pytestmark = pytest.mark.wire


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose API is a sandbox at full speed."""
    async with desk_at(tmp_path) as made:
        yield made


async def test_an_upload_of_a_job_that_orders_nothing_is_deleted(desk: Desk) -> None:
    """The first part of the only document is uploaded, the second is refused."""
    desk.overrides = {"limits": Limits(max_pages=2), "upload_above": 100}
    desk.write(a=pdf(4))
    uploads = 0

    async def second_fails(forward: Forward) -> web.Response:
        nonlocal uploads
        uploads += 1
        response: web.Response = await (refused(413)(forward) if uploads == 2 else forward())
        return response

    async with troubled(desk, on("POST", "/v1/files", second_fails)):
        heard = await desk.begin()
    assert (["a.pdf"], 2, []) == (list(heard.failures), uploads, await desk.stored())
    assert not (desk.out / NAME).exists()


async def test_an_upload_that_arrives_after_the_stop_is_deleted_by_the_next_run(desk: Desk) -> None:
    """The run was stopped while it waited for the response, and found no such file then."""
    desk.write(a=LARGE)
    sent, gone = asyncio.Event(), asyncio.Event()
    late: list[asyncio.Task[web.Response]] = []

    async def comes_late(forward: Forward) -> web.Response:
        if late:
            return await forward()

        async def later() -> web.Response:
            await gone.wait()
            return await forward()

        late.append(asyncio.ensure_future(later()))
        sent.set()
        return await asyncio.shield(late[0])

    async with troubled(desk, on("POST", "/v1/files", comes_late)):
        task = asyncio.ensure_future(desk.begin())
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gone.set()
        await late[0]
        assert 1 == len(await desk.stored())
        assert (1, 2) == ((heard := await desk.begin()).sums.done, heard.sums.pages)
    assert [] == await desk.stored()
    assert not (desk.out / NAME).exists()


@pytest.mark.parametrize("in_batch", [False, True])
async def test_a_lost_upload_that_cannot_be_looked_for_stays_noted(desk: Desk, in_batch: bool) -> None:
    """Its response was lost, it was sent again, and the list of files is refused: the next run deletes both."""
    desk.write(a=LARGE)
    uploads, is_refused = 0, True

    async def trouble(request: web.Request, forward: Forward) -> web.Response | None:
        nonlocal uploads
        if (request.method, request.path) == ("POST", "/v1/files"):
            uploads += 1
            response = await forward()
            return None if uploads == 1 else response
        if is_refused and (request.method, request.path) == ("GET", "/v1/files"):
            refusal: web.Response = await refused(403)(forward)
            return refusal
        return await forward()

    async with troubled(desk, trouble):
        if in_batch:
            with pytest.raises(ClientError, match=r"could not be deleted at the provider: a\.[0-9a-f-]+\.pdf\."):
                await desk.begin()
            return  # it names what is to be deleted
        (result,) = (await desk.run()).results
        assert ["what was uploaded of it could not be deleted"] == [each[:44] for each in result.notes]
        is_refused = False
        assert 1 == (await desk.run()).sums.skipped
    assert [] == await desk.stored()


async def test_one_that_cannot_be_deleted_does_not_keep_the_others(desk: Desk) -> None:
    """It is named, and the rest goes."""
    desk.write(a=LARGE, b=LARGE + b"b", c=LARGE + b"c")
    asked: list[str] = []

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        if request.method == "DELETE":
            asked.append(request.path)
            if request.path == asked[0]:
                refusal: web.Response = await refused(403)(forward)
                return refusal
        return await forward()

    async with troubled(desk, trouble):
        with pytest.raises(ClientError, match="could not be deleted at the provider: "):
            await desk.begin()
    assert 1 == len(await desk.stored())
