"""What is refused at the start because nothing could ever be booked, and what is a warning: each ledger with each journal."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.config.bookable import ledger_problems
from passthrough.config.model import Config
from passthrough.errors import ConfigError
from tests.harness.configs import ROUTE, loaded
from tests.harness.disks import filled, read_only, small_disk
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres
from tests.harness.rights import NOBODY, ordinary_user

FINE, WARNED, REFUSED, NEVER = "fine", "warned", "refused", "refused with any journal"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that can be seen in a folder: the names, with mode and content. What SQLite shares in memory changes."""
    found = {}
    for place, _, files in os.walk(folder):
        found[place] = (os.stat(place).st_mode, b"")
        for name in files:
            path = Path(place, name)
            mode = path.lstat().st_mode
            is_read = stat.S_ISREG(mode) and not name.endswith("-shm")
            found[str(path)] = (mode, path.read_bytes() if is_read else b"")
    return found


def made(path: Path) -> None:
    """Make a ledger with one entry."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.append([booked()])


@contextmanager
def missing(path: Path) -> Iterator[None]:
    """Let there be no file."""
    yield


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Let there be a ledger that is written."""
    made(path)
    with closing(Ledger.open(f"sqlite:///{path}")):
        yield


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Let there be a ledger that nothing has open."""
    made(path)
    yield


@contextmanager
def empty(path: Path) -> Iterator[None]:
    """Let there be an empty file, as `touch` makes it."""
    path.touch()
    yield


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Let there be a ledger that is no WAL file, as a back-up is none."""
    made(path)
    with closing(sqlite3.connect(path)) as database:
        assert [("delete",)] == database.execute("PRAGMA journal_mode = DELETE").fetchall()
    yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process write it, without an end."""
    made(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Let there be a file of other bytes."""
    path.write_bytes(b"no database, but as long as one is" * 1000)
    yield


