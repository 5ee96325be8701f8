"""Exports: what is booked as a file, row by row, whole or not at all."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import stat
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from passthrough.accounting.entry import Charge, Entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.reports import destination, export
from passthrough.accounting.reports.export import COLUMNS, Written
from passthrough.accounting.reports.report import summarize
from passthrough.errors import LedgerError
from passthrough.meter.usage import Usage
from tests.harness.entries import booked
from tests.harness.process import clean_environment, command
from tests.harness.rights import let_all_in, ordinary_user

AT = 1_795_000_000.25  # 2026-11-18T11:06:40.250Z


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield a new ledger."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as opened:
        yield opened


def batch(at: float, lines: int) -> Entry:
    """Return the entry of a batch's results: lines of two pages at half a dollar and a nano-dollar."""
    one = Charge("m", 2, cost_nano=500_000_001, cost_source="prices.yaml", in_batch=True, credits_micro=1_500_000)
    return replace(booked("archive", at=at), charges=tuple(replace(one, line=f"line-{i}") for i in range(lines)), account="ours")


def filled(ledger: Ledger) -> list[Entry]:
    """Fill a ledger with a page, a failure, a batch and the sandbox's page; return the entries."""
    failed = replace(booked("=cmd()", at=AT + 1), charges=(), usage=Usage(model="m"), status=None, unmetered="broken")
    entries = [booked("invoices", at=AT), failed, batch(AT + 2, 3), booked("invoices", at=AT + 3, sandbox=True)]
    ledger.append(entries)
    return entries


def exported(ledger: Ledger, form: export.Form) -> tuple[Written, str]:
    """Return what the whole ledger becomes."""
    stream = io.StringIO(newline="")
    return export.write(ledger.exported(), stream, form), stream.getvalue()


def test_csv_has_a_row_for_each_charge(ledger: Ledger) -> None:
    """Each charge has a row with its exchange's fields, an exchange without one too; decimals are exact, formulas are text."""
    entries = filled(ledger)
    written, text = exported(ledger, "csv")
    assert Written(6, 4) == written
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(COLUMNS) == list(rows[0])
    assert [entry.id for entry in entries for _ in entry.charges or (None,)] == [row["id"] for row in rows]
    page, failure, *lines, mocked = rows
    assert ("2026-11-18T11:06:40.250Z", "invoices", "200", "1", "0.002", "prices.yaml", "false") == tuple(
        page[name] for name in ("time", "client", "status", "pages", "cost_usd", "cost_source", "sandbox")
    )
    assert ("'=cmd()", "", "m", "", "", "broken") == tuple(
        failure[name] for name in ("client", "status", "model", "pages", "cost_usd", "unmetered")
    )
    assert [(f"line-{i}", "2", "0.500000001", "1.5", "true", "ours") for i in range(3)] == [
        tuple(row[name] for name in ("line", "pages", "cost_usd", "credits", "in_batch", "account")) for row in lines
    ]
    assert "true" == mocked["sandbox"]


def test_json_lines_are_typed(ledger: Ledger) -> None:
    """Each row is one JSON object on a line: numbers exact, nothing as null."""
    filled(ledger)
    written, text = exported(ledger, "jsonl")
    rows = [json.loads(line, parse_float=Decimal) for line in text.splitlines()]
    assert (6, list(COLUMNS)) == (written.rows, list(rows[0]))
    assert (Decimal("0.002"), 200, False, None) == tuple(rows[0][name] for name in ("cost_usd", "status", "sandbox", "credits"))
    assert ("=cmd()", None, None) == tuple(rows[1][name] for name in ("client", "status", "pages"))
    assert (Decimal("0.500000001"), Decimal("1.5"), True) == tuple(rows[2][name] for name in ("cost_usd", "credits", "in_batch"))


