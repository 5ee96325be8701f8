"""The ledger: written once, summed exactly, and clear about what is wrong with its file."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from random import Random
from threading import Thread

import psutil
import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import SCHEMA
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "books.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Yield a new ledger."""
    opened = Ledger.open(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def any_ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger, once in SQLite and once in PostgreSQL."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


@pytest.mark.process
def test_what_was_written_survives_a_kill(path: Path) -> None:
    """A process killed after an append loses nothing, and the file opens again at once."""
    program = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from tests.harness.entries import booked\nfrom passthrough.accounting.ledger.ledger import Ledger\n"
        "ledger = Ledger.open(sys.argv[1]); ledger.append([booked() for _ in range(50)]); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program, f"sqlite:///{path}", str(root)], check=False)
    with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as reader, closing(Ledger.open(f"sqlite:///{path}")) as again:
        expected = (50, 50, 100_000_000)
        assert (-9, expected, expected) == (ended.returncode, one(reader), one(again))


def test_reading_makes_and_changes_nothing(path: Path) -> None:
    """A read-only ledger sums a file at rest without leaving anything beside it, and cannot be written."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked()])
    with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as reader:
        assert one(reader)[0] == 1
        with pytest.raises(LedgerError, match="may not be written"):
            reader.append([booked()])
    assert [path] == list(path.parent.iterdir())


def test_a_relative_path_begins_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite:///name.db is in the working directory; characters that mean something in a URI are part of the name."""
    monkeypatch.chdir(tmp_path)
    with closing(Ledger.open("sqlite:///my books#1.db")) as ledger:
        ledger.append([booked()])
    assert [file.name for file in tmp_path.iterdir()] == ["my books#1.db"]


def test_a_reader_waits_for_the_tables_of_a_new_ledger(tmp_path: Path) -> None:
    """'usage' beside the first moments of 'serve' finds a file without tables: they come, or it says that there are none."""
    (tmp_path / "books.db").touch()
    url = f"sqlite:///{tmp_path}/books.db"
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(Ledger.open, url, read_only=True)
        Ledger.open(url).close()
        reading.result().close()
    (tmp_path / "empty.db").touch()
    with pytest.raises(LedgerError, match="is not a ledger yet: it has no tables"):
        Ledger.open(f"sqlite:///{tmp_path}/empty.db", read_only=True)


def test_a_ledger_under_another_name_is_read_while_it_is_written(tmp_path: Path) -> None:
    """The write-ahead log lies beside the file itself, not beside a link to it: what it holds is read too."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "books.db").symlink_to("../real.db")
    url = f"sqlite:///{tmp_path}/links/books.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked()])
        with closing(Ledger.open(url, read_only=True)) as reader:
            assert 1 == one(reader)[0]


def foreign(path: Path) -> None:
    """Make another program's database."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE meta (key, value)")


def newer(path: Path) -> None:
    """Make a ledger of a later version."""
    Ledger.open(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = '999'")
        database.commit()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"not a database, but as long as one is" * 100), "is not an SQLite database"),
        (foreign, "is not a ledger of this program"),
        (newer, "has schema 999"),
        (lambda path: path.mkdir(), "it is a folder"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_ledger_is_refused(path: Path, make: Callable[[Path], None], says: str, read_only: bool) -> None:
    """A file of another kind, another program or a later version is named, left as it is, and a mend is said."""
    make(path)
    with pytest.raises(LedgerError, match=says) as refused:
        Ledger.open(f"sqlite:///{path}", read_only=read_only)
    message, _, hint = str(refused.value).partition("\n")
    assert str(path) in message
    assert hint


@pytest.mark.parametrize(
    ("url", "read_only", "says"),
    [
        ("sqlite:////no/such/folder/books.db", False, "there is no folder /no/such/folder"),
        ("sqlite:////no/such/folder/books.db", True, "There is no ledger at /no/such/folder/books.db"),
        ("sqlite://", False, "does not name a file"),
        ("sqlite:///:memory:", False, "does not name a file"),
        ("sqlite://host/books.db", False, "does not name a file"),
        ("sqlite:///books.db?mode=ro", False, "does not name a file"),
        ("books.db", False, "is not a URL"),
        ("postgresql+asyncpg://me:hunter2@host/books", False, "asyncpg ledger is not served"),
        ("postgresql://me:se@hunter2@host/books", False, "an '@' too many"),
        ("postgresql://me:se@x/hunter2@host/books", False, "an '@' too many"),
        ("postgresql://me:se@x:hunter2@host/books", False, "an '@' too many"),
        ("postgresql://host:port/books", False, "is not a URL"),
        ("nonsense://me:hunter2@host/books", False, "nonsense ledger is not served"),
        ("sqlite://me:hunter2@host/books", False, "does not name a file"),
    ],
)
def test_a_url_that_is_none_says_so_without_its_password(url: str, read_only: bool, says: str) -> None:
    """What cannot be opened is said, with a mend, and never with a password."""
    with pytest.raises(LedgerError, match=says) as refused:
        Ledger.open(url, read_only=read_only)
    assert "hunter2" not in str(refused.value)
    assert "\n" in str(refused.value)


@pytest.mark.faults
def test_a_locked_ledger_refuses_and_takes_it_later(ledger: Ledger, path: Path) -> None:
    """While another connection writes, an append fails with nothing written; afterwards the same append works."""
    entry = booked()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="is locked by another process"):
            ledger.append([entry])
        other.execute("ROLLBACK")
    ledger.append([entry])
    assert one(ledger)[0] == 1


