"""Many rows, written with one statement."""

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

_VALUES: Final = 6144
"""How many values one statement takes at most: SQLite keeps each that it has prepared, and that takes memory for each value."""
_FEWEST: Final = 8
_KINDS: Final = (1, 16)
"""How many kinds of rows a statement has room for."""
_PLACES: Final = "(:places)"

Row = tuple[Any, ...]


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT into a table that can say what is done about rows that are there already."""
    return (_postgresql() if connection.dialect.name == "postgresql" else sqlite).insert(table)


class BulkInsert:
    """Writes rows into one table, with statements that are built once: that takes a millisecond.

    A row is the values of all columns, in their order, the key's first. One that is there already stays as it is; or, with
    `adding`, those columns are added to it. Rows are written in the order of their keys: two transactions that write the same
    rows do not wait for each other.

    `alike` are columns that have few kinds of values among many rows, all together: SQLite is told each kind once. It takes more
    time to hand a value over than to write it.
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
        """The statement of PostgreSQL, for any number of rows."""
        postgresql = _postgresql()
        # One array for each column: psycopg takes the time of ten inserts to find a thousand rows' parameters in a text.
        arrays = [sa.func.unnest(sa.bindparam(column.name, type_=_array(column))) for column in self._table.columns]
        unnested = postgresql.insert(self._table).from_select(self._names, sa.select(*arrays))
        return _settled(unnested, self._table, self._adding).returning(*self._table.primary_key)

    @cached_property
    def _sqlite(self) -> str:
        """The statement of SQLite, with a place for its rows."""
        plain = sqlite.insert(self._table).values({name: sa.bindparam(name) for name in self._names})
        compiled = _settled(plain, self._table, self._adding).compile(dialect=sqlite.dialect())
        assert compiled.positiontup == self._names  # SQLite takes parameters by their places
        return str(compiled).replace(_row_of(len(self._names)), _PLACES, 1)

    @cached_property
    def _told_apart(self) -> str:
        """The statement of SQLite for rows of few kinds: places for what is each row's own, and for the kinds, both numbered."""
        names, own, shared_columns = (", ".join(found) for found in (self._names, self._own, self._shared_columns))
        # The rows come first: they are gone through once, in their order, and each looks for its kind among the few.
        return (
            f"INSERT INTO {self._table.name} ({names}) WITH own(kind, {own}) AS (VALUES {_PLACES}), "  # noqa: S608 - names of ours
            f"alike(number, {shared_columns}) AS (VALUES {_PLACES}) "
            f"SELECT {names} FROM own CROSS JOIN alike ON kind = number WHERE true ON CONFLICT DO NOTHING"
        )

    def write(self, connection: sa.Connection, rows: Iterable[Row]) -> list[Row]:
        """Write rows, none twice, in a transaction that writes; return the keys of those that are new, or were added to."""
        ordered = sorted(rows)  # no key is there twice: what is behind it is never compared
        if not ordered:
            return []
        if connection.dialect.name == "postgresql":
            columns = dict(zip(self._names, map(list, zip(*ordered, strict=True)), strict=True))
            return [tuple(row) for row in connection.execute(self._postgres, columns)]
        keys = list(map(itemgetter(slice(len(self._key))), ordered))
        # Nobody else writes meanwhile (BEGIN IMMEDIATE): what is not there now, will be new.
        there = set() if self._adding else self._there(connection, keys)
        most = _many(connection, len(self._own) + 1, len(self._shared_columns) + 1)
        for at in range(0, len(ordered), most):
            some = ordered[at : at + most]
            if not (self._shared_columns and self._wrote_shared(connection, some)):
                self._write_each(connection, some)
        return [found for found in keys if found not in there] if there else keys

    def _write_each(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        # The driver hands the interpreter over at each statement, and waits to get it back: so as few of them as can be.
        at, most = 0, _many(connection, len(self._names))
        while at < len(rows):
            many = min(most, 1 << (len(rows) - at).bit_length() - 1)
            text = _statement(self._sqlite, (len(self._names), many))
            connection.exec_driver_sql(text, tuple(chain.from_iterable(rows[at : at + many])))
            at += many

    def _wrote_shared(self, connection: sa.Connection, rows: Sequence[Row]) -> bool:
        """Write rows of few kinds with one statement, and return True; False where they are of too many kinds."""
        numbers: dict[Row, int] = {}
        values: list[Any] = []
        for kind, some in groupby(rows, self._kind_of):
            numbered = (numbers.setdefault(kind, len(numbers)),)
            values.extend(chain.from_iterable(map(numbered.__add__, map(self._own_of, some))))
            if len(numbers) > _KINDS[-1]:
                return False
        # Filled up with rows of no kind, and kinds of no row: so there are few statements, which SQLite has prepared already.
        many = max(_FEWEST, 1 << (len(rows) - 1).bit_length())
        values += [-1] * ((many - len(rows)) * (len(self._own) + 1))
        for kind, number in numbers.items():
            values.append(number)
            values += kind
        kinds = next(room for room in _KINDS if room >= len(numbers))
        values += [-2] * ((kinds - len(numbers)) * (len(self._shared_columns) + 1))
        text = _statement(self._told_apart, (len(self._own) + 1, many), (len(self._shared_columns) + 1, kinds))
        connection.exec_driver_sql(text, tuple(values))
        return True

    def _there(self, connection: sa.Connection, keys: Sequence[Row]) -> set[Row]:
        """Return those keys, of some in their order, of which there are rows, in SQLite."""
        found: set[Row] = set()
        # Ids sort by time: hardly any key is not behind the last one that is there.
        last = connection.exec_driver_sql(f"SELECT max({self._key[0]}) FROM {self._table.name}").scalar()  # noqa: S608 - names of ours
        keys = [] if last is None else keys[: bisect_right(keys, last, key=itemgetter(0))]
        names = ", ".join(f"asked_{name}" for name in self._key)
        same_key = " AND ".join(f"{name} = asked_{name}" for name in self._key)
        # Joined, for SQLite looks through the whole table for (…, …) IN (VALUES …).
        asking = (
            f"WITH asked({names}) AS (VALUES {_PLACES}) SELECT {names} FROM asked CROSS JOIN {self._table.name} ON {same_key}"  # noqa: S608 - names of ours
        )
        most = _many(connection, len(self._key))
        for at in range(0, len(keys), most):
            asked = keys[at : at + most]
            many = min(most, 1 << (len(asked) - 1).bit_length())
            # Filled up with one of them, see `_wrote_alike`.
            values = chain(chain.from_iterable(asked), asked[-1] * (many - len(asked)))
            text = _statement(asking, (len(self._key), many))
            found.update(tuple(row) for row in connection.exec_driver_sql(text, tuple(values)))
        return found


def _many(connection: sa.Connection, columns: int, of_kinds: int = 0) -> int:
    """Return how many rows one statement has at most, a power of two: an old SQLite takes no more than 999 parameters."""
    driver: Any = connection.connection.driver_connection
    taken = min(_VALUES, driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)) - of_kinds * _KINDS[-1]
    return int(1 << (taken // columns).bit_length() - 1)


def _row_of(columns: int) -> str:
    return f"({', '.join('?' * columns)})"


@lru_cache(128)
def _statement(text: str, *places: tuple[int, int]) -> str:
    """Return a statement with places for values, each time for so many columns of so many rows."""
    for columns, rows in places:
        text = text.replace(_PLACES, ", ".join([_row_of(columns)] * rows), 1)
    return text


def _settled(insert: Any, table: sa.Table, adding: Sequence[str]) -> Any:
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
