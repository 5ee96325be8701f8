"""Exchanges and their charges, written once and summed later, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from ..errors import LedgerError
from .entry import Entry
from .schema import CHARGES, EXCHANGES, META, SCHEMA, SCHEMA_VERSION, Sums, charge_row, exchange_row, sums, sums_query

BUSY_S: Final = 2.0
"""Seconds that a statement waits for another process's lock before it fails."""


class Ledger:
    """One database of exchanges and charges. Its methods may be called from any thread; they raise LedgerError, nothing else."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Take a file that nobody has looked at yet: the first `append` does, and each one until it is a ledger."""
        self._path = path
        self._read_only = read_only
        self._engine = _engine(path, read_only=read_only)
        self._file: tuple[int, int] | None = None
        self._closed = False

    @classmethod
    def at(cls, url: str) -> Ledger:
        """Return the ledger at `url` as `open` does, but look at the file only when it is written: the road need not wait for it.

        Raises LedgerError for a URL that can never be one.
        """
        return cls(_path(url))

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Ledger:
        """Return the ledger at `url` (sqlite:///relative.db, sqlite:////absolute.db), made first where there is none.

        A relative path begins at the working directory. With `read_only` nothing is made or changed. Raises LedgerError for
        what cannot be a ledger here: no such folder or file, no permission, another program's file, a newer schema.
        """
        path = _path(url)
        if read_only:
            if not path.exists():
                raise LedgerError(f"There is no ledger at {path}.\nName the one that 'serve' writes: sqlite:///<path>.")
        else:
            _make(path)
        ledger = cls(path, read_only=read_only)
        try:
            ledger._check_schema()
            ledger._file = _identity(path)
        except LedgerError:
            ledger.close()
            raise
        return ledger

    def append(self, entries: Iterable[Entry]) -> None:
        """Write entries and their charges in one transaction: all or, when it raises, none.

        Idempotent: an entry whose id is there already changes nothing, and neither does a batch line that was booked before.
        Where the file was moved away or deleted meanwhile it raises once; the next call begins a new file.
        """
        self._check_file()
        entries = tuple(entries)
        exchanges = [exchange_row(entry) for entry in entries]
        charges = [charge_row(entry, charge) for entry in entries for charge in entry.charges]
        with self._transaction(writes=True) as connection:
            for table, rows in ((EXCHANGES, exchanges), (CHARGES, charges)):
                if rows:
                    connection.execute(insert(table).on_conflict_do_nothing(), rows)

    def sums(
        self, *groupings: Sequence[str], since: datetime | None = None, until: datetime | None = None
    ) -> tuple[list[Sums], ...]:
        """Return the sums of all exchanges that began from `since` on and before `until`, once for each grouping, sorted.

        A grouping names some of schema.KEYS and `sandbox`; an empty one has one group, or none where there is no exchange. All
        are of the same moment.
        """
        with self._transaction() as connection:
            found = [connection.execute(sums_query(by, since, until)).all() for by in groupings]
        return tuple([sums(row, len(by)) for row in rows] for by, rows in zip(groupings, found, strict=True))

    def close(self) -> None:
        """Close the connections; the last one to go moves the write-ahead log into the database.

        One that another thread is using meanwhile is closed when that is done.
        """
        self._closed = True
        self._engine.pool.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        pool = self._engine.pool
        try:
            with self._engine.connect() as connection, connection.execution_options(writes=writes).begin():
                yield connection
        except SQLAlchemyError as error:
            raise _ours(error, self._path) from error
        finally:
            # SQLAlchemy 2.1: a pool's dispose closes what is idle in it. A connection that is out then goes back into that pool,
            # although nobody takes it from there, and is closed by the garbage collector or never.
            if self._closed or pool is not self._engine.pool:
                pool.dispose()

    def _check_schema(self) -> None:
        with self._transaction(writes=not self._read_only) as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if not tables and not self._read_only:
                SCHEMA.create_all(connection)
                connection.execute(sa.insert(META).values(key="schema", value=str(SCHEMA_VERSION)))
                return
            version = None
            if tables.issuperset(SCHEMA.tables):
                version = connection.execute(sa.select(META.c.value).where(META.c.key == "schema")).scalar()
        if version is None or not version.isdecimal():
            raise LedgerError(f"{self._path} is not a ledger of this program.\nName another file, or move that one away.")
        if int(version) > SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self._path} has schema {version}; this program knows up to {SCHEMA_VERSION}.\n"
                "Run the newer program that wrote it, or name another ledger."
            )

    def _check_file(self) -> None:
        # SQLite goes on writing into a file that has no name any more: what is written there is lost with the process.
        if self._file is None:
            _make(self._path)
            self._check_schema()
            self._file = _identity(self._path)
        elif self._file != _identity(self._path):
            self._engine.dispose()
            self._file = None
            raise LedgerError(f"The ledger {self._path} was moved or deleted while it was in use.\nA new one is begun there.")


