"""A ledger's database in an SQLite file: its connections, a watch on the file, and errors with hints."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from ...errors import EntryRefusedError, LastingLedgerError, LedgerError, UnservableLedgerError
from ..writable_folder import FolderTrouble, append_only_trouble, folder_trouble, trouble_of
from .backup import back_up
from .storable_text import UNICODE

BUSY_S: Final = 2.0
"""Seconds that a statement waits for another process's lock before it fails."""

_PATH_BYTES: Final = 504
"""How long a file's whole path may be (SQLite's MAX_PATHNAME on Unix, less "-journal")."""

_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""What a name may stand for that is no regular file, as messages say it."""

_SHM_BYTES: Final = 32 * 1024
"""By how much the -shm file grows (SQLite's WALINDEX_PGSZ)."""


class SqliteFile:
    """A database in one file, in WAL mode. Several processes may write it, one at a time."""

    name: Final = "sqlite"

    def __init__(self, url: sa.URL, *, read_only: bool) -> None:
        """Take a file by its URL, without opening it. Raises LedgerError for a URL that can never name one."""
        self._path = _path(url)
        self.where = str(self._path)
        self.engine = _engine(self._path, read_only=read_only)
        sa.event.listen(self.engine, "connect", self._opened)
        sa.event.listen(self.engine, "checkin", self._checked_in)
        sa.event.listen(self.engine, "checkout", self._checked_out)

    @property
    def codec(self) -> str:
        """Return UTF-8, as in every file; a NUL in a text would end it for most programs."""
        return UNICODE

    @contextmanager
    def trial(self) -> Iterator[sa.Connection | None]:
        """Yield a connection in a transaction that is rolled back; None where there is no file, and one can be made.

        No file is made of an empty one, nor a WAL file of another: SQLite writes both at once, whatever is rolled back later.
        """
        is_there = self._is_there()
        if is_there and not _may_write(self._path):  # SQLite would read it, and leave two files beside it
            raise self._unwritable()
        if not is_there or not _size(self._path):
            self._check_folder()
            yield None
            return
        place = quote(str(self._path))
        engine = sa.create_engine("sqlite+pysqlite://", creator=lambda: _connection(f"file:{place}?mode=rw"), poolclass=NullPool)
        sa.event.listen(engine, "begin", _begin)
        with engine.connect() as connection:
            with connection.execution_options(writes=True).begin() as transaction:
                yield connection
                transaction.rollback()
            with connection.begin():
                is_wal = connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        if not is_wal:  # the files beside it are not there yet
            self._check_folder()

    def _is_there(self) -> bool:
        """Tell whether there is a file; raises LedgerError where that cannot be seen, or the name can never be a ledger's."""
        real = self._real()
        try:
            if os.name == "posix" and len(os.fsencode(real)) > _PATH_BYTES:
                raise self._unservable(f"its path is too long: SQLite takes {_PATH_BYTES} bytes", "Choose a shorter one.")
            with suppress(FileNotFoundError):
                os.lstat(_beside(self._path, "-journal"))
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                what = "its name is too long: SQLite makes files beside it whose names are 8 bytes longer"
                raise self._unservable(what, "Choose a shorter one.") from None
            raise self._unmade(trouble_of(self._path.parent, error)) from None
        if not stat.S_ISREG(mode):
            kind = next((name for is_one, name in _KINDS if is_one(mode)), "no regular file")
            raise self._unservable(f"it is {kind}", "Name a file, or one that can be made.")
        return True

    def _real(self) -> Path:
        """Return where the file is, or will be, for the name may be a link: beside that, SQLite makes its other files."""
        return Path(os.path.realpath(self._path))

    def _unservable(self, what: str, hint: str) -> LedgerError:
        return UnservableLedgerError(f"The ledger {self._path} can never be one: {what}.\n{hint}")

    def _unwritable(self) -> LedgerError:
        what, hint = _CAUSES[sqlite3.SQLITE_READONLY]
        return LastingLedgerError(f"The ledger {self.where} {what}.\n{hint}")

    def _check_folder(self) -> None:
        """Raise LedgerError where no file can be made, or deleted, in the folder."""
        folder = self._real().parent
        if (found := folder_trouble(folder) or append_only_trouble(folder)) is not None:
            raise self._unmade(found)

    def _unmade(self, found: FolderTrouble) -> LedgerError:
        kind = LastingLedgerError if found.lasts else LedgerError
        link = f"it is a link to {self._real()}, and " if os.path.islink(self._path) else ""
        return kind(f"The ledger {self._path} cannot be made: {link}{found.what}.\n{found.hint}, or change 'ledger'.")

    def limit_calls(self, call_s: float) -> None:
        """Do nothing: a call ends within BUSY_S, or hangs in a disk operation, which nothing ends."""

    def find(self) -> None:
        """Raise LedgerError where there is no file."""
        if not self._is_there():
            hint = "Run this in the folder in which 'serve' was started, or give --ledger sqlite:///<path>."
            raise LedgerError(f"There is no ledger at {self.where}.\n{hint}")

    def make(self) -> None:
        """Create the file where there is none; never a folder: a misspelt path would become one."""
        if self._is_there():
            return
        try:
            self._path.touch(mode=0o600)  # the files that SQLite creates beside it take its mode
        except OSError as error:
            self._check_folder()
            raise self._unmade(trouble_of(self._real().parent, error)) from None

    def back_up(self, version: int) -> Path:
        """Copy the file beside it, before tables of an older version are changed: see backup.back_up."""
        return back_up(self._path, version)

    def identity(self) -> object:
        """Return a value that changes when another file, or none, has this name, or when the file was emptied.

        SQLite goes on writing into a file that has lost its name, or its content.
        """
        found = _file(self._path)
        return found and (found, _size(self._path) > 0)

    def lost(self, error: SQLAlchemyError) -> bool:
        """Tell whether an error says that the tables are gone, or not as they were."""
        return "no such table" in str(error) or "no such column" in str(error)

    def _log(self) -> Path:
        return _beside(self._path, "-wal")

    def _opened(self, _connection: object, record: Any) -> None:
        record.info.update(file=_file(self._path), filled=False, log=None)

    def _checked_in(self, connection: object, record: Any) -> None:
        """Note whether the file has content, and which write-ahead log belongs to it while a connection is open."""
        if connection is not None:
            record.info.update(filled=_size(self._path) > 0, log=_file(self._log()))

    def _checked_out(self, _connection: object, record: Any, _proxy: object) -> None:
        """Have connections to a file that is gone replaced before they are used: SQLite itself would not notice."""
        known = record.info
        is_cut = known["filled"] and not _size(self._path)
        if is_cut or known["file"] != _file(self._path) or (known["log"] and known["log"] != _file(self._log())):
            raise InvalidatePoolError(f"{self.where} is another file")

    def translate(self, error: SQLAlchemyError) -> LedgerError:
        """Return a LedgerError for what the driver said; the low byte of SQLite's extended code is the kind of error."""
        cause = error.orig if isinstance(error, DatabaseError) else None
        if (found := translated(self._path, getattr(cause, "sqlite_errorcode", 0))) is not None:
            return found
        if isinstance(error, IntegrityError | DataError):
            return EntryRefusedError(
                f"The ledger {self.where} does not take what was to be written: {cause}.\nPlease report this."
            )
        return LedgerError(f"The ledger {self.where} failed: {cause or type(error).__name__}.")


def file_of(url: str) -> Path:
    """Return the file of a ledger by its URL. Raises LedgerError where that names none."""
    try:
        return _path(sa.make_url(url))
    except (ArgumentError, ValueError):
        raise LedgerError("The ledger is not a URL.\nWrite it as sqlite:///passthrough.db.") from None


def translated(path: Path, code: int, what: str = "ledger") -> LedgerError | None:
    """Return a LedgerError for an (extended) error code of SQLite, None for one that has no message of its own."""
    kind = code & 0xFF
    if kind in _MAY_BE_FULL and _is_full(path.parent):
        kind = sqlite3.SQLITE_FULL  # Where the -shm file cannot grow, SQLite 3.40 says only that input or output failed.
    if kind not in _CAUSES:
        return None
    said, hint = _CAUSES[kind]
    if kind == sqlite3.SQLITE_CORRUPT and what != "ledger":  # a back-up: nothing is begun in its place
        hint = "Name another back-up; 'sqlite3 <file> .recover' may save what is in it."
    return (LastingLedgerError if kind in _LASTING else LedgerError)(f"The {what} {path} {said}.\n{hint}")


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _path(url: sa.URL) -> Path:
    if url.database in (None, "", ":memory:") or url.host or url.query:
        raise LedgerError(
            "The ledger's URL does not name a file, and nothing else.\nWrite it as sqlite:///relative.db or sqlite:////absolute/path.db."
        )
    path = Path(str(url.database)).absolute()
    if os.path.isdir(path):  # Path.is_dir raises where a folder may not be searched (Python 3.13 and before)
        raise LedgerError(f"The ledger {path} cannot be opened: it is a folder.\nName a file in it.")
    return path


def _beside(path: Path, suffix: str) -> Path:
    """Return one of the files that SQLite makes beside the database itself, also where the name is a link to it."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}{suffix}")


def _file(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at a path, None where there is none, or it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _SHM_BYTES
    except OSError:
        return False


def _engine(path: Path, *, read_only: bool) -> sa.Engine:
    place = quote(str(path))

    def connect() -> sqlite3.Connection:
        connection = _connection(f"file:{place}?mode={'ro' if read_only else 'rw'}{_immutable(path) if read_only else ''}")
        try:
            if not read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                # Each commit is on the disk when it returns, for the journal then deletes its copy. No request waits for it.
                connection.execute("PRAGMA synchronous = FULL")
            # The tables are read here for the first time: where SQLAlchemy fails to read them, the pool closes no connection.
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:  # not sqlite3.Error alone: the driver raises UnicodeDecodeError for a message that quotes damage
            connection.close()
            raise
        return connection

    if read_only:  # a connection that is kept would go on to read as immutable what a start writes meanwhile
        engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)
    else:
        engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=2)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _immutable(path: Path) -> str:
    """Return the URI parameter for a file that is only read.

    Where no process has the file open, it does not change: then it is read as immutable, without the two files that WAL would
    leave beside it, and without write permission to its folder.
    """
    in_use = any(_beside(path, suffix).exists() for suffix in ("-wal", "-journal"))
    return "" if in_use else "&immutable=1"


def _begin(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that first reads and then writes would be refused without waiting.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _connection(uri: str) -> sqlite3.Connection:
    # isolation_level None: transactions begin where this program begins them, not where the driver guesses that one is needed.
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

_LASTING: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
)
"""Those of them that stay until a person acts."""

_MAY_BE_FULL: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What SQLite also says where there is no space for a file beside the database."""
