"""Puts a back-up in an SQLite ledger's place; what was there is kept beside it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ...errors import LedgerError
from ..journal.reading import is_written, reading
from ..ledger.backup import sync
from ..writable_folder import folder_trouble
from .backup import ledger_file
from .sqlite_copy import BESIDE, Contents, contents, copy_into, new_file

if sys.platform != "win32":
    import fcntl

_SHARED_FIRST: Final = 0x4000_0000 + 2
_SHARED_SIZE: Final = 510
"""The bytes that SQLite's connections lock to read (sqlite.org/lockingv3.html): in WAL mode as long as they are open."""

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
    3. What was there is renamed, with its write-ahead log: one that is left beside the restored file would be written into it.
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
    with _alone(path, journal), new_file(path) as part:
        copy_into(part, file, "file", read_only=True)
        found = contents(part, f"The file {file}")
        kept = path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%SZ}") if os.path.lexists(path) else None
        _take_rights(part, path)
        with _moved_away(path, kept):
            part.rename(path)
            sync(path.parent)
    replaced = None
    if kept is not None:
        with suppress(LedgerError, ValueError):  # the driver raises the latter for a message that quotes damage
            replaced = contents(kept, str(kept))
    with reading(journal) as waiting:
        in_journal = sum(map(len, waiting.batches(_BATCH)))
    return Restored(path, found, kept, replaced, journal, in_journal)


@contextmanager
def _alone(path: Path, journal: Path) -> Iterator[None]:
    """Keep every other process from opening the ledger meanwhile. Raises LedgerError where one has it open, or may."""
    hint = "Stop it first (systemctl stop passthrough), or what else reads the ledger."
    try:
        if is_written(journal):
            raise LedgerError(f"The ledger {path} is served: a process writes its journal {journal}.\n{hint}")
    except OSError as error:
        raise LedgerError(f"The journal {journal} cannot be read: {error.strerror}.\nRun this as the user that serves.") from None
    if sys.platform == "win32" or not os.path.exists(path):
        yield
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
        yield
    finally:
        os.close(descriptor)


def _take_rights(part: Path, path: Path) -> None:
    """Give a file the rights and the owner of the one that it replaces; where there is none, the owner of the folder."""
    status = os.stat(path) if os.path.exists(path) else None
    if status is not None:
        shutil.copymode(path, part)
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # so that the one who serves may write what root has restored
        owner = status or path.parent.stat()
        os.chown(part, owner.st_uid, owner.st_gid)


@contextmanager
def _moved_away(path: Path, kept: Path | None) -> Iterator[None]:
    """Rename a ledger, and what SQLite has beside it, and back again where the block fails.

    The file comes first: where a kill leaves the rest, SQLite deletes a write-ahead log without a database.
    """
    away = kept or path.with_name(f"{path.name}.before")
    moved: list[tuple[Path, Path]] = []
    try:
        for end in ("", *BESIDE):
            each = path.with_name(path.name + end)
            if os.path.lexists(each):
                target = away.with_name(away.name + end)
                each.rename(target)
                moved.append((each, target))
        yield
    except OSError as error:
        for each, target in reversed(moved):
            with suppress(OSError):
                target.rename(each)
        raise LedgerError(f"The ledger {path} cannot be replaced: {error.strerror}.\nCheck the rights of its folder.") from None
    for end in ("-shm", *([] if kept else ["-wal", "-journal"])):  # no database is there that they could belong to
        with suppress(OSError):
            away.with_name(away.name + end).unlink(missing_ok=True)