def _path(url: str) -> Path:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise LedgerError("The ledger is not a URL.\nWrite it as sqlite:///passthrough.db, or none.") from None
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError(f"A {parsed.drivername} ledger is not served yet.\nWrite it as sqlite:///passthrough.db, or none.")
    if parsed.database in (None, "", ":memory:") or parsed.host or parsed.query:
        raise LedgerError(
            "The ledger's URL does not name a file, and nothing else.\nWrite it as sqlite:///relative.db or sqlite:////absolute/path.db."
        )
    path = Path(str(parsed.database)).absolute()
    if path.is_dir():
        raise LedgerError(f"The ledger {path} cannot be opened: it is a folder.\nName a file in it.")
    return path


def _make(path: Path) -> None:
    """Make the file where there is none; a folder is not made: a misspelt path would be one."""
    if not path.parent.is_dir():
        raise LedgerError(f"The ledger {path} cannot be opened: there is no folder {path.parent}.\nMake it, or change 'ledger'.")
    if path.exists():
        return
    try:
        path.touch(mode=0o644)
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be made: {error.strerror}.\nChange 'ledger', or mend its folder.") from None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _engine(path: Path, *, read_only: bool) -> sa.Engine:
    place = quote(str(path))

    def connect() -> sqlite3.Connection:
        if read_only:
            # Where nobody has it open, the file stands still: then it is read without the two files that WAL would leave beside
            # it, and without write permission to its folder.
            in_use = any(path.with_name(path.name + beside).exists() for beside in ("-wal", "-journal"))
            return _connection(f"file:{place}?mode=ro" + ("" if in_use else "&immutable=1"))
        connection = _connection(f"file:{place}?mode=rw")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=2)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that reads first and writes then would be refused without waiting.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _connection(uri: str) -> sqlite3.Connection:
    # isolation_level None: transactions begin when we say so, not when the driver guesses that one is needed.
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


_CAUSES: Final = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Stop what holds it open for writing."),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "Stop what holds it open for writing."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space there."),
    sqlite3.SQLITE_READONLY: ("may not be written", "Give this user write permission to it and to its folder."),
    sqlite3.SQLITE_PERM: ("may not be opened", "Give this user permission to it and to its folder."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that it is a file, and give this user permission to it and its folder."),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "Name another file, or move that one away."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Move it away to begin a new one; 'sqlite3 <file> .recover' may save what is in it."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input or output failed", "Check the disk that it is on."),
}


def _ours(error: SQLAlchemyError, path: Path) -> LedgerError:
    """Return what the driver said as an error of ours; the low byte of SQLite's extended code is the kind."""
    cause = error.orig if isinstance(error, DatabaseError) else None
    what, mend = _CAUSES.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, ("", ""))
    if what:
        return LedgerError(f"The ledger {path} {what}.\n{mend}")
    return LedgerError(f"The ledger {path} failed: {cause or type(error).__name__}.")
