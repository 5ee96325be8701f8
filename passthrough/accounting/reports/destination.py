"""Opens the destination of an export: a file, which is replaced atomically, or a stream, which is written as rows come."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from ...errors import LedgerError

_DESCRIPTOR: Final = re.compile(r"/dev/(?:fd/(\d+)|(stdin|stdout|stderr))|/proc/(?:self|\d+)/fd/(\d+)").fullmatch
_NAMED: Final = {"stdin": 0, "stdout": 1, "stderr": 2}


def is_stream(file: Path) -> bool:
    """Tell whether a path names a stream: a FIFO, a device, or an open descriptor (/dev/stdout, a shell's `>(…)`)."""
    if _DESCRIPTOR(str(file)):
        return True
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def writing(file: Path) -> Iterator[TextIO]:
    """Yield a text stream to write an export into. Raises LedgerError where the file cannot be written.

    1. A stream is written to as text comes. It raises BrokenPipeError where its reader has gone.
    2. A file is written under another name beside it, which is renamed at the end, or deleted on failure. It gets the mode and
    the owner of the file that it replaces; of a symbolic link, the target is replaced.
    """
    try:
        if is_stream(file):
            with _opened(file) as stream:
                yield stream
        else:
            with _replacing(file) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LedgerError(f"{file} cannot be written: {error.strerror}.\nName another file, or mend its folder.") from None


def _opened(file: Path) -> TextIO:
    match = _DESCRIPTOR(str(file))
    if match is None:
        return file.open("w", encoding="utf-8", newline="")
    # Opened by its name it would be another file description, which begins at the start, and truncates the file.
    number = _NAMED[match[2]] if match[2] else int(match[1] or match[3])
    return open(os.dup(number), "w", encoding="utf-8", newline="")


@contextmanager
def _replacing(file: Path) -> Iterator[TextIO]:
    place = Path(os.path.realpath(file))
    try:
        old = place.stat()
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(None, "It is a folder")
    beside = place.with_name(f".passthrough-export.{secrets.token_hex(4)}.part")
    # Only those who may read the file that it replaces may read its rows.
    made = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if old is None else 0o600)
    try:
        with open(made, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if old is None or _is_alike(beside, old):
            beside.replace(place)
        else:
            _copy(beside, place)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _is_alike(new: Path, old: os.stat_result) -> bool:
    """Give a file the owner and mode of another; return False where that is not permitted: only root may change owners."""
    try:
        made = new.stat()
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            os.chown(new, old.st_uid, old.st_gid)
        new.chmod(stat.S_IMODE(old.st_mode))  # after chown, which clears bits
    except PermissionError:
        return False
    return True


def _copy(new: Path, place: Path) -> None:
    """Copy the content of one file into another, which keeps its owner and mode."""
    with new.open("rb") as source, place.open("r+b") as target:
        shutil.copyfileobj(source, target)
        target.truncate()
        target.flush()
        os.fsync(target.fileno())
