"""What a user of a PostgreSQL server may do and is given: rights, a schema, time, connections; where its password is from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import ADDED_KEYS, SCHEMA_VERSION
from passthrough.errors import LastingLedgerError, LedgerError
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres

ODD = r"""p@:/?#[]!$&'()*+,;= %41"\<>^`{|}~é€"""
"""A password with every sign that means something in a URL, in a shell, or in a file of passwords."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of a server, and a database that another one owns."""

    server: Postgres
    name: str
    database: str

    def url(self, query: str = "", *, password: str | None = ODD) -> str:
        """Return the ledger's URL for this user; None: without a password."""
        whole = self.server.tcp(self.database, user=self.name, password=password or "", query=query)
        return whole if password is not None else whole.replace(":@", "@")

    def owner(self) -> str:
        """Return it for the owner."""
        return self.server.tcp(self.database)

    def do(self, *statements: str) -> None:
        """Execute statements as the server's operator, in the database; USER stands for the user."""
        for statement in statements:
            self.server.do(statement.replace("USER", self.name), self.database)

    def may_write(self) -> None:
        """Have the owner make the tables, and let the user write them, but make none."""
        Ledger.open(self.owner()).close()
        self.do("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO USER")


@pytest.fixture
def user(postgres: Postgres, postgres_url: str) -> Iterator[User]:
    """Yield a user without any right, with an odd password."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    made = User(postgres, f"user_{database}", database)
    made.do(f"CREATE ROLE USER LOGIN PASSWORD '{ODD.replace(chr(39), chr(39) * 2)}'")
    try:
        yield made
    finally:
        made.do("REASSIGN OWNED BY USER TO me", "DROP OWNED BY USER CASCADE", "DROP ROLE USER")


def appends(url: str) -> int:
    """Append an entry as a process does that has just started; return how many there are."""
    with closing(Ledger.at(url)) as ledger:
        ledger.check_writable()
        ledger.append([booked()])
        return one(ledger)[0]


def test_where_a_password_may_come_from(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the URL it is encoded. Left out, libpq takes it as it is, from its variable, its file or its file of services."""
    user.may_write()
    assert 1 == appends(user.url())
    (tmp_path / "pass").write_text(f"*:*:*:{user.name}:{ODD.replace(chr(92), chr(92) * 2).replace(':', chr(92) + ':')}\n")
    (tmp_path / "pass").chmod(0o600)
    assert 2 == appends(user.url(f"?passfile={tmp_path}/pass", password=None))
    place = f"host=127.0.0.1\nport={user.server.port}\ndbname={user.database}\nuser={user.name}\npassword={ODD}\n"
    (tmp_path / "services").write_text(f"[books]\n{place}")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert 3 == appends("postgresql:///?service=books")
    monkeypatch.setenv("PGPASSWORD", ODD)
    assert 4 == appends(user.url(password=None))
    with pytest.raises(LedgerError, match="password authentication failed"):
        appends(user.url(password="another"))  # the URL's comes first


def test_a_user_who_may_make_no_tables_writes_those_that_are_there(user: User) -> None:
    """Once the owner has made them it needs no CREATE; an older version's tables it must own, which is said at the start."""
    user.may_write()
    assert [1, 2] == [appends(user.url()), appends(user.url())]
    for table in ("exchanges", "sums", "totals", "label_sums"):
        user.do(*(f"ALTER TABLE {table} DROP COLUMN {name}" for name in ADDED_KEYS))
    user.do("ALTER TABLE exchanges DROP COLUMN why", f"UPDATE meta SET value = '{SCHEMA_VERSION - 1}' WHERE key = 'schema'")
    with closing(Ledger.at(user.url())) as ledger:
        with pytest.raises(
            LastingLedgerError, match=r"may not change its tables to \d+\.\nStart this version once as the user who"
        ):
            ledger.check_writable()
        with pytest.raises(
            LastingLedgerError, match=r"may not be written by this user\.\nStart this version once as the user who"
        ):
            ledger.append([booked()])
        with closing(Ledger.at(user.owner())) as owners:
            owners.check_writable()
        user.may_write()
        ledger.append([booked()])
        assert 3 == one(ledger)[0]
    assert 4 == appends(user.url())


def test_who_may_only_read_gets_reports(user: User) -> None:
    """SELECT is enough for them. It is not for entries."""
    with closing(Ledger.open(user.owner())) as ledger:
        ledger.append([booked(pages=3)])
    user.do("GRANT SELECT ON ALL TABLES IN SCHEMA public TO USER")
    with closing(Ledger.open(user.url(), read_only=True)) as ledger:
        assert (1, 3, 1) == (*one(ledger)[:2], len(list(ledger.exported())))
    with pytest.raises(LastingLedgerError, match="may not be written by this user"):
        appends(user.url())


