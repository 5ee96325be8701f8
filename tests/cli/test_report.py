"""`passthrough report` as its user runs it: forms, files, months, errors, and the same sums as `passthrough usage`."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from passthrough.accounting.ledger.ledger import Ledger
from tests.harness.entries import booked
from tests.harness.process import command

pytestmark = pytest.mark.process

AT = datetime(2025, 5, 5, tzinfo=UTC).timestamp()
ROUTES = "pass_through_endpoints: [{path: /mistral, target: 'http://127.0.0.1:1'}]\n"
OWN = "prices: [{model: house-ocr, usd_per_1000_pages: 1.25, effective_from: 2025-05-02}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration, and a ledger with some exchanges of May 2025 and of the last month."""
    (tmp_path / "routes.yaml").write_text(ROUTES + OWN)
    own = booked("invoices", at=AT, model="house-ocr", pages=8, cost_nano=10_000_001)
    own = replace(own, charges=(replace(own.charges[0], cost_source="routes.yaml", priced_as="house-ocr"),))
    last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).timestamp()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append(
            [
                *(own, booked("archive", at=AT, pages=3, cost_nano=6_000_000)),
                replace(booked("archive", at=AT), charges=(), unmetered="no_usage"),
                booked("of-last-month", at=last_month),
            ]
        )
    return tmp_path


async def test_markdown_on_stdout(folder: Path) -> None:
    """The default form, with the dates of the configuration's own prices; what it says fits 80 columns."""
    code, out, err = await command(folder, "report", "--month", "2025-05")
    assert (0, "") == (code, err)
    assert out.startswith("# Usage statement, May 2025\n")
    assert [] == [line for line in out.splitlines() if len(line) > 80]
    assert "USD 1.25 per 1000 pages from 2025-05-02." in out.replace("\n  ", " ")
    assert "| no_usage |        1 |" in out


async def test_a_file_in_the_form_of_its_end(folder: Path) -> None:
    """.html, .csv and .md; --format wins over the end; the user is told on stderr."""
    for name, begin, flags in (
        ("may.html", "<!doctype html>", ()),
        ("may.CSV", "month,client,row,name,", ()),
        ("may.md", "# Usage statement", ()),
        ("may.txt", "# Usage statement", ("--format", "md")),
        ("other.csv", "<!doctype html>", ("--format", "html")),
    ):
        code, out, err = await command(folder, "report", "--month", "2025-05", "--output", name, *flags)
        assert (0, "", f"The statement of May 2025 was written to {name}\n") == (code, out, err)
        assert (folder / name).read_text("utf-8").startswith(begin)


async def test_its_sum_is_that_of_usage(folder: Path) -> None:
    """The CSV's columns sum up to what `usage` prints for the same period."""
    code, out, _ = await command(folder, "report", "--month", "2025-05", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    _, printed, _ = await command(folder, "usage", "--since", "2025-05-01", "--until", "2025-06-01", "--format", "json")
    total = json.loads(printed, parse_float=Decimal)["total"]
    assert (0, Decimal("0.016000001")) == (code, total["cost_usd"])
    for name in ("requests", "pages", "cost_usd", "unmetered", "unpriced"):
        assert total[name] == sum(Decimal(row[name] or 0) for row in rows)


async def test_the_last_month_is_the_default(folder: Path) -> None:
    """Without --month it is the last one that is over."""
    code, out, _ = await command(folder, "report")
    assert 0 == code
    assert "| of-last-month |" in out
    assert "not over" not in out
    _, now, _ = await command(folder, "report", "--month", f"{datetime.now(UTC):%Y-%m}")
    assert "The month is not over" in now


async def test_a_month_without_a_request_names_this_one(folder: Path) -> None:
    """In a program's first month the default is one from before it: the statement names it, and stderr tells the way."""
    code, out, err = await command(folder, "report", "--sandbox", "only")
    now = datetime.now(UTC)
    last = now.replace(day=1) - timedelta(days=1)
    assert (0, True) == (code, f"\n{last:%B %Y} had no requests.\n" in out)
    assert f"{last:%B %Y} had no requests. What there is of this month so far: --month {now:%Y-%m}\n" == err
    assert "" == (await command(folder, "report", "--sandbox", "only", "--month", "2025-05"))[2]


async def test_another_ledger_needs_no_configuration(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With --ledger a folder without a configuration will do; one that is there must have right prices."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    flags = ("--month", "2025-05", "--ledger", f"sqlite:///{folder}/passthrough.db")
    code, out, err = await command(elsewhere, "report", *flags)
    assert (0, "") == (code, err)
    assert "| total    |        3 |    11 | 0.0160 |" in out
    (folder / "routes.yaml").write_text(ROUTES + "prices: [{model: a}]\n")
    code, out, err = await command(folder, "report", *flags)
    assert (2, "") == (code, out)
    assert "This row has no price." in err


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--month", "2026-13"), 2, "'2026-13' is no month: write 2026-10."),
        (("--month", "9998-01"), 2, "9998-01 has not begun"),
        (
            ("--by", "model"),
            2,
            "There are no statements by model.\nThere are: client, route, deployment, model_group, label, and label.NAME",
        ),
        (("--by", "client,route"), 2, "There are no statements by client,route."),
        (("--output", "may.pdf"), 2, "'may.pdf' tells no form: end it in .md or .html or .csv, or say which with --format."),
        (("--format", "pdf"), 2, "'pdf' is not one of"),
        (("--ledger", "sqlite:///none.db"), 1, "none.db"),
        (("--ledger", "none"), 2, "There is no ledger to sum up: it is 'none'."),
        (("--output", "no/such/folder.md"), 1, "no/such/folder.md cannot be written"),
        (("--config", "none.yaml"), 2, "none.yaml"),
    ],
)
async def test_what_is_wrong_is_said(folder: Path, flags: tuple[str, ...], code: int, said: str) -> None:
    """On stderr, with the exit codes of the other commands, and nothing on stdout."""
    found, out, err = await command(folder, "report", *flags)
    assert (code, "") == (found, out)
    assert said in err
    assert "Traceback" not in err
