"""The ledger's tables: made once, brought up to date in place with all that is in them, refused where they are not ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from passthrough.accounting.budget import Period, Scope, Span, Unit, Unpriced
from passthrough.accounting.entry import Charge
from passthrough.accounting.ledger import unpriced
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import SCHEMA, SCHEMA_VERSION
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one

VERSION_1 = """
CREATE TABLE meta ("key" TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key")) WITHOUT ROWID;
CREATE TABLE exchanges (
    id TEXT NOT NULL, began_ms BIGINT NOT NULL, day TEXT NOT NULL, route TEXT, client TEXT, label TEXT, target TEXT,
    sandbox BOOLEAN NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER, outcome TEXT NOT NULL, error TEXT,
    attempts INTEGER NOT NULL, model TEXT, unmetered TEXT, upstream_request_id TEXT, bytes_up BIGINT NOT NULL,
    bytes_down BIGINT NOT NULL, first_byte_s FLOAT, total_s FLOAT NOT NULL, PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX ix_exchanges_began_ms ON exchanges (began_ms);
CREATE TABLE charges (
    exchange_id TEXT NOT NULL, line TEXT NOT NULL, model TEXT, pages BIGINT, pages_annotated BIGINT, doc_bytes BIGINT,
    tokens_in BIGINT, tokens_out BIGINT, cost_nano BIGINT, cost_source TEXT, PRIMARY KEY (exchange_id, line),
    FOREIGN KEY(exchange_id) REFERENCES exchanges (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE UNIQUE INDEX charges_line_once ON charges (line) WHERE line != '';
INSERT INTO meta VALUES ('schema', '1');
"""
"""What version 0.1.0 made."""

EXCHANGES = (
    ("01", 1_795_219_199_999, "2026-11-20", "/m", "invoices", None, "api.mistral.ai", 0, 200, "completed", None, "m", None),
    ("02", 1_795_219_200_000, "2026-11-21", "/m", "invoices", "x", "api.mistral.ai", 0, 200, "completed", None, None, "unpriced"),
    ("03", 1_795_219_200_001, "2026-11-21", "/m", None, None, None, 1, None, "client_gone", "upstream_broke", None, "cancelled"),
)
CHARGES = (("01", "", "m", 3, 1, 3_000_000_001), ("02", "batch-1", "b", 2, None, 2), ("02", "batch-2", "b", 2, None, None))


def old(path: Path) -> None:
    """Make a ledger of version 1, as it was written then."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
        names = "id, began_ms, day, route, client, label, target, sandbox, status, outcome, error, model, unmetered"
        fixed = "method, path, attempts, bytes_up, bytes_down, first_byte_s, total_s"
        marks = ", ".join("?" * len(EXCHANGES[0]))
        insert = f"INSERT INTO exchanges ({names}, {fixed}) VALUES ({marks}, 'POST', '/m/v1/ocr', 1, 10, 20, 0.5, 1.5)"
        database.executemany(insert, EXCHANGES)
        insert = "INSERT INTO charges (exchange_id, line, model, pages, pages_annotated, cost_nano) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(insert, CHARGES)
        database.commit()


def test_an_old_ledger_is_brought_up_to_date_with_all_that_is_in_it(tmp_path: Path) -> None:
    """Exchanges, charges and sums are those that they were; the file can then be read and written as a new one."""
    path = tmp_path / "books.db"
    old(path)
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        total, by_model, by_day, by_rest = ledger.sums((), ("model",), ("day",), ("client", "status", "sandbox"))
        assert [(3, 7, 1, 3_000_000_003, 1, 1, 1)] == [
            (row.requests, row.pages, row.pages_annotated, row.cost_nano, row.unmetered, row.unpriced, row.errors)
            for row in total
        ]
        assert {(None,): 1, ("b",): 1, ("m",): 1} == {row.key: row.requests for row in by_model}
        assert {("2026-11-20",): 3, ("2026-11-21",): 4} == {row.key: row.pages for row in by_day}
        assert {(None, None, True): 1, ("invoices", 200, False): 2} == {row.key: row.requests for row in by_rest}
        assert ["03", "02", "01"] == [row.id for row in ledger.latest(5)]
        assert [False] * 4 == [row.open for row in ledger.exported()]


def test_lines_of_an_old_ledger_are_not_booked_again(tmp_path: Path) -> None:
    """A batch line that version 1 booked is known, within the account of its target; in another account it is new."""
    path = tmp_path / "books.db"
    old(path)
    lines = tuple(Charge("b", 2, 0, cost_nano=2, line=f"batch-{number}") for number in (1, 2, 3))
    again = replace(booked(), charges=lines, account="api.mistral.ai")
    other = replace(booked(), charges=lines, account="another")
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        assert [lines[2:], lines] == [entry.charges for entry in ledger.append([again, other])]


def test_an_old_ledger_is_brought_up_to_date_once(tmp_path: Path) -> None:
    """Several that open it at the same time find it done, by one of them."""
    path = tmp_path / "books.db"
    old(path)

    def opened(_: int) -> int:
        with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
            return one(ledger)[0]

    with ThreadPoolExecutor(4) as threads:
        assert [3] * 4 == list(threads.map(opened, range(4)))


def test_what_had_no_price_in_a_running_period_of_an_old_ledger_is_known(tmp_path: Path) -> None:
    """A period that has a row already is read again, so that a budget may refuse from the first start on."""
    path = tmp_path / "books.db"
    old(path)
    day = Period(1_795_219_200_000, 1_795_305_600_000)
    spans = [Span(Scope("client", "invoices"), Unit.USD, False, period) for period in (day, Period(day.ends_ms, day.ends_ms + 1))]
    with closing(sqlite3.connect(path)) as database:
        keyed = "scope_name TEXT, scope_kind TEXT, unit TEXT, sandbox BOOLEAN, starts_ms BIGINT, ends_ms BIGINT"
        database.execute(f"CREATE TABLE budgets ({keyed}, spent BIGINT NOT NULL, warned BIGINT NOT NULL)")
        rows = [("invoices", "client", "usd", 0, span.period.starts_ms, span.period.ends_ms, 2, -1) for span in spans]
        database.executemany("INSERT INTO budgets VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger, ledger.transaction() as connection:
        found = unpriced.named(connection, spans)
    assert {spans[0]: {Unpriced("b", "api.mistral.ai", "/m", "pages")}} == found


def test_an_old_ledger_that_is_only_read_is_left_as_it_is(tmp_path: Path) -> None:
    """Reading changes nothing: it says who brings it up to date."""
    path = tmp_path / "books.db"
    old(path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=rf"has schema 1; this program reads {SCHEMA_VERSION}\.\nRun 'serve'"):
        Ledger.open(f"sqlite:///{path}", read_only=True)
    assert before == path.read_bytes()


def test_a_migration_that_fails_leaves_the_old_ledger(tmp_path: Path) -> None:
    """All is done in one transaction: where one step cannot be, none is."""
    path = tmp_path / "books.db"
    old(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE charges ADD COLUMN in_batch")  # as if somebody had tried by hand
        database.commit()
    with pytest.raises(LedgerError, match="in_batch"):
        Ledger.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        assert [("1",)] == database.execute("SELECT value FROM meta").fetchall()
        assert [] == database.execute("SELECT name FROM sqlite_master WHERE name = 'sums'").fetchall()


def test_a_migrated_ledger_is_like_a_new_one(tmp_path: Path) -> None:
    """Its tables have the same columns, of the same kinds, and the same keys and indexes."""
    old(tmp_path / "old.db")
    found = []
    for name in ("old.db", "new.db"):
        Ledger.open(f"sqlite:///{tmp_path}/{name}").close()
        engine = sa.create_engine(f"sqlite:///{tmp_path}/{name}", poolclass=sa.NullPool)
        inspected = sa.inspect(engine)
        found.append({table: described(inspected, table) for table in inspected.get_table_names()})
    assert found[1] == found[0]
    assert set(SCHEMA.tables) == set(found[0])


def described(inspected: Any, table: str) -> tuple[object, ...]:
    """Return what a table is made of."""
    columns = sorted((column["name"], str(column["type"]), column["nullable"]) for column in inspected.get_columns(table))
    indexes = sorted(index["name"] for index in inspected.get_indexes(table))
    return columns, inspected.get_pk_constraint(table)["constrained_columns"], indexes


def newer(connection: sa.Connection) -> None:
    """Make it a ledger of a later version."""
    connection.exec_driver_sql(f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE \"key\" = 'schema'")


def not_ours(connection: sa.Connection) -> None:
    """Take away what every ledger says of itself."""
    connection.exec_driver_sql("DELETE FROM meta")


@pytest.mark.parametrize(
    ("change", "says"),
    [(newer, f"has schema {SCHEMA_VERSION + 1}; this program knows up to {SCHEMA_VERSION}"), (not_ours, "is not a ledger")],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_not_known_is_refused(
    ledger_url: str, change: Callable[[sa.Connection], None], says: str, read_only: bool
) -> None:
    """A later version, or tables that are not ours, are left alone on both databases; the message has a mend."""
    with closing(Ledger.open(ledger_url)) as ledger, ledger.transaction(writes=True) as connection:
        change(connection)
    with pytest.raises(LedgerError, match=f"{says}.*\n."):
        Ledger.open(ledger_url, read_only=read_only)
