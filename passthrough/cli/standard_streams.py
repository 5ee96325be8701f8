"""Makes the three standard streams usable: opens closed ones, replaces what stdout's encoding lacks, breaks lines on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Final

from ..background.terminal import Terminal
from ..errors import PassthroughError

_STREAMS: Final = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w"))


class OutputError(PassthroughError):
    """A command's output cannot be written to stdout; the message says why."""


def open_closed() -> None:
    """Open /dev/null in place of each standard stream that was closed at the start (`<&-`, `>&-`, `2>&-`).

    POSIX gives the lowest free descriptor to the next file or socket: a client connection would be descriptor 1, and get the
    access log, and libuv aborts when it closes a socket that is 2 or less (uv__close, src/unix/core.c). So this comes first.
    """
    for descriptor, (name, flags, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # The lowest free one is this one: those below it are open.
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - to the end
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def replace_unencodable() -> None:
    """Make stdout print `?` for each character that its encoding lacks (PYTHONIOENCODING and locales choose the encoding)."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="replace")


def encodable(text: str) -> bool:
    """Tell whether stdout can show a text as it is."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def printing() -> Iterator[None]:
    """Flush stdout at the end, and turn its failures into errors: a full disk, a descriptor that is not open for writing.

    Raises OutputError, and BrokenPipeError where its reader has gone.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
        raise
    except OSError as error:
        forget_output()
        raise OutputError(f"stdout cannot be written: {error.strerror}.") from None


def folded(text: str) -> str:
    """Return a text in lines that fit, where stdout is a terminal; elsewhere as it is."""
    terminal = Terminal.of(sys.stdout)
    return text if terminal is None else terminal.wrapped(text)


def say(text: str) -> None:
    """Print a message on stderr, on a terminal in lines that fit. A stderr that takes nothing changes nothing."""
    terminal = Terminal.of(sys.stderr)
    with suppress(OSError, ValueError):  # ValueError: it is closed
        sys.stderr.write(f"{text if terminal is None else terminal.wrapped(text)}\n")
        sys.stderr.flush()


def forget_output() -> None:
    """Discard what stdout still buffers: the interpreter would try to write it once more at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
