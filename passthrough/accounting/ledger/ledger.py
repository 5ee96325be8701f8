"""The ledger: a database of exchanges and their charges, appended once and summed later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ...errors import EntryRefusedError, LedgerError
from ...meter.usage import Usage
from ..entry import Entry
from . import append, clock, leases, migrations, prune, queries
from .daily_sums import Sums
from .database import Database, database
from .queries import ALL, ExchangeEnd, LedgerRow, Selection
from .schema import SCHEMA, SCHEMA_VERSION
from .storable_text import ASCII, UNICODE, storable, storable_text
from .sum_queries import Period, grouped

CHECK_S: Final = 10.0
"""How often a ledger in use is checked again: whether its tables are a ledger's, and of this version."""

_TABLES_S: Final = 1.0
"""How long the tables of a new ledger may take, from its file on."""

_DEFECTS: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What drivers and SQLAlchemy raise beside their own errors, for values that they cannot convert or did not expect."""


class _Undo(Exception):
    """Rolls back a transaction that must not last."""


class Ledger:
    """One database of exchanges and charges. Its methods may be called from any thread; they raise LedgerError, nothing else."""

    def __init__(self, database: Database, *, read_only: bool = False, warn: Callable[[str], None] = lambda _: None) -> None:
        """Take a database that was not opened yet: the first `append` checks it, and each one until it is a ledger.

        `warn` takes messages for the operator, from any thread.
        """
        self._database = database
        self._warn = warn
        self._read_only = read_only
        self._known: object = None
        self._gone = ""  # what is to be reported of the database that was in use
        self._check_at = 0.0
        self._closed = False

    @classmethod
    def at(cls, url: str, warn: Callable[[str], None] = lambda _: None) -> Ledger:
        """Return the ledger at `url` as `open` does, but check it only when it is written: the start does not wait for it.

        Raises LedgerError for a URL that can never name a ledger, or whose driver is not installed.
        """
        return cls(database(url, read_only=False), warn=warn)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Ledger:
        """Return the ledger at `url`, with its tables created or migrated.

        sqlite:///relative.db begins at the working directory, sqlite:////absolute.db at the root; postgresql://user@host/name
        is an existing database. With `read_only` nothing is created or changed. Raises LedgerError where there can be no ledger:
        no such folder, file or server, no permission, another program's tables, a newer schema.
        """
        ledger = cls(database(url, read_only=read_only), read_only=read_only)
        try:
            if read_only:
                ledger._database.find()
                ledger._await_tables()
            else:
                ledger._prepare()
        except LedgerError:
            ledger.close()
            raise
        return ledger

    def _await_tables(self) -> None:
        """Check the ledger; where it has no tables, wait a little: the program that writes it makes the file before them."""
        deadline = time.monotonic() + _TABLES_S
        while True:
            with self.explained(), self.transaction() as connection:
                version = migrations.version_of(connection, self._database.where)
                if version is not None or time.monotonic() >= deadline:
                    migrations.check(connection, self._database.where)
                    return
            time.sleep(_TABLES_S / 20)

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._database.name

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Write entries and their charges in one transaction, all or none, and return what of them is new.

        Idempotent: an entry that is in the ledger already changes nothing, and neither does a batch line that any process has
        booked before. The result keeps the order; entries are without the charges that were there already, and entries that
        bring nothing new are left out. Of each ended exchange, exactly one entry that is not Part.OPEN is ever returned. Where
        the database was moved away or deleted meanwhile, it raises once; the next call begins a new one. Raises
        EntryRefusedError where one of the entries can never be written: the others can, without it.
        """
        try:
            return self._append_storable(tuple(entries))
        except LedgerError:
            self._gone = ""  # it is reported by whoever gets this
            raise

    def _append_storable(self, entries: Sequence[Entry]) -> list[Entry]:
        self._prepare()  # the database's encoding is known after it
        codec = self._database.codec
        entries = entries if codec is None else storable(entries, codec)
        try:
            return self._append(entries)
        except EntryRefusedError:
            for codec in (UNICODE, ASCII) if len(entries) == 1 else (UNICODE,):
                escaped = storable(entries, codec)
                if escaped is not entries:
                    with suppress(EntryRefusedError):
                        return self._append(escaped)
            raise

    def _append(self, entries: Sequence[Entry]) -> list[Entry]:
        try:
            with self.transaction(writes=True) as connection:
                accepted = append.append(connection, entries)
                leases.spend(connection, accepted)
        except _DEFECTS as defect:  # of the driver, before the database sees it
            what = f"The ledger {self._database.where} does not take what was to be written: {defect!r}."
            raise EntryRefusedError(f"{what}\nPlease report this.") from None
        return accepted

    def try_out(self) -> None:
        """Raise LedgerError where not even a plain entry could be written now. Writes nothing."""
        try:
            with suppress(_Undo), self.transaction(writes=True) as connection:
                _write_trial(connection)
                raise _Undo
        except (EntryRefusedError, *_DEFECTS) as refused:
            raise LedgerError(f"The ledger {self._database.where} takes no entry at all: {refused}") from None

    def check_in_place(self) -> None:
        """Raise LedgerError, once, where the database that was in use is gone; its connections are closed then.

        SQLite begins no new file, where one was emptied, while any process has that one open.
        """
        try:
            self._check_in_place()
        finally:
            self._gone = ""

    def _check_in_place(self) -> None:
        """Raise the same as check_in_place, until that or an append has raised it: their callers report it, others may not."""
        if self._known is not None and self._known != self._database.identity():
            self._forget()
            what = f"The ledger {self._database.where} was moved or deleted while it was in use, or emptied."
            self._gone = f"{what}\nA new one is begun there."
        if self._gone:
            raise LedgerError(self._gone)

    def reconnect(self) -> None:
        """Use new connections from now on."""
        self._database.engine.dispose()

    def check_writable(self) -> None:
        """Raise LedgerError where no entry could be written now. Creates nothing, changes nothing, and does not wait long.

        A LastingLedgerError stays until a person changes something, an UnservableLedgerError until there is another database.
        """
        database = self._database
        try:
            with self.explained(), database.trial() as connection:
                if connection is None:
                    return
                version = migrations.version_of(connection, database.where)
                if version is None:
                    SCHEMA.create_all(connection)
                else:
                    migrations.check_alterable(connection, database.where, version)
                if version in (None, SCHEMA_VERSION):
                    _write_trial(connection)
        except SQLAlchemyError as error:
            raise database.translate(error) from None

    def limit_calls(self, call_s: float) -> None:
        """Bound every call by this from now on: the process is shutting down."""
        self._database.limit_calls(call_s)

    def stored(self, text: str) -> str:
        """Return a text as the ledger stores it, once it has been written to."""
        codec = self._database.codec
        return text if codec is None else storable_text(text, codec)

    def sums(
        self, *groupings: Sequence[str], since: datetime | None = None, until: datetime | None = None
    ) -> tuple[list[Sums], ...]:
        """Return the sums of all exchanges that began at or after `since` and before `until`, once for each grouping, sorted.

        A grouping is as sum_queries.grouped takes it; an empty one has one group, or none where there is no exchange. All are
        read in one snapshot. A day of which exchanges were pruned is summed whole, or not at all.
        """
        with self.explained(), self.transaction() as connection:
            period = Period(since, until, prune.pruned(connection))
            return tuple(grouped(connection, by, period) for by in groupings)

    def pruned_before(self) -> str:
        """Return the day before which only daily sums are left, empty where there is none."""
        with self.explained(), self.transaction() as connection:
            return prune.pruned(connection)

    def label_names(self) -> list[str]:
        """Return the names of all named labels, sorted."""
        with self.explained(), self.transaction() as connection:
            return queries.label_names(connection)

    def latest(self, limit: int, *, before: str | None = None, which: Selection = ALL, **values: str | None) -> list[LedgerRow]:
        """Return the latest exchanges of a selection, the newest first, each with the sum of its charges.

        `values` are further ones that they must have. `before` is the id of the last one seen: those that began before it follow.
        """
        selection = replace(which, values={**which.values, **values})
        with self.explained(), self.transaction() as connection:
            query = queries.latest_query(limit, before, self._as_stored(selection))
            return [queries.ledger_row(row) for row in connection.execute(query).mappings()]

    def latest_ends(self, limit: int, which: Selection = ALL) -> list[ExchangeEnd]:
        """Return how the latest exchanges of a selection ended, the newest first; those that go on are left out."""
        with self.explained(), self.transaction() as connection:
            query = queries.ends_query(limit, self._as_stored(which))
            return list(map(ExchangeEnd._make, connection.execute(query)))

    def _as_stored(self, which: Selection) -> Selection:
        codec = self._database.codec or UNICODE  # known once there is a connection
        return which.mapped(lambda text: storable_text(text, codec))

    def exported(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[LedgerRow]:
        """Yield each charge of a period with its exchange, the oldest first; an exchange without a charge once.

        Streams: memory does not grow with the ledger. All rows are of one snapshot, taken at the first. Close the iterator when
        stopping early: it keeps a connection until then.
        """
        with self.explained(), self.transaction() as connection:
            streaming = connection.execution_options(yield_per=1000)
            with streaming.execute(queries.exported_query(since, until)) as found:
                for row in found.mappings():
                    yield queries.ledger_row(row)

    def prune(self, before: date, max_rows: int = 1000) -> int:
        """Delete at most `max_rows` of the oldest exchanges that began before a day (UTC), and return how many were deleted.

        0: none is left. Daily sums and known batch lines stay. Steps are short, so that appends do not wait long.
        """
        with self.explained(), self.transaction(writes=True) as connection:
            return prune.prune(connection, before, max_rows)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise LedgerError for values that a driver cannot convert: a damaged ledger may hold any. Goes around a transaction.

        A defect of this program looks the same from here, so the message does not advise to give the ledger up.
        """
        try:
            yield
        except MemoryError:
            raise LedgerError(f"The ledger {self._database.where} was not read: memory ran out.\nGive it more.") from None
        except _DEFECTS as defect:
            what = f"The ledger {self._database.where} holds what no ledger holds, or this program has a defect: {defect!r}."
            raise LedgerError(f"{what}\nTry it on a sound copy. Where that fails too, please report this.") from None

    def has_before(self, day: date) -> bool:
        """Tell whether there are exchanges that began before a day (UTC)."""
        with self.transaction() as connection:
            return prune.has_before(connection, day)

    def look_at_clock(self, now_ms: int, ran_ms: int) -> clock.Known:
        """Return what the ledger knows of the time: see clock.look."""
        with self.transaction(writes=True) as connection:
            return clock.look(connection, now_ms, ran_ms)

    @contextmanager
    def transaction(self, *, writes: bool = False, alone: bool = False) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, which is committed at the end, or rolled back when an exception leaves it.

        Without `writes` it reads one snapshot, and changes nothing. With `writes` the tables are sure to exist; on PostgreSQL
        other writers work at the same time, unless it is to be `alone`: then no append runs in any process meanwhile. Raises
        LedgerError for what the database refuses.
        """
        if writes or alone:
            self._prepare()
        with self._transaction(writes=writes or alone, alone=alone) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections; the last one to close moves SQLite's write-ahead log into the database.

        A connection that another thread uses meanwhile is closed when that is done.
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
            if writes:
                self._raise_if_gone()
            raise self._database.translate(error) from None  # what the driver said may hold a password
        finally:
            # SQLAlchemy 2.1: a pool's dispose closes what is idle in it. A connection that is in use then goes back into that
            # pool, although it is never used from there, and is closed by the garbage collector or never.
            if self._closed or pool is not engine.pool:
                pool.dispose()

    def _raise_if_gone(self) -> None:
        """Raise LedgerError where a call failed because the database was taken away after it was checked."""
        try:
            self._check_in_place()
        except LedgerError as gone:
            raise gone from None

    def _prepare(self) -> None:
        """Check that the database is a ledger, and still the same one, before it is written."""
        database = self._database
        if self._read_only:
            raise LedgerError(f"The ledger {database.where} may not be written: it was opened to be read.\nOpen it for writing.")
        self._check_in_place()
        if self._known is None:
            database.make()
            with self._checked():
                self._migrate()
            self._known = database.identity()
        elif time.monotonic() >= self._check_at:
            with self._checked(), self._transaction(writes=False) as connection:
                migrations.check(connection, database.where)

    def _migrate(self) -> None:
        """Create the tables, or migrate them; where the database is a file, a copy of an older one is made first."""
        database, copies = self._database, list[Path]()

        def back_up(version: int) -> None:
            copies.extend(filter(None, [database.back_up(version)]))

        try:
            with self._transaction(writes=True, alone=True) as connection:
                before = migrations.bring_up(connection, database.where, back_up)
        except BaseException:
            for copy in copies:  # the ledger itself is unchanged
                copy.unlink(missing_ok=True)
            raise
        if before is not None:
            kept = f"As it was before, it is kept in {copies[0]}." if copies else "The way back are your own backups of it."
            self._warn(f"The ledger {database.where} was brought up from schema {before} to {SCHEMA_VERSION}.\n{kept}")

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Check the database in the block; where it is no ledger, close the connections: another may take its place."""
        try:
            with self.explained():
                yield
        except LedgerError:
            self._forget()
            raise
        self._check_at = time.monotonic() + CHECK_S

    def _forget(self) -> None:
        self._known = None
        self._database.engine.dispose()


def _write_trial(connection: sa.Connection) -> None:
    """Write a plain entry, in a transaction that is rolled back."""
    trial = Entry("trial", 0.0, None, None, None, None, False, "", "", None, "", None, 0, None, 0, 0, None, 0.0, None, Usage())
    leases.spend(connection, append.append(connection, [trial]))
