"""Puts a back-up in an SQLite ledger's place; what was there is kept beside it."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ...errors import LedgerError
from ..journal.snapshot import is_written, snapshot
from ..ledger.backup import sync
from ..writable_folder import folder_trouble
from .backup import ledger_file
from .sqlite_copy import BESIDE, Contents, contents, copy_into, new_file

if sys.platform != "win32":
    import fcntl

_SHARED_FIRST: Final = 0x4000_0000 + 2
_SHARED_SIZE: Final = 510
"""The bytes that SQLite's connections lock to read (sqlite.org/lockingv3.html): in WAL mode as long as they are open."""

_CONTENT: Final = ("-wal", "-journal")
"""Those of BESIDE that hold something of the database."""

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: the ledger's file, what it holds now, where the one before is kept, and what the journal holds.

    `replaced` is what the one before held: None where there was none, or it cannot be read.
    """

    ledger: Path
    contents: Contents
    kept: Path | None
    replaced: Contents | None
    journal: Path
    in_journal: int


def restore(url: str, journal: Path, file: Path, now: datetime) -> Restored:
    """Put a back-up in the place of the ledger at a URL.

    1. The file must be a ledger of this schema or an older one, and sound; it stays as it is.
    2. No process may have the ledger open, or write its journal.
    3. What was there keeps a name beside it, with its write-ahead log: one that is left would be written into the restored file.
    4. The journal stays: the next start books what is in it, and what the ledger has already changes nothing.

    Raises LedgerError; then all is as it was.
    """
    named = ledger_file(url, f"pg_restore --no-owner -d {{url}} {shlex.quote(str(file))}")
    path = Path(os.path.realpath(named))  # beside the file itself SQLite has its others, not beside a link to it
    file = file.absolute()
    if not os.path.isfile(file):
        raise LedgerError(f"There is no file {file}.\nName one that 'passthrough backup' made.")
    if os.path.realpath(file) == os.path.realpath(path):
        raise LedgerError(f"{file} is the ledger itself.\nName a back-up.")
    if (trouble := folder_trouble(path.parent)) is not None:
        raise LedgerError(f"The ledger {path} cannot be restored: {trouble.what}.\n{trouble.hint}.")
    with _alone(path, journal) as was_there, new_file(path) as part:
        copy_into(part, file, "file", read_only=True)
        found = contents(part, str(file), "file")
        kept = _free_name(path, now) if was_there else None
        _take_rights(part, path)
        with _kept_beside(path, kept):
            if kept is None:
                os.link(part, path)  # which a ledger that a start has made meanwhile lets fail
            else:
                part.rename(path)
            sync(path.parent)
    replaced = None
    if kept is not None:
        with suppress(LedgerError, ValueError):  # the driver raises the latter for a message that quotes damage
            replaced = contents(kept, str(kept))
    with snapshot(journal) as waiting:
        in_journal = sum(map(len, waiting.batches(_BATCH)))
    return Restored(path, found, kept, replaced, journal, in_journal)


@contextmanager
def _alone(path: Path, journal: Path) -> Iterator[bool]:
    """Keep every other process from opening the ledger meanwhile, and yield whether there is one: else see _kept_beside.

    Raises LedgerError where a process has it open, or may.
    """
    hint = "Stop it first (systemctl stop passthrough), or what else reads the ledger."
    with _only_restore(path):
        _empty_log(path)
        yield from _unserved(path, journal, hint)


@contextmanager
def _only_restore(path: Path) -> Iterator[None]:
    """Let one restore at a time work in the ledger's folder. Raises LedgerError where another one does."""
    if sys.platform == "win32":
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LedgerError(f"Another 'passthrough restore' works in {path.parent}.\nWait for its end.") from None
        yield
    finally:
        os.close(folder)


def _unserved(path: Path, journal: Path, hint: str) -> Iterator[bool]:
    try:
        if is_written(journal):
            raise LedgerError(f"The ledger {path} is served: a process writes its journal {journal}.\n{hint}")
    except OSError as error:
        raise LedgerError(f"The journal {journal} cannot be read: {error.strerror}.\nRun this as the user that serves.") from None
    if sys.platform == "win32" or not os.path.lexists(path):
        yield os.path.lexists(path)
        return
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be opened: {error.strerror}.\nRun this as the user that serves.") from None
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
        except OSError:
            raise LedgerError(f"The ledger {path} is in use: another process has it open.\n{hint}") from None
        if not os.path.exists(path) or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise LedgerError(f"The ledger {path} was replaced meanwhile.\nRun this once more.")
        yield True
    finally:
        os.close(descriptor)


def _free_name(path: Path, now: datetime) -> Path:
    """Return a name beside a ledger under which it can be kept."""
    plain = f"{path.name}.before-{now:%Y%m%dT%H%M%SZ}"
    names = (path.with_name(plain if number == 1 else f"{plain}-{number}") for number in count(1))
    return next(name for name in names if not any(os.path.lexists(f"{name}{end}") for end in ("", *BESIDE)))


def _take_rights(part: Path, path: Path) -> None:
    """Give a file the rights and the owner of the one that it replaces; where there is none, the owner of the folder."""
    status = os.stat(path) if os.path.exists(path) else None
    if status is not None:
        shutil.copymode(path, part)
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # so that the one who serves may write what root has restored
        owner = status or path.parent.stat()
        os.chown(part, owner.st_uid, owner.st_gid)


@contextmanager
def _kept_beside(path: Path, kept: Path | None) -> Iterator[None]:
    """Give a ledger, and what SQLite has beside it, a further name; the block then puts another file under the first one.

    The ledger's own name always has a file, wherever a kill comes: a start would begin an empty ledger without a word. What is
    beside it loses its name before the block, for SQLite would write it into the other file: so its log is emptied before all
    this. Where the block fails, all is as it was. With `kept` None there is no ledger, unless a start has made one meanwhile.
    """
    named: list[tuple[Path, Path]] = []
    try:
        if kept is not None:
            for end in ("", *_CONTENT):
                each = path.with_name(path.name + end)
                if os.path.lexists(each):
                    other = kept.with_name(kept.name + end)
                    _name_too(each, other)
                    named.append((each, other))
        elif os.path.lexists(path):
            raise FileExistsError
        for end in BESIDE:
            path.with_name(path.name + end).unlink(missing_ok=True)
        yield
    except OSError as error:
        for each, other in named:
            with suppress(OSError):
                other.replace(each)  # which leaves two names of one file as they are
                other.unlink(missing_ok=True)
        if kept is None and isinstance(error, FileExistsError):
            raise LedgerError(f"The ledger {path} was made meanwhile: a process serves it.\nStop it first.") from None
        raise LedgerError(f"The ledger {path} cannot be replaced: {error.strerror}.\nCheck the rights of its folder.") from None


def _name_too(path: Path, other: Path) -> None:
    """Give a file a second name or, on a file system that has none, another one."""
    try:
        os.link(path, other)
    except FileExistsError:  # `rename` would replace it
        raise
    except OSError:
        path.rename(other)


def _empty_log(path: Path) -> None:
    """Let SQLite write a ledger's write-ahead log into it, where it can: see _kept_beside."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=1.0)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