def test_what_is_known_since_schema_4(ledger: Ledger) -> None:
    """Credits are exact, where they were stored so; labels are a JSON object in CSV too; names and tiers have columns."""
    charge = Charge("m", tokens_in=9, tokens_cached=7, service_tier="priority", credits="0.00000164", credits_micro=2)
    entry = replace(booked("invoices", at=AT), labels='{"team": "Gr\\u00f6\\u00dfe", "user": "=1"}', priced_as="m-1")
    entry = replace(entry, deployment="azure-1", model_group="=ocr", why="vertex-1: 503")
    ledger.append([replace(entry, charges=(replace(charge, priced_as="m-2"),)), replace(entry, id="f" * 32, charges=())])
    names = ("tokens_cached", "service_tier", "credits", "priced_as", "labels")
    first, second = csv.DictReader(io.StringIO(exported(ledger, "csv")[1], newline=""))
    labels = '{"team": "Größe", "user": "=1"}'
    assert ["7", "priority", "0.00000164", "m-2", labels] == [first[name] for name in names]
    assert ["", "", "", "m-1", labels] == [second[name] for name in names]
    tries = ("deployment", "model_group", "why")
    assert ["azure-1", "'=ocr", "vertex-1: 503"] == [second[name] for name in tries] == list(second.values())[-3:]
    row = json.loads(exported(ledger, "jsonl")[1].splitlines()[0], parse_float=Decimal)
    assert ["azure-1", "=ocr", "vertex-1: 503"] == [row[name] for name in tries]
    assert [7, "priority", Decimal("0.00000164"), "m-2", json.loads(labels)] == [row[name] for name in names]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_empty_ledger(ledger: Ledger, form: export.Form) -> None:
    """Where nothing is booked there is a head at most."""
    written, text = exported(ledger, form)
    assert (Written(0, 0), form == "csv") == (written, bool(text))


def test_what_is_exported_adds_up_to_the_report(ledger: Ledger) -> None:
    """Pages and cost of the rows are those of `usage`, to the nano-dollar."""
    filled(ledger)
    rows = [json.loads(line, parse_float=Decimal) for line in exported(ledger, "jsonl")[1].splitlines()]
    total = summarize(ledger, sandbox="include").total
    pages = sum(row["pages"] or 0 for row in rows)
    cost = sum((row["cost_usd"] or Decimal(0)) for row in rows)
    assert (total.pages, Decimal(total.cost_nano).scaleb(-9)) == (pages, cost)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_ledger(ledger: Ledger) -> None:
    """Twenty times as many rows take no more memory to write: they are a stream."""
    ledger.append([batch(AT, 1000)])
    with Path(os.devnull).open("w") as nowhere:
        export.write(ledger.exported(), nowhere, "csv")  # what is made once, is there
        peaks = []
        for more in (0, 19):
            ledger.append(
                replace(entry, charges=tuple(replace(charge, line=f"{n}-{charge.line}") for charge in entry.charges))
                for n in range(more)
                for entry in (batch(AT + n + 1, 1000),)
            )
            tracemalloc.start()
            written = export.write(ledger.exported(), nowhere, "csv")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert Written(20_000, 20) == written
    assert peaks[1] < 2 * peaks[0]


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    """While it is written the old file stands; at the end the new one has its name, and nothing else is left."""
    file = tmp_path / "a.csv"
    file.write_text("old")
    with destination.writing(file) as stream:
        stream.write("new")
        stream.flush()
        assert "old" == file.read_text()
    assert ("new", ["a.csv"]) == (file.read_text(), os.listdir(tmp_path))


