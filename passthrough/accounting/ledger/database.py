"""The kinds of databases a ledger can be in: their common interface, and the choice by a URL."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...errors import LedgerError
from .postgres import PostgresServer
from .postgres_url import SCHEMES
from .sqlite import SqliteFile

_WRITE: Final = "Write it as sqlite:///passthrough.db, as postgresql://user:password@host/name, or none."


class Database(Protocol):
    """One kind of database: how to connect to it, and what its errors mean."""

    @property
    def name(self) -> str:
        """Return `sqlite` or `postgresql`."""

    @property
    def where(self) -> str:
        """Return its name for messages, without a password."""

    @property
    def engine(self) -> sa.Engine:
        """Return SQLAlchemy's engine, with the pool of its connections."""

    @property
    def codec(self) -> str | None:
        """Return the Python codec that a text must fit in to be stored; None where it refuses what it cannot store."""

    def trial(self) -> AbstractContextManager[sa.Connection | None]:
        """Yield a connection in a transaction that writes, on a connection of its own, and roll it back at the end.

        None where there is no database yet, and one can be made. Nothing is left behind. Raises LedgerError, SQLAlchemyError.
        """

    def limit_calls(self, call_s: float) -> None:
        """Bound every call by this from now on, as far as calls can be ended."""

    def find(self) -> None:
        """Raise LedgerError where there is nothing to read."""

    def make(self) -> None:
        """Create what must exist before tables can. Raises LedgerError."""

    def back_up(self, version: int) -> Path | None:
        """Copy a ledger of an older version before its tables are changed, and return where; None where operators do backups.

        Raises LedgerError.
        """

    def identity(self) -> object:
        """Return a value that changes when another database, or none, takes the place of this one."""

    def lost(self, error: SQLAlchemyError) -> bool:
        """Tell whether an error says that the tables are gone, or not as they were."""

    def translate(self, error: SQLAlchemyError) -> LedgerError:
        """Return a LedgerError that says what a driver's error means, with a hint."""


def database(url: str, *, read_only: bool) -> Database:
    """Return the database that a URL names. Raises LedgerError for a URL that can never name one."""
    if url.partition("://")[0] in SCHEMES:
        return PostgresServer(url, read_only=read_only)
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(f"The ledger is not a URL.\n{_WRITE}") from None
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError(f"A {parsed.drivername} ledger is not served.\n{_WRITE}")
    return SqliteFile(parsed, read_only=read_only)