@contextmanager
def foreign(path: Path) -> Iterator[None]:
    """Let there be another program's database."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE moves (san TEXT)")
    yield


@contextmanager
def newer(path: Path) -> Iterator[None]:
    """Let there be a ledger that a newer program wrote."""
    made(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        database.commit()
    yield


@contextmanager
def older(path: Path) -> Iterator[None]:
    """Let there be a ledger that will be migrated."""
    made(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = '4' WHERE key = 'schema'")
        database.commit()
    yield


@contextmanager
def write_protected(path: Path) -> Iterator[None]:
    """Let there be a ledger that this user may only read."""
    made(path)
    path.chmod(0o444)
    yield


@contextmanager
def in_closed_folder(path: Path) -> Iterator[None]:
    """Let there be a folder that this user may not write."""
    path.parent.chmod(0o555)
    yield


@contextmanager
def in_locked_folder(path: Path) -> Iterator[None]:
    """Let there be a folder that this user may not even search."""
    path.parent.chmod(0)
    yield
    path.parent.chmod(0o755)


@contextmanager
def without_folder(path: Path) -> Iterator[None]:
    """Let there be no folder."""
    path.parent.rmdir()
    yield


@contextmanager
def below_a_file(path: Path) -> Iterator[None]:
    """Let a file be where the folder is to be."""
    path.parent.rmdir()
    path.parent.write_text("a file")
    yield


@contextmanager
def linked(path: Path) -> Iterator[None]:
    """Let the name be a link to a file that can be made, but is not there."""
    (path.parent.parent / "real").mkdir()
    path.symlink_to("../real/books.db")
    yield


@contextmanager
def linked_to_nowhere(path: Path) -> Iterator[None]:
    """Let the name be a link into a folder that is not there."""
    path.symlink_to("../lost/books.db")
    yield


@contextmanager
def linked_into_closed_folder(path: Path) -> Iterator[None]:
    """Let the name be a link into a folder that this user may not write."""
    (path.parent.parent / "real").mkdir(mode=0o555)
    path.symlink_to("../real/books.db")
    yield


@contextmanager
def linked_in_a_circle(path: Path) -> Iterator[None]:
    """Let the name be a link to itself."""
    path.symlink_to(path.name)
    yield


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    """Let there be a named pipe."""
    os.mkfifo(path)
    yield


@contextmanager
def device(path: Path) -> Iterator[None]:
    """Let the name be a link to a device."""
    path.symlink_to("/dev/null")
    yield


@contextmanager
def bound(path: Path) -> Iterator[None]:
    """Let there be a socket."""
    with closing(socket.socket(socket.AF_UNIX)) as other:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has at most about 100 characters
        try:
            other.bind(path.name)
        finally:
            os.chdir(here)
        yield


State = Callable[[Path], AbstractContextManager[None]]

LEDGERS: dict[State, tuple[str, str]] = {
    missing: (FINE, ""),
    closed: (FINE, ""),
    in_use: (FINE, ""),
    empty: (FINE, ""),
    restored: (FINE, ""),
    older: (FINE, ""),
    locked: (WARNED, "is locked by another process"),
    damaged: (REFUSED, "is not an SQLite database"),
    foreign: (REFUSED, "is not a ledger of this program"),
    newer: (REFUSED, "has schema 99; this program knows up to"),
    write_protected: (REFUSED, "may not be written"),
    in_closed_folder: (REFUSED, "Permission denied"),
    in_locked_folder: (REFUSED, "Permission denied"),
    without_folder: (REFUSED, "there is no folder"),
    below_a_file: (REFUSED, "is no folder|Not a directory"),
    linked: (FINE, ""),
    linked_to_nowhere: (
        REFUSED,
        r"ledger\.db cannot be made: it is a link to .*/lost/books\.db, and there is no folder .*/lost\.",
    ),
    linked_into_closed_folder: (REFUSED, r"nothing can be written in .*/real: Permission denied"),
    linked_in_a_circle: (REFUSED, "Too many levels of symbolic links"),
    pipe: (NEVER, r"can never be one: it is a named pipe\."),
    device: (NEVER, r"can never be one: it is a device\."),
    bound: (NEVER, r"can never be one: it is a socket\."),
}
"""Each state of a ledger in a file: what comes of it where no journal can be written either, and what is said."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Yield a folder that every user may search. Pytest's own is closed again when another session of it begins."""
    with TemporaryDirectory(prefix="bookable-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder for ledgers that an ordinary user may write."""
    found = tmp_path / "mine" / "books"
    for folder in (found.parent, found):
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
    return found


def configured(tmp_path: Path, ledger: str, journal: Path) -> Config:
    """Return a configuration with a ledger and a journal."""
    return replace(loaded(tmp_path, ROUTE), file="routes.yaml", ledger=ledger, journal=str(journal))


def found(config: Config) -> tuple[str, str]:
    """Return what comes of a configuration, and what is said."""
    try:
        problems = ledger_problems(config)
    except ConfigError as error:
        return REFUSED, str(error)
    return WARNED if problems else FINE, "\n".join(map(str, problems))


@pytest.mark.parametrize("state", LEDGERS, ids=lambda state: state.__name__)
@pytest.mark.parametrize("has_journal", [True, False])
def test_one_of_ledger_and_journal_must_be_writable(place: Path, tmp_path: Path, state: State, has_journal: bool) -> None:
    """Where neither can be written until a person acts, that is refused; all else is a warning; nothing is left behind."""
    expected, says = LEDGERS[state]
    if expected is REFUSED and has_journal:
        expected = WARNED
    expected = REFUSED if expected is NEVER else expected
    if expected is FINE and not has_journal:
        expected, says = WARNED, "Entries go to the ledger without it"
    journal = place.parent / "kept" if has_journal else place.parent / "nowhere" / "journal"
    path = place / "ledger.db"
    if has_journal:
        journal.mkdir(mode=0o777)
        journal.chmod(0o777)
    config = configured(tmp_path, f"sqlite:///{path}", journal)
    with ExitStack() as stack:
        stack.enter_context(ordinary_user())
        stack.enter_context(state(path))
        before = contents(tmp_path)
        outcome, said = found(config)
        assert before == contents(tmp_path)
    assert (expected, True) == (outcome, re.search(says, said) is not None), said


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    ("name", "expected"), [("b" * 247, FINE), ("b" * 248, REFUSED), ("b" * 255, REFUSED), ("b" * 256, REFUSED)]
)
def test_a_name_must_leave_room_for_the_files_beside_it(tmp_path: Path, name: str, expected: str, is_there: bool) -> None:
    """SQLite makes `<name>-journal`; where that is too long no journal of ours helps, for the name itself must change."""
    if is_there and len(name) < 256:
        (tmp_path / name).touch()
    outcome, said = found(configured(tmp_path, f"sqlite:///{tmp_path}/{name}", tmp_path / "kept"))
    assert (expected, expected is REFUSED) == (outcome, "its name is too long" in said and "Choose a shorter one" in said), said
    if expected is FINE:
        made(tmp_path / name)


