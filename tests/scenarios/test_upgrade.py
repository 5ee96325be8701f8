"""A ledger and a journal of the version before: copied, brought up to date, booked; never changed without the copy."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pytest

from passthrough.accounting.journal.codec import encode
from passthrough.accounting.journal.journal import Journal
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import SCHEMA_VERSION
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one

ADDED = {
    3: {
        "exchanges": ("estimated_pages", "estimated_nano", "requests"),
        "sums": ("estimated_pages", "estimated_dollars", "estimated_nano"),
        "totals": ("estimated_pages", "estimated_dollars", "estimated_nano"),
    },
    4: {
        "exchanges": ("labels", "priced_as"),
        "charges": ("tokens_cached", "service_tier", "credits", "priced_as"),
        "lines": ("custom_id",),
        "sums": ("priced_as", "tokens_cached"),
        "totals": ("priced_as", "tokens_cached"),
    },
    5: {
        "exchanges": ("deployment", "model_group", "why"),
        "sums": ("deployment", "model_group"),
        "totals": ("deployment", "model_group"),
        "label_sums": ("deployment", "model_group"),
    },
}
"""What each version has more than the one before."""

OLD = [2, 3, 4]
"""The versions of ledgers that are made here, beside the first one."""

NOW, BEFORE = str(SCHEMA_VERSION), str(SCHEMA_VERSION - 1)

OLD_JOURNALS = {
    1: (
        b'21183110 ["passthrough.journal",1]\n',
        b'763e4b6b ["00000000000000000000000000000003",1795219200.5,"/mistral","invoices",null,"api.mistral.ai",false,"POST",'
        b'"/mistral/v1/ocr",200,"completed",null,1,null,0,0,null,0.0,null,[1,0,"mistral-ocr-2512",null,null,null,null,null,"",false],'
        b'[["mistral-ocr-2512",1,0,null,null,null,2000000,"prices.yaml","",null,false]],"api.mistral.ai","whole",null]\n',
    ),
    2: (
        b'0a3562d3 ["passthrough.journal",2]\n',
        b'9b5a71a5 ["00000000000000000000000000000003",1795219200.5,"/mistral","invoices",null,"api.mistral.ai",false,"POST",'
        b'"/mistral/v1/ocr",200,"completed",null,1,null,0,0,null,0.0,null,[1,0,"mistral-ocr-2512",null,null,null,null,null,"",false],'
        b'[["mistral-ocr-2512",1,0,null,null,null,2000000,"prices.yaml","",null,false]],"api.mistral.ai","whole",null,null,null,1]\n',
    ),
    3: (
        b'132e5392 ["passthrough.journal",3]\n',
        b'bb213981 ["00000000000000000000000000000003",1795219200.5,"/mistral","invoices",null,"api.mistral.ai",false,"POST",'
        b'"/mistral/v1/ocr",200,"completed",null,1,null,0,0,null,0.0,null,[1,0,"mistral-ocr-2512",null,null,null,null,null,"",false,'
        b'null,null,null,""],[["mistral-ocr-2512",1,0,null,null,null,2000000,"prices.yaml","",null,false,null,null,null,"",null]],'
        b'"api.mistral.ai","whole",null,null,null,1,null,null]\n',
    ),
}
"""The first line, and an entry, of journals of the formats before: what the programs of those versions wrote."""


def made_old(url: str, version: int = SCHEMA_VERSION - 1) -> None:
    """Make a ledger of an older version with two exchanges."""
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked(at=1_795_219_200.5), booked(None, at=1_795_219_200.5, pages=3)])
        with ledger.transaction(writes=True) as connection:
            for later in range(version + 1, SCHEMA_VERSION + 1):
                for table, columns in ADDED[later].items():
                    for column in columns:
                        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
            for table in ("sums", "totals") if version < 4 else ():
                names = "client, label, route, target, model, status, sandbox"
                for key, *values in connection.exec_driver_sql(f'SELECT "key", {names} FROM {table}').all():
                    digest = blake2b(json.dumps((*values[:-1], bool(values[-1]))).encode(), digest_size=16).hexdigest()
                    connection.exec_driver_sql(f"UPDATE {table} SET \"key\" = '{digest}' WHERE \"key\" = '{key}'")
            connection.exec_driver_sql(f"UPDATE meta SET value = '{version}' WHERE \"key\" = 'schema'")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file with the library alone."""
    with closing(sqlite3.connect(path)) as database:
        yield database


def version_of(path: Path) -> str:
    """Return the version that a file has."""
    with opened(path) as database:
        found: str = database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]
        return found


def copies(folder: Path) -> list[str]:
    """Return the names of the copies in a folder, also of such that are not whole."""
    return sorted(path.name for path in folder.iterdir() if "backup" in path.name)


