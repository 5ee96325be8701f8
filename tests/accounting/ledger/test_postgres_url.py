"""The URL of a ledger in PostgreSQL: hosts, parameters, and never a password in what is said."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.journal.folder import NAME, journal_folder
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.postgres_session import parameter_names
from passthrough.accounting.ledger.postgres_url import postgres_url
from passthrough.errors import LedgerError
from tests.harness.entries import booked, one
from tests.harness.ports import free_port
from tests.harness.postgres import PASSWORD, Postgres


@pytest.mark.parametrize(
    ("text", "hosts", "ports", "where"),
    [
        ("h/books", "h", None, "h/books"),
        ("h:5433/books", "h", "5433", "h:5433/books"),
        ("h1,h2/books", "h1,h2", None, "h1,h2/books"),
        ("h1:5432,h2:5433/books", "h1,h2", "5432,5433", "h1:5432,h2:5433/books"),
        ("h1,h2:5433/books", "h1,h2", ",5433", "h1,h2:5433/books"),
        ("u:p%2C@h1:1,h2:2/books?sslmode=require", "h1,h2", "1,2", "h1:1,h2:2/books"),
        ("u:a,b@h1/books", "h1", None, "h1/books"),
        ("[::1]:5432,[fe80::1%eth0]/books", "::1,fe80::1%eth0", "5432,", "[::1]:5432,[fe80::1%eth0]/books"),
        ("[::1]/books", "::1", None, "[::1]/books"),
        ("/books?host=h1:1&host=h2:2", "h1,h2", "1,2", "/books"),
        ("/books?host=h1,h2&port=1,2", "h1,h2", "1,2", "/books"),
        ("/books?host=::1", "::1", None, "/books"),
        ("me@/books?host=%2Ftmp%2Fpg&port=7", "/tmp/pg", "7", "/books"),
        ("u:a/b@h1:1,h2:2/books", "h1,h2", "1,2", "h1:1,h2:2/books"),
        ("u:a?b=,c@h1:1,h2:2/books?sslmode=require", "h1,h2", "1,2", "h1:1,h2:2/books"),
        ("h1:1/books?user=me@tenant", "h1", "1", "h1:1/books"),
        ("h1:1,h2:2/books?user=me@tenant&sslmode=require", "h1,h2", "1,2", "h1:1,h2:2/books"),
    ],
)
def test_hosts_are_understood(text: str, hosts: str, ports: str | None, where: str) -> None:
    """One or several, with ports or without, in the place of the host or as a parameter."""
    found = postgres_url(f"postgresql://{text}", parameter_names)
    assert (hosts, ports) == (found.parameters["host"], found.parameters.get("port"))
    assert f"postgresql://{where}" == found.where
    assert ("," in hosts) == found.is_multi_host


@pytest.mark.parametrize(
    "text",
    [
        "me:hunter2@h1:5432,h2:x/books",
        "me:hunter2@h1:5432,[::1/books",
        "me:hunter2@h1:5432,h2:99999/books",
        "me:hunter2@h/books?nonsense=1",
        "me:hunter2@h/books?autocommit=1",
        "me:hunter2@h/books?prepare_threshold=often",
        "me:hunter2@h/books?prepare_threshold=-1",
        "me:hunter2@h/books?connect_timeout=soon",
        "me:hunter2@h/books?sslmode=hunter2",
        "me:hunter2@h1,h2/books?target_session_attrs=write",
        "me:hun@hunter2@h1,h2/books",
        "me:hun@hunter2:x@h/books",
        "me:hun@hunter2/x@h/books",
        "me:hun@hunter2?x@h/books",
        "me:hun@hunter2?x=1@h/books",
        "me:hun@hunter2?x=1@h1:1,h2:2/books",
    ],
)
def test_what_cannot_be_meant_is_said(text: str) -> None:
    """A host, or a parameter, that is none is a problem of the configuration: at once, with a cure, without a secret."""
    with pytest.raises(LedgerError) as refused:
        Ledger.at(f"postgresql://{text}")
    assert "hunter2" not in str(refused.value)
    assert "\n" in str(refused.value)


@pytest.mark.parametrize(
    "password", ["p/s", "p?s", "p#s", "p:s", "p%s", "p[s", "p]s", "p+s", "p s", "p&s=1", "p,s", "/", "?", "a/b,c?d"]
)
@pytest.mark.parametrize("hosts", ["h", "h:5433", "h1:1,h2:2", "[::1]:5432"])
def test_a_password_that_is_not_encoded_is_read_where_it_can_be(password: str, hosts: str) -> None:
    """All signs but an @, and a % before two hexadecimal digits, mean themselves, with one host and with several."""
    found = postgres_url(f"postgresql://me:{password}@{hosts}/books?sslmode=require", parameter_names)
    assert (password, "me", "books", "require") == tuple(
        found.parameters[name] for name in ("password", "user", "dbname", "sslmode")
    )
    assert f"postgresql://{hosts}/books" == found.where


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_password_may_be_encoded(password: str) -> None:
    """Percent-encoded, any sign is a part of the password, and none is shown."""
    for hosts in ("h", "h1:1,h2:2"):
        found = postgres_url(f"postgresql://me:{quote(password, safe='')}@{hosts}/books", parameter_names)
        assert (password, f"postgresql://{hosts}/books") == (found.parameters["password"], found.where)


def test_what_is_always_the_same() -> None:
    """What comes and goes is Unicode, and nothing is prepared on the server unless that is asked for."""
    found = postgres_url("postgresql://h/books?client_encoding=LATIN1&connect_timeout=7", parameter_names)
    assert ("UTF8", "7", None) == (
        found.parameters["client_encoding"],
        found.parameters["connect_timeout"],
        found.prepare_threshold,
    )
    assert 3 == postgres_url("postgresql://h/books?prepare_threshold=3", parameter_names).prepare_threshold


@pytest.mark.parametrize("threshold", ["0", "1", "5", "none"])
def test_statements_may_be_prepared(postgres_url: str, threshold: str) -> None:
    """psycopg's own parameter is understood."""
    with closing(Ledger.open(f"{postgres_url}&prepare_threshold={threshold}")) as ledger:
        for _ in range(8):
            ledger.append([booked()])
        assert 8 == one(ledger)[0]


def test_the_server_that_is_written_is_found(postgres: Postgres, postgres_url: str) -> None:
    """Of several hosts the first that answers and takes writes is used; where none answers, no password is said."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    one_host = postgres.tcp(database)
    several = one_host.replace("@127.0.0.1:", f"@127.0.0.1:{free_port()},127.0.0.1:")
    for query in ("", "?target_session_attrs=read-write"):
        with closing(Ledger.open(several + query)) as ledger:
            ledger.append([booked()])
    with closing(Ledger.open(several, read_only=True)) as reader:
        assert 2 == one(reader)[0]
    nobody = f"postgresql://me:hunter2@127.0.0.1:{free_port()},localhost:{free_port()}/{database}"
    with pytest.raises(LedgerError, match="cannot be reached") as refused:
        Ledger.open(nobody)
    assert PASSWORD not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_journal_of_several_hosts_is_where_that_of_one_is() -> None:
    """Its folder does not go by how many they are."""
    assert NAME == journal_folder("postgresql://u:p@h1:5432,h2:5432/books").name
