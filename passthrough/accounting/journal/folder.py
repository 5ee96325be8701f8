"""The journal's folder: where it lies, and whether a segment can be made in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ..writable_folder import FolderTrouble, folder_trouble, trouble_of

NAME: Final = "passthrough.journal"
"""The folder's name in the working directory, where the ledger is not a file."""

SUFFIX: Final = ".jsonl"
"""How the name of a segment ends."""


def journal_folder(ledger: str, configured: str | None = None) -> Path:
    """Return the journal's folder: the configured one, else the one beside an SQLite file, else one in the working directory."""
    if configured:
        return Path(configured).absolute()
    try:
        url = sa.make_url(ledger)
    except (ArgumentError, ValueError):  # several hosts of PostgreSQL, or none that Ledger.at takes
        return Path(NAME).absolute()
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).absolute().with_suffix(".journal")
    return Path(NAME).absolute()


def journal_trouble(folder: Path) -> FolderTrouble | None:
    """Return why no segment can be made now, None where one can. Neither the folder nor a file is made.

    Where the folder is not there yet, it is made in the one above it: at the first write, and no further folder.
    """
    try:
        folder.lstat()
    except FileNotFoundError:
        return folder_trouble(folder.parent)
    except OSError as error:
        return trouble_of(folder.parent, error)
    return folder_trouble(folder)
