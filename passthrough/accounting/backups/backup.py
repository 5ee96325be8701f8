"""Backs up an SQLite ledger, also while it serves: one file with all that is booked, and with what waits in the journal."""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ...errors import EntryRefusedError, LedgerError
from ..journal.snapshot import JournalSnapshot, snapshot
from ..ledger.backup import sync
from ..ledger.database import database as database_at
from ..ledger.ledger import Ledger
from ..ledger.schema import SCHEMA_VERSION
from ..ledger.sqlite import SqliteFile, file_of
from .sqlite_copy import BESIDE, Contents, contents, copy_into, new_file

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Backup:
    """What was backed up: the ledger's file, the copy, what that holds, and how much of it was still in the journal.

    `left_out` are files of the journal that could not be read, or all of them where the ledger is of an older schema.
    """

    ledger: Path
    file: Path
    contents: Contents
    size_bytes: int
    from_journal: int
    left_out: tuple[Path, ...]


def ledger_file(url: str, command: str) -> Path:
    """Return the file of the ledger at a URL.

    Raises LedgerError for a server's, which has tools of its own: `command` is the one to name, with `{url}` for its place.
    """
    where = database_at(url, read_only=True)
    if where.name != "sqlite":
        place = shlex.quote(where.where)
        what = f"The ledger {where.where} is in PostgreSQL, which has programs of its own for this."
        raise LedgerError(f"{what}\nRun: {command.format(url=place)}")
    return file_of(url)


def back_up(url: str, journal: Path, file: Path, *, force: bool = False) -> Backup:
    """Copy the ledger at a URL into a new file, for this user only, and return what is in it.

    The copy is the ledger at one moment, with every entry that was in the journal then. A file that is there already is replaced
    only with `force`, and only by a whole copy. Raises LedgerError.
    """
    source = ledger_file(url, f"pg_dump -Fc -d {{url}} -f {shlex.quote(str(file))}")
    if str(file) == "-":
        raise LedgerError("A back-up is a file; '-' is none, and it is not written to stdout.\nGive a file's name.")
    file = file.absolute()
    if not os.path.exists(source):
        hint = "Run this in the folder in which 'serve' was started, or give --ledger sqlite:///<path>."
        raise LedgerError(f"There is no ledger at {source}.\n{hint}")
    _check_target(file, source, journal, force=force)
    # The journal is opened before the copy is made: what is booked meanwhile is in one of both.
    with new_file(file) as part, snapshot(journal) as waiting:
        copy_into(part, source, "ledger")
        found = contents(part, str(source))
        new, left_out = 0, tuple(waiting.unreadable)
        if found.schema == SCHEMA_VERSION:
            new = _add(part, waiting)
            found = contents(part, str(source))
        elif next(waiting.batches(1), None) is not None:
            left_out = (journal,)
        size = part.stat().st_size
        _publish(part, file, force=force)
    return Backup(source, file, found, size, new, left_out)


def _check_target(file: Path, ledger: Path, journal: Path, *, force: bool) -> None:
    """Raise LedgerError where the copy may not have this name: only a regular file is ever replaced, never a device or a link."""
    if os.path.isdir(file):
        raise LedgerError(f"{file} is a folder.\nName a file in it, such as {file / 'passthrough-backup.db'}.")
    if os.path.realpath(file) in {os.path.realpath(ledger), *(os.path.realpath(f"{ledger}{end}") for end in BESIDE)}:
        raise LedgerError(f"{file} is the ledger itself.\nName another file.")
    if Path(os.path.realpath(journal)) in Path(os.path.realpath(file)).parents:
        raise LedgerError(f"{file} is in the journal's folder {journal}.\nName a file elsewhere.")
    try:
        status = os.lstat(file)
    except OSError:  # there is none; or the folder cannot be searched, which is said where the copy begins
        return
    if stat.S_ISLNK(status.st_mode):
        raise LedgerError(f"{file} is a link to {os.path.realpath(file)}.\nName the file itself, or another one.")
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(f"{file} is a device, a pipe or a socket.\nName a file, such as passthrough-backup.db.")
    if not force:
        raise _taken(file)


def _taken(file: Path) -> LedgerError:
    return LedgerError(f"{file} is there already.\nName another file, or replace it with --force.")


def _add(part: Path, waiting: JournalSnapshot) -> int:
    """Append what waits in the journal to the copy, and return how many entries were new."""
    new = 0
    with closing(Ledger(SqliteFile(sa.URL.create("sqlite", database=str(part)), read_only=False))) as copy:
        for entries in waiting.batches(_BATCH):
            try:
                new += len(copy.append(entries))
            except EntryRefusedError:  # the ledger's own process keeps it in a file beside the journal
                for entry in entries:
                    with suppress(EntryRefusedError):
                        new += len(copy.append([entry]))
    with closing(sqlite3.connect(part)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    sync(part)
    return new


def _publish(part: Path, file: Path, *, force: bool) -> None:
    """Give a whole copy its name. Raises LedgerError where it is taken meanwhile."""
    try:
        if force:
            part.replace(file)
        else:
            try:
                os.link(part, file)  # a rename would replace a file that has come meanwhile
            except FileExistsError:
                raise _taken(file) from None
            except OSError:  # not every file system has links
                if os.path.lexists(file):
                    raise _taken(file) from None
                part.rename(file)
        sync(file.parent)
    except OSError as error:
        raise LedgerError(f"{file} cannot be written: {error.strerror}.\nCheck the rights of its folder.") from None
