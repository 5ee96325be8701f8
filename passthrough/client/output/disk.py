"""The disk that outputs are on: hashes, locks and syncs of files, and what its errors mean for a document."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ..errors import FULL_DISK, DocumentError
from ..shown import shown

if sys.platform != "win32":
    import fcntl

    _FLOCK: Callable[[int, int], None] | None = fcntl.flock
    _ALONE, _AT_ONCE = fcntl.LOCK_EX, fcntl.LOCK_NB
else:
    _FLOCK, _ALONE, _AT_ONCE = None, 0, 0

_BETWEEN_TRIES_S: Final = 0.05
_HINTS: Final[Mapping[int, str]] = {
    errno.ENOSPC: "Free some space there, and run it once more: what is paid for is kept.",
    errno.EDQUOT: "Free some space there, and run it once more: what is paid for is kept.",
    errno.EACCES: "Let this user write there, or name another folder (-o DIR).",
    errno.EPERM: "Let this user write there, or name another folder (-o DIR).",
    errno.EROFS: "Name a folder that can be written (-o DIR).",
    errno.ENOTDIR: "A file is where a folder is to be: move it away, or name another folder (-o DIR).",
    errno.EEXIST: "A file is where a folder is to be: move it away, or name another folder (-o DIR).",
    errno.ELOOP: "A symbolic link is where a file is to be: remove it, or name another folder (-o DIR).",
    errno.ENAMETOOLONG: "Name a folder with a shorter path (-o DIR).",
}
_UNFOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""No symbolic link is followed, no pipe waited for, and on Windows no line's end changed."""
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system says that has no locks."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as a DocumentError."""
    try:
        yield
    except OSError as error:
        raise disk_failure(error, path) from None


def disk_failure(error: OSError, path: Path) -> DocumentError:
    """Return what an error at a path means for a document. A full disk ends the run: the next document costs, too."""
    where = error.filename2 or error.filename
    name = shown(os.fsdecode(where)) if isinstance(where, bytes | str | os.PathLike) else shown(path)
    why = f"{name} cannot be written: {error.strerror or error}"
    return DocumentError(why, _HINTS.get(error.errno or 0, ""), ends_run=error.errno in FULL_DISK)


def sha256_of(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal digits."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there, itself and not by a symbolic link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a name that the system's encoding has not
        return False


def sync(path: Path) -> None:
    """Bring a file, or a folder's entries, to the disk."""
    if sys.platform == "win32":  # it syncs no folders, and only what is open for writing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove what is at a path: a file, a link, a folder with all that is in it; maybe nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, value: Any) -> None:
    """Write a value as a JSON file: the file is the old one or the new one, whole, at every moment."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(json.dumps(value).encode())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is none."""
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads(read_file(path))
        if isinstance(value, dict):
            return value
    return {}


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError for all else: a pipe or a link may be in a folder of somebody else's."""
    descriptor = open_unfollowed(path)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no file", str(path))
        return file.read()


def append_line(descriptor: int, line: bytes) -> None:
    """Append a line to an open, locked file, whole or not at all: what a full disk took of it is removed."""
    size = os.fstat(descriptor).st_size
    os.lseek(descriptor, max(size - 1, 0), os.SEEK_SET)
    if size and os.read(descriptor, 1) != b"\n":
        line = b"\n" + line  # what a killed process left is no part of this line
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def lock(descriptor: int, *, wait: bool, flock: Callable[[int, int], None] | None = _FLOCK) -> bool:
    """Lock an open file until it is closed; return False where another one has it.

    Where there are no locks (flock is None on Windows; some file systems of networks have none) nobody is kept out.
    """
    if flock is None:
        return True
    try:
        flock(descriptor, _ALONE | (0 if wait else _AT_ONCE))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def open_unfollowed(path: Path) -> int:
    """Open a file for reading: no symbolic link is followed, and no pipe waited for."""
    return os.open(path, os.O_RDONLY | _UNFOLLOWED)


def open_locked(path: Path, *, wait: bool, mode: int = 0o666) -> int | None:
    """Open a file for appending, made where there is none, and lock it; return None where another one has the lock.

    Whoever removed the file while this one waited has made the lock worthless: then the file that is there now is tried.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _UNFOLLOWED
    while True:
        descriptor = os.open(path, flags, mode)
        try:
            if not lock(descriptor, wait=wait):
                os.close(descriptor)
                return None
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def made_and_locked(folder: Path, file: Path, *, patience_s: float) -> int | None:
    """Make a folder, for this user alone, and lock a file in it; return None where another one has the lock for so long."""
    until = time.monotonic() + patience_s
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):  # the run that held it has removed it meanwhile: it is made again
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            descriptor = open_locked(file, wait=False, mode=0o600)
            if descriptor is not None or time.monotonic() >= until:
                return descriptor
            time.sleep(_BETWEEN_TRIES_S)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def no_step(_name: str) -> None:
    """Do nothing at a step: what a kill point is replaced by, where nothing is to be tested."""


Step = Callable[[str], None]
"""What is called with the name of each step that was done: a test ends the process there."""