@pytest.mark.parametrize(("length", "expected"), [(504, FINE), (505, REFUSED), (700, REFUSED)])
def test_a_path_must_be_one_that_sqlite_opens(tmp_path: Path, length: int, expected: str) -> None:
    """It takes fewer bytes than the system does."""
    folder = tmp_path
    while length - len(str(folder)) > 230:
        folder /= "f" * 100
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("b" * (length - len(str(folder)) - 1))
    outcome, said = found(configured(tmp_path, f"sqlite:///{path}", tmp_path / "kept"))
    assert (length, expected, expected is REFUSED) == (len(str(path)), outcome, "its path is too long" in said), said
    if expected is FINE:
        made(path)


def test_a_folder_in_which_nothing_can_be_deleted_is_none_for_a_ledger(tmp_path: Path) -> None:
    """SQLite makes and deletes files beside the database; a journal elsewhere keeps the entries."""
    folder = tmp_path / "append-only"
    folder.mkdir()
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+a", folder], capture_output=True, check=False).returncode:
        pytest.skip("a folder can only be made append-only by root, on some file systems")
    try:
        outcome, said = found(configured(tmp_path, f"sqlite:///{folder}/books.db", tmp_path / "no" / "where"))
        left = os.listdir(folder)
    finally:
        subprocess.run(["chattr", "-a", folder], check=True)
    assert (REFUSED, []) == (outcome, left)
    assert f"files in {folder} cannot be deleted: it is append-only" in said
    assert f"chattr -a {folder}" in said


@pytest.mark.parametrize("name", ["linked", "linked/kept"])
def test_of_a_link_to_nowhere_the_folder_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    """`mkdir -p` of the link itself would say that the file exists."""
    (tmp_path / "linked").symlink_to("lost/folder")
    outcome, said = found(configured(tmp_path, "sqlite:////no/such/place/ledger.db", tmp_path / name))
    lost = f"{tmp_path}/lost/folder"
    assert (REFUSED, True) == (outcome, f"there is no folder {lost}, to which {tmp_path}/linked leads." in said), said
    assert f"Make it (mkdir -p {lost})" in said


JOURNALS: dict[str, tuple[str, str]] = {
    "there": (WARNED, "there is no folder"),
    "not there yet": (WARNED, "there is no folder"),
    "closed": (REFUSED, r"Nor can its journal .*: nothing can be written in .*: Permission denied"),
    "a file": (REFUSED, "Nor can its journal .*: .* is no folder"),
    "nowhere": (REFUSED, "Nor can its journal .*: there is no folder"),
}
"""Each state of a journal beside a ledger that can never be made, and what is said."""


@pytest.mark.parametrize("state", JOURNALS)
def test_a_journal_is_tried_without_making_it(place: Path, tmp_path: Path, state: str) -> None:
    """A folder that is not there yet is one where the folder above it can be written: one folder is made, never two."""
    journal = place / "nowhere" / "kept" if state == "nowhere" else place / "kept"
    with ordinary_user():
        if state in {"there", "closed"}:
            journal.mkdir(mode=0o700 if state == "there" else 0o500)
        elif state == "a file":
            journal.touch()
    config = configured(tmp_path, "sqlite:////no/such/place/ledger.db", journal)
    with ordinary_user():
        before = contents(tmp_path)
        outcome, said = found(config)
        assert before == contents(tmp_path)
    expected, says = JOURNALS[state]
    assert (expected, True) == (outcome, re.search(says, said) is not None), said


def test_where_the_reason_is_one_it_is_said_once(tmp_path: Path) -> None:
    """By default the journal lies beside the ledger, and one act cures both."""
    _, said = found(replace(loaded(tmp_path, ROUTE), file="routes.yaml", ledger="sqlite:////no/such place/ledger.db"))
    assert (
        "routes.yaml ledger: The ledger /no/such place/ledger.db cannot be made: there is no folder /no/such place. "
        "The same is true of its journal. So nothing could be booked.\n"
        "  Make it (mkdir -p '/no/such place'), or change 'ledger'."
    ) == said


def test_without_a_ledger_nothing_is_tried(tmp_path: Path) -> None:
    """`ledger: none` needs no place."""
    assert () == ledger_problems(replace(loaded(tmp_path, ROUTE), ledger=None, journal="/no/such/place"))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("is_full", [True, False])
