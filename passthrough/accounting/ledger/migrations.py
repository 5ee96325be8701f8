"""Migrates the ledger's tables: creates missing ones, brings older ones up to date, refuses those of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from ...errors import LastingLedgerError, LedgerError
from . import leases
from .bulk_insert import upsert
from .daily_sums import add
from .schema import ADDED_KEYS, CHARGES, EXCHANGES, FIGURES, LINES, META, SCHEMA, SCHEMA_VERSION, SUM_KEYS
from .sum_queries import figure_queries

_TABLES: Final = frozenset({"meta", "exchanges", "charges"})
"""The tables that every version has."""
_MAY_ALTER: Final = sa.text(
    "SELECT bool_and(pg_has_role(relowner, 'USAGE')) AND has_schema_privilege(current_schema(), 'CREATE')"
    " FROM pg_class WHERE relname = ANY(:names) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)
"""Whether the user owns all tables, itself or by a role, and may make more."""
_PARTITION: Final = 1000
_NAMES_UNPRICED: Final = 4
"""The version that names what had no price in the periods of budgets."""


def check(connection: sa.Connection, where: str) -> None:
    """Raise LedgerError where the tables are not a ledger's of this version. Changes nothing."""
    version = version_of(connection, where)
    if version is None:
        raise LastingLedgerError(
            f"{where} is not a ledger yet: it has no tables.\nRun 'serve' with it, which makes them, or name another."
        )
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger {where} has schema {version}; this program reads {SCHEMA_VERSION}.\n"
            "Run 'serve' with it once: it brings it up to date."
        )


def bring_up(connection: sa.Connection, where: str, before: Callable[[int], None] = lambda _: None) -> int | None:
    """Create the tables, or migrate them, in a transaction that excludes other writers. Raises as `check` does.

    `before` is called with the tables' version before older ones are changed; what it raises stops the migration. Returns the
    version that older tables had, else None.
    """
    version = version_of(connection, where)
    if version is None:
        SCHEMA.create_all(connection)
        connection.execute(sa.insert(META).values(key="schema", value=str(SCHEMA_VERSION)))
        return None
    if version < SCHEMA_VERSION:
        before(version)
    there = frozenset(sa.inspect(connection).get_table_names())
    for step in range(version, SCHEMA_VERSION):
        for table, names in _ADDED[step + 1].items():
            if table in there:  # else it is created later, with all its columns
                _add(connection, SCHEMA.tables[table].c[names])
        if step in _STEPS:
            _STEPS[step](connection)
    if version < 2:
        _sum_up(connection)
    if version < SCHEMA_VERSION:
        connection.execute(sa.update(META).where(META.c.key == "schema").values(value=str(SCHEMA_VERSION)))
    SCHEMA.create_all(connection)
    if version < _NAMES_UNPRICED:
        leases.name_unpriced(connection)
    return version if version < SCHEMA_VERSION else None


def check_alterable(connection: sa.Connection, where: str, version: int) -> None:
    """Raise LastingLedgerError where the tables are older, and PostgreSQL will not let this user change them. Changes nothing."""
    if version >= SCHEMA_VERSION or connection.dialect.name != "postgresql":
        return
    if not connection.execute(_MAY_ALTER, {"names": list(SCHEMA.tables)}).scalar():
        raise LastingLedgerError(
            f"The ledger {where} has schema {version}, and this user may not change its tables to {SCHEMA_VERSION}.\n"
            "Start this version once as the user who owns them, and grant this one what is new."
        )


def version_of(connection: sa.Connection, where: str, what: str = "ledger") -> int | None:
    """Return the version of the tables, None where there are none. Raises LedgerError where they are not a ledger's, or newer.

    `what` is "file" where a back-up is read.
    """
    tables = set(sa.inspect(connection).get_table_names())
    # A file belongs to one program; in a database on a server other programs may have tables too.
    if not (tables if connection.dialect.name == "sqlite" else tables & set(SCHEMA.tables)):
        return None
    version = None
    if tables >= _TABLES and {column["name"] for column in sa.inspect(connection).get_columns("meta")} == {"key", "value"}:
        version = connection.execute(sa.select(META.c.value).where(META.c.key == "schema")).scalar()
    if not isinstance(version, str) or not version.isdecimal():
        raise _foreign(where)
    if int(version) > SCHEMA_VERSION:
        raise LastingLedgerError(
            f"The {what} {where} has schema {version}; this program knows up to {SCHEMA_VERSION}.\n"
            f"Run the newer program that wrote it, or name another {'ledger' if what == 'ledger' else 'back-up'}."
        )
    return int(version)


def _foreign(where: str) -> LedgerError:
    return LastingLedgerError(f"{where} is not a ledger of this program.\nName another one, or move that one away.")


def _add(connection: sa.Connection, columns: Iterable[sa.Column[Any]]) -> None:
    for column in columns:
        added = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {added}")


def _to_2(connection: sa.Connection) -> None:
    """Create the table of batch lines, and the daily sums, which are filled at the end."""
    connection.exec_driver_sql("DROP INDEX IF EXISTS charges_line_once")
    SCHEMA.create_all(connection)
    charged = sa.select(sa.func.min(CHARGES.c.model)).where(CHARGES.c.exchange_id == EXCHANGES.c.id).scalar_subquery()
    connection.execute(sa.update(EXCHANGES).where(EXCHANGES.c.model.is_(None)).values(model=charged))
    lines = (
        sa.select(sa.func.coalesce(EXCHANGES.c.target, ""), CHARGES.c.line)
        .join_from(CHARGES, EXCHANGES, CHARGES.c.exchange_id == EXCHANGES.c.id)
        .where(CHARGES.c.line != "")
        .distinct()
    )
    connection.execute(upsert(connection, LINES).from_select(["account", "line"], lines).on_conflict_do_nothing())


def _sum_up(connection: sa.Connection) -> None:
    """Fill the daily sums from all exchanges."""
    every = sa.union_all(*figure_queries()).subquery()
    summed = sa.select(*every.c[SUM_KEYS], *(sa.func.sum(every.c[name]) for name in FIGURES)).group_by(*every.c[SUM_KEYS])
    for rows in connection.execute(summed).partitions(_PARTITION):
        add(connection, {(*row[: len(SUM_KEYS)], None): dict(zip(FIGURES, row[len(SUM_KEYS) :], strict=True)) for row in rows})


_ESTIMATED: Final = ("estimated_pages", "estimated_dollars", "estimated_nano")

_ADDED: Final[Mapping[int, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        2: {"exchanges": ("overhead_s", "account", "open"), "charges": ("credits_micro", "in_batch")},
        3: {"exchanges": ("estimated_pages", "estimated_nano", "requests"), "sums": _ESTIMATED, "totals": _ESTIMATED},
        4: {
            "exchanges": ("labels", "priced_as"),
            "charges": ("tokens_cached", "service_tier", "credits", "priced_as"),
            "lines": ("custom_id",),
            "sums": ("priced_as", "tokens_cached"),
            "totals": ("priced_as", "tokens_cached"),
        },
        5: {"exchanges": (*ADDED_KEYS, "why"), "sums": ADDED_KEYS, "totals": ADDED_KEYS, "label_sums": ADDED_KEYS},
    }
)
"""The columns that each version adds, by table; in older rows each is null, or has a default."""

_STEPS: Final[Mapping[int, Callable[[sa.Connection], Any]]] = MappingProxyType({1: _to_2})
"""What else a step does once the columns are there, by the version that it starts from."""
