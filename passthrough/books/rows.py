"""Many rows, written with one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_PARAMETERS: Final = 999
"""How many parameters one statement has at most: more an old SQLite does not take."""


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT into a table that can say what is done about rows that are there already."""
    return _INSERTS[connection.dialect.name](table)


class Into:
    """Writes rows into one table, each with all its columns, with statements that are built once: that takes a millisecond.

    A row that is there already stays as it is; or, with `adding`, those columns are added to it. Rows are written in the order of
    their keys: two transactions that write the same rows do not wait for each other.
    """

    def __init__(self, table: sa.Table, *, adding: Sequence[str] = ()) -> None:
        self._names = [column.name for column in table.columns]
        self._key = [column.name for column in table.primary_key]
        self._values = itemgetter(*self._names)
        self._adding = bool(adding)
        self._table = table.name
        # One array for each column: psycopg takes the time of ten inserts to find a thousand rows' parameters in a text.
        arrays = [sa.func.unnest(sa.bindparam(column.name, type_=_array(column))) for column in table.columns]
        unnested = postgresql.insert(table).from_select(self._names, sa.select(*arrays))
        self._postgres = _settled(unnested, table, adding).returning(*table.primary_key)
        plain = sqlite.insert(table).values({name: sa.bindparam(name) for name in self._names})
        compiled = _settled(plain, table, adding).compile(dialect=sqlite.dialect())
        assert compiled.positiontup == self._names  # SQLite takes parameters by their places
        one = f"({', '.join('?' * len(self._names))})"
        self._many = _PARAMETERS // len(self._names)
        self._rest = str(compiled)
        self._sqlite = self._rest.replace(one, ", ".join([one] * self._many), 1)

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
        # The driver hands the interpreter over at each statement, and waits to get it back: so not one for each row.
        whole = len(ordered) - len(ordered) % self._many
        for at in range(0, whole, self._many):
            values = chain.from_iterable(map(self._values, ordered[at : at + self._many]))
            connection.exec_driver_sql(self._sqlite, tuple(values))
        if whole < len(ordered):
            connection.exec_driver_sql(self._rest, [self._values(row) for row in ordered[whole:]])
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
            text = f"WITH asked({names}) AS (VALUES {places}) SELECT {names} FROM asked CROSS JOIN {self._table} ON {alike}"  # noqa: S608 - names of ours
            found.update(tuple(row) for row in connection.exec_driver_sql(text, tuple(value for one in asked for value in one)))
        return found


def _settled(insert: Any, table: sa.Table, adding: Sequence[str]) -> Any:
    if not adding:
        return insert.on_conflict_do_nothing()
    sums = {name: table.c[name] + insert.excluded[name] for name in adding}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)


def _array(column: sa.Column[Any]) -> Any:
    # Not the column's own kind of text: an array has no collation.
    return postgresql.ARRAY(sa.Text() if isinstance(column.type, sa.Text) else column.type)
