"""Parses the URL of a PostgreSQL database: its hosts, its parameters, and its secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ...errors import LedgerError

SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
"""The schemes of a URL; psycopg 3 is the driver of all of them."""

_DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "connect_timeout": "5",  # s
        "application_name": "passthrough",
        # A machine that is gone sends nothing: without these a statement would wait for a quarter of an hour.
        "keepalives_idle": "30",  # s
        "keepalives_interval": "10",  # s
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",  # ms
    }
)
"""libpq's parameters where the URL does not set them."""

_WHOLE: Final = frozenset(
    {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
)
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "gssencmode": ("disable", "prefer", "require"),
        "channel_binding": ("disable", "prefer", "require"),
        "load_balance_hosts": ("disable", "random"),
        "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    }
)
"""The values of those of libpq's parameters (PostgreSQL 17, 34.1.2) that take only a few."""

_PREPARE: Final = "prepare_threshold"
"""psycopg's own parameter: how often a statement is executed before it is prepared on the server."""

_TOO_MANY_AT: Final = """\
The ledger's URL has an '@' too many.
Percent-encode its user and password: an @ as %40, a / as %2F, a % as %25. Or leave the password to PGPASSWORD."""

_USER: Final = re.compile(r"[^:/]*(?::[^@]*)?@")
"""A URL's user and password, as SQLAlchemy reads them: a password may have any character but an @, encoded or not."""

_HOST: Final = re.compile(r"(?:(\[[^\[\]]+\])|([^:\[\]]*))(?::(\d*))?")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A parsed URL: libpq's parameters, psycopg's `prepare_threshold`, and the name that messages use."""

    where: str
    parameters: Mapping[str, str]
    prepare_threshold: int | None
    secrets: tuple[str, ...]

    @property
    def is_multi_host(self) -> bool:
        """Tell whether several servers are named, of which libpq chooses one."""
        return "," in self.parameters.get("host", "")


def postgres_url(text: str, known: Callable[[], Collection[str]]) -> PostgresUrl:
    """Parse a URL. `known` returns the names of libpq's parameters; it is called where the URL has any.

    Several hosts are separated by commas, as in libpq, or each is a parameter `host` of its own, as in SQLAlchemy. Raises
    LedgerError, without a password.
    """
    single, hosts = _without_hosts(text, known)
    try:
        url = sa.make_url(single)
    except (ArgumentError, ValueError):
        what = "The ledger is not a URL.\nWrite it as postgresql://user:password@host/name, with the password percent-encoded."
        raise LedgerError(what) from None
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    where = f"postgresql://{hosts or _host_and_port(url)}/{url.database or ''}"
    _check(where, query, known)
    prepare = query.pop(_PREPARE, "none")
    parameters = {"user": url.username, "password": url.password, "dbname": url.database}
    parameters |= _hosts(hosts or _named(url.query.get("host")) or _host_and_port(url))
    given = {name: str(value) for name, value in parameters.items() if value} | {
        name: value for name, value in query.items() if name != "host"
    }
    # Whatever the database's encoding is: both sides exchange Unicode, and the server converts.
    every = {**_DEFAULTS, **given, "client_encoding": "UTF8"}
    return PostgresUrl(where, every, None if prepare == "none" else int(prepare), _secrets(given))


def _without_hosts(text: str, known: Callable[[], Collection[str]]) -> tuple[str, str]:
    """Return a URL with only the first of its hosts, and all hosts; the latter is empty where there is only one.

    Raises LedgerError where an @ ends the password too early: the rest of it would pass for a host, and be shown.
    """
    scheme, separator, rest = text.partition("://")
    user = _user(rest, known)
    place, mark, query = rest[len(user) :].partition("?")
    if "@" in place or _has_at_elsewhere(query, known):
        raise LedgerError(_TOO_MANY_AT)
    hosts, slash, name = place.partition("/")
    first, comma, _ = hosts.partition(",")
    # SQLAlchemy takes an @ in the query for the end of a password.
    single = f"{scheme}{separator}{user}{first}{slash}{name}{mark}{query.replace('@', '%40')}"
    return single, hosts if comma else ""


def _user(rest: str, known: Callable[[], Collection[str]]) -> str:
    """Return what is before the hosts: user and password, with the @ behind them; empty where there are none."""
    place, _, query = rest.partition("?")
    is_in_query = "@" not in place and not _has_at_elsewhere(query, known)
    found = None if is_in_query else _USER.match(rest)
    return found[0] if found else ""


def _has_at_elsewhere(query: str, known: Callable[[], Collection[str]]) -> bool:
    """Tell whether a query has an @ elsewhere than in the value of a parameter."""
    return "@" in query and any("@" in part and part.partition("=")[0] not in known() for part in query.split("&"))


def _named(host: str | tuple[str, ...] | None) -> str:
    return "" if host is None else host if isinstance(host, str) else ",".join(host)


def _host_and_port(url: sa.URL) -> str:
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or ""
    return f"{host}:{url.port}" if url.port else host


def _hosts(text: str) -> dict[str, str]:
    """Return libpq's `host` and `port`; a folder stands for the Unix socket in it."""
    if not text:
        return {}
    hosts, ports = [], []
    for each in text.split(","):
        # An IPv6 address without brackets, and a folder, are libpq's spellings, which have no port.
        is_whole = each.startswith("/") or (each.count(":") > 1 and "[" not in each)
        found = _HOST.fullmatch(each)
        if not is_whole and (found is None or int(found[3] or 0) > 65_535):
            raise LedgerError("The ledger's URL has a host, or a port, that is none.\nWrite hosts as name:port,name:port.")
        bracketed, plain, port = (None, each, None) if is_whole or found is None else found.groups()
        hosts.append(bracketed[1:-1] if bracketed else plain or "")
        ports.append(port or "")
    return {"host": ",".join(hosts)} | ({"port": ",".join(ports)} if any(ports) else {})


def _check(where: str, query: Mapping[str, str], known: Callable[[], Collection[str]]) -> None:
    """Raise LedgerError for an unknown parameter, or one with a value that it cannot have; no value is shown."""
    names = known() if query else ()
    for name, value in query.items():
        if name == _PREPARE:
            allowed = None if value == "none" or value.isdecimal() else "a whole number, or 'none'"
        elif name not in names:
            raise LedgerError(
                f"The ledger {where} cannot be reached: its URL has a parameter '{name}', which PostgreSQL does not know.\n"
                "Spell it as libpq does, or leave it out."
            )
        elif name in _WHOLE:
            allowed = None if re.fullmatch(r"-?\d{1,9}", value) else "a whole number"
        else:
            allowed = None if value in _CHOICES.get(name, (value,)) else f"one of {', '.join(_CHOICES[name])}"
        if allowed:
            what = f"The ledger {where} cannot be reached: the parameter '{name}' of its URL has another value than it may have."
            raise LedgerError(f"{what}\nWrite {allowed}.")


def _secrets(given: Mapping[str, str]) -> tuple[str, ...]:
    plain = [given[name] for name in ("password", "sslpassword") if given.get(name)]
    spelt = {spell(secret) for secret in plain for spell in (str, quote, quote_plus)}
    return tuple(sorted(spelt, key=len, reverse=True))
