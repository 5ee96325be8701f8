"""Which database a ledger's URL names, and what every kind of database can do."""

from __future__ import annotations

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
    """One kind of database: how it is reached, and what its errors mean."""

    @property
    def name(self) -> str:
        """Return `sqlite` or `postgresql`."""

    @property
    def where(self) -> str:
        """Return what it is called in messages, without a password."""

    @property
    def engine(self) -> sa.Engine:
        """Return the way to its connections."""

    @property
    def codec(self) -> str | None:
        """Return in which of Python's codecs a text must be to be stored; None where it refuses what it cannot store."""

    def greet(self) -> None:
        """Raise UnservableLedgerError where it is there and can never be a ledger's; what cannot be told soon is left open."""

    def hurry(self, call_s: float) -> None:
        """Let no call take longer than this from now on, as far as calls can be ended."""

    def find(self) -> None:
        """Raise LedgerError where there is nothing to read."""

    def make(self) -> None:
        """Make what must be there before tables can be. Raises LedgerError."""

    def back_up(self, version: int) -> Path | None:
        """Make a copy before tables of an older version are changed, and return where; None where it is not ours to make.

        Raises LedgerError.
        """

    def identity(self) -> object:
        """Return what changes when another database, or none, takes the place of this one."""

    def lost(self, error: SQLAlchemyError) -> bool:
        """Tell whether an error says that the tables are not there any more, or not as they were."""

    def ours(self, error: SQLAlchemyError) -> LedgerError:
        """Return what an error means, and how to mend it."""


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