def test_a_connection_that_is_in_use_at_the_end_is_closed_after_it(path: Path) -> None:
    """Closed while another thread waits for its lock, the ledger has no file open once that thread is through."""
    url = f"sqlite:///{path}"
    Ledger.open(url).close()
    ledger = Ledger.at(url)

    def append() -> None:
        with suppress(LedgerError):  # Where the machine is slow, the lock is held for longer than it is waited for.
            ledger.append([booked()])

    def opened() -> int:
        return [Path(file.path) for file in psutil.Process().open_files()].count(path)

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = opened()
        waiting = Thread(target=append)
        waiting.start()
        while waiting.is_alive() and opened() == before:
            waiting.join(0.01)
        ledger.close()
        other.execute("ROLLBACK")
        waiting.join()
    assert 0 == opened()


def test_a_full_disk_is_said_and_nothing_is_half_written(path: Path) -> None:
    """A transaction that does not fit leaves no row; what fitted before stays."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked()])
        with ledger.transaction() as connection:  # SQLite's own bound on the file's growth: as a full disk
            connection.exec_driver_sql("PRAGMA max_page_count = 40")
        with pytest.raises(LedgerError, match="the disk is full"):
            ledger.append([booked() for _ in range(2000)])
        assert one(ledger)[0] == 1


def test_a_damaged_ledger_is_said(path: Path) -> None:
    """A file whose pages were overwritten fails with a message, when it is opened or when it is used."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked() for _ in range(2000)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(LedgerError, match="is damaged"), closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.sums(("client",))