@pytest.mark.parametrize("version", OLD)
def test_an_older_ledger_is_brought_up_and_says_so(ledger_url: str, version: int) -> None:
    """On both databases all that is in it stays, and is counted as before; the message says where the way back is."""
    made_old(ledger_url, version)
    said: list[str] = []
    with closing(Ledger.at(ledger_url, said.append)) as ledger:
        ledger.append([booked(at=1_795_219_201.5, pages=5)])
        assert (3, 9, 6_000_000) == one(ledger)
        (day,) = ledger.sums(("day", "client", "model"))  # its sums, and those that are added now, are of one day
        assert [(None, 1, 3), ("invoices", 2, 6)] == [(row.key[1], row.requests, row.pages) for row in day]
        with ledger.transaction() as connection:  # no row more than before: only one with a deployment has a key of its own
            rows = connection.exec_driver_sql("SELECT count(*) FROM sums").scalar()
        assert (2 if version >= 4 else 3) == rows
        (by_deployment,) = ledger.sums(("deployment", "model_group"))
        assert [((None, None), 3)] == [(row.key, row.requests) for row in by_deployment]
    assert 1 == len(said)
    assert f"was brought up from schema {version} to {SCHEMA_VERSION}.\n" in said[0]
    assert ("-backup." if ledger_url.startswith("sqlite") else "your own backups of it.") in said[0]


def test_what_an_older_program_still_writes_is_counted(ledger_url: str) -> None:
    """While replicas are replaced one by one, one of the version before writes rows without what it does not know."""
    made_old(ledger_url)
    with closing(Ledger.open(ledger_url)) as ledger:
        with ledger.transaction(writes=True) as connection:
            names = "id, began_ms, day, sandbox, method, path, outcome, attempts, bytes_up, bytes_down, total_s"
            values = "'f', 1795219200500, '2026-11-21', false, 'POST', '/', 'refused', 0, 0, 0, 0"
            connection.exec_driver_sql(f"INSERT INTO exchanges ({names}) VALUES ({values})")
            connection.exec_driver_sql("INSERT INTO charges (exchange_id, line, pages) VALUES ('f', '1', 7)")
            connection.exec_driver_sql("INSERT INTO lines (account, line) VALUES ('', '1')")
            figures = "requests, pages, pages_annotated, tokens_in, tokens_out, dollars, nano, unmetered, unpriced, errors"
            names = f'day, "key", client, label, route, target, model, status, sandbox, {figures}'
            values = "'2026-11-21', 'k', '', '', '', '', '', 0, false, 1, 7, 0, 0, 0, 0, 0, 0, 1, 1"
            for table in ("sums", "totals"):
                connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({values})")
        assert (3, 11, 4_000_000) == one(ledger)
        (exchange,) = [row for row in ledger.latest(5) if row.id == "f"]
        assert (1, None, None, None) == (exchange.requests, exchange.estimated_pages, exchange.labels, exchange.priced_as)
        assert exchange.charge is not None
        assert (7, None) == (exchange.charge.pages, exchange.charge.tokens_cached)
        assert (None, None, None) == (exchange.deployment, exchange.model_group, exchange.why)


def test_the_copy_is_the_ledger_as_it_was(tmp_path: Path) -> None:
    """It has what was in the write-ahead log too, is one file that only its owner may read, and opens as that version."""
    path = tmp_path / "books.db"
    made_old(f"sqlite:///{path}")
    with opened(path) as writing:  # a process of the older version that still has it open: the last rows are in the log only
        writing.execute("PRAGMA wal_autocheckpoint = 0")
        writing.execute("INSERT INTO lines VALUES ('account', 'in the log', NULL)")
        writing.commit()
        assert 0 < (tmp_path / "books.db-wal").stat().st_size
        Ledger.open(f"sqlite:///{path}").close()
    copy = tmp_path / f"books.db.schema{BEFORE}-backup"
    assert ([f"books.db.schema{BEFORE}-backup"], 0o600) == (copies(tmp_path), copy.stat().st_mode & 0o777)
    assert (NOW, BEFORE) == (version_of(path), version_of(copy))
    with opened(copy) as database:
        assert [("account", "in the log", None)] == database.execute("SELECT * FROM lines").fetchall()
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        assert 2 == database.execute("SELECT count(*) FROM exchanges").fetchone()[0]
    shutil.copy(copy, tmp_path / "back.db")
    with closing(Ledger.open(f"sqlite:///{tmp_path}/back.db")) as ledger:  # the way back, and up again
        assert (2, 4, 4_000_000) == one(ledger)


