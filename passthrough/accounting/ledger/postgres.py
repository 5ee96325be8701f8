"""A ledger's database on a PostgreSQL server: sessions with time limits, and errors with hints, without the password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ...errors import EntryRefusedError, LastingLedgerError, LedgerError, UnservableLedgerError
from ...extras import install_command
from .postgres_url import PostgresUrl, postgres_url

CALL_S: Final = 35.0
"""How long one call may take: longer than the server's statement_timeout, so that the server says what is wrong."""

_STATEMENT_MS: Final = 30_000
_PING_S: Final = 5.0
"""How long the ping of an idle session may take."""

_QUICK_CONNECT_S: Final = "2"
_TRIAL_S: Final = 3.0
"""How long a call of a trial may take: the start waits for it."""

_APPEND_LOCK: Final = 0x7061_7373_6C65_6467
"""The key of the advisory lock ("passledg"): appends share it; a transaction that must be alone takes it exclusively."""

_BROKEN: Final = frozenset({"connection", "08", "0A", "26", "42P05", "57P01", "57P02", "57P03", "57P04", "57P05"})
"""SQLSTATEs, and classes of them, after which a session and all older ones are closed: they end, or changed their state.

0A000: a standby or a pooler responds with it to what it cannot do. 26000, 42P05: another client of a pooler prepares statements.
"""

_READ_ONLY: Final = "25006"
"""The same for a write: after a failover, a new session finds the server that takes writes."""


class PostgresServer:
    """A database on a server, shared by any number of processes. A broken session is replaced at its next checkout."""

    name: Final = "postgresql"

    def __init__(self, text: str, *, read_only: bool, call_s: float = CALL_S) -> None:
        """Take a server by its URL, without a connection yet; no call takes longer than `call_s`.

        Raises LedgerError where the driver is not installed, or the URL cannot be understood.
        """
        try:
            from .postgres_session import CallLimit, Session, parameter_names  # noqa: PLC0415 - the driver is an extra
        except ImportError:
            raise LedgerError(f"A ledger in PostgreSQL needs psycopg.\nInstall it: {install_command('postgres')}") from None
        url = postgres_url(text, parameter_names)
        self.where = url.where
        self._secrets = url.secrets
        self._limit, self._ping_limit = CallLimit(call_s), CallLimit(min(call_s, _PING_S))
        self._trial_limit = CallLimit(min(call_s, _TRIAL_S))
        self._session = Session
        self._parameters = _parameters(url, read_only=read_only)
        self._encoding = "UTF8"
        self._is_hurried = False
        self.engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connected,
            pool_size=2,
            max_overflow=2,
            pool_timeout=10,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        sa.event.listen(self.engine, "handle_error", _give_up)
        sa.event.listen(self.engine, "checkout", self._checked_out)  # after the ping
        sa.event.listen(self.engine, "checkin", self._checked_in)
        # All in one statement: each would be a round trip. A prepared statement cannot hold several.
        self._begin = partial(_begin, at_once=url.prepare_threshold is None)
        if not read_only:
            sa.event.listen(self.engine, "begin", self._begin)

    @property
    def codec(self) -> str | None:
        """Return the Python codec that a text must fit in to be stored; None where any text but NUL may be stored."""
        return None if self._encoding in {"UTF8", "SQL_ASCII"} else _CODECS.get(self._encoding, "ascii")

    @contextmanager
    def trial(self) -> Iterator[sa.Connection]:
        """Yield a session of its own in a transaction that is rolled back; a server that does not respond soon is away."""

        def connect() -> Any:
            session = self._connected(connect_timeout=_QUICK_CONNECT_S)
            session.limit = self._trial_limit
            return session

        engine = sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)
        sa.event.listen(engine, "begin", self._begin)
        with engine.connect() as connection, connection.execution_options(writes=True).begin() as transaction:
            yield connection
            transaction.rollback()

    def limit_calls(self, call_s: float) -> None:
        """Bound every call by this from now on, also those under way."""
        self._is_hurried = True
        for limit in (self._limit, self._ping_limit):
            limit.seconds = min(limit.seconds, call_s)

    def _connected(self, **more: str) -> Any:
        if self._is_hurried:
            more = {"connect_timeout": _QUICK_CONNECT_S} | more
        session = self._session.connect(**(self._parameters | more))
        session.limit = self._limit
        # This is the server's encoding, with a pooler in between too: PgBouncer passes on what the server reported.
        self._encoding = session.info.parameter_status("server_encoding") or "UTF8"
        return session

    def _checked_out(self, session: Any, _record: object, _proxy: object) -> None:
        session.limit = self._limit

    def _checked_in(self, session: Any, _record: object) -> None:
        if session is not None:
            session.limit = self._ping_limit

    def find(self) -> None:
        """Do nothing: the first query shows whether it is there."""

    def make(self) -> None:
        """Do nothing: the operator creates the database, and the first append its tables."""

    def back_up(self, _version: int) -> None:
        """Do nothing: the operator of a server has its backups, and a copy in it would be none."""

    def identity(self) -> object:
        """Return always the same: a server keeps its name, whatever happens to its files."""
        return self.where

    def lost(self, error: SQLAlchemyError) -> bool:
        """Tell whether an error says that the tables are gone, as after another database took this one's name."""
        return _state(error) in {"42P01", "3F000", "42703"}

    def translate(self, error: SQLAlchemyError) -> LedgerError:
        """Return a LedgerError for what the server or the driver said, by the SQLSTATE, without the password."""
        state = _state(error)
        _check_encoding(self.where, str(error))
        what, hint = _CAUSES.get(state) or _CAUSES.get(state[:2]) or ("failed: {words}", "Look into the server's log.")
        text = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()
        words = " ".join(" ".join(line for line in text if not line.startswith("\t")).split())  # without libpq's own hints
        for secret in self._secrets:
            words = words.replace(secret, "***")
        if state == "connection" or state[:2] in {"08", "42"}:
            hint = next((better for pattern, better in _BETTER_HINTS if re.search(pattern, words)), hint)
        kind = EntryRefusedError if state[:2] in {"22", "23", "54"} else LedgerError
        if _LASTING.intersection({state, state[:2]}):
            kind = LastingLedgerError
        return kind(f"The ledger {self.where} {what.format(words=words[:500].rstrip('.'))}.\n{hint}")


