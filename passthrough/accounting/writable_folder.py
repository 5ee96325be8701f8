"""Finds out whether files can be made in a folder, and leaves none there: why not, how to fix it, and whether it may pass."""

from __future__ import annotations

import errno
import getpass
import os
import shlex
import stat
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PASSES: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOLCK,
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        getattr(errno, "ESTALE", errno.EIO),  # not on Windows
        errno.ETIMEDOUT,
    }
)
"""What a later try may find otherwise although nobody changed a right, a name or a mount."""


_GET_FLAGS: Final = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
"""Linux's FS_IOC_GETFLAGS on most processors; where it has another number, nothing is found."""
_APPEND_ONLY: Final = 0x20
"""Linux's FS_APPEND_FL."""


@dataclass(frozen=True, slots=True)
class FolderTrouble:
    """Why no file can be made in a folder, and a hint, both without a full stop, and whether it lasts until a person acts."""

    what: str
    hint: str
    lasts: bool


def lasts(error: OSError) -> bool:
    """Tell whether an error stays until a person changes something."""
    return error.errno not in _PASSES


def folder_trouble(folder: Path) -> FolderTrouble | None:
    """Return why no file can be made in a folder, None where one can. The trial has no name where the system can do that."""
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        return _missing(folder)
    except OSError as error:
        return trouble_of(folder, error)
    if not is_folder:
        return FolderTrouble(f"{folder} is no folder", "Move that file away", lasts=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return trouble_of(folder, error)
    return None


def _missing(folder: Path) -> FolderTrouble:
    """Say that a folder is not there; where a link leads to nowhere, mkdir would say of the link that it exists."""
    link = next((place for place in (folder, *folder.parents) if os.path.islink(place) and not os.path.exists(place)), None)
    what = f"there is no folder {folder}"
    if link is not None:
        folder = Path(os.path.realpath(folder))
        what = f"there is no folder {folder}, to which {link} leads"
    return FolderTrouble(what, f"Make it (mkdir -p {shlex.quote(str(folder))})", lasts=True)


def append_only_trouble(folder: Path) -> FolderTrouble | None:
    """Return that no file can be deleted in a folder (chattr +a), None where one can, or where the system does not tell."""
    if sys.platform != "linux":
        return None
    import fcntl  # noqa: PLC0415 - not on Windows

    flags = bytearray(struct.calcsize("l"))
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(opened, _GET_FLAGS, flags)
        finally:
            os.close(opened)
    except OSError:
        return None
    if not int.from_bytes(flags, sys.byteorder) & _APPEND_ONLY:
        return None
    hint = f"Let files be deleted there (chattr -a {shlex.quote(str(folder))})"
    return FolderTrouble(f"files in {folder} cannot be deleted: it is append-only", hint, lasts=True)


def trouble_of(folder: Path, error: OSError) -> FolderTrouble:
    """Return what an error of a try to make a file in a folder means."""
    what = f"nothing can be written in {folder}: {error.strerror or error}"
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = f"Let this user ({_user()}) write in it (chown, or chmod u+w)"
    elif error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT}:
        hint = "Choose another place"
    elif error.errno == errno.EROFS:
        hint = "Mount it for writing; in a container, mount a volume there"
    else:
        hint = "Free some space there" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "Check the disk that it is on"
    return FolderTrouble(what, hint, lasts(error))


def _user() -> str:
    """Return this process's user for messages: its name, where it has one, and its number."""
    if not hasattr(os, "geteuid"):
        return getpass.getuser()
    import pwd  # noqa: PLC0415 - not on Windows

    number = os.geteuid()
    try:
        return f"{pwd.getpwuid(number).pw_name}, {number}"
    except KeyError:
        return str(number)
