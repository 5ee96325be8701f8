"""Finds out whether files can be made in a folder, and leaves none there: why not, how to fix it, and whether it may pass."""

from __future__ import annotations

import errno
import getpass
import os
import shlex
import stat
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
        return FolderTrouble(f"there is no folder {folder}", f"Make it (mkdir -p {shlex.quote(str(folder))})", lasts=True)
    except OSError as error:
        return trouble_of(folder, error)
    if not is_folder:
        return FolderTrouble(f"{folder} is no folder", "Move that file away", lasts=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return trouble_of(folder, error)
    return None


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