@pytest.mark.parametrize(
    ("defect", "said"), [(TypeError("odd"), r"defect: TypeError\('odd'\)\.\n.*report"), (MemoryError(), "memory ran out")]
)
def test_no_ledger_is_given_up_for_what_may_be_a_defect_of_ours(path: Path, defect: Exception, said: str) -> None:
    """What is raised while a sound ledger is read is no reason to move it away: budgets would begin at zero with the next."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        with pytest.raises(LedgerError, match=said) as raised, ledger.explained():
            raise defect
        assert "Move it away" not in str(raised.value)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_damaged_is_said(path: Path, seed: int, read_only: bool) -> None:
    """Bytes overwritten anywhere, also in what SQLite quotes when it complains: it is a LedgerError or goes unnoticed."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked(f"client {number % 7}", at=1.79e9 + number * 9000) for number in range(60)])
    random = Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 5, 40])):
        at = random.randrange(len(content))
        content[at : at + 16] = random.randbytes(16)
    if seed < 3:  # the text of the schema
        at = content.index(b"CREATE TABLE exchanges") + seed * 20
        content[at : at + 2] = b"\xfa\xff"
    path.write_bytes(content)
    with suppress(LedgerError), closing(Ledger.open(f"sqlite:///{path}", read_only=read_only)) as ledger:
        asked: list[Callable[[], object]] = [
            lambda: ledger.sums((), ("client",), ("day", "label")),
            lambda: ledger.latest(50),
            lambda: list(ledger.exported()),
        ]
        for ask in asked if read_only else [*asked, lambda: ledger.append([booked()])]:
            with suppress(LedgerError):
                ask()
    gc.collect()  # From Python 3.13 on, a connection that was not closed warns here.


def test_a_new_ledger_is_for_its_owner_only(ledger: Ledger, path: Path) -> None:
    """The file, and what SQLite makes beside it, may be read by no other user; one that was there keeps its mode."""
    ledger.append([booked()])
    beside = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    assert 3 == len(beside)
    assert [0o600] * 3 == [file.stat().st_mode & 0o777 for file in beside]
    path.chmod(0o640)
    ledger.append([booked()])
    with closing(Ledger.open(f"sqlite:///{path}")) as again:
        again.append([booked()])
    assert 0o640 == path.stat().st_mode & 0o777


def test_a_ledger_that_was_refused_is_looked_at_anew(path: Path) -> None:
    """One of a newer program is refused; once another stands in its place, that is used, for reading too."""
    newer(path)
    with closing(Ledger.at(f"sqlite:///{path}")) as ledger:
        for _ in range(2):
            with pytest.raises(LedgerError, match="has schema 999"):
                ledger.append([booked()])
        path.rename(path.with_name("newer.db"))
        with closing(Ledger.open(f"sqlite:///{path.with_name('good.db')}")) as good:
            good.append([booked(pages=3)])
        path.with_name("good.db").rename(path)
        assert (1, 3) == one(ledger)[:2]
        ledger.append([booked(pages=4)])
        assert (2, 7) == one(ledger)[:2]
    with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as reader:
        assert (2, 7) == one(reader)[:2]


def test_a_ledger_that_becomes_a_newer_ones_is_not_written(path: Path, ledger: Ledger) -> None:
    """A newer program that brings the tables up to date meanwhile is noticed, and written no more."""
    ledger.append([booked()])
    newer(path)
    ledger._check_at = 0.0  # ten seconds later
    for _ in range(2):
        with pytest.raises(LedgerError, match="has schema 999"):
            ledger.append([booked()])


def cut(path: Path) -> None:
    """Cut a file to nothing."""
    os.truncate(path, 0)


@pytest.mark.faults
@pytest.mark.parametrize("reads", [False, True])
def test_a_ledger_that_was_emptied_is_begun_anew(path: Path, reads: bool) -> None:
    """Cut to nothing under two processes: each notices, whichever makes the new tables, and all that comes is there once."""
    url = f"sqlite:///{path}"
    with closing(Ledger.open(url)) as ledger, closing(Ledger.open(url)) as other:
        for each in (ledger, other):
            each.append([booked()])
        cut(path)
        entries = [booked(pages=5), booked(pages=6)]
        if reads:
            with pytest.raises(LedgerError):
                one(ledger)
        with pytest.raises(LedgerError, match="or emptied"):
            ledger.append(entries[:1])
        with pytest.raises(LedgerError, match="or emptied"):
            other.check_in_place()
        ledger.append(entries[:1])
        other.append(entries[1:])
        found = [one(each)[:2] for each in (ledger, other)]
        # What the write-ahead log held of before, SQLite may have written back when the last connection was closed.
        assert found in ([(2, 11)] * 2, [(4, 13)] * 2)
    with closing(sqlite3.connect(path)) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()