@pytest.mark.parametrize("is_the_users", [True, False])
def test_tables_may_be_in_another_schema(user: User, is_the_users: bool) -> None:
    """The one that `search_path` names first, of the user or of the URL, is where they are; without it, it is said."""
    query = "" if is_the_users else "?options=-csearch_path%3Dapp"
    user.do(f"ALTER ROLE USER IN DATABASE {user.database} SET search_path = app" if is_the_users else "SELECT")
    with pytest.raises(LastingLedgerError, match="has no schema for the tables"):
        appends(user.url(query))
    user.do("CREATE SCHEMA app AUTHORIZATION USER", "CREATE TABLE charges (another_program int)")
    assert 1 == appends(user.url(query))
    assert [("app", 10), ("public", 1)] == user.server.do(
        "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname IN ('app', 'public') GROUP BY 1 ORDER BY 1", user.database
    )


def test_one_connection_is_enough_to_book(user: User) -> None:
    """Where the server gives no second one, entries are written all the same; who asks for it is told of the limit."""
    user.may_write()
    user.do("ALTER ROLE USER CONNECTION LIMIT 1")
    with closing(Ledger.open(user.url())) as ledger:
        for _ in range(3):
            ledger.append([booked()])
        with pytest.raises(LedgerError, match=r"too many connections for role .*\n.*CONNECTION LIMIT"):
            Ledger.open(user.url(), read_only=True)
        with pytest.raises(LedgerError, match="too many connections for role"), ledger.transaction():
            ledger.append([booked()])
        ledger.append([booked()])
        assert 4 == one(ledger)[0]


def test_a_server_without_a_free_connection_is_said(own_server: Postgres) -> None:
    """While others hold them all, what was connected goes on; a start waits in the journal, with the cure."""
    own_server.kill()
    many = 8
    own_server.set(max_connections=str(many), superuser_reserved_connections="0", max_wal_senders="0")
    own_server.start()
    url = own_server.create("books")
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked()])
        held: list[psycopg.Connection[tuple[object, ...]]] = []
        while len(held) < many - 1:  # those that made the database may still be about to end
            with suppress(psycopg.OperationalError):
                held.append(psycopg.connect(url))
        ledger.append([booked()])
        with (
            closing(Ledger.at(url)) as started,
            pytest.raises(LedgerError, match=r"too many clients already.*\n.*max_connections"),
        ):
            started.check_writable()
        for connection in held:
            connection.close()
        assert 2 == one(ledger)[0]


def test_a_users_statement_timeout_bounds_reports_only(user: User) -> None:
    """What is written has the program's own; a report that takes longer says what ended it."""
    user.may_write()
    with closing(Ledger.at(user.url())) as ledger, closing(Ledger.open(user.url(), read_only=True)) as reader:
        ledger.append([booked()])
        user.do("ALTER ROLE USER SET statement_timeout = '1s'")
        ledger.reconnect()
        reader.reconnect()
        with ledger.transaction(writes=True) as connection:
            connection.exec_driver_sql("SELECT pg_sleep(1.5)")
        with (
            pytest.raises(LedgerError, match=r"gave a statement up: .*\n.*statement_timeout"),
            reader.transaction() as connection,
        ):
            connection.exec_driver_sql("SELECT pg_sleep(20)")


def test_an_export_that_is_read_too_slowly_says_what_ended_it(user: User) -> None:
    """idle_in_transaction_session_timeout ends a session that waits for its reader, which is said."""
    user.may_write()
    with closing(Ledger.at(user.url())) as ledger, closing(Ledger.open(user.url(), read_only=True)) as reader:
        ledger.append([booked() for _ in range(1200)])  # more than are fetched at once
        user.do("ALTER ROLE USER SET idle_in_transaction_session_timeout = '100ms'")
        reader.reconnect()
        with pytest.raises(LedgerError, match=r"ended the session: .*\n.*idle_in_transaction_session_timeout"):
            read_slowly(user, reader)
        ledger.append([booked()])
        assert 1201 == one(ledger)[0]


def read_slowly(user: User, ledger: Ledger) -> None:
    """Read an export whose session the server ends after the first row."""
    with closing(ledger.exported()) as rows:
        next(rows)
        ended = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{user.name}' AND state LIKE 'idle in transaction%'"
        while user.server.do(ended)[0][0]:
            time.sleep(0.02)
        list(rows)


def test_a_lock_of_another_is_waited_for_as_the_user_may(user: User) -> None:
    """A user's lock_timeout ends the wait; the next try is booked."""
    user.may_write()
    user.do("ALTER ROLE USER SET lock_timeout = '100ms'")
    entries = [booked(), booked()]
    with closing(Ledger.at(user.url())) as ledger, closing(psycopg.connect(user.owner())) as other:
        ledger.append(entries[:1])
        other.execute("LOCK TABLE exchanges")
        with pytest.raises(LedgerError, match="is locked by another process"):
            ledger.append(entries)
        other.rollback()
        assert entries[1:] == ledger.append(entries)
