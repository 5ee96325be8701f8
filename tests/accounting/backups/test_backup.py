"""A back-up is the ledger at one moment, with what waits in the journal; it is whole, or it is not there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from passthrough.accounting.backups.backup import Backup, back_up
from passthrough.accounting.entry import Entry
from passthrough.accounting.journal.codec import encode
from passthrough.accounting.journal.journal import Journal
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Yield a ledger with three entries, which stays open."""
    with closing(Ledger.open(f"sqlite:///{path}")) as opened:
        opened.append([booked() for _ in range(3)])
        yield opened


def to(file: Path, path: Path, *, force: bool = False) -> Backup:
    """Back a ledger up, with the journal beside it."""
    return back_up(f"sqlite:///{path}", path.with_suffix(".journal"), file, force=force)


def counted(file: Path) -> tuple[int, int, int]:
    """Return requests, pages and nano-dollars of a ledger that is opened to be read."""
    with closing(Ledger.open(f"sqlite:///{file}", read_only=True)) as opened:
        return one(opened)


def journal_with(path: Path, entries: Sequence[Entry], *, closes: bool) -> Journal:
    """Append entries to a journal, and leave it as a process that has ended, or lives."""
    journal = Journal(path.with_suffix(".journal"), lambda _: None)
    journal.append([encode(entry) for entry in entries])
    if closes:
        journal.close()
    return journal