def test_tables_that_somebody_dropped_are_made_anew(any_ledger: Ledger) -> None:
    """All of them are missed once, and made with the next append."""
    any_ledger.append([booked()])
    with any_ledger.transaction(writes=True) as connection:
        for table in reversed(SCHEMA.sorted_tables):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
    entry = booked(pages=3)
    with pytest.raises(LedgerError):
        any_ledger.append([entry])
    any_ledger.append([entry])
    assert (1, 3) == one(any_ledger)[:2]


@pytest.mark.parametrize("gone", [Path.unlink, lambda path: path.rename(path.with_name("rotated.db"))])
def test_a_ledger_that_was_taken_away_is_begun_anew(ledger: Ledger, path: Path, gone: Callable[[Path], None]) -> None:
    """A file moved or deleted under the running program is said once, and the next append begins a new one."""
    ledger.append([booked()])
    gone(path)
    entry = booked(pages=5)
    with pytest.raises(LedgerError, match="was moved or deleted"):
        ledger.append([entry])
    ledger.append([entry])
    assert one(ledger)[:2] == (1, 5)


def test_a_ledger_that_is_taken_away_in_the_last_moment_is_said_to_be(ledger: Ledger, path: Path) -> None:
    """Deleted behind the look at it, and before SQLite opens it: that is not a ledger without permission."""
    armed = [True]

    def opening(event: str, _arguments: object) -> None:
        if event == "sqlite3.connect" and armed:
            armed.clear()
            path.unlink()

    ledger.append([booked()])
    ledger.reconnect()
    sys.addaudithook(opening)  # for good: it is disarmed
    entry = booked(pages=5)
    with pytest.raises(LedgerError, match="was moved or deleted"):
        ledger.append([entry])
    ledger.append([entry])
    assert one(ledger)[:2] == (1, 5)


def test_a_ledger_whose_folder_is_gone_waits_for_it(ledger: Ledger, path: Path) -> None:
    """While the folder is away every append fails; once it is back, with the file, the append goes there."""
    ledger.append([booked()])
    away = path.parent.with_name("away")
    path.parent.rename(away)
    for says in ("was moved or deleted", "there is no folder", "there is no folder"):
        with pytest.raises(LedgerError, match=says):
            ledger.append([booked()])
    away.rename(path.parent)
    ledger.append([booked()])
    assert one(ledger)[0] == 2


def test_that_it_is_gone_is_said_to_who_reports_it(path: Path, ledger: Ledger) -> None:
    """Where something else notices it first, which leaves the report to the next append, that append still raises, once."""
    ledger.append([booked()])
    for file in path.parent.glob("books.db*"):
        file.unlink()
    for _ in range(2):
        with pytest.raises(LedgerError, match="was moved or deleted"):
            ledger.prune(date(2000, 1, 1))
    with pytest.raises(LedgerError, match="was moved or deleted"):
        ledger.append([booked()])
    ledger.append([booked(), booked()])
    ledger.check_in_place()
    assert 2 == one(ledger)[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_without_permission_is_said(path: Path) -> None:
    """A file that this user may not write is refused when it is opened for writing, and can be read."""
    Ledger.open(f"sqlite:///{path}").close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(LedgerError, match="may not be written"):
            Ledger.open(f"sqlite:///{path}")
        with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as reader:
            assert one(reader)[0] == 0
    finally:
        path.parent.chmod(0o700)


def test_a_transaction_that_fails_changes_nothing(any_ledger: Ledger) -> None:
    """What is written in a transaction is undone when an exception leaves it, whatever it is."""
    any_ledger.append([booked()])

    def failing() -> None:
        with any_ledger.transaction(writes=True) as connection:
            connection.exec_driver_sql("DELETE FROM charges")
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert (1, 1, 2_000_000) == one(any_ledger)
