"""Many rows, written with one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT into a table that can say what is done about rows that are there already."""
    return _INSERTS[connection.dialect.name](table)


def write(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, adding: Sequence[str] = ()
) -> list[tuple[Any, ...]]:
    """Insert rows, all with the same columns, and return the keys of those that were inserted.

    A row that is there already stays as it is; or, with `adding`, those columns are added to it, and its key is returned too.
    They are written in the order of their keys: two transactions that write the same rows do not wait for each other.
    """
    key = list(table.primary_key)
    ordered = sorted(rows, key=lambda row: tuple(row[column.name] for column in key))
    if not ordered:
        return []
    insert = upsert(connection, table)
    values: Any = ordered
    if connection.dialect.name == "postgresql":
        # One array for each column: psycopg takes the time of ten inserts to find a thousand rows' parameters in a text.
        arrays = [sa.func.unnest(sa.bindparam(name, type_=_array(table.c[name]))) for name in ordered[0]]
        insert = insert.from_select(list(ordered[0]), sa.select(*arrays))
        values = {name: [row[name] for row in ordered] for name in ordered[0]}
    if adding:
        sums = {name: table.c[name] + insert.excluded[name] for name in adding}
        insert = insert.on_conflict_do_update(index_elements=key, set_=sums)
    else:
        insert = insert.on_conflict_do_nothing()
    # On SQLite it is for RETURNING that SQLAlchemy writes many rows with one statement.
    return [tuple(row) for row in connection.execute(insert.returning(*key), values)]


def _array(column: sa.Column[Any]) -> Any:
    # Not the column's own kind of text: an array has no collation.
    return postgresql.ARRAY(sa.Text() if isinstance(column.type, sa.Text) else column.type)
