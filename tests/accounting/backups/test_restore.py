"""A back-up takes the ledger's place whole, what was there is kept whole, and what waits in the journal is booked once."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from passthrough.accounting.backups.backup import back_up
from passthrough.accounting.backups.restore import Restored, restore
from passthrough.accounting.journal.codec import encode
from passthrough.accounting.journal.journal import Journal
from passthrough.accounting.journal.writer import JournalWriter
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.process import Program, clean_environment, command, program
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

NOW = datetime(2026, 11, 29, 21, 45, tzinfo=UTC)
KEPT = "ledger.db.before-20261129T214500Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger with five exchanges is, of which three are in a back-up of it, `copy.db`."""
    path = tmp_path / "ledger.db"
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked() for _ in range(3)])
        back_up(f"sqlite:///{path}", tmp_path / "ledger.journal", tmp_path / "copy.db")
        ledger.append([booked() for _ in range(2)])
    return path


def restored(path: Path, file: str = "copy.db") -> Restored:
    """Restore a file that is in the ledger's folder."""
    return restore(f"sqlite:///{path}", path.with_suffix(".journal"), path.with_name(file), NOW)


def count(path: Path) -> int:
    """Return how many exchanges a ledger has, by rows and by sums alike."""
    with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as ledger:
        found = one(ledger)[0]
    with closing(sqlite3.connect(path)) as database:
        assert [(found,)] == database.execute("SELECT count(*) FROM exchanges").fetchall()
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
    return found


def names(path: Path) -> list[str]:
    """Return what is in the ledger's folder."""
    return sorted(each.name for each in path.parent.iterdir())


def test_the_back_up_takes_the_ledgers_place(path: Path) -> None:
    """It is copied, with the rights of what was there, which is kept under a name of its own."""
    path.chmod(0o640)
    done = restored(path)
    assert (3, 5, 3, 0o640) == (
        count(path),
        count(path.with_name(KEPT)),
        count(path.with_name("copy.db")),
        path.stat().st_mode & 0o777,
    )
    assert ["copy.db", "ledger.db", KEPT] == names(path)
    assert (path, path.with_name(KEPT), 3, 5, 0) == (
        done.ledger,
        done.kept,
        done.contents.exchanges,
        done.replaced and done.replaced.exchanges,
        done.in_journal,
    )


def test_where_there_was_none_it_is_for_its_user_alone(path: Path) -> None:
    """Nothing is kept then; what SQLite left beside a ledger that is gone does not come into the restored one."""
    path.unlink()
    for end in ("-wal", "-shm"):
        path.with_name(f"ledger.db{end}").write_bytes(b"of another file" * 1000)
    done = restored(path)
    assert (3, None, 0o600) == (count(path), done.kept, path.stat().st_mode & 0o777)
    assert ["copy.db", "ledger.db"] == names(path)


def test_the_write_ahead_log_of_the_one_before_goes_with_it(path: Path) -> None:
    """A kill leaves the latest exchanges there: left beside the restored file, it would be written into that."""
    left = path.parent / "left"
    left.mkdir()
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked() for _ in range(2)])
        for end in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{end}", f"{left}/ledger.db{end}")
    shutil.copy(path.with_name("copy.db"), left)
    done = restored(left / "ledger.db")
    assert (3, 7) == (count(left / "ledger.db"), done.replaced and done.replaced.exchanges)
    assert 7 == count(left / KEPT)
    assert not (left / "ledger.db-wal").exists()


def test_what_waits_in_the_journal_is_booked_once(path: Path) -> None:
    """What the back-up has already changes nothing, what only the lost ledger had, and the journal has, comes back."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        entries = [booked() for _ in range(4)]
        ledger.append(entries[:1])
        journal = Journal(path.with_suffix(".journal"), lambda _: None)
        journal.append([encode(entry) for entry in entries])
        journal.close()
        back_up(f"sqlite:///{path}", path.parent / "none", path.with_name("later.db"))
        ledger.append(entries[1:2])
    assert 4 == restored(path, "later.db").in_journal
    with closing(Ledger.at(f"sqlite:///{path}")) as ledger:
        writer = JournalWriter(ledger, path.with_suffix(".journal"), lambda _: None)
        writer.start()
        try:
            asyncio.run(eventually(lambda: asyncio.to_thread(one, ledger), lambda found: found[0] == 9))
        finally:
            writer.close(10)
    assert 9 == count(path)


def test_an_older_one_is_restored_as_it_is(path: Path) -> None:
    """The next start brings it up to date, with a copy of its own."""
    with closing(sqlite3.connect(path.with_name("copy.db"))) as database:
        database.execute("UPDATE meta SET value = '4' WHERE key = 'schema'")
        database.commit()
    assert 4 == restored(path).contents.schema


def newer(file: Path) -> None:
    """Make a back-up one of a newer program."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        database.commit()


