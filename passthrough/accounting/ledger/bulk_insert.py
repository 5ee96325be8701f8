"""Inserts many rows with one statement, on SQLite and on PostgreSQL, and returns the keys of the new ones."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

_MAX_VALUES: Final = 6144
"""How many values one statement takes at most: SQLite keeps prepared statements, which take memory for each value."""
_MIN_ROWS: Final = 8
_KINDS: Final = (1, 16)
"""For how many kinds of rows a statement has places."""
_PLACES: Final = "(:places)"

Row = tuple[Any, ...]


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT into a table, in the dialect that has ON CONFLICT."""
    return (_postgresql() if connection.dialect.name == "postgresql" else sqlite).insert(table)


class BulkInsert:
    """Writes rows into one table, with statements that are built once: that takes a millisecond.

    A row is the values of all columns, in their order, the primary key first. A row that exists already stays as it is; with
    `adding`, those columns are added to it. Rows are written in the order of their keys: two transactions that write the same
    rows do not deadlock.

    `shared_columns` have few distinct combinations of values (kinds) among many rows: each kind is passed to SQLite once. Passing
    a value takes more time than writing it.
    """

    def __init__(self, table: sa.Table, *, adding: Sequence[str] = (), shared_columns: Sequence[str] = ()) -> None:
        self._names = [column.name for column in table.columns]
        self._key = [column.name for column in table.primary_key]
        assert self._names[: len(self._key)] == self._key
        self._adding = adding
        self._table = table
        self._shared_columns = shared_columns
        self._own = [name for name in self._names if name not in shared_columns]
        self._kind_of = itemgetter(*map(self._names.index, shared_columns)) if shared_columns else None
        self._own_of = itemgetter(*map(self._names.index, self._own))

    @cached_property
    def _postgres(self) -> Any:
        """PostgreSQL's statement, for any number of rows."""
        postgresql = _postgresql()
        # One array for each column: psycopg takes the time of ten inserts to find a thousand rows' parameters in a statement.
        arrays = [sa.func.unnest(sa.bindparam(column.name, type_=_array(column))) for column in self._table.columns]
        unnested = postgresql.insert(self._table).from_select(self._names, sa.select(*arrays))
        return _on_conflict(unnested, self._table, self._adding).returning(*self._table.primary_key)

    @cached_property
    def _sqlite(self) -> str:
        """SQLite's statement, with a place for its rows."""
        plain = sqlite.insert(self._table).values({name: sa.bindparam(name) for name in self._names})
        compiled = _on_conflict(plain, self._table, self._adding).compile(dialect=sqlite.dialect())
        assert compiled.positiontup == self._names  # SQLite takes parameters by position
        return str(compiled).replace(_row_of(len(self._names)), _PLACES, 1)

    @cached_property
    def _sqlite_shared(self) -> str:
        """SQLite's statement for rows of few kinds: places for each row's own values, and for the kinds, joined by a number."""
        names, own, shared_columns = (", ".join(found) for found in (self._names, self._own, self._shared_columns))
        # The rows come first: SQLite scans them once, in their order, and finds the kind of each among the few.
        return (
            f"INSERT INTO {self._table.name} ({names}) WITH own(kind, {own}) AS (VALUES {_PLACES}), "  # noqa: S608 - names of ours
            f"alike(number, {shared_columns}) AS (VALUES {_PLACES}) "
            f"SELECT {names} FROM own CROSS JOIN alike ON kind = number WHERE true ON CONFLICT DO NOTHING"
        )

    def write(self, connection: sa.Connection, rows: Iterable[Row]) -> list[Row]:
        """Write rows with distinct keys, in a transaction that writes; return the keys of the new or changed ones."""
        ordered = sorted(rows)  # keys are distinct: what comes after them is never compared
        if not ordered:
            return []
        if connection.dialect.name == "postgresql":
            columns = dict(zip(self._names, map(list, zip(*ordered, strict=True)), strict=True))
            return [tuple(row) for row in connection.execute(self._postgres, columns)]
        keys = list(map(itemgetter(slice(len(self._key))), ordered))
        # No other process writes meanwhile (BEGIN IMMEDIATE): a key that does not exist now will be new.
        existing = set() if self._adding else self._existing(connection, keys)
        max_rows = _max_rows(connection, len(self._own) + 1, len(self._shared_columns) + 1)
        for at in range(0, len(ordered), max_rows):
            batch = ordered[at : at + max_rows]
            if not (self._shared_columns and self._write_shared(connection, batch)):
                self._write_each(connection, batch)
        return [found for found in keys if found not in existing] if existing else keys

    def _write_each(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        # The driver releases the GIL at each statement, and waits to get it back: so there are as few statements as possible.
        at, max_rows = 0, _max_rows(connection, len(self._names))
        while at < len(rows):
            count = min(max_rows, 1 << (len(rows) - at).bit_length() - 1)
            text = _statement(self._sqlite, (len(self._names), count))
            connection.exec_driver_sql(text, tuple(chain.from_iterable(rows[at : at + count])))
            at += count

    def _write_shared(self, connection: sa.Connection, rows: Sequence[Row]) -> bool:
        """Write rows of few kinds with one statement, and return True; False where there are too many kinds."""
        numbers: dict[Row, int] = {}
        values: list[Any] = []
        for kind, group in groupby(rows, self._kind_of):
            numbered = (numbers.setdefault(kind, len(numbers)),)
            values.extend(chain.from_iterable(map(numbered.__add__, map(self._own_of, group))))
            if len(numbers) > _KINDS[-1]:
                return False
        # Padded with rows of no kind, and kinds of no row: so there are few distinct statements, which SQLite keeps prepared.
        count = max(_MIN_ROWS, 1 << (len(rows) - 1).bit_length())
        values += [-1] * ((count - len(rows)) * (len(self._own) + 1))
        for kind, number in numbers.items():
            values.append(number)
            values += kind
        kinds = next(capacity for capacity in _KINDS if capacity >= len(numbers))
        values += [-2] * ((kinds - len(numbers)) * (len(self._shared_columns) + 1))
        text = _statement(self._sqlite_shared, (len(self._own) + 1, count), (len(self._shared_columns) + 1, kinds))
        connection.exec_driver_sql(text, tuple(values))
        return True

    def _existing(self, connection: sa.Connection, keys: Sequence[Row]) -> set[Row]:
        """Return which of some sorted keys have rows in SQLite."""
        found: set[Row] = set()
        # Ids sort by time: nearly every key comes after the last existing one.
        last = connection.exec_driver_sql(f"SELECT max({self._key[0]}) FROM {self._table.name}").scalar()  # noqa: S608 - names of ours
        keys = [] if last is None else keys[: bisect_right(keys, last, key=itemgetter(0))]
        names = ", ".join(f"asked_{name}" for name in self._key)
        same_key = " AND ".join(f"{name} = asked_{name}" for name in self._key)
        # A join, for SQLite scans the whole table for (…, …) IN (VALUES …).
        asking = (
            f"WITH asked({names}) AS (VALUES {_PLACES}) SELECT {names} FROM asked CROSS JOIN {self._table.name} ON {same_key}"  # noqa: S608 - names of ours
        )
        max_rows = _max_rows(connection, len(self._key))
        for at in range(0, len(keys), max_rows):
            wanted = keys[at : at + max_rows]
            count = min(max_rows, 1 << (len(wanted) - 1).bit_length())
            # Padded with the last one, see `_write_shared`.
            values = chain(chain.from_iterable(wanted), wanted[-1] * (count - len(wanted)))
            text = _statement(asking, (len(self._key), count))
            found.update(tuple(row) for row in connection.exec_driver_sql(text, tuple(values)))
        return found


def _max_rows(connection: sa.Connection, columns: int, of_kinds: int = 0) -> int:
    """Return the largest number of rows for one statement, a power of two: an old SQLite takes no more than 999 parameters."""
    driver: Any = connection.connection.driver_connection
    taken = min(_MAX_VALUES, driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)) - of_kinds * _KINDS[-1]
    return int(1 << (taken // columns).bit_length() - 1)


def _row_of(columns: int) -> str:
    return f"({', '.join('?' * columns)})"


@lru_cache(128)
def _statement(text: str, *places: tuple[int, int]) -> str:
    """Return a statement with its places filled in, one after another; each of `places` is a number of columns and of rows."""
    for columns, rows in places:
        text = text.replace(_PLACES, ", ".join([_row_of(columns)] * rows), 1)
    return text


def _on_conflict(insert: Any, table: sa.Table, adding: Sequence[str]) -> Any:
    if not adding:
        return insert.on_conflict_do_nothing()
    sums = {name: table.c[name] + insert.excluded[name] for name in adding}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)


def _array(column: sa.Column[Any]) -> Any:
    # Not the column's own kind of text: an array has no collation.
    return _postgresql().ARRAY(sa.Text() if isinstance(column.type, sa.Text) else column.type)


def _postgresql() -> Any:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 25 ms and 2 MB, of which a ledger in SQLite needs nothing

    return postgresql
