"""The end of a job: what was paid for before it, and what another process left in its place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from passthrough.client.pdf.parts import Limits
from tests.client.batch.test_run import cancelled_at, on, refused, troubled
from tests.harness.batch_desk import Desk, Forward, desk_at
from tests.harness.documents import pdf

pytestmark = pytest.mark.wire


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk with a document of six pages, the first four of which were paid for by a run without a batch."""
    async with desk_at(tmp_path) as made:
        made.overrides = {"limits": Limits(max_pages=2), "workers": 1}
        made.write(long=pdf(6))
        calls = 0

        async def third_fails(forward: Forward) -> web.Response:
            nonlocal calls
            calls += 1
            response: web.Response = await (forward() if calls < 3 else refused(400)(forward))
            return response

        async with troubled(made, on("POST", "/v1/ocr", third_fails)):
            assert 4 == (await made.run()).sums.pages
        yield made


@pytest.mark.parametrize("step", ["fetched", "written", "stored"])
@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_document_that_was_paid_for_in_part_is_finished_after_a_stop(desk: Desk, step: str, overwrite: bool) -> None:
    """Also one that was written when the run was stopped: it is not missed, and not billed again."""
    desk.overrides |= {"overwrite": overwrite}
    await cancelled_at(desk, step)
    heard = await desk.resume()
    assert {} == heard.failures
    assert all(f"This is page {page} of" in (desk.out / "long.md").read_text() for page in range(6))
    desk.overrides |= {"overwrite": False}
    assert (1, 0) == ((heard := await desk.run()).sums.skipped, heard.sums.pages)


async def test_a_pipe_in_the_place_of_a_response_is_not_waited_for(desk: Desk) -> None:
    """It was put there while the job ran; its part is missing, and says so."""
    await cancelled_at(desk, "ordered")
    (response,) = desk.out.glob(".passthrough-ocr-work-*/response-0.json")
    response.unlink()
    os.mkfifo(response)
    async with asyncio.timeout(60):
        heard = await desk.resume()
    assert {"long.pdf": "The results of the batch job have no line for it."} == heard.failures
