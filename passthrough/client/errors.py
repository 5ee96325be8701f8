"""The failures of the client: of a whole run, and of one document, which leaves the others alone."""

from __future__ import annotations

import errno
from typing import Final

from ..errors import PassthroughError

FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of a disk that takes no more: the next document would be paid for, and end alike."""


class ClientError(PassthroughError):
    """A run cannot begin or go on; the message says why, and in its further lines how to fix it."""


class DocumentError(ClientError):
    """One document failed, and the others go on.

    `why` is one sentence for a line of its own; `hint` says how to fix it, empty where there is nothing to fix. `ends_run`: the
    next document would fail alike (the key is refused, the budget is spent), so that none is sent any more.
    """

    def __init__(self, why: str, hint: str = "", *, ends_run: bool = False) -> None:
        super().__init__(f"{why}\n  {hint}" if hint else why)
        self.why = why
        self.hint = hint
        self.ends_run = ends_run


def unreadable(error: OSError) -> DocumentError:
    """Return the failure of a document that cannot be read."""
    return DocumentError(f"It cannot be read: {error.strerror or error}.", "Check its name and permissions.")
