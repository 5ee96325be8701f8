"""The access log's file: lines are appended to it, and after a rotation it is opened by its name once more."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, TextIO

from ..accounting.journal.folder import journal_folder
from ..accounting.ledger.sqlite import file_of
from ..config.listen import COMMAND_LINE, ENVIRONMENT, VARIABLES
from ..config.model import Config
from ..errors import LedgerError, Problem

MODE: Final = 0o640
"""The mode of a file that is made, less the umask: paths and clients' names are in it."""

_APPEND: Final = os.O_WRONLY | os.O_APPEND
_QUICK: Final = getattr(os, "O_NONBLOCK", 0)  # a named pipe without a reader is an error, instead of a wait

_log: Final = logging.getLogger("passthrough")


class LogFile:
    """An open file. Its descriptor stays the same when it is opened once more, so that whoever writes to it need not know.

    The new file takes the old one's place at one moment (dup2): each write goes whole into one of them. Workers inherit it as it
    is at their fork, and reopen it themselves.
    """

    def __init__(self, path: str) -> None:
        """Open the file, or make it. Raises OSError."""
        self._path = path
        self._lock = Lock()  # two signals may come at once
        self.stream: Final[TextIO] = os.fdopen(os.open(path, _APPEND | os.O_CREAT | _QUICK, MODE), "a", encoding="utf-8")

    def reopen(self) -> None:
        """Open the file by its name, or make it; where that fails, warn and keep the old one. Never raises."""
        descriptor = self.stream.fileno()
        with self._lock:
            try:
                opened = os.open(self._path, _APPEND | os.O_CREAT | _QUICK, MODE)
            except OSError as error:
                what, hint = _reason(self._path, error)
                _log.warning("%s Lines go on into the old one.\n%s Then send SIGHUP again.", what, hint)
                return
            try:
                kinds = [stat.S_IFMT(os.fstat(each).st_mode) for each in (descriptor, opened)]
                if kinds[0] == kinds[1]:  # a pipe is written otherwise than a file
                    os.dup2(opened, descriptor, inheritable=False)
                else:
                    _log.warning("The log file %s is of another kind now. Lines go on into the old one.", self._path)
            finally:
                os.close(opened)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


class OwnFileError(OSError):
    """The log file is one that the program uses otherwise; the message says which."""


def check_apart(path: str, config: Config) -> None:
    """Raise OwnFileError where a log file is the ledger's, the journal's, or one that the configuration is read from."""
    own = {config.file: "the configuration"}
    own |= {name: "a file of TLS" for name in (config.listen.tls_cert, config.listen.tls_key) if name}
    if config.ledger is not None:
        folder = journal_folder(config.ledger, config.journal)
        if os.path.realpath(folder) in {os.path.realpath(path), os.path.dirname(os.path.realpath(path))}:
            raise OwnFileError("a file of the journal")
        with suppress(LedgerError):  # not SQLite
            file = file_of(config.ledger)
            own |= {f"{file}{end}": "the ledger" for end in ("", "-wal", "-shm", "-journal")}
    for name, what in own.items():
        if os.path.realpath(name) == os.path.realpath(path) or _is_same(name, path):
            raise OwnFileError(what)


def _is_same(name: str, path: str) -> bool:
    """Tell whether two names are links to one file."""
    try:
        return os.path.samefile(name, path)
    except OSError:
        return False


def problem(path: str, error: OSError, config: str, flags: Mapping[str, object], environ: Mapping[str, str]) -> Problem:
    """Return what is wrong with a log file, at the place that names it: a flag, a variable or the configuration."""
    variable = VARIABLES["log_file"]
    where, key = (ENVIRONMENT, variable) if environ.get(variable) else (config, "log_file")
    if "log_file" in flags:
        where, key = COMMAND_LINE, "--log-file"
    what, hint = _reason(path, error)
    return Problem(where, 0, key, what, hint)


def check_writable(path: str) -> None:
    """Raise OSError where a log file could not be opened or made now. Makes nothing."""
    try:
        os.close(os.open(path, _APPEND | _QUICK))
    except FileNotFoundError:
        folder = Path(path).parent
        if not folder.is_dir():
            raise
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def _reason(path: str, error: OSError) -> tuple[str, str]:
    """Return why a file cannot be opened, and a hint."""
    folder = Path(path).parent
    if isinstance(error, OwnFileError):
        return f"The log file {path} is {error}.", "Name another file: lines of the log would damage it."
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not folder.is_dir():
        return f"The log file {path} cannot be opened: there is no folder {folder}.", "Make the folder, or name another file."
    if isinstance(error, IsADirectoryError):
        return f"The log file {path} cannot be opened: it is a folder.", "Name a file in it."
    if isinstance(error, PermissionError):
        what = f"The log file {path} may not be written: permission denied."
        return what, "Let the user that the program runs as write it and its folder, or name another file."
    if error.errno == errno.ENXIO and _is_socket(path):
        return f"The log file {path} cannot be opened: it is a socket.", "Write - for stdout, or name another file."
    if error.errno == errno.ENXIO:
        return f"The log file {path} cannot be opened: nothing reads it.", "Start what reads it first, or name another file."
    return f"The log file {path} cannot be opened: {error.strerror}.", "Name another file, or mend what it is on."


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