def test_a_full_disk_may_have_room_again_and_a_read_only_one_may_not(tmp_path: Path, is_full: bool) -> None:
    """The one is a warning, even where the journal lies on it too; the other is refused."""
    disk = tmp_path / "disk"
    config = replace(loaded(tmp_path, ROUTE), ledger=f"sqlite:///{disk}/ledger.db")
    with small_disk(disk):
        made(disk / "ledger.db")
        with ExitStack() as stack:
            if is_full:
                filled(disk)
            else:
                stack.enter_context(read_only(disk))
            outcome, said = found(config)
    expected = (WARNED, "cannot grow: the disk is full") if is_full else (REFUSED, "Read-only file system")
    assert (expected[0], True) == (outcome, expected[1] in said), said


def test_of_a_database_on_a_server(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    """Its rights are tried, tables included, and all is rolled back: another program sees no table, and later no entry."""
    name = postgres_url.rpartition("/")[2].partition("?")[0]
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    config = configured(tmp_path, postgres_url, tmp_path / "kept")
    assert ((FINE, ""), [(0,)]) == (found(config), postgres.do(count, name))
    with closing(Ledger.open(postgres_url)) as ledger:
        ledger.append([booked()])
        assert (FINE, "") == found(config)
        assert 1 == one(ledger)[0]


@pytest.mark.parametrize(("has_journal", "expected"), [(True, WARNED), (False, REFUSED)])
def test_of_a_database_where_no_table_may_be_made(
    postgres: Postgres, postgres_url: str, tmp_path: Path, has_journal: bool, expected: str
) -> None:
    """A user without CREATE makes no ledger: the hint says which right is missing."""
    name = postgres_url.rpartition("/")[2].partition("?")[0]
    user = f"reader_{os.urandom(4).hex()}"
    postgres.do(f"CREATE USER {user}")
    try:
        postgres.do("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
        url = postgres_url.replace("//me@", f"//{user}@")
        outcome, said = found(configured(tmp_path, url, tmp_path / ("kept" if has_journal else "no/where")))
        assert (expected, True) == (outcome, "may not be written by this user" in said and "CREATE on its schema" in said), said
    finally:
        postgres.do(f"DROP USER {user}")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("UTF8", FINE), ("SQL_ASCII", FINE), ("LATIN1", FINE), ("EUC_TW", FINE), ("MULE_INTERNAL", REFUSED)],
)
def test_of_a_database_in_any_encoding(postgres: Postgres, tmp_path: Path, encoding: str, expected: str) -> None:
    """What an encoding lacks is stored escaped, so all but one can serve; that one is refused, whatever the journal is."""
    name = f"books_{os.urandom(6).hex()}"
    try:
        outcome, said = found(configured(tmp_path, postgres.create(name, encoding), tmp_path / "kept"))
    finally:
        postgres.drop(name)
    assert (expected, expected is REFUSED) == (outcome, "createdb --encoding UTF8" in said), said


def test_of_a_database_that_is_not_there(postgres: Postgres, tmp_path: Path) -> None:
    """It is said; with a journal entries wait until it is made."""
    outcome, said = found(configured(tmp_path, postgres.url("no_such_books"), tmp_path / "kept"))
    assert (WARNED, True) == (outcome, "no_such_books" in said), said


def test_of_a_schema_that_is_not_there(postgres_url: str, tmp_path: Path) -> None:
    """The cure is said, and not to start once what is being started."""
    url = f"{postgres_url}&options=-csearch_path%3Dnowhere"
    outcome, said = found(configured(tmp_path, url, tmp_path / "no" / "where"))
    assert (REFUSED, True, False) == (outcome, "CREATE SCHEMA" in said and "search_path" in said, "serve" in said), said


@pytest.mark.parametrize("what", ["database", "password"])
def test_of_a_server_that_lets_nobody_in(postgres: Postgres, tmp_path: Path, what: str) -> None:
    """The driver does not tell it from a server that is away, whose language may be any: a warning, whatever the journal is."""
    url = postgres.tcp("no_such_books") if what == "database" else postgres.tcp("postgres", password="hunter2-wrong")
    outcome, said = found(configured(tmp_path, url, tmp_path / "no" / "where"))
    assert (WARNED, True, False) == (outcome, "cannot be reached" in said, "hunter2" in said), said


@pytest.mark.parametrize("has_journal", [True, False])
def test_of_a_server_that_is_away(tmp_path: Path, has_journal: bool) -> None:
    """It may come back: that is a warning, whatever the journal is."""
    journal = tmp_path / ("kept" if has_journal else "no/where")
    outcome, said = found(configured(tmp_path, "postgresql://me:hunter2@127.0.0.1:1/books", journal))
    assert (WARNED, True, False) == (outcome, "cannot be reached" in said, "hunter2" in said), said
    assert has_journal != ("routes.yaml journal: " in said)
