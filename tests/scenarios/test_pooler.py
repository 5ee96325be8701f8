"""A pooler between several processes and their ledger: sessions go from one to another, and every entry is booked once."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import psycopg
import pytest

from passthrough.accounting.journal.writer import JournalWriter
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.pgbouncer import pgbouncer
from tests.harness.pooler import pooler
from tests.harness.postgres import Pair, Postgres

WAIT_S = 60.0
BATCHES = 40


def write_at_once(url: str, folder: Path) -> None:
    """Let three processes' worth of threads book through one pooler, and another client of it prepare its own statements."""
    warned: list[str] = []
    refused: list[LedgerError] = []
    ledgers = [Ledger.at(url) for _ in range(3)]

    def append(ledger: Ledger) -> None:
        for _ in range(BATCHES):
            try:
                ledger.append([booked(), booked()])
            except LedgerError as error:
                refused.append(error)

    threads = [Thread(target=append, args=(ledger,)) for ledger in ledgers]
    with closing(psycopg.connect(url, prepare_threshold=0, autocommit=True)) as other:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with suppress(psycopg.Error):
                other.execute("SELECT %s::int + %s::int", (1, 2))
        for thread in threads:
            thread.join()
    with closing(ledgers[0]), closing(ledgers[1]), closing(ledgers[2]):
        assert ([], 6 * BATCHES) == (refused, one(ledgers[0])[0])
        writer = JournalWriter(ledgers[1], folder / "books.journal", warned.append)
        writer.start()
        for _ in range(10):
            writer.put(booked())
        writer.close(WAIT_S)
        assert ([], 6 * BATCHES + 10) == (warned, one(ledgers[0])[0])


def server_socket(url: str) -> str:
    """Return the path of the server's socket, of a URL that names its folder."""
    query = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    return f"{unquote(query['host'])}/.s.PGSQL.{query['port']}"


def name_of(url: str) -> str:
    """Return the name of the database in a URL."""
    return url.partition("?")[0].rpartition("/")[2]


async def test_clients_that_share_connections_book_everything_once(postgres_url: str, tmp_path: Path) -> None:
    """In transaction mode what one client prepares is there for the next: so nothing is prepared, and nothing is given up."""
    database = name_of(postgres_url)
    Ledger.open(postgres_url).close()
    async with pooler(server_socket(postgres_url), 2) as pool:
        await asyncio.to_thread(write_at_once, f"postgresql://me@127.0.0.1:{pool.port}/{database}", tmp_path)
        assert pool.clients >= 4
        assert pool.turns > BATCHES


@pytest.mark.process
def test_pgbouncer_in_transaction_mode_books_everything_once(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    """The same with the real one, and passwords by SCRAM."""
    with pgbouncer(postgres) as pool:
        url = pool.url(name_of(postgres_url))
        Ledger.open(url).close()
        write_at_once(url, tmp_path)


@pytest.mark.process
def test_pgbouncer_passes_no_schema_of_the_url_on(postgres: Postgres, postgres_url: str) -> None:
    """It refuses `options`, which is said with the cure: the user's own `search_path`, which holds behind it too."""
    database = name_of(postgres_url)
    postgres.do("CREATE SCHEMA app", database)
    with pgbouncer(postgres) as pool:
        with pytest.raises(LedgerError, match=r"unsupported startup parameter.*\nLeave 'options' out of its URL"):
            Ledger.open(pool.url(database, "?options=-csearch_path%3Dapp"))
        postgres.do(f"ALTER ROLE me IN DATABASE {database} SET search_path = app")
        with closing(Ledger.open(pool.url(database))) as ledger:
            ledger.append([booked()])
        assert [(1,)] == postgres.do("SELECT count(*) FROM app.exchanges", database)


@pytest.mark.process
def test_pgbouncer_that_pools_statements_is_said(postgres: Postgres, postgres_url: str) -> None:
    """There is no transaction in that mode, and so no ledger."""
    with (
        pgbouncer(postgres, pool_mode="statement") as pool,
        pytest.raises(LedgerError, match=r"statement pooling.*\nLet the poo"),
    ):
        Ledger.open(pool.url(name_of(postgres_url)))


@pytest.mark.process
@pytest.mark.faults
def test_pgbouncer_that_changes_servers(pair: Pair) -> None:
    """Its server is killed, and it is sent to the standby that was promoted: what waited is written, and nothing twice."""
    entries = [booked() for _ in range(6)]
    with pgbouncer(pair.primary) as pool, closing(Ledger.open(pool.url("books"))) as ledger:
        ledger.append(entries[:2])
        pair.primary.kill()
        with pytest.raises(LedgerError, match="cannot be reached"):
            ledger.append(entries[:4])
        pool.write(pair.standby)
        pool.reload()
        pair.promote()
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                assert entries[2:] == ledger.append(entries)
                break
            except LedgerError:  # it tries the server once a second, and responds with what the last try brought
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert 6 == one(ledger)[0]
