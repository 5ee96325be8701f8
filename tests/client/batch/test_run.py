"""A batch job from its documents to their outputs, before a real sandbox: what is ordered, resumed, refused and left behind."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.batch.folder import NAME
from passthrough.client.errors import ClientError, DocumentError
from passthrough.client.options import OcrOptions
from passthrough.client.page_ranges import PageRanges
from passthrough.client.pdf.parts import Limits
from passthrough.sandbox import Pace
from tests.client.batch.conftest import MODEL, Desk, desk_at
from tests.harness.documents import pdf
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

LARGE = pdf(2) + b"\n%" + b"x" * 200_000
"""It is uploaded by itself."""


async def test_a_job_makes_what_single_calls_make(tmp_path: Path, desk: Desk) -> None:
    """The same files by half the price; the listener hears the job and each document; nothing is left anywhere."""
    desk.write(a=pdf(1), b=pdf(3), large=LARGE)
    heard = await desk.begin()
    by_batch = {name: (desk.out / name).read_bytes() for name in desk.outputs() if name.endswith(".md")}
    assert (["a.md", "b.md", "large.md"], {}) == (sorted(by_batch), heard.failures)
    assert (3, 3, 6, 6, 6) == (heard.sums.done, heard.expected, heard.pages, heard.sums.pages, heard.sums.cost_nano)
    assert {"SUCCESS"} == set(heard.statuses) - {"QUEUED", "RUNNING"}
    assert ([], 1) == (await desk.stored(), len(await desk.jobs()))
    assert [".passthrough-ocr.jsonl", *sorted(by_batch)] == desk.outputs()
    single = Desk(tmp_path / "single", desk.caller)
    single.folder.mkdir()
    single.write(a=pdf(1), b=pdf(3), large=LARGE)
    assert 12 == (await single.run()).sums.cost_nano
    assert by_batch == {name: (single.out / name).read_bytes() for name in by_batch}


async def test_what_is_finished_is_not_ordered(desk: Desk) -> None:
    """A second run orders what is new; one with nothing new orders nothing."""
    desk.write(a=pdf(1))
    await desk.begin()
    desk.write(b=pdf(2))
    heard = await desk.begin()
    assert (1, 1, 2) == (heard.sums.done, heard.sums.skipped, heard.sums.pages)
    heard = await desk.begin()
    assert (0, 2, 0) == (heard.sums.done, heard.sums.skipped, heard.sums.pages)
    assert ([1, 1], False) == ([each["total_requests"] for each in await desk.jobs()], (desk.out / NAME).exists())


async def test_chosen_pages_and_cut_documents_come_back_as_one(desk: Desk) -> None:
    """A document beyond the API's pages is several lines; its outputs are of all of them, in order."""
    desk.overrides = {"limits": Limits(max_pages=2), "asked": OcrOptions(MODEL, PageRanges.parse("0,2-6"))}
    desk.write(long=pdf(9))
    heard = await desk.begin()
    assert ({}, 6, 6) == (heard.failures, heard.sums.pages, heard.pages)
    text = (desk.out / "long.md").read_text()
    found = [int(each.split("This is page ")[1].split(" ")[0]) for each in text.split("---")]
    assert [0, 2, 3, 4, 5, 6] == found
    assert [3] == [each["total_requests"] for each in await desk.jobs()]