def _begin(connection: sa.Connection, *, at_once: bool) -> None:
    options = connection.get_execution_options()
    statements = [f"SET LOCAL statement_timeout = {_STATEMENT_MS}"]
    if options.get("alone"):
        statements.append(f"SELECT pg_advisory_xact_lock({_APPEND_LOCK})")
    elif options.get("writes"):
        statements.append(f"SELECT pg_advisory_xact_lock_shared({_APPEND_LOCK})")
    for statement in ["; ".join(statements)] if at_once else statements:
        connection.exec_driver_sql(statement)


def _parameters(url: PostgresUrl, *, read_only: bool) -> dict[str, Any]:
    parameters: dict[str, Any] = {**url.parameters, "prepare_threshold": url.prepare_threshold}
    if url.is_multi_host and not read_only:
        parameters.setdefault("target_session_attrs", "read-write")
    return parameters


def _give_up(context: Any) -> None:
    """Have the pool close sessions that are of no use any more, though the connection holds."""
    state = _state(context.sqlalchemy_exception or context.original_exception)
    writes = context.connection is not None and context.connection.get_execution_options().get("writes")
    if state in _BROKEN or state[:2] in _BROKEN or (state == _READ_ONLY and writes):
        context.is_disconnect = True


def _check_encoding(where: str, text: str) -> None:
    """Raise UnservableLedgerError where a server, in any language, says that it cannot convert from its encoding."""
    if re.search(r"\bUTF8\b.*\bMULE_INTERNAL\b", text):
        raise UnservableLedgerError(
            f"The ledger {where} can never be one: its database is in MULE_INTERNAL, which cannot be read as Unicode.\n"
            "Make another with 'createdb --encoding UTF8 --template template0'."
        )


