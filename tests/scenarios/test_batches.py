"""Batches and jobs, as a client fetches them and as the operator finds them: in the log, in the ledger, and each line once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.process import Program, program
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

MODEL = "mistral-ocr-2512"
"""A page costs 0.002 USD, in a batch half of it."""

Figures = tuple[Any, ...]


def result(number: object, custom_id: str | None, pages: int) -> dict[str, Any]:
    """Return a result of a batch."""
    body = {"pages": [], "model": MODEL, "usage_info": {"pages_processed": pages, "doc_size_bytes": 9}}
    named = {} if custom_id is None else {"custom_id": custom_id}
    return {"id": number, **named, "response": {"status_code": 200, "body": body}, "error": None}


def file(*results: dict[str, Any]) -> bytes:
    """Return a file of results."""
    return "".join(json.dumps(each) + "\n" for each in results).encode()


def job(*results: dict[str, Any]) -> bytes:
    """Return a job with its results."""
    return json.dumps({"id": "job", "status": "SUCCESS", "outputs": results}).encode()


class Shelf:
    """A target that has a body at each path."""

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        self._bodies = bodies

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            received = await peer.request()
            path = received.line.split(b" ")[1].decode()
            await peer.send(ok(self._bodies[path], b"Content-Type: application/json"))


def configured(*ports: int, meter: str = "{account: mine}") -> str:
    """Return a configuration with a route to each port, all of them with one account."""
    return "pass_through_endpoints:\n" + "".join(
        f"  - {{path: /{number}, target: 'http://127.0.0.1:{port}', include_subpath: true, meter: {meter}}}\n"
        for number, port in enumerate(ports)
    )


class Caller:
    """A client of one program, and what the program says of each of its calls."""

    def __init__(self, running: Program) -> None:
        self.running = running
        self.calls = 0

    async def get(self, path: str) -> Figures:
        """Fetch something; return pages, cost and reason of its line in the log."""
        await self.send(path)
        return await self.line()

    async def send(self, path: str) -> None:
        """Fetch something, and do not wait for its line."""
        async with aiohttp.ClientSession() as session, session.get(self.running.url + path) as response:
            assert 200 == response.status
            await response.read()
        self.calls += 1

    async def line(self) -> Figures:
        """Return the figures of the last call's line."""
        line = (await self.running.logs(self.calls))[self.calls - 1]
        return line["pages"], line["cost_usd"], line["unmetered"]

    async def booked(self) -> Figures:
        """Return requests, pages and cost of the ledger, once all calls are there."""

        async def total() -> Figures:
            code, out, _ = await self.running.command("usage", "--format", "json")
            assert 0 == code
            found = json.loads(out)["total"]
            return found["requests"], found["pages"], found["cost_usd"]

        return await eventually(total, lambda found: bool(found[0] == self.calls))


@pytest.mark.parametrize("numbers", [(0, 1), ("0", "1"), ("line-0", "line-1")], ids=["custom ids", "digits", "other ids"])
async def test_batches_whose_ids_begin_anew_are_all_booked(tmp_path: Path, numbers: tuple[object, object]) -> None:
    """Two files with the same ids are two batches; either of them again costs nothing, and its line says so."""
    first = file(*(result(number, f"monday-{place}", 3) for place, number in enumerate(numbers)))
    second = file(*(result(number, f"tuesday-{place}", 4) for place, number in enumerate(numbers)))
    shelf = Shelf({"/v1/files/file-1/content": first, "/v1/files/file-2/content": second})
    async with upstream(shelf) as above, program(tmp_path, configured(above.port)) as running:
        caller = Caller(running)
        assert (6, 0.006, None) == await caller.get("/0/v1/files/file-1/content")
        assert (8, 0.008, None) == await caller.get("/0/v1/files/file-2/content")
        for path in ("/0/v1/files/file-1/content", "/0/v1/files/file-2/content"):
            assert (0, 0, None) == await caller.get(path)
        assert (4, 14, 0.014) == await caller.booked()