def test_a_copy_that_is_there_is_left(tmp_path: Path) -> None:
    """Who went back to an older program and comes again has two copies: the first may be all that is left of something."""
    path = tmp_path / "books.db"
    made_old(f"sqlite:///{path}")
    (tmp_path / f"books.db.schema{BEFORE}-backup").write_bytes(b"precious")
    Ledger.open(f"sqlite:///{path}").close()
    assert [f"books.db.schema{BEFORE}-backup", f"books.db.schema{BEFORE}-backup-2"] == copies(tmp_path)
    assert b"precious" == (tmp_path / f"books.db.schema{BEFORE}-backup").read_bytes()
    assert BEFORE == version_of(tmp_path / f"books.db.schema{BEFORE}-backup-2")


class Usage(NamedTuple):
    """What shutil.disk_usage returns."""

    total: int
    used: int
    free: int


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what it is about, how much is missing, and what to do; once there is room, it goes on."""
    path = tmp_path / "books.db"
    made_old(f"sqlite:///{path}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(
        LedgerError, match=rf"schema {BEFORE} and is copied .* needs 2 MB beside it, and 0 MB are free\.\nFree some space"
    ):
        Ledger.open(f"sqlite:///{path}")
    assert ([], BEFORE) == (copies(tmp_path), version_of(path))
    monkeypatch.undo()
    Ledger.open(f"sqlite:///{path}").close()
    assert ([f"books.db.schema{BEFORE}-backup"], NOW) == (copies(tmp_path), version_of(path))


def test_a_failed_migration_leaves_no_copy(tmp_path: Path) -> None:
    """It is tried again and again: each try would fill the disk further. What a killed one left half done is removed too."""
    path = tmp_path / "books.db"
    made_old(f"sqlite:///{path}")
    with opened(path) as database:
        database.execute("ALTER TABLE exchanges ADD COLUMN why")  # as if somebody had tried by hand
        database.commit()
    (tmp_path / f"books.db.schema{BEFORE}-backup.part").write_bytes(b"half")
    for _ in range(2):
        with pytest.raises(LedgerError, match="duplicate column name: why"):
            Ledger.open(f"sqlite:///{path}")
    assert ([], BEFORE) == (copies(tmp_path), version_of(path))


def test_several_processes_bring_it_up_once(ledger_url: str, tmp_path: Path) -> None:
    """Workers and replicas that start together: one copies and changes, the others find it done, and all can write."""
    made_old(ledger_url)
    said: list[str] = []

    def appended(number: int) -> int:
        with closing(Ledger.at(ledger_url, said.append)) as ledger:
            deadline = time.monotonic() + 20
            while True:
                try:
                    return len(ledger.append([booked(at=1_795_219_300.0 + number)]))
                except LedgerError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise

    with ThreadPoolExecutor(4) as threads:
        assert [1] * 4 == list(threads.map(appended, range(4)))
    assert 1 == len(said)
    assert ([f"books.db.schema{BEFORE}-backup"] if ledger_url.startswith("sqlite") else []) == copies(tmp_path)
    with closing(Ledger.open(ledger_url, read_only=True)) as ledger:
        assert (6, 8, 12_000_000) == one(ledger)


@pytest.mark.parametrize("number", OLD_JOURNALS)
def test_a_journal_of_a_version_before_is_booked(tmp_path: Path, number: int) -> None:
    """What a process of the older version left when it died is read, and is the same as if this one had written it."""
    head, line = OLD_JOURNALS[number]
    (tmp_path / "0000000000001-abcdef01.jsonl").write_bytes(head + line + line[:50])
    with closing(Journal(tmp_path, print)) as journal:
        journal.adopt()
        portion = journal.next_batch(10)
        assert portion is not None
        (entry,) = portion.entries
        assert booked(at=1_795_219_200.5, exchange_id=f"{3:032x}") == entry
        assert (None, None, 1) == (entry.estimated_pages, entry.estimated_nano, entry.requests)
        assert (None, None) == (entry.labels, entry.priced_as)
        assert (None, None, None) == (entry.deployment, entry.model_group, entry.why)
        assert encode(entry) != line


@pytest.mark.parametrize("number", OLD_JOURNALS)
@pytest.mark.parametrize("missing", [1, 15, 34])
def test_a_journal_that_the_version_before_had_hardly_begun_is_removed(tmp_path: Path, number: int, missing: int) -> None:
    """It died within the first line: there is nothing in it."""
    (tmp_path / "0000000000001-abcdef01.jsonl").write_bytes(OLD_JOURNALS[number][0][:-missing])
    with closing(Journal(tmp_path, print)) as journal:
        journal.adopt()
        assert None is journal.next_batch(10)
    assert [] == list(tmp_path.glob("*.jsonl"))
