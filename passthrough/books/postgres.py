"""The ledger's database, where it is in PostgreSQL: reached with bounds, and what is wrong with it said without its password."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError

from ..errors import EntryRefusedError, LedgerError

SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
"""What a URL may begin with; whichever it is, psycopg 3 speaks."""

_CONNECTING: Final[dict[str, str]] = {
    "connect_timeout": "5",  # s
    "application_name": "passthrough",
    # A machine that is gone sends nothing: without these a statement would wait for a quarter of an hour.
    "keepalives_idle": "30",  # s
    "keepalives_interval": "10",  # s
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # ms
}
"""What libpq is told, where the URL does not say it."""

_STATEMENT_MS: Final = 30_000
_APPENDS: Final = 0x7061_7373_6C65_6467
"""The key of the lock that appends share, and that excludes them ("passledg")."""


class PostgresServer:
    """A database on a server, shared by any number of processes. A broken connection is replaced when it is next taken."""

    name: Final = "postgresql"

    def __init__(self, url: sa.URL, *, read_only: bool) -> None:
        """Take a server that nobody has spoken to yet.

        Raises LedgerError where the driver is not installed, or where a part of the password would pass for the host.
        """
        if "@" in f"{url.host}{url.database}":
            raise LedgerError("The ledger's URL has an '@' too many.\nWrite an @ in its user or password as %40, a / as %2F.")
        self._secrets = _secrets(url)
        self.where = url._replace(drivername="postgresql", username=None, password=None).set(query={}).render_as_string()
        told = {name: value for name, value in _CONNECTING.items() if name not in url.query}
        try:
            self.engine = sa.create_engine(
                url.set(drivername="postgresql+psycopg"),
                connect_args=told,
                pool_size=2,
                max_overflow=2,
                pool_timeout=10,
                pool_pre_ping=True,
                hide_parameters=True,
            )
        except ImportError:
            raise LedgerError("A ledger in PostgreSQL needs psycopg.\nInstall it: pip install 'passthrough[postgres]'.") from None
        if not read_only:
            sa.event.listen(self.engine, "begin", _begin)

    def find(self) -> None:
        """Do nothing: whether it is there, the first question tells."""

    def make(self) -> None:
        """Do nothing: a database is made by its operator, its tables with the first append."""

    def back_up(self, _version: int) -> None:
        """Do nothing: whoever has a server has its backups, and a copy in it would be none."""

    def identity(self) -> object:
        """Return the same always: a server has a name, whatever happens to its files."""
        return self.where

    def lost(self, error: SQLAlchemyError) -> bool:
        """Tell whether an error says that the tables are not there any more, as after another database was put in the place."""
        return _state(error) in {"42P01", "3F000"}

    def ours(self, error: SQLAlchemyError) -> LedgerError:
        """Return what the server or the driver said as an error of ours, by the SQLSTATE, without the password."""
        state = _state(error)
        what, mend = _CAUSES.get(state) or _CAUSES.get(state[:2]) or ("failed: {words}", "Look into the server's log.")
        said = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()
        words = " ".join(" ".join(line for line in said if not line.startswith("\t")).split())  # without libpq's own hints
        for secret in self._secrets:
            words = words.replace(secret, "***")
        kind = EntryRefusedError if state[:2] in {"22", "23", "54"} else LedgerError
        return kind(f"The ledger {self.where} {what.format(words=words[:500].rstrip('.'))}.\n{mend}")


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    statements = [f"SET LOCAL statement_timeout = {_STATEMENT_MS}"]
    if options.get("alone"):
        statements.append(f"SELECT pg_advisory_xact_lock({_APPENDS})")
    elif options.get("writes"):
        statements.append(f"SELECT pg_advisory_xact_lock_shared({_APPENDS})")
    connection.exec_driver_sql("; ".join(statements))  # in one go: each would be a way to the server and back


def _secrets(url: sa.URL) -> tuple[str, ...]:
    told: list[Any] = [url.password, url.query.get("password"), url.query.get("sslpassword")]
    plain = [str(secret) for secret in told if secret]
    spelt = {spell(secret) for secret in plain for spell in (str, quote, quote_plus)}
    return tuple(sorted(spelt, key=len, reverse=True))


def _state(error: SQLAlchemyError) -> str:
    """Return the SQLSTATE; `connection` where there was none to say it, for the connection was not made or broke."""
    if not isinstance(error, DBAPIError):
        return ""
    told = getattr(error.orig, "sqlstate", None)
    if told is None and isinstance(error, DataError):
        return "22000"  # the driver refuses some of what the server would
    return str(told or ("connection" if isinstance(error, OperationalError) else ""))


_CAUSES: Final = {
    "connection": (
        "cannot be reached: {words}",
        "Check that it runs, and the host, port, user, password and database in its URL.",
    ),
    "08": ("cannot be reached: {words}", "Check that it runs, and that this machine may connect there."),
    "22": ("does not take what was to be written: {words}", "Please report this."),
    "23": ("does not take what was to be written: {words}", "Please report this."),
    "25006": ("takes no writes: it is read-only, or a standby", "Name the server that is written."),
    "28": ("does not accept the user or the password", "Check both in its URL."),
    "3D": ("is not there: the server has no such database", "Make it with 'createdb', or change the URL."),
    "40": ("refused for the moment: {words}", "It is tried again."),
    "42501": (
        "may not be written by this user",
        "Give the user the database (ALTER DATABASE … OWNER TO …), or CREATE on its schema.",
    ),
    "42P01": ("has not the tables of a ledger", "Run 'serve' with it once: it makes them."),
    "3F": ("has not the tables of a ledger", "Run 'serve' with it once: it makes them."),
    "53": ("has no room: {words}", "Free what it lacks: disk, memory, or connections (max_connections)."),
    "54": ("does not take what was to be written: {words}", "Please report this."),
    "55P03": ("is locked by another process", "Look what holds the lock (pg_stat_activity)."),
    "57014": (f"took longer than {_STATEMENT_MS // 1000} s", "Look what holds it up (pg_stat_activity)."),
    "57": ("is stopping or starting: {words}", "It is tried again."),
}
"""What is said for a SQLSTATE, or for a class of them, and how to mend it."""