def damage(file: Path) -> None:
    """Overwrite some of its pages."""
    whole = bytearray(file.read_bytes())
    whole[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    file.write_bytes(whole)


def truncate(file: Path) -> None:
    """Cut the end off a file."""
    file.write_bytes(file.read_bytes()[: 4096 * 2 + 100])


def be_foreign(file: Path) -> None:
    """Put another program's database in its place."""
    file.unlink()
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE moves (san TEXT)")


def be_the_ledger(file: Path) -> None:
    """Let it be another name of the ledger."""
    file.unlink()
    file.symlink_to(file.with_name("ledger.db"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.unlink, "There is no file"),
        (newer, r"^The file .*copy\.db has schema 99; this program knows up to .*\n.*name another back-up\."),
        (truncate, r"is damaged\.\nName another back-up; "),
        (damage, r"(?s)is damaged.*\nName another back-up; "),
        (be_foreign, "is not a ledger of this program"),
        (lambda file: file.write_bytes(b"no database, but as long as one is" * 999), "is not an SQLite database"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (be_the_ledger, "is the ledger itself"),
    ],
)
def test_what_is_no_back_up_is_refused(path: Path, spoil: Callable[[Path], object], says: str) -> None:
    """Before anything is changed: the ledger stays, and nothing is left beside it."""
    spoil(path.with_name("copy.db"))
    before = names(path)
    with pytest.raises(LedgerError, match=says):
        restored(path)
    assert (before, 5) == (names(path), count(path))


def test_where_it_cannot_be_put_in_place_all_is_as_it_was(path: Path) -> None:
    """What was renamed gets its name back."""
    path.with_name("ledger.db-shm").mkdir()
    before = names(path)
    with pytest.raises(LedgerError, match="cannot be replaced: Is a directory"):
        restored(path)
    assert {*before} == {*names(path)} - {"ledger.db-wal"}  # which SQLite makes, and does not come to use
    path.with_name("ledger.db-shm").rmdir()
    assert 5 == count(path)


def test_two_within_a_second_keep_both(path: Path) -> None:
    """The second one keeps what the first one has restored under a name of its own."""
    assert (KEPT, f"{KEPT}-2") == tuple(done.kept.name for done in (restored(path), restored(path)) if done.kept is not None)
    assert (5, 3) == (count(path.with_name(KEPT)), count(path.with_name(f"{KEPT}-2")))


@pytest.mark.process
def test_of_two_at_once_one_works(path: Path) -> None:
    """However they meet: each ledger that was in place is there afterwards, under one name or another."""
    run = [sys.executable, "-m", "passthrough", "restore", "--ledger", f"sqlite:///{path}", path.with_name("copy.db")]
    for _ in range(5):
        started = [subprocess.Popen(run, env=clean_environment(), stderr=subprocess.DEVNULL) for _ in range(2)]
        assert 0 in [each.wait() for each in started]
    assert 1 == [count(each) for each in path.parent.glob("ledger.db.before-*") if each.suffix != ".part"].count(5)


LATE = """
import os, sys
def hook(event, arguments):
    if event == "os.link" and not os.path.exists(arguments[1]):
        from pathlib import Path
        Path(arguments[1]).write_bytes(b"of a start")
sys.addaudithook(hook)
from passthrough.cli.main import main
main()
"""
"""The program, and another one that makes the ledger just before it is put in place."""


@pytest.mark.process
def test_a_ledger_that_is_made_meanwhile_is_left_alone(path: Path) -> None:
    """A start that comes before the end, where no ledger was: what it books is not put aside."""
    path.unlink()
    run = [sys.executable, "-c", LATE, "restore", "--ledger", f"sqlite:///{path}", path.with_name("copy.db")]
    done = subprocess.run(run, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (1, b"of a start") == (done.returncode, path.read_bytes())
    assert "was made meanwhile: a process serves it.\nStop it first.\n" in done.stderr


KILLED_AT = """
import os, signal, sys
left = [int(sys.argv.pop(1))]
def hook(event, arguments):
    if event in {"os.link", "os.rename", "os.remove"}:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from passthrough.cli.main import main
main()
"""
"""The program, which kills itself before a given change of names in the file system."""


@pytest.mark.process
def test_a_kill_at_any_moment_leaves_a_ledger(path: Path) -> None:
    """Before each change of names: the ledger's own name has the one before or the back-up, whole, and a further run ends it."""
    for changes in range(1, 20):
        folder = path.parent / str(changes)
        folder.mkdir()
        with closing(Ledger.open(f"sqlite:///{path}")) as ledger:  # as a kill has left it: with a write-ahead log
            ledger.append([booked() for _ in range(2)])
            for end in ("", "-wal"):
                shutil.copy(f"{path}{end}", f"{folder}/ledger.db{end}")
        before = count(path)
        command = (*("restore", "--ledger", "sqlite:///ledger.db"), path.with_name("copy.db"))
        run = [sys.executable, "-c", KILLED_AT, str(changes), *command]
        code = subprocess.run(run, cwd=folder, env=clean_environment(), capture_output=True, check=False).returncode
        if code == 0:
            assert changes > 3
            return
        assert -signal.SIGKILL == code
        assert count(folder / "ledger.db") in {3, before}
        restore(f"sqlite:///{folder}/ledger.db", folder / "ledger.journal", path.with_name("copy.db"), NOW)
        assert 3 == count(folder / "ledger.db")
    raise AssertionError("It never ended.")


def test_through_a_link_the_file_itself_is_replaced(path: Path) -> None:
    """SQLite keeps its log beside the file, not beside the link."""
    place = path.parent / "elsewhere"
    place.mkdir()
    link = place / "ledger.db"
    link.symlink_to(path)
    restore(f"sqlite:///{link}", place / "ledger.journal", path.with_name("copy.db"), NOW)
    assert (True, 3, 5) == (link.is_symlink(), count(path), count(path.with_name(KEPT)))


def test_a_server_has_programs_of_its_own(tmp_path: Path) -> None:
    """The command for it is said, without the password."""
    with pytest.raises(LedgerError) as caught:
        restore("postgresql://me:hunter2@db.internal/books", tmp_path, Path("books.dump"), NOW)
    assert "Run: pg_restore --no-owner -d postgresql://db.internal/books books.dump" in str(caught.value)
    assert "hunter2" not in str(caught.value)


# ── as their user runs them ──


OCR = b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 2, "doc_size_bytes": 3}}'


