"""The ledger on a PostgreSQL server: many processes, servers that die, and messages without the password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from passthrough.accounting.entry import Charge
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.postgres import PASSWORD, Postgres


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    """Yield a new ledger in a database of its own."""
    with closing(Ledger.open(postgres_url)) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_scheme_is_one(postgres_url: str, scheme: str) -> None:
    """postgres:// and postgresql:// are the same ledger."""
    url = postgres_url.replace("postgresql", scheme, 1)
    with closing(Ledger.open(url)) as ledger, closing(Ledger.open(url, read_only=True)) as reader:
        ledger.append([booked(pages=3)])
        assert ("postgresql", (1, 3, 2_000_000)) == (ledger.dialect, one(reader))


def test_reading_changes_nothing(postgres_url: str) -> None:
    """A database without a ledger is not made one by reading it, and a ledger that is read is not written."""
    with pytest.raises(LedgerError, match="is not a ledger") as refused:
        Ledger.open(postgres_url, read_only=True)
    assert "\n" in str(refused.value)
    Ledger.open(postgres_url).close()
    with closing(Ledger.open(postgres_url, read_only=True)) as reader:
        with pytest.raises(LedgerError, match="may not be written"):
            reader.append([booked()])
        with pytest.raises(LedgerError, match="read-only"), reader.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM exchanges")


def test_tables_of_others_are_left_alone(postgres: Postgres, postgres_url: str) -> None:
    """A database may hold other programs' tables, but not under the names of ours."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres.do("CREATE TABLE invoices (id int)", database)
    Ledger.open(postgres_url).close()
    postgres.do("DROP TABLE charges, exchanges, lines, sums", database)
    with pytest.raises(LedgerError, match="is not a ledger of this program"):
        Ledger.open(postgres_url)


PROGRAM = """
import sys
sys.path[:0] = sys.argv[4:]
from dataclasses import replace
from tests.harness.entries import booked
from passthrough.accounting.entry import Charge
from passthrough.accounting.ledger.ledger import Ledger
url, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger = Ledger.at(url)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(rounds):
    shared = [booked(exchange_id="%032x" % (turn * 7 + place), pages=1) for place in range(7)]
    own = [booked(client=name, pages=2) for _ in range(7)]
    lines = tuple(Charge("m", 1, 0, cost_nano=1, line=f"batch-{turn}-{place}") for place in range(20))
    batch = replace(booked(client=name), charges=lines if name in "ac" else lines[::-1], account="one")
    entries = [*shared, batch, *own] if name in "ab" else [*own, *shared[::-1], batch]
    ledger.append(entries)
    ledger.append(entries[::2])
ledger.close()
"""


@pytest.mark.process
@pytest.mark.parametrize("names", ["ab", "abcd"])
def test_processes_that_write_at_once_book_everything_once(ledger: Ledger, postgres_url: str, names: str) -> None:
    """Two and four processes bring the same exchanges and lines, in different orders: all are there once, and none deadlocks."""
    assert_booked_once(ledger, postgres_url, names)


@pytest.mark.process
@pytest.mark.parametrize("names", ["ab"])
def test_processes_that_write_one_file_book_everything_once(tmp_path: Path, names: str) -> None:
    """So it is with SQLite, whose file lets in one at a time."""
    url = f"sqlite:///{tmp_path}/books.db"
    with closing(Ledger.open(url)) as ledger:
        assert_booked_once(ledger, url, names)


def assert_booked_once(ledger: Ledger, url: str, names: str) -> None:
    """Let processes write, each the same and its own, and compare with what that is."""
    rounds = 30
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url, name, str(rounds), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert b"ready\n" == writer.stdout.readline()
    ended = [(writer.communicate(b"\n")[1], writer.returncode) for writer in writers]
    assert [(b"", 0)] * len(names) == ended
    # Shared exchanges once; each process's own, and its batches; every line once, whichever came first.
    requests = rounds * (7 + len(names) * (7 + 1))
    pages = rounds * (7 + len(names) * 14 + 20)
    nano = rounds * (7 + len(names) * 7) * 2_000_000 + rounds * 20
    assert (requests, pages, nano) == one(ledger)
    assert requests == len({row.id for row in ledger.exported()})


def test_a_server_that_was_killed_is_written_again(own_server: Postgres) -> None:
    """While the server is gone an append says so; once it is back the same append works, and nothing is there twice."""
    url = own_server.create("books")
    entries = [booked() for _ in range(20)]
    with closing(Ledger.open(url)) as ledger:
        ledger.append(entries[:10])
        own_server.kill()
        with pytest.raises(LedgerError, match="cannot be reached") as refused:
            ledger.append(entries)
        assert "\n" in str(refused.value)
        assert "?" not in str(refused.value)  # what libpq asks in its second line, the mend says
        own_server.start()
        assert entries[10:] == ledger.append(entries)
        assert (20, 20, 40_000_000) == one(ledger)


def test_a_server_that_is_killed_in_a_transaction_is_written_again(own_server: Postgres) -> None:
    """What was under way is undone; a connection that broke is replaced."""
    url = own_server.create("books")

    def killed_meanwhile() -> None:
        with ledger.transaction(writes=True) as connection:
            connection.exec_driver_sql("DELETE FROM charges")
            own_server.kill()
            connection.exec_driver_sql("DELETE FROM exchanges")

    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked()])
        with pytest.raises(LedgerError, match="cannot be reached"):
            killed_meanwhile()
        own_server.start()
        ledger.append([booked()])
        assert (2, 2, 4_000_000) == one(ledger)


def test_connections_that_the_server_ended_are_replaced_unseen(postgres: Postgres, ledger: Ledger) -> None:
    """A server that was restarted between two appends, or that ended idle connections, is not noticed."""
    ledger.append([booked()])
    postgres.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'passthrough'")
    ledger.append([booked()])
    assert 2 == one(ledger)[0]


def test_a_database_that_was_emptied_is_begun_anew(postgres: Postgres, postgres_url: str, ledger: Ledger) -> None:
    """Tables that are gone are said once; the next append makes them."""
    ledger.append([booked()])
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres.do("DROP SCHEMA public CASCADE", database)
    postgres.do("CREATE SCHEMA public", database)
    with pytest.raises(LedgerError, match="has not the tables"):
        ledger.append([booked()])
    ledger.append([booked(pages=4)])
    assert (1, 4) == one(ledger)[:2]


def test_who_is_alone_keeps_appends_out(postgres: Postgres, ledger: Ledger) -> None:
    """In a transaction that is alone, no append of any process runs; afterwards it goes on."""
    ledger.append([])
    appending = Thread(target=ledger.append, args=([booked()],))
    with ledger.transaction(alone=True) as connection:
        appending.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not postgres.do(waiting)[0][0]:
            appending.join(0.02)
        assert 0 == connection.exec_driver_sql("SELECT count(*) FROM exchanges").scalar()
    appending.join()
    assert 1 == one(ledger)[0]


def test_a_password_with_odd_characters_is_accepted(postgres: Postgres, postgres_url: str) -> None:
    """In the URL it is escaped; what is said of the ledger shows neither it nor the user."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    with closing(Ledger.open(postgres.tcp(database))) as ledger:
        ledger.append([booked()])
        assert 1 == one(ledger)[0]
        assert "hunter2" not in repr(ledger) + repr(vars(ledger))