def test_it_is_one_file_of_its_user_alone(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """It has all that is booked, and neither -wal nor -shm; while it is made the ledger is open, and stays as it is."""
    file = tmp_path / "kept" / "copy.db"
    file.parent.mkdir()
    done = to(file, path)
    assert ["copy.db"] == [each.name for each in file.parent.iterdir()]
    assert (0o600, (3, 3, 6_000_000)) == (file.stat().st_mode & 0o777, counted(file))
    assert (path, file, 3, file.stat().st_size, 0, ()) == (
        done.ledger,
        done.file,
        done.contents.exchanges,
        done.size_bytes,
        done.from_journal,
        done.left_out,
    )
    ledger.append([booked()])
    assert 4 == one(ledger)[0]


def test_it_is_of_one_moment_while_the_ledger_is_written(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """Each has whole transactions, sums that fit, and all that was booked before it began."""
    stopped, number = Event(), 3

    def write() -> None:
        nonlocal number
        while not stopped.is_set():
            ledger.append([booked() for _ in range(10)])
            number += 10

    thread = Thread(target=write)
    thread.start()
    try:
        for copy in range(5):
            before = number
            to(tmp_path / f"{copy}.db", path)
            with closing(sqlite3.connect(tmp_path / f"{copy}.db")) as database:
                (rows,) = database.execute("SELECT count(*) FROM exchanges").fetchone()
            assert (True, 3) == (rows >= before, rows % 10)
            assert rows == counted(tmp_path / f"{copy}.db")[0]
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize("closes", [True, False])
def test_what_waits_in_the_journal_is_in_it(tmp_path: Path, path: Path, ledger: Ledger, closes: bool) -> None:
    """Of a dead process or a living one, once, and nothing of it is taken away: the ledger gets it all the same."""
    waiting = [booked() for _ in range(5)]
    ledger.append(waiting[:2])
    journal = journal_with(path, waiting, closes=closes)
    before = {each.name: each.read_bytes() for each in path.with_suffix(".journal").iterdir()}
    done = to(tmp_path / "copy.db", path)
    assert ((8, 8, 16_000_000), 3, 8) == (counted(tmp_path / "copy.db"), done.from_journal, done.contents.exchanges)
    assert before == {each.name: each.read_bytes() for each in path.with_suffix(".journal").iterdir()}
    assert 5 == one(ledger)[0]
    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        assert [("delete",)] == database.execute("PRAGMA journal_mode").fetchall()
    journal.close()


def test_what_cannot_be_read_is_named(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """A torn line is no entry yet; a file of another format is named, and the rest is backed up."""
    folder = path.with_suffix(".journal")
    journal_with(path, [booked()], closes=True)
    (torn,) = folder.iterdir()
    with torn.open("ab") as file:
        file.write(encode(booked())[:-20])
    (folder / "0000000000001-00000000.jsonl").write_text("{}\n" * 100)
    done = to(tmp_path / "copy.db", path)
    assert (4, 1, (folder / "0000000000001-00000000.jsonl",)) == (done.contents.exchanges, done.from_journal, done.left_out)


def test_of_an_older_schema_it_is_a_copy_alone(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """It is not brought up to date: the way back to the older program. That the journal is left out is said."""
    ledger.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = '4' WHERE key = 'schema'")
        database.commit()
    journal_with(path, [booked()], closes=True)
    done = to(tmp_path / "copy.db", path)
    assert (4, 3, 0, (path.with_suffix(".journal"),)) == (
        done.contents.schema,
        done.contents.exchanges,
        done.from_journal,
        done.left_out,
    )


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """And only by a whole copy: where none can be made, it stays."""
    file = tmp_path / "copy.db"
    file.write_text("precious")
    with pytest.raises(LedgerError, match=r"copy\.db is there already\.\n.* --force"):
        to(file, path)
    assert "precious" == file.read_text()
    to(file, path, force=True)
    assert 3 == counted(file)[0]
    kept = file.read_bytes()
    ledger.close()
    path.write_bytes(b"no database, but as long as one is" * 1000)
    with pytest.raises(LedgerError, match="is not an SQLite database"):
        to(file, path, force=True)
    assert (kept, ["copy.db", "ledger.db"]) == (file.read_bytes(), sorted(each.name for each in tmp_path.iterdir()))


def test_damage_is_no_back_up(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """Each page of the copy is looked at: what is damaged would be found out on the day that it is needed."""
    ledger.append([booked() for _ in range(500)])
    ledger.close()
    whole = bytearray(path.read_bytes())
    whole[8 * 4096 : 12 * 4096] = bytes(4 * 4096)
    path.write_bytes(whole)
    with pytest.raises(LedgerError, match="is damaged"):
        to(tmp_path / "copy.db", path)
    assert ["ledger.db"] == [each.name for each in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (lambda path: path, "is the ledger itself"),
        (lambda path: path.with_name("link"), "is the ledger itself"),
        (lambda path: path.with_name("far"), r"far is a link to .*precious\.\nName the file itself"),
        (lambda path: path.with_name("broken"), "broken is a link to .*nothing"),
        (lambda path: path.with_name("fifo"), "is a device, a pipe or a socket"),
        (lambda path: path.with_suffix(".journal") / "copy.db", "is in the journal's folder"),
        (lambda _: Path("-"), "Give a file's name"),
        (lambda path: path.with_name("ledger.db-wal"), "is the ledger itself"),
        (lambda path: path.parent, r"is a folder\.\nName a file in it"),
        (lambda path: path.parent / "nowhere" / "copy.db", "there is no folder .*nowhere"),
    ],
)
def test_what_is_no_place_for_it(path: Path, ledger: Ledger, file: Callable[[Path], Path], says: str) -> None:
    """It is said before anything is copied, by force too, and the ledger stays."""
    path.with_name("link").symlink_to(path)
    path.with_name("precious").write_text("precious")
    path.with_name("far").symlink_to("precious")
    path.with_name("broken").symlink_to("nothing")
    os.mkfifo(path.with_name("fifo"))
    path.with_suffix(".journal").mkdir()
    there = sorted(path.parent.rglob("*"))
    with pytest.raises(LedgerError, match=says):
        to(file(path), path, force=True)
    assert (3, there) == (one(ledger)[0], sorted(path.parent.rglob("*")))
    assert ("precious", True) == (path.with_name("far").read_text(), path.with_name("far").is_symlink())
    assert path.with_name("fifo").is_fifo()


def test_what_a_kill_left_goes_with_the_next(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """An hour later, files of the same target only: neither those of a copy under way, nor others, nor a link."""
    old = [f".copy.db.abcd_123.part{end}" for end in ("", "-wal", "-journal")]
    others = [".copy.db.abcd1234.parts", ".copy.db.abcd123.part", ".other.db.abcd1234.part", "copy.db.abcd1234.part"]
    for name in (*old, *others, ".copy.db.under_wy.part"):
        (tmp_path / name).write_text("")
    (tmp_path / ".copy.db.linkedto.part").symlink_to(".other.db.abcd1234.part")
    for name in (*old, *others):
        os.utime(tmp_path / name, (1e9, 1e9))
    to(tmp_path / "copy.db", path)
    kept = {each.name for each in tmp_path.iterdir() if not each.name.startswith("ledger.")}
    assert {"copy.db", *others, ".copy.db.under_wy.part", ".copy.db.linkedto.part"} == kept


def test_what_is_no_ledger(tmp_path: Path, path: Path) -> None:
    """Nothing, and another program's database, are not backed up."""
    with pytest.raises(LedgerError, match="There is no ledger at"):
        to(tmp_path / "copy.db", path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE moves (san TEXT)")
    with pytest.raises(LedgerError, match="is not a ledger of this program"):
        to(tmp_path / "copy.db", path)
    assert ["ledger.db"] == [each.name for each in tmp_path.iterdir()]


def test_a_server_has_programs_of_its_own(tmp_path: Path) -> None:
    """The command for it is said, without the password."""
    with pytest.raises(LedgerError) as caught:
        back_up("postgresql://me:hunter2@db.internal/books", tmp_path / "journal", Path("the books.dump"))
    assert "Run: pg_dump -Fc -d postgresql://db.internal/books -f 'the books.dump'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_ledger_that_a_kill_left_is_backed_up_whole(tmp_path: Path, path: Path, ledger: Ledger) -> None:
    """What is in its write-ahead log only is in the copy."""
    left = tmp_path / "left" / "ledger.db"
    left.parent.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{left}{end}")
    to(tmp_path / "copy.db", left)
    assert 3 == counted(tmp_path / "copy.db")[0]