async def ask(running: Program, times: int) -> None:
    """Make some requests."""
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            async with session.post(f"{running.url}/mistral/v1/ocr", data=b"{}") as response:
                assert 200 == response.status


@pytest.mark.process
async def test_a_ledger_that_is_served_is_backed_up_and_not_replaced(tmp_path: Path) -> None:
    """With requests or without: first it is stopped. Then the restored ledger is served, and goes on from there."""
    async with upstream(answering(ok(OCR, b"Content-Type: application/json"))) as raw:
        config = (
            f"pass_through_endpoints: [{{path: /mistral, target: 'http://127.0.0.1:{raw.port}', include_subpath: true}}]\n"
            "journal: waiting\n"
        )
        async with program(tmp_path, config) as running:
            await running.says("Listening")
            await eventually(lambda: asyncio.to_thread((tmp_path / "passthrough.db-wal").exists), bool)
            (tmp_path / "any.db").write_bytes(b"whatever")
            code, out, err = await command(tmp_path, "restore", "any.db")
            assert (1, "") == (code, out)
            assert f"The ledger {tmp_path}/passthrough.db is in use: another process has it open.\nStop it first" in err
            await ask(running, 3)
            await eventually(lambda: booked_now(tmp_path), lambda found: found == 3)
            code, out, err = await command(tmp_path, "backup", "copy.db")
            assert (0, "") == (code, err)
            assert f"to {tmp_path}/copy.db: 3 exchanges, the newest of 20" in out
            await ask(running, 2)
            code, out, err = await command(tmp_path, "restore", "copy.db")
            assert (1, "") == (code, out)
            assert f"is served: a process writes its journal {tmp_path}/waiting.\nStop it first" in err
            assert 0 == await running.stop()
        assert 5 == await booked_now(tmp_path)
        code, out, err = await command(tmp_path, "restore", "copy.db")
        assert (0, "") == (code, err)
        assert f"Restored {tmp_path}/passthrough.db:\n3 exchanges, the newest of 20" in out
        assert "What was there is kept as " in out
        async with program(tmp_path, None) as running:
            await ask(running, 1)
            assert 0 == await running.stop()
    assert 4 == await booked_now(tmp_path)


async def booked_now(folder: Path) -> int:
    """Return how many exchanges are in the ledger of a folder."""
    with closing(sqlite3.connect(f"file:{folder}/passthrough.db?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM exchanges").fetchone()[0])