@pytest.mark.parametrize(
    ("user", "password", "database", "query", "says"),
    [
        ("me", "hunter2-wrong", "postgres", "", "password authentication failed"),
        ("nobody", PASSWORD, "postgres", "", "password authentication failed"),
        ("me", PASSWORD, "hunter", "", 'database "hunter" does not exist'),
        ("me", PASSWORD, "postgres", "?sslmode=require", "does not support SSL"),
        ("me", PASSWORD, "postgres", "?sslmode=hunter2", "sslmode"),
        ("me", PASSWORD, "postgres", "?password=hunter2-other", "password authentication failed"),
        ("me", PASSWORD, "postgres", "?nonsense=1", "nonsense"),
        ("me", PASSWORD, "postgres", "?options=-c%20nonsense.x%3D%28%20-c%20xx%3D1", "xx"),
    ],
)
def test_a_server_that_refuses_is_said_without_the_password(
    postgres: Postgres, user: str, password: str, database: str, query: str, says: str
) -> None:
    """What the server says is shown with a mend, never a password, whatever part of the URL is wrong; its parameters pass."""
    with pytest.raises(LedgerError, match=says) as refused:
        Ledger.open(postgres.tcp(database, user=user, password=password, query=query))
    message, _, hint = str(refused.value).partition("\n")
    assert "hunter2" not in message.replace('sslmode value: "hunter2"', "")
    assert f"postgresql://127.0.0.1:{postgres.port}/{database}" in message
    assert hint


def test_a_user_without_rights_is_told_so(postgres: Postgres, postgres_url: str) -> None:
    """Where tables may not be made, or not be written, the mend names the grant."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres.do(f"CREATE ROLE r_{database} LOGIN")
    url = postgres_url.replace("//me@", f"//r_{database}@")
    try:
        with pytest.raises(LedgerError, match=r"may not be written by this user\.\nGive the user"):
            Ledger.open(url)
    finally:
        postgres.do(f"DROP ROLE r_{database}")


def test_a_standby_is_told_so(postgres: Postgres, postgres_url: str) -> None:
    """A server that takes no writes is refused with the way to another."""
    Ledger.open(postgres_url).close()
    with (
        closing(Ledger.at(postgres_url + "&options=-c%20default_transaction_read_only%3Don")) as ledger,
        pytest.raises(LedgerError, match="takes no writes"),
    ):
        ledger.append([booked()])


def test_long_texts_from_outside_fit(ledger: Ledger) -> None:
    """Labels and line ids as long as they may be are booked, distinguished, and lines once: no index is too small for them."""
    label, line = "\U0001f4c4" * 2000, "\u20ac" * 1999
    entry = replace(booked(), label=label, account="a" * 2000)
    charges = tuple(Charge(label, 1, 0, cost_nano=1, line=line + last) for last in "ab")
    ledger.append([replace(entry, charges=charges)])
    ledger.append([replace(booked(), label=label, account="a" * 2000, charges=charges)])
    (found,) = ledger.sums(("label", "model"))
    assert [(label, entry.usage.model), (label, label)] == sorted(
        [row.key for row in found], key=lambda key: str(key[1]) != "mistral-ocr-2512"
    )
    assert (2, 2, 2) == one(ledger)
