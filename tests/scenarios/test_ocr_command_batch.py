"""`passthrough ocr --batch`: one job, closed and resumed, booked once at half the price."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from aiohttp import web

from tests.harness.batch_desk import Forward, front_of
from tests.harness.batch_killed import pass_minutes
from tests.harness.documents import pdf
from tests.harness.documents_of_all_kinds import Kind, padded, write_documents
from tests.harness.ocr_command import booked_pages, ended, ocr, start, stopped_when
from tests.harness.process import Program, program
from tests.harness.sandbox_caller import sandbox
from tests.scenarios.test_ocr_command import MODEL, PRICE, environ, routes
from tests.scenarios.test_ocr_command_stops import DOCUMENTS, PAGES, hidden, listed, outputs, stored_files

pytestmark = [pytest.mark.process, pytest.mark.faults]

FLAGS = ("in", "-o", "out", "--model", MODEL, "--batch")


def calls(running: Program, method: str, path: str) -> int:
    """Return how many calls the program has served."""
    return sum(line["method"] == method and path in line["path"] for line in running.log)


async def finished(running: Program, desk: Path, pages: int) -> None:
    """Assert that all is written, nothing is left at the provider, and each page is booked once, at half its price."""
    assert {"a.md", "b.md", "c.md", "large.md", "x/d.md", "x/e.md"} == {
        path for path in outputs(desk / "out") if "_images/" not in path
    }
    assert {".passthrough-ocr.jsonl"} == hidden(desk / "out")
    assert [] == await stored_files(running)
    assert (pages, pytest.approx(pages * PRICE / 2)) == await booked_pages(running)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the documents, where the command runs."""
    for name in ("server", "desk"):
        (tmp_path / name).mkdir()
    write_documents(tmp_path / "desk/in", DOCUMENTS)
    return tmp_path / "desk"


async def test_a_batch_costs_half(tmp_path: Path, desk: Path) -> None:
    """One job for the folder; the results are those of single calls; the summary says half the price."""
    async with program(tmp_path / "server", routes(), "--sandbox") as running:
        ran = await ocr(desk, *FLAGS, env=environ(running))
        assert 0 == ran.code, ran.err
        assert PAGES == ran.pages
        assert 1 == calls(running, "POST", "/v1/batch/jobs")
        again = await ocr(desk, *FLAGS, env=environ(running))
        assert (0, []) == (again.code, again.paths)
        assert 1 == calls(running, "POST", "/v1/batch/jobs")
        await finished(running, desk, PAGES)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGHUP], ids=["Ctrl-C", "kill -9", "terminal closed"])
@pytest.mark.parametrize("moment", ["uploaded", "ordered", "looked at", "fetched"])
async def test_a_batch_goes_on(tmp_path: Path, desk: Path, moment: str, number: signal.Signals) -> None:
    """Wherever it is stopped, one job is ordered, `--resume` or the same line again finishes it, and it is booked once."""
    awaited = {
        "uploaded": ("POST", "/v1/files"),
        "ordered": ("POST", "/v1/batch/jobs"),
        "looked at": ("GET", "/v1/batch/jobs/"),
        "fetched": ("GET", "/content"),
    }
    async with program(tmp_path / "server", routes(), "--sandbox") as running:
        process = await start(desk, *FLAGS, env=environ(running))
        ran = await stopped_when(lambda: calls(running, *awaited[moment]) > 0, number, process)
        if (moment, number) in {("ordered", signal.SIGINT), ("looked at", signal.SIGINT)}:
            assert (130, True) == (ran.code, "passthrough ocr --batch --resume" in ran.err), ran.err
        again = await ocr(desk, "in", "-o", "out", "--model", MODEL, "--batch", "--resume", env=environ(running))
        if again.code != 0:  # it was stopped before it was ordered, or all was there: there is nothing to go on with
            again = await ocr(desk, *FLAGS, env=environ(running))
        assert 0 == again.code, again.err
        assert 1 == len(await listed(running, "/v1/batch/jobs"))  # not its calls: one that was cut off may not have arrived
        await finished(running, desk, PAGES)


@pytest.mark.parametrize("has_arrived", [False, True])
async def test_a_batch_that_is_stopped_while_it_is_ordered(desk: Path, has_arrived: bool) -> None:
    """It does not say that the job goes on, for nobody knows; `--resume` looks for it, and one job is ordered."""
    ordering = asyncio.Event()

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        if (request.method, request.path) == ("POST", "/v1/batch/jobs") and not ordering.is_set():
            if has_arrived:
                await forward()
            ordering.set()
            await asyncio.Event().wait()
        return await forward()

    async with sandbox() as caller, front_of(caller, trouble) as front:
        process = await start(desk, *FLAGS, "--base-url", front.base)
        async with asyncio.timeout(60):
            await ordering.wait()
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
        assert 130 == ran.code, ran.err
        assert "Whether the job is ordered is not known. To look for it:\n  passthrough ocr --batch --resume" in ran.err
        pass_minutes(desk / "out")
        again = await ocr(desk, *FLAGS, "--resume", "--base-url", front.base)
        assert (0, PAGES) == (again.code, again.pages), again.err
        assert 1 == len((await caller.call("GET", "/v1/batch/jobs"))[1]["data"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("is_ordered", [False, True])
async def test_a_batch_that_is_stopped_while_it_deletes(desk: Path, number: signal.Signals, is_ordered: bool) -> None:
    """What may still be at the provider is said, and how it goes: the job itself is not ordered yet, or finished."""
    deleting, is_slow = asyncio.Event(), True

    async def trouble(request: web.Request, forward: Forward) -> web.Response:
        if is_slow and request.method == "DELETE":
            deleting.set()
            await asyncio.Event().wait()
        if (request.method, request.path) == ("POST", "/v1/batch/jobs") and not is_ordered:
            return web.json_response({"message": "no"}, status=400)
        return await forward()

    async with sandbox() as caller, front_of(caller, trouble) as front:
        process = await start(desk, *FLAGS, "--base-url", front.base)
        async with asyncio.timeout(60):
            await deleting.wait()
        process.send_signal(number)
        ran = await ended(process)
        assert 128 + number == ran.code, ran.err
        assert "Files of the batch may still be at the provider. To delete them:\n  passthrough ocr --batch --resume" in ran.err
        is_slow = False
        again = await ocr(desk, "--batch", "--resume", "out", "--base-url", front.base)
        assert (0 if is_ordered else 1) == again.code, again.err
        assert [] == (await caller.call("GET", "/v1/files"))[1]["data"]


async def test_documents_that_fail_in_a_batch(tmp_path: Path) -> None:
    """They are named with their reasons, and the others are there."""
    for name in ("server", "desk"):
        (tmp_path / name).mkdir()
    desk = tmp_path / "desk"
    kinds = {
        "good.pdf": Kind(lambda: pdf(2)),
        "bad.pdf": Kind(lambda: b"%PDF-1.4\n" + bytes(500)),
        "large and bad.pdf": Kind(lambda: padded(pdf(1), 11_000_000).replace(b"/Type /Page", b"/Type /Pige")),
        "empty.pdf": Kind(bytes),
    }
    write_documents(desk / "in", kinds)
    async with program(tmp_path / "server", routes(), "--sandbox") as running:
        ran = await ocr(desk, *FLAGS, env=environ(running))
        assert 1 == ran.code, ran.err
        assert all(name in ran.err for name in ("bad.pdf", "empty.pdf"))
        assert (desk / "out/good.md").exists()
        assert [] == await stored_files(running)
        assert {".passthrough-ocr.jsonl"} == hidden(desk / "out")
