"""Backs up an SQLite ledger into a file beside it, before its tables are migrated."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ...errors import LedgerError

_SPARE_BYTES: Final = 1024 * 1024
_PART: Final = ".part"

MAX_LOCKED_S: Final = 10.0
"""How long a copy waits for a database that is locked: Python's own loop has no end."""


class BusyError(sqlite3.OperationalError):
    """A database was locked for too long."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


def back_up(ledger: Path, version: int) -> Path:
    """Copy a ledger and its write-ahead log into one file beside it, and return that file's path.

    Writers must be excluded meanwhile. Only this user may read the copy; an existing copy is left alone. Raises LedgerError where
    there is no space for the copy, or it cannot be made.
    """
    copy = _free_name(ledger, version)
    part = copy.with_name(f"{copy.name}{_PART}")
    try:
        # A killed process may have left it; no other process makes a copy now.
        part.unlink(missing_ok=True)
        _check_room(ledger, version)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        copy_file(f"file:{quote(str(ledger))}?mode=rw", part)
        part.replace(copy)
        sync(copy.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise _refused(
            ledger, version, f"its copy {copy} cannot be made: {why}", "Mend its folder, or free some space there."
        ) from None
    return copy


def _free_name(ledger: Path, version: int) -> Path:
    plain = f"{ledger.name}.schema{version}-backup"
    names = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    return next(path for path in map(ledger.with_name, names) if not path.exists())


def _check_room(ledger: Path, version: int) -> None:
    beside = (ledger, ledger.with_name(f"{ledger.name}-wal"))
    wanted = sum(path.stat().st_size for path in beside if path.exists()) + _SPARE_BYTES
    free = shutil.disk_usage(ledger.parent).free
    if free < wanted:
        what = f"its copy needs {wanted // 10**6 + 1} MB beside it, and {free // 10**6} MB are free"
        raise _refused(ledger, version, what, "Free some space there.")


def _refused(ledger: Path, version: int, what: str, hint: str) -> LedgerError:
    return LedgerError(f"The ledger {ledger} has schema {version} and is copied before that is changed: {what}.\n{hint}")


def copy_file(source: str, target: Path) -> None:
    """Copy a database, named by an SQLite URI, into an empty file: its state at one moment, also while others write it.

    Raises sqlite3.Error; where it is locked for longer than MAX_LOCKED_S, an OperationalError that says so.
    """
    deadline = time.monotonic() + MAX_LOCKED_S

    def check_locked(status: int, _left: int, _all: int) -> None:
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > deadline:
            raise BusyError("the database is locked")

    with (
        closing(sqlite3.connect(source, uri=True)) as read,
        closing(sqlite3.connect(f"file:{quote(str(target))}?mode=rw", uri=True)) as written,
    ):
        # In one step: a copy in several begins again whenever another process has written meanwhile.
        read.backup(written, progress=check_locked)
        written.execute("PRAGMA journal_mode = DELETE")  # so that it is one file
    sync(target)


def sync(path: Path) -> None:
    """Flush a file, or a folder's names, to the disk."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