async def test_digits_alone_tell_no_two_files_apart_by_themselves(tmp_path: Path) -> None:
    """Without a custom id too: an id of digits counts within its file."""
    bodies = {f"/v1/files/file-{number}/content": file(result("0", None, number), result("1", None, 1)) for number in (1, 2)}
    async with upstream(Shelf(bodies)) as above, program(tmp_path, configured(above.port)) as running:
        caller = Caller(running)
        assert [(2, 0.002, None), (3, 0.003, None)] == [await caller.get(f"/0{path}") for path in bodies]
        assert [(0, 0, None)] * 2 == [await caller.get(f"/0{path}") for path in bodies]
        assert (4, 5, 0.005) == await caller.booked()


async def test_one_line_by_file_inline_and_over_another_route_is_one(tmp_path: Path) -> None:
    """Whatever brings it, within one account: only what is new is booked, and logged."""
    lines = [result(f"batch-{number}", f"scan-{number}", 2) for number in range(3)]
    bodies = {
        "/v1/files/file-1/content": file(*lines[:2]),
        "/v1/batch/jobs/job-1": job(*lines),
        "/v1/batch/jobs/job-1?inline=true": job(*lines),
    }
    shelf = Shelf(bodies)
    async with (
        upstream(shelf) as one,
        upstream(shelf) as other,
        program(tmp_path, configured(one.port, other.port)) as running,
    ):
        caller = Caller(running)
        assert (4, 0.004, None) == await caller.get("/0/v1/files/file-1/content")
        assert (2, 0.002, None) == await caller.get("/0/v1/batch/jobs/job-1?inline=true")
        assert (0, 0, None) == await caller.get("/1/v1/files/file-1/content")
        assert (0, 0, None) == await caller.get("/1/v1/batch/jobs/job-1")
        assert (4, 6, 0.006) == await caller.booked()


async def test_a_jobs_result_is_logged_with_its_pages_once(tmp_path: Path) -> None:
    """A provider's job that is read again and again: 0 pages and cost 0 from the second read on."""
    bodies = {
        "/job/a/result": b'{"n": 3, "model": "mistral-ocr-2512"}',
        "/job/b/result": b'{"n": 4, "model": "mistral-ocr-2512"}',
    }
    meter = "{shape: json, pages: n, once: '/job/{}/'}"
    async with upstream(Shelf(bodies)) as above, program(tmp_path, configured(above.port, meter=meter)) as running:
        caller = Caller(running)
        assert [(3, 0.006, None), (4, 0.008, None)] == [await caller.get(f"/0{path}") for path in bodies]
        assert [(0, 0, None)] * 2 == [await caller.get(f"/0{path}") for path in bodies]
        assert (4, 7, 0.014) == await caller.booked()


@pytest.mark.faults
async def test_a_locked_ledger_holds_a_line_for_seconds_only(tmp_path: Path) -> None:
    """The line then has what was counted; when the ledger is back, all is booked, and the next line has what was new."""
    bodies = {"/v1/files/file-1/content": file(result("batch-1", "a", 3))}
    async with upstream(Shelf(bodies)) as above, program(tmp_path, configured(above.port)) as running:
        caller = Caller(running)
        assert (3, 0.003, None) == await caller.get("/0/v1/files/file-1/content")
        with closing(sqlite3.connect(tmp_path / "passthrough.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert (3, 0.003, None) == await caller.get("/0/v1/files/file-1/content")
            other.execute("ROLLBACK")
        assert (2, 3, 0.003) == await caller.booked()
        assert (0, 0, None) == await caller.get("/0/v1/files/file-1/content")


@pytest.mark.faults
async def test_no_line_is_lost_where_the_program_ends_with_a_locked_ledger(tmp_path: Path) -> None:
    """It stops in time, with every line in the log; the next start books what waits in the journal."""
    bodies = {"/v1/files/file-1/content": file(result("batch-1", "a", 3))}
    async with upstream(Shelf(bodies)) as above:
        async with program(tmp_path, configured(above.port), "--drain-timeout", "1") as running:
            caller = Caller(running)
            with closing(sqlite3.connect(tmp_path / "passthrough.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await caller.send("/0/v1/files/file-1/content")
                assert 0 == await running.stop()
                assert (3, 0.003, None) == await caller.line()
                other.execute("ROLLBACK")
        async with program(tmp_path, configured(above.port)) as running:
            caller = Caller(running)
            assert (0, 0, None) == await caller.get("/0/v1/files/file-1/content")
            caller.calls = 2
            assert (2, 3, 0.003) == await caller.booked()