def _state(error: BaseException) -> str:
    """Return an error's SQLSTATE; `connection` where no server could send one: the connection failed or broke."""
    if not isinstance(error, DBAPIError):
        return ""
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None and isinstance(error, DataError):
        return "22000"  # the driver refuses some values before the server would
    return str(sqlstate or ("connection" if isinstance(error, OperationalError) else ""))


_CAUSES: Final = {
    "connection": (
        "cannot be reached: {words}",
        "Check that it runs, and the host, port, user, password (an @ is %40, a % is %25) and database in its URL.",
    ),
    "08": ("cannot be reached: {words}", "Check that it runs, and that this machine may connect there."),
    "0A": ("does not do what was asked of it: {words}", "Name the server that is written; it is tried again."),
    "22": ("does not take what was to be written: {words}", "Please report this."),
    "23": ("does not take what was to be written: {words}", "Please report this."),
    "25006": ("takes no writes: it is read-only, or a standby", "Name the server that is written."),
    "25P03": (
        "ended the session: {words}",
        "Read faster, into a file, or raise the user's idle_in_transaction_session_timeout.",
    ),
    "26": ("mixes up sessions: {words}", "Leave 'prepare_threshold' out of its URL, or let the pooler pool sessions."),
    "40": ("refused for the moment: {words}", "Try again, as 'serve' does by itself."),
    "42501": (
        "may not be written by this user",
        "Give the user the database (ALTER DATABASE … OWNER TO …), or CREATE on its schema.",
    ),
    "42P01": ("has not the tables of a ledger", "Run 'serve' with it once: it makes them."),
    "3F": ("has no schema for the tables", "Make the schema (CREATE SCHEMA …), or correct 'search_path'."),
    "42P05": ("mixes up sessions: {words}", "Leave 'prepare_threshold' out of its URL, or let the pooler pool sessions."),
    "53": ("has no room: {words}", "Free what it lacks: disk, memory, or connections (max_connections)."),
    "54": ("does not take what was to be written: {words}", "Please report this."),
    "55P03": ("is locked by another process", "Look what holds the lock (pg_stat_activity)."),
    "57014": (
        "gave a statement up: {words}",
        "Look what holds it up (pg_stat_activity). A report may take the user's statement_timeout.",
    ),
    "57": ("is stopping or starting: {words}", "It is tried again."),
}
"""The message and the hint for a SQLSTATE, or for a class of them."""

_BETTER_HINTS: Final = (
    (
        r"\bunsupported startup parameter\b",
        "Leave 'options' out of its URL: PgBouncer refuses it. Give the user what it sets (ALTER ROLE … SET …).",
    ),
    (r"\bpooling mode\b", "Let the pooler pool transactions or sessions."),
    (r"\bsession is read-only\b", "Name the server that is written; it is tried again, as a standby may become one."),
    (
        r"\btoo many (connections|clients)\b|\bremaining connection slots\b",
        "Free connections, or raise max_connections, or the CONNECTION LIMIT of the user or database: a process has up to four.",
    ),
    (
        r"\bSSL\b|\bsslmode\b|\bno encryption\b|\bcertificate\b|\bprivate key file\b",
        "Check 'sslmode', 'sslrootcert' (a file of authorities), 'sslcert' and 'sslkey' in its URL, and the name in the server's "
        "certificate.",
    ),
    (
        r"\bmust be owner of\b",
        "Start this version once as the user who owns the tables, and grant this one what is new.",
    ),
)
"""Hints for what only the words tell; they are in English, of libpq and PgBouncer for certain, of a server by its lc_messages."""

_LASTING: Final = frozenset({"3F", "42501"})
"""Those that stay until a person acts.

A wrong password and a missing database do, too, but psycopg has no SQLSTATE for a connection that was not made, and the text is
in the server's language: they cannot be told from a server that is away.
"""

_CODECS: Final = {
    **{f"LATIN{number}": f"latin{number}" for number in range(1, 11)},
    **{f"WIN{number}": f"cp{number}" for number in (866, 874, *range(1250, 1259))},
    **{f"ISO_8859_{number}": f"iso8859_{number}" for number in range(5, 9)},
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
}
"""Python's codecs for PostgreSQL's encodings. Where one is missing, all characters beyond ASCII are escaped."""
