"""Exchanges and their charges, written once and summed later, in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..errors import EntryRefusedError, LedgerError
from . import appending, migrations, postgres, pruning, reading, spending, sqlite
from .entry import Entry
from .reading import Booked
from .schema import SCHEMA_VERSION
from .sums import Period, Sums, sums, sums_query


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
        """Tell whether an error says that the tables are not there any more."""

    def ours(self, error: SQLAlchemyError) -> LedgerError:
        """Return what an error means, and how to mend it."""


class Ledger:
    """One database of exchanges and charges. Its methods may be called from any thread; they raise LedgerError, nothing else."""

    def __init__(self, database: Database, *, read_only: bool = False, say: Callable[[str], None] = lambda _: None) -> None:
        """Take a database that nobody has looked at yet: the first `append` does, and each one until it is a ledger.

        `say` takes messages for the operator, from any thread.
        """
        self._database = database
        self._say = say
        self._read_only = read_only
        self._known: object = None
        self._closed = False

    @classmethod
    def at(cls, url: str, say: Callable[[str], None] = lambda _: None) -> Ledger:
        """Return the ledger at `url` as `open` does, but look at it only when it is written: the road need not wait for it.

        Raises LedgerError for a URL that can never be one, or whose driver is not installed.
        """
        return cls(_database(url, read_only=False), say=say)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Ledger:
        """Return the ledger at `url`, with its tables made or brought up to date.

        sqlite:///relative.db begins at the working directory, sqlite:////absolute.db at the root; postgresql://user@host/name
        is a database that is there. With `read_only` nothing is made or changed. Raises LedgerError for what cannot be a ledger
        here: no such folder, file or server, no permission, another program's tables, a newer schema.
        """
        ledger = cls(_database(url, read_only=read_only), read_only=read_only)
        try:
            if read_only:
                ledger._database.find()
                with ledger.transaction() as connection:
                    migrations.check(connection, ledger._database.where)
            else:
                ledger._prepare()
        except LedgerError:
            ledger.close()
            raise
        return ledger

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._database.name

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Write entries and their charges in one transaction, and return what of them is new: all or, when it raises, none.

        Idempotent: an entry that is there already changes nothing, and neither does a batch line that was booked before, by
        whatever process. What is returned is in the order given: entries without those charges that were there; entries that
        bring nothing are left out. Of an exchange that has ended exactly one entry that is not Part.OPEN is ever returned.
        Where the database was moved away or deleted meanwhile it raises once; the next call begins a new one. Raises
        EntryRefusedError where one of the entries can never be written: the others can, without it.
        """
        entries = tuple(entries)
        try:
            with self.transaction(writes=True) as connection:
                accepted = appending.append(connection, entries)
                spending.spend(connection, accepted)
        except (OverflowError, UnicodeError) as defect:  # of the driver, before the database sees it
            what = f"The ledger {self._database.where} does not take what was to be written: {defect}."
            raise EntryRefusedError(f"{what}\nPlease report this.") from None
        return accepted

    def sums(
        self, *groupings: Sequence[str], since: datetime | None = None, until: datetime | None = None
    ) -> tuple[list[Sums], ...]:
        """Return the sums of all exchanges that began from `since` on and before `until`, once for each grouping, sorted.

        A grouping names some of sums.KEYS and `sandbox`; an empty one has one group, or none where there is no exchange. All
        are of the same moment. A day of which exchanges were pruned is summed whole, or not at all.
        """
        with self.transaction() as connection:
            period = Period(since, until, pruning.pruned(connection))
            found = [connection.execute(sums_query(by, period)).all() for by in groupings]
        return tuple([sums(row, len(by)) for row in rows] for by, rows in zip(groupings, found, strict=True))

    def latest(self, limit: int, *, before: str | None = None, **only: str | None) -> list[Booked]:
        """Return the latest exchanges, the youngest first, each with the sum of its charges.

        `only` restricts them to those with a client, route, label, target or model (the exchange's own); None: those that have
        none. `before` is the id of the last one seen: those that began before it follow.
        """
        query = reading.latest_query(limit, before, only)
        with self.transaction() as connection:
            return [reading.booked(row) for row in connection.execute(query).mappings()]

    def exported(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[Booked]:
        """Yield each charge of a period with its exchange, the oldest first; an exchange without a charge once.

        A stream: what is held in memory does not grow with the ledger. All is of the moment of the first one. Close the iterator
        where it is given up early: a connection is its own until then.
        """
        with self.transaction() as connection:
            streaming = connection.execution_options(yield_per=1000)
            with streaming.execute(reading.exported_query(since, until)) as found:
                for row in found.mappings():
                    yield reading.booked(row)

    def prune(self, before: date, most: int = 1000) -> int:
        """Delete at most so many of the oldest exchanges that began before a day (UTC), and return how many it were.

        0: none is left. Daily sums stay, and the lines that are known. Short steps, so that appends need not wait for long.
        """
        with self.transaction(writes=True) as connection:
            return pruning.prune(connection, before, most)

    @contextmanager
    def transaction(self, *, writes: bool = False, alone: bool = False) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, which is committed at the end, or rolled back when an exception leaves it.

        Without `writes` it is of one moment, and changes nothing. With `writes` the tables are there; on PostgreSQL other
        writers are at work at the same time, unless it is to be `alone`: then no append runs anywhere meanwhile. Raises
        LedgerError for what the database refuses.
        """
        if writes or alone:
            self._prepare()
        with self._transaction(writes=writes or alone, alone=alone) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections; the last one to go moves SQLite's write-ahead log into the database.

        One that another thread is using meanwhile is closed when that is done.
        """
        self._closed = True
        self._database.engine.pool.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool, alone: bool = False) -> Iterator[sa.Connection]:
        engine = self._database.engine
        pool = engine.pool
        try:
            with engine.connect() as connection:
                if not writes and self.dialect == "postgresql":
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.execution_options(writes=writes, alone=alone).begin():
                    yield connection
        except SQLAlchemyError as error:
            if self._database.lost(error):
                self._known = None
            raise self._database.ours(error) from None  # what the driver said may hold a password
        finally:
            # SQLAlchemy 2.1: a pool's dispose closes what is idle in it. A connection that is out then goes back into that pool,
            # although nobody takes it from there, and is closed by the garbage collector or never.
            if self._closed or pool is not engine.pool:
                pool.dispose()

    def _prepare(self) -> None:
        """See that what is to be written is a ledger, and still the same one."""
        database = self._database
        if self._read_only:
            raise LedgerError(f"The ledger {database.where} may not be written: it was opened to be read.\nOpen it for writing.")
        if self._known is None:
            database.make()
            self._bring_up()
            self._known = database.identity()
        elif self._known != database.identity():
            database.engine.dispose()
            self._known = None
            raise LedgerError(f"The ledger {database.where} was moved or deleted while it was in use.\nA new one is begun there.")

    def _bring_up(self) -> None:
        """Make the tables, or bring them up to date: of older ones there is a copy before, where the database is a file."""
        database, copies = self._database, list[Path]()

        def back_up(version: int) -> None:
            copies.extend(filter(None, [database.back_up(version)]))

        try:
            with self._transaction(writes=True, alone=True) as connection:
                before = migrations.bring_up(connection, database.where, back_up)
        except BaseException:
            for copy in copies:  # of what is still as it was
                copy.unlink(missing_ok=True)
            raise
        if before is not None:
            kept = f"As it was before, it is kept in {copies[0]}." if copies else "The way back are your own backups of it."
            self._say(f"The ledger {database.where} was brought up from schema {before} to {SCHEMA_VERSION}.\n{kept}")


def _database(url: str, *, read_only: bool) -> Database:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(f"The ledger is not a URL.\n{_WRITE}") from None
    if parsed.drivername in postgres.SCHEMES:
        return postgres.PostgresServer(parsed, read_only=read_only)
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError(f"A {parsed.drivername} ledger is not served.\n{_WRITE}")
    return sqlite.SqliteFile(parsed, read_only=read_only)


_WRITE = "Write it as sqlite:///passthrough.db, as postgresql://user:password@host/name, or none."
