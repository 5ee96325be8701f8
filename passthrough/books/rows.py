"""Many rows, written with one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

_PARAMETERS: Final = 999
"""How many parameters one statement has at most: more an old SQLite does not take."""


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT into a table that can say what is done about rows that are there already."""
    return (_postgresql() if connection.dialect.name == "postgresql" else sqlite).insert(table)


class Into:
    """Writes rows into one table, each with all its columns, with statements that are built once: that takes a millisecond.

    A row that is there already stays as it is; or, with `adding`, those columns are added to it. Rows are written in the order of
    their keys: two transactions that write the same rows do not wait for each other.
    """

    def __init__(self, table: sa.Table, *, adding: Sequence[str] = ()) -> None:
        self._table = table
        self._adding = adding
        self._names = [column.name for column in table.columns]
        self._key = [column.name for column in table.primary_key]
        self._values = itemgetter(*self._names)
        self._many = _PARAMETERS // len(self._names)

    @cached_property
    def _postgres(self) -> Any:
        """The statement of PostgreSQL, for any number of rows."""
        postgresql = _postgresql()
        # One array for each column: psycopg takes the time of ten inserts to find a thousand rows' parameters in a text.
        arrays = [sa.func.unnest(sa.bindparam(column.name, type_=_array(column))) for column in self._table.columns]
        unnested = postgresql.insert(self._table).from_select(self._names, sa.select(*arrays))
        return _settled(unnested, self._table, self._adding).returning(*self._table.primary_key)

    @cached_property
    def _sqlite(self) -> tuple[str, str]:
        """The statements of SQLite: for `_many` rows, and for one."""
        plain = sqlite.insert(self._table).values({name: sa.bindparam(name) for name in self._names})
        compiled = _settled(plain, self._table, self._adding).compile(dialect=sqlite.dialect())
        assert compiled.positiontup == self._names  # SQLite takes parameters by their places
        one = f"({', '.join('?' * len(self._names))})"
        return str(compiled).replace(one, ", ".join([one] * self._many), 1), str(compiled)

    def write(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Write rows, none twice, in a transaction that writes; return the keys of those that are new, or were added to."""
        if not rows:
            return []
        ordered = sorted(rows, key=itemgetter(*self._key))
        if connection.dialect.name == "postgresql":
            columns = {name: [row[name] for row in ordered] for name in self._names}
            return [tuple(row) for row in connection.execute(self._postgres, columns)]
        keys = [tuple(row[name] for name in self._key) for row in ordered]
        # Nobody else writes meanwhile (BEGIN IMMEDIATE): what is not there now, will be new.
        there = set() if self._adding else self._there(connection, keys)
        many, rest = self._sqlite
        # The driver hands the interpreter over at each statement, and waits to get it back: so not one for each row.
        whole = len(ordered) - len(ordered) % self._many
        for at in range(0, whole, self._many):
            values = chain.from_iterable(map(self._values, ordered[at : at + self._many]))
            connection.exec_driver_sql(many, tuple(values))
        if whole < len(ordered):
            connection.exec_driver_sql(rest, [self._values(row) for row in ordered[whole:]])
        return [found for found in keys if found not in there]

    def _there(self, connection: sa.Connection, keys: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
        """Return those keys of which there are rows, in SQLite."""
        found: set[tuple[Any, ...]] = set()
        names = ", ".join(f"asked_{name}" for name in self._key)
        most = _PARAMETERS // len(self._key)
        alike = " AND ".join(f"{name} = asked_{name}" for name in self._key)
        for at in range(0, len(keys), most):
            asked = keys[at : at + most]
            places = ", ".join([f"({', '.join('?' * len(self._key))})"] * len(asked))
            # Joined, for SQLite looks through the whole table for (…, …) IN (VALUES …).
            text = f"WITH asked({names}) AS (VALUES {places}) SELECT {names} FROM asked CROSS JOIN {self._table.name} ON {alike}"  # noqa: S608 - names of ours
            found.update(tuple(row) for row in connection.exec_driver_sql(text, tuple(value for one in asked for value in one)))
        return found


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
