"""A copy of an SQLite ledger under way: a file of its own that is checked, and then put where it is to be."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ...errors import LedgerError
from ..ledger import migrations
from ..ledger.backup import copy_file
from ..ledger.schema import EXCHANGES
from ..ledger.sqlite import SqliteFile, translated

BESIDE: Final = ("-wal", "-shm", "-journal")
"""How the names of the files end that SQLite keeps beside a database."""

_SPARE_BYTES: Final = 1024 * 1024

_LEFT_S: Final = 3600.0
"""After how long without a write a copy under way is one that a kill has left."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: the schema's version, how many exchanges, and when the newest began (UTC ms; None: there is none)."""

    schema: int
    exchanges: int
    newest_ms: int | None


@contextmanager
def new_file(beside: Path) -> Iterator[Path]:
    """Yield an empty file in the folder of another, for this user only; it is removed where it still has its name at the end.

    Those of the same name that a kill has left are removed, too.
    Raises LedgerError where it cannot be made.
    """
    _remove_left(beside)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{beside.name}.", suffix=".part", dir=beside.parent)
    except FileNotFoundError:
        raise LedgerError(f"{beside} cannot be written: there is no folder {beside.parent}.\nMake it.") from None
    except OSError as error:
        raise LedgerError(f"{beside} cannot be written: {error.strerror}.\nCheck the rights of its folder.") from None
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
    finally:
        for path in (part, *(part.with_name(part.name + end) for end in BESIDE)):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _remove_left(beside: Path) -> None:
    """Remove what earlier copies beside a file left: only this user's regular files of that pattern, and none that is written."""
    pattern = re.compile(rf"\.{re.escape(beside.name)}\.[a-z0-9_]{{8}}\.part(?:{'|'.join(BESIDE)})?")  # as mkstemp names them
    with suppress(OSError), os.scandir(beside.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    is_mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
                    if stat.S_ISREG(status.st_mode) and is_mine and time.time() - status.st_mtime > _LEFT_S:
                        os.unlink(entry.path)


def copy_into(part: Path, source: Path, what: str, *, read_only: bool = False) -> None:
    """Copy a database into an empty file, and check that every page of it is sound; `what` names the source in messages.

    With `read_only` nothing is changed beside the source, which nothing else may write meanwhile where it has no write-ahead
    log. Raises LedgerError.
    """
    in_use = any(source.with_name(source.name + end).exists() for end in ("-wal", "-journal"))
    mode = "rw" if not read_only else "ro" if in_use else "ro&immutable=1"
    _check_room(part, source)
    with _explained(source, what):
        copy_file(f"file:{quote(str(source))}?mode={mode}", part)
        with closing(sqlite3.connect(f"file:{quote(str(part))}?mode=rw", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise LedgerError(f"The {what} {source} is damaged: {found}.\n{_remedy(what)}")


def contents(path: Path, where: str, what: str = "ledger") -> Contents:
    """Return what a file holds; `what` and `where` name it in messages: a copy under way is named as its source.

    Raises LedgerError where it is not a ledger that this program can read or bring up to date.
    """
    place = f"file:{quote(str(path))}?mode=rw"
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            version = migrations.version_of(connection, where, what)
            if version is None:
                raise LedgerError(f"The {what} {where} is empty.\nName a file that 'passthrough backup' made.")
            query = sa.select(sa.func.count(), sa.func.max(EXCHANGES.c.began_ms)).select_from(EXCHANGES)
            count, newest = connection.execute(query).one()
            return Contents(version, count, newest)
    except SQLAlchemyError as error:
        raise SqliteFile(sa.URL.create("sqlite", database=str(path)), read_only=True).translate(error) from None


def _check_room(part: Path, source: Path) -> None:
    with suppress(OSError):
        wanted = sum(path.stat().st_size for path in (source, source.with_name(f"{source.name}-wal")) if path.exists())
        free = shutil.disk_usage(part.parent).free
        if free < wanted + _SPARE_BYTES:
            what = f"The copy needs {wanted // 10**6 + 1} MB in {part.parent}, and {free // 10**6} MB are free"
            raise LedgerError(f"{what}.\nFree some space there.")


@contextmanager
def _explained(source: Path, what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        found = translated(source, getattr(error, "sqlite_errorcode", 0), what)
        raise found or LedgerError(f"The {what} {source} cannot be copied: {error}.") from None
    except ValueError:  # the driver's, for a message that quotes damage
        raise LedgerError(f"The {what} {source} is damaged.\n{_remedy(what)}") from None
    except OSError as error:
        raise LedgerError(f"The {what} {source} cannot be copied: {error.strerror}.") from None


def _remedy(what: str) -> str:
    recover = "'sqlite3 <file> .recover' may save what is in it."
    return recover if what == "ledger" else f"Name another back-up; {recover}"
