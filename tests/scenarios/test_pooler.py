"""A pooler between several processes and their ledger: sessions go from one to another, and every entry is booked once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import psycopg
import pytest

from passthrough.accounting.journal.writer import JournalWriter
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.pooler import pooler
from tests.harness.ports import free_port
from tests.harness.postgres import Postgres, as_user

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


async def test_clients_that_share_connections_book_everything_once(postgres_url: str, tmp_path: Path) -> None:
    """In transaction mode what one client prepares is there for the next: so nothing is prepared, and nothing is given up."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    Ledger.open(postgres_url).close()
    async with pooler(server_socket(postgres_url), 2) as pool:
        await asyncio.to_thread(write_at_once, f"postgresql://me@127.0.0.1:{pool.port}/{database}", tmp_path)
        assert pool.clients >= 4
        assert pool.turns > BATCHES


@contextmanager
def pgbouncer(postgres: Postgres, folder: Path, socket: str) -> Iterator[int]:
    """Run the real one in front of a server, with two connections to it; yield its port."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("there is no pgbouncer here: install the system's package")
    port = free_port()
    (folder / "users").write_text('"me" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={Path(socket).parent} port={postgres.port} user=me\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nreserve_pool_size = 0\nmax_client_conn = 50\n"
    )
    for path in (folder, folder / "users", folder / "pgbouncer.ini"):
        path.chmod(0o755)
    process = subprocess.Popen(
        [program, str(folder / "pgbouncer.ini")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **as_user()
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            with suppress(psycopg.OperationalError), closing(psycopg.connect(f"postgresql://me@127.0.0.1:{port}/postgres")):
                break
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.communicate()


@pytest.mark.process
def test_pgbouncer_in_transaction_mode_books_everything_once(
    postgres: Postgres, postgres_url: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The same with the real one."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    folder = Path("/tmp") / f"pgb{os.urandom(4).hex()}"
    folder.mkdir()
    try:
        with pgbouncer(postgres, folder, server_socket(postgres_url)) as port:
            url = f"postgresql://me@127.0.0.1:{port}/{database}"
            Ledger.open(url).close()
            write_at_once(url, tmp_path)
    finally:
        shutil.rmtree(folder)
