"""A batch that is killed at its worst moments, and resumed by the program: one job, booked once, at half the price."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from tests.harness.batch_killed import begun_and_killed, pass_minutes
from tests.harness.documents import pdf
from tests.harness.process import Program, program
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.faults]

ROUTES = """
pass_through_endpoints:
  - {path: /mistral, target: https://api.mistral.ai, include_subpath: true, headers: {Authorization: Bearer a-key-of-this-file}}
ledger: sqlite:///passthrough.db
"""
PAGES = 5
COST = Decimal("0.001")
"""Of a page in a batch: half of 0.002 USD."""

MOMENTS = ("ordering", "taken", "ordered", "fetched", "written", "stored", "deleted")
"""The order is about to leave; it arrived, and its id is not noted; it is noted; results are here; a document is
written, then all; the first file at the provider is deleted."""


async def test_killed_and_resumed_it_is_booked_once(tmp_path: Path) -> None:
    """Each time the program says what it wrote; results that are fetched twice are in the ledger once."""
    (tmp_path / "server").mkdir()
    async with program(tmp_path / "server", ROUTES, "--sandbox") as running:
        for count, moment in enumerate(MOMENTS, 1):
            folder = tmp_path / moment
            (folder / "in").mkdir(parents=True)
            (folder / "in/a.pdf").write_bytes(pdf(PAGES - 2))
            (folder / "in/large.pdf").write_bytes(pdf(2) + b"%" + b"x" * 200_000)
            assert moment == await begun_and_killed(folder, f"{running.url}/mistral", moment)
            pass_minutes(folder / "out")
            code, out, err = await running.command(
                *("ocr", "--batch", "--resume", "-o", str(folder / "out")), PASSTHROUGH_BASE_URL=f"{running.url}/mistral"
            )
            assert (0, moment) == (code, moment), err
            assert {".passthrough-ocr.jsonl", "a.md", "large.md"} == {path.name for path in (folder / "out").iterdir()}, moment
            written = {"stored": 0, "deleted": 0, "written": 1}.get(moment, 2)
            assert (written, moment) == (len(out.splitlines()), moment)
            expected = COST * PAGES * count, PAGES * count, count
            await eventually(partial(booked, running), partial(eq, expected))  # the ledger is a moment behind
        assert 0 == await running.stop()
        assert expected == await booked(running)


async def booked(running: Program) -> tuple[Decimal, int, int]:
    """Return cost, pages and ordered jobs of the ledger and the log."""
    ordered = sum((line["method"], line["path"]) == ("POST", "/mistral/v1/batch/jobs") for line in running.log)
    code, out, err = await running.command("usage", "--format", "json")
    assert (0, "") == (code, err)
    total = json.loads(out, parse_float=Decimal)["total"]
    return total["cost_usd"], total["pages"], ordered
