"""Exchanges and their charges, written once and summed later, in a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ...errors import EntryRefusedError, LedgerError
from ...meter.usage import Usage
from ..entry import Entry
from . import append, clock, leases, migrations, prune, queries
from .daily_sums import Period, Sums, sums, sums_query
from .database import Database, database
from .queries import LedgerRow
from .schema import SCHEMA_VERSION
from .storable_text import ASCII, UNICODE, storable, storable_text

LOOK_S: Final = 10.0
"""How often it is looked at again whether the tables are a ledger's, and of this version."""

_DEFECTS: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What drivers, and SQLAlchemy, raise beside their own errors: for what they cannot convert, or did not expect."""


class _Undo(Exception):
    """Leaves a transaction that is not to last."""


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
        self._look_at = 0.0
        self._closed = False

    @classmethod
    def at(cls, url: str, say: Callable[[str], None] = lambda _: None) -> Ledger:
        """Return the ledger at `url` as `open` does, but look at it only when it is written: the road need not wait for it.

        Raises LedgerError for a URL that can never be one, or whose driver is not installed.
        """
        return cls(database(url, read_only=False), say=say)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Ledger:
        """Return the ledger at `url`, with its tables made or brought up to date.

        sqlite:///relative.db begins at the working directory, sqlite:////absolute.db at the root; postgresql://user@host/name
        is a database that is there. With `read_only` nothing is made or changed. Raises LedgerError for what cannot be a ledger
        here: no such folder, file or server, no permission, another program's tables, a newer schema.
        """
        ledger = cls(database(url, read_only=read_only), read_only=read_only)
        try:
            if read_only:
                ledger._database.find()
                with ledger.explained(), ledger.transaction() as connection:
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
        self._prepare()  # the encoding is known then
        codec = self._database.codec
        entries = entries if codec is None else storable(entries, codec)
        try:
            return self._appended(entries)
        except EntryRefusedError:
            for codec in (UNICODE, ASCII) if len(entries) == 1 else (UNICODE,):
                escaped = storable(entries, codec)
                if escaped is not entries:
                    with suppress(EntryRefusedError):
                        return self._appended(escaped)
            raise

    def _appended(self, entries: Sequence[Entry]) -> list[Entry]:
        try:
            with self.transaction(writes=True) as connection:
                accepted = append.append(connection, entries)
                leases.spend(connection, accepted)
        except _DEFECTS as defect:  # of the driver, before the database sees it
            what = f"The ledger {self._database.where} does not take what was to be written: {defect!r}."
            raise EntryRefusedError(f"{what}\nPlease report this.") from None
        return accepted

    def try_out(self) -> None:
        """Raise LedgerError where not even an entry without anything odd could be written now. Nothing is."""
        trial = Entry(
            "trial", 0.0, None, None, None, None, False, "", "", None, "", None, 0, None, 0, 0, None, 0.0, None, Usage()
        )
        try:
            with suppress(_Undo), self.transaction(writes=True) as connection:
                leases.spend(connection, append.append(connection, [trial]))
                raise _Undo
        except (EntryRefusedError, *_DEFECTS) as refused:
            raise LedgerError(f"The ledger {self._database.where} takes no entry at all: {refused}") from None

    def look(self) -> None:
        """Raise LedgerError, once, where what was in use is not there any more; nothing holds it, or asks for anything then.

        SQLite begins no new file, where one was emptied, while any process has that one open.
        """
        if self._known is not None and self._known != self._database.identity():
            self._forget()
            what = f"The ledger {self._database.where} was moved or deleted while it was in use, or emptied."
            raise LedgerError(f"{what}\nA new one is begun there.")

    def reconnect(self) -> None:
        """Have whatever is asked next asked on a new connection."""
        self._database.engine.dispose()

    def greet(self) -> None:
        """Raise UnservableLedgerError where the database is there, and can never be a ledger's; it is not waited for long."""
        self._database.greet()

    def hurry(self, call_s: float) -> None:
        """Let no call take longer than this from now on: the process ends."""
        self._database.hurry(call_s)

    def stored(self, text: str) -> str:
        """Return a text as it stands in the ledger, once that was written to."""
        codec = self._database.codec
        return text if codec is None else storable_text(text, codec)

    def sums(
        self, *groupings: Sequence[str], since: datetime | None = None, until: datetime | None = None
    ) -> tuple[list[Sums], ...]:
        """Return the sums of all exchanges that began from `since` on and before `until`, once for each grouping, sorted.

        A grouping names some of sums.KEYS and `sandbox`; an empty one has one group, or none where there is no exchange. All
        are of the same moment. A day of which exchanges were pruned is summed whole, or not at all.
        """
        with self.explained(), self.transaction() as connection:
            period = Period(since, until, prune.pruned(connection))
            found = [connection.execute(sums_query(by, period)).all() for by in groupings]
            return tuple([sums(row, len(by)) for row in rows] for by, rows in zip(groupings, found, strict=True))

    def latest(self, limit: int, *, before: str | None = None, **only: str | None) -> list[LedgerRow]:
        """Return the latest exchanges, the youngest first, each with the sum of its charges.

        `only` restricts them to those with a client, route, label, target or model (the exchange's own); None: those that have
        none. `before` is the id of the last one seen: those that began before it follow.
        """
        with self.explained(), self.transaction() as connection:
            stored = {
                name: value if value is None else storable_text(value, self._database.codec or UNICODE)
                for name, value in only.items()
            }
            query = queries.latest_query(limit, before, stored)
            return [queries.booked(row) for row in connection.execute(query).mappings()]

    def exported(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[LedgerRow]:
        """Yield each charge of a period with its exchange, the oldest first; an exchange without a charge once.

        A stream: what is held in memory does not grow with the ledger. All is of the moment of the first one. Close the iterator
        where it is given up early: a connection is its own until then.
        """
        with self.explained(), self.transaction() as connection:
            streaming = connection.execution_options(yield_per=1000)
            with streaming.execute(queries.exported_query(since, until)) as found:
                for row in found.mappings():
                    yield queries.booked(row)

    def prune(self, before: date, most: int = 1000) -> int:
        """Delete at most so many of the oldest exchanges that began before a day (UTC), and return how many it were.

        0: none is left. Daily sums stay, and the lines that are known. Short steps, so that appends need not wait for long.
        """
        with self.explained(), self.transaction(writes=True) as connection:
            return prune.prune(connection, before, most)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise LedgerError for what a driver cannot convert: a damaged ledger holds anything. Around a transaction.

        A defect of this program looks the same from here, so nobody is told to give up a ledger for it.
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
        """Return what is known of the time: see clock.look."""
        with self.transaction(writes=True) as connection:
            return clock.look(connection, now_ms, ran_ms)

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
            if writes:
                self._look_again()
            raise self._database.ours(error) from None  # what the driver said may hold a password
        finally:
            # SQLAlchemy 2.1: a pool's dispose closes what is idle in it. A connection that is out then goes back into that pool,
            # although nobody takes it from there, and is closed by the garbage collector or never.
            if self._closed or pool is not engine.pool:
                pool.dispose()

    def _look_again(self) -> None:
        """Raise LedgerError where what failed was taken away after it was looked at: that is what is wrong."""
        try:
            self.look()
        except LedgerError as gone:
            raise gone from None

    def _prepare(self) -> None:
        """See that what is to be written is a ledger, and still the same one."""
        database = self._database
        if self._read_only:
            raise LedgerError(f"The ledger {database.where} may not be written: it was opened to be read.\nOpen it for writing.")
        self.look()
        if self._known is None:
            database.make()
            with self._looked_at():
                self._bring_up()
            self._known = database.identity()
        elif time.monotonic() >= self._look_at:
            with self._looked_at(), self._transaction(writes=False) as connection:
                migrations.check(connection, database.where)

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

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Look at what is there, and forget it where it is no ledger: what stands in its place later is opened anew."""
        try:
            with self.explained():
                yield
        except LedgerError:
            self._forget()
            raise
        self._look_at = time.monotonic() + LOOK_S

    def _forget(self) -> None:
        self._known = None
        self._database.engine.dispose()