@pytest.mark.parametrize("error", [LedgerError("gone"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    """Where reading fails, or the user gives up, the old file stands and the half of the new one is gone."""
    file = tmp_path / "a.csv"
    file.write_text("old")

    def half() -> None:
        with destination.writing(file) as stream:
            stream.write("half")
            raise error

    with pytest.raises(type(error)):
        half()
    assert ("old", ["a.csv"]) == (file.read_text(), os.listdir(tmp_path))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that is not there, or a folder of the file's name, is an error of ours with a cure; nothing is left behind."""
    (tmp_path / "b.csv").mkdir()
    for name in ("no/a.csv", "b.csv"):
        with pytest.raises(LedgerError, match=r"cannot be written: .*\nName another file"), destination.writing(tmp_path / name):
            pass
    assert ["b.csv"] == os.listdir(tmp_path)


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    """Those who may read the file that was there may read the new one, and no others, also while it is written."""
    file = tmp_path / "a.csv"
    file.write_text("old")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
    before = file.stat()
    with destination.writing(file) as stream:
        (part,) = [name for name in os.listdir(tmp_path) if name != "a.csv"]
        assert 0o600 == stat.S_IMODE((tmp_path / part).stat().st_mode)
        stream.write("new")
    after = file.stat()
    assert "new" == file.read_text()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another's")
def test_a_file_of_anothers_stays_so(tmp_path: Path) -> None:
    """What we may write but not give away is written in place, once all is there: the same file, with its owner."""
    file = tmp_path / "a.csv"
    file.write_text("older, and longer")
    file.chmod(0o666)
    before = file.stat()
    let_all_in(tmp_path)
    tmp_path.chmod(0o777)
    with ordinary_user(), destination.writing(file) as stream:
        stream.write("new")
        stream.flush()
        assert "older, and longer" == file.read_text()
    after = file.stat()
    assert ("new", ["a.csv"]) == (file.read_text(), os.listdir(tmp_path))
    assert (before.st_ino, before.st_uid, before.st_mode) == (after.st_ino, after.st_uid, after.st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do without its rights")
def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    """The message is ours, and names the file."""
    (tmp_path / "shut").mkdir(mode=0o755)
    (tmp_path / "dark").mkdir(mode=0)
    let_all_in(tmp_path)
    words = r"a\.csv cannot be written: Permission denied\.\nName another"
    with ordinary_user():
        for name in ("shut", "dark"):
            with pytest.raises(LedgerError, match=words), destination.writing(tmp_path / name / "a.csv"):
                pass


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path: Path, there: bool) -> None:
    """It is the link's target that is replaced, or made, beside itself."""
    (tmp_path / "real").mkdir()
    if there:
        (tmp_path / "real" / "b.csv").write_text("old")
    (tmp_path / "a.csv").symlink_to("real/b.csv")
    with destination.writing(tmp_path / "a.csv") as stream:
        stream.write("new")
    assert (True, "new") == ((tmp_path / "a.csv").is_symlink(), (tmp_path / "real" / "b.csv").read_text())
    assert (["b.csv"], ["a.csv", "real"]) == (os.listdir(tmp_path / "real"), sorted(os.listdir(tmp_path)))


def test_a_loop_of_links_is_said(tmp_path: Path) -> None:
    """It is an error of ours."""
    (tmp_path / "a.csv").symlink_to("a.csv")
    with pytest.raises(LedgerError, match="cannot be written"), destination.writing(tmp_path / "a.csv"):
        pass


@pytest.mark.process
@pytest.mark.parametrize("name", ["pipe", "pipe.csv"])
async def test_a_pipe_gets_the_rows(tmp_path: Path, ledger: Ledger, name: str) -> None:
    """A FIFO stays one, and its reader gets what a file would have."""
    filled(ledger)
    os.mkfifo(tmp_path / name)
    reading = asyncio.create_task(asyncio.to_thread((tmp_path / name).read_text))
    code, out, err = await command(tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", "--export", name)
    assert (0, "") == (code, out), err
    assert 6 == len((await reading).splitlines())
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)


@pytest.mark.process
@pytest.mark.parametrize("where", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
async def test_stdout_by_its_names(tmp_path: Path, ledger: Ledger, where: str) -> None:
    """It is written to where it stands: what a shell wrote before stays."""
    filled(ledger)
    with (tmp_path / "out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'echo before; "$@"; echo behind', "sh", sys.executable, "-m", "passthrough"),
            *("usage", "--ledger", "sqlite:///passthrough.db", "--export", where, "--format", "json"),
            cwd=tmp_path,
            env=clean_environment(),
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
    assert f"5 rows of 3 exchanges written to {'stdout' if where == '-' else where}" in err.decode()
    first, *rows, last = (tmp_path / "out").read_text().splitlines()
    assert ("before", 5, "behind") == (first, len([json.loads(row) for row in rows]), last)


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux' device that is always full")
async def test_a_full_disk_is_said(tmp_path: Path, ledger: Ledger) -> None:
    """So is a stream that takes nothing."""
    filled(ledger)
    code, out, err = await command(tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", "--export", "/dev/full")
    assert (1, "") == (code, out)
    assert err.startswith("passthrough: /dev/full cannot be written: No space left on device.\n")


@pytest.mark.process
async def test_the_command(tmp_path: Path, ledger: Ledger) -> None:
    """`usage --export` writes a file in the form of its name, says what it did, and leaves the sandbox out as sums do."""
    filled(ledger)
    for name, lines in (("a.csv", 6), ("b.JSONL", 5)):
        code, out, err = await command(tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", "--export", name)
        said = f"5 rows of 3 exchanges written to {name} (without 1 request to the sandbox)\n"
        assert (0, "", said) == (code, out, err)
        assert lines == len((tmp_path / name).read_text().splitlines())
    for flags, begins in (((), "id,time,"), (("--format", "json"), '{"id": "')):
        code, out, err = await command(
            tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", "--sandbox", "include", "--export", "-", *flags
        )
        assert (0, "6 rows of 4 exchanges written to stdout") == (code, err[:39])
        assert out.startswith(begins)
    url = "sqlite:///passthrough.db"
    code, out, _ = await command(tmp_path, "usage", "--ledger", url, "--until", "2026-01-01", "--export", "-")
    assert (0, 1) == (code, len(out.splitlines()))


@pytest.mark.process
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--export", "entries.xls"), "'entries.xls' tells no form: end it in .csv or .jsonl, or write '-' for stdout."),
        (("--export", "entries"), "tells no form"),
        (("--export", "a.csv", "--reprice"), "Choose one of --watch, --export and --reprice."),
        (("--watch", "--reprice"), "Choose one"),
        (
            ("--since", "2026-10-02", "--until", "2026-10-01"),
            "ends (2026-10-01T00:00:00Z) before it begins (2026-10-02T00:00:00Z)",
        ),
        (("--since", "1d", "--until", "2d", "--export", "-"), "before it begins"),
        (("--since", "2026-10-02", "--until", "2026-10-01", "--reprice"), "before it begins"),
        (("--watch", "--format", "json"), "--watch shows a table."),
        (("--watch", "0"), "0.0 is not in the range"),
        (("--watch", "soon"), "'soon' is not a valid float"),
    ],
)
async def test_what_cannot_be_meant_is_exit_2(tmp_path: Path, ledger: Ledger, flags: tuple[str, ...], words: str) -> None:
    """Names that tell no form, and flags that exclude each other, are said before anything is written."""
    code, out, err = await command(tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", *flags)
    assert (2, "") == (code, out)
    assert words in err
    assert ["passthrough.db"] == [name for name in os.listdir(tmp_path) if not name.endswith(("-wal", "-shm"))]


@pytest.mark.process
async def test_a_file_that_cannot_be_written_is_exit_1(tmp_path: Path, ledger: Ledger) -> None:
    """The message names the file and the reason."""
    code, out, err = await command(tmp_path, "usage", "--ledger", "sqlite:///passthrough.db", "--export", "no/a.csv")
    assert (1, "") == (code, out)
    assert "passthrough: no/a.csv cannot be written: No such file or directory.\nName another file" in err


@pytest.mark.process
async def test_every_question_is_answered_by_both_databases(tmp_path: Path, ledger_url: str) -> None:
    """Sums, exports and today's prices come from PostgreSQL as they come from a file."""
    with closing(Ledger.open(ledger_url)) as opened:
        filled(opened)
    (tmp_path / "routes.yaml").write_text("prices: [{model: mistral-ocr-2512, usd_per_1000_pages: 3}]\n")
    asked = ("usage", "--ledger", ledger_url, "--by", "client", "--format", "json")
    code, out, err = await command(tmp_path, *asked)
    assert (0, "") == (code, err)
    total = json.loads(out, parse_float=Decimal)["total"]
    assert (3, 7, Decimal("1.502000003")) == tuple(total[name] for name in ("requests", "pages", "cost_usd"))
    code, out, err = await command(tmp_path, *asked, "--reprice")
    assert (0, "", Decimal("0.003")) == (code, err, json.loads(out, parse_float=Decimal)["total"]["today_usd"])
    code, out, _ = await command(tmp_path, *asked, "--export", "-")
    assert (0, 5) == (code, len(out.splitlines()))
