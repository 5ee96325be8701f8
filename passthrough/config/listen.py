"""The settings of ports, processes and logs: flags over PASSTHROUGH_… variables over keys of the file over defaults."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from . import syntax, values
from .model import Listen
from .problems import At, InvalidValue, Problems
from .schema import File

COMMAND_LINE: Final = "command line"
ENVIRONMENT: Final = "environment"


@dataclass(frozen=True, slots=True)
class _Setting:
    """One row of the table: the field of Listen, the flag and key of the file, other names of the key, and how text is parsed."""

    field: str
    key: str
    variable: str
    parse: Callable[[str], Any]
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return "--" + self.key.replace("_", "-")


_TABLE: Final = (
    _Setting("host", "host", "PASSTHROUGH_LISTEN_HOST", syntax.host, ("listen_host",)),
    _Setting("port", "port", "PASSTHROUGH_LISTEN_PORT", values.port, ("listen_port",)),
    _Setting("admin_host", "admin_host", "PASSTHROUGH_ADMIN_HOST", syntax.host),
    _Setting("admin_port", "admin_port", "PASSTHROUGH_ADMIN_PORT", values.port),
    _Setting("workers", "workers", "PASSTHROUGH_WORKERS", values.workers),
    _Setting("drain_delay_s", "drain_delay", "PASSTHROUGH_DRAIN_DELAY", values.delay),
    _Setting("drain_timeout_s", "drain_timeout", "PASSTHROUGH_DRAIN_TIMEOUT", values.duration),
    _Setting("log_format", "log_format", "PASSTHROUGH_LOG_FORMAT", partial(values.one_of, values.LOG_FORMATS)),
    _Setting("log_file", "log_file", "PASSTHROUGH_LOG_FILE", values.file_name),
    _Setting("log_level", "log_level", "PASSTHROUGH_LOG_LEVEL", partial(values.one_of, values.LOG_LEVELS)),
    _Setting("tls_cert", "tls_cert", "PASSTHROUGH_TLS_CERT", values.file_name),
    _Setting("tls_key", "tls_key", "PASSTHROUGH_TLS_KEY", values.file_name),
    _Setting("max_connections", "max_connections", "PASSTHROUGH_MAX_CONNECTIONS", values.count),
    _Setting("client_keep_alive_s", "client_keep_alive", "PASSTHROUGH_CLIENT_KEEP_ALIVE", values.duration),
    _Setting("upstream_keep_alive_s", "upstream_keep_alive", "PASSTHROUGH_UPSTREAM_KEEP_ALIVE", values.duration),
)
VARIABLES: Final = MappingProxyType({setting.key: setting.variable for setting in _TABLE})
"""key of the file → variable, for every setting of the table."""

ADMIN_ADDRESS: Final = ("admin_host", "admin_port")
"""The keys of the admin port's address."""


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The settings, the origin of each for later problems, and the names of files as messages show them."""

    listen: Listen
    origins: Mapping[str, tuple[str, At]]
    names: Mapping[str, str]

    def wrong(self, field: str, problems: Problems, what: str, hint: str, *, named: str = "") -> None:
        """Note a problem at the place where the field was set; `named` is the file that it names."""
        source, at = self.origins.get(field, ("", (field,)))
        if source:
            problems.wrong_elsewhere(source, f"{at[0]} {named}".rstrip(), what, hint)
        else:
            problems.wrong(at, what, hint, named=named)


def listen_settings(
    file: File, environ: Mapping[str, str], flags: Mapping[str, object], folders: tuple[Path, Path], problems: Problems
) -> ListenSettings:
    """Return the settings; `folders` are the configuration's and the working directory, for the names of files.

    An empty variable counts as not set: templates of environments are full of them.
    """
    found = _with_stdout(_chosen(_TABLE, file, environ, flags, folders, problems))
    _check_ports(found, problems)
    _check_tls(found, problems)
    return found


def admin_address(file: File, environ: Mapping[str, str], flags: Mapping[str, object], problems: Problems) -> tuple[str, int]:
    """Return the admin port's host and port; no other setting is checked."""
    rows = [setting for setting in _TABLE if setting.key in ADMIN_ADDRESS]
    listen = _chosen(rows, file, environ, flags, (Path(), Path()), problems).listen
    return listen.admin_host, listen.admin_port


def _chosen(
    table: Iterable[_Setting],
    file: File,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    folders: tuple[Path, Path],
    problems: Problems,
) -> ListenSettings:
    chosen: dict[str, Any] = {}
    origins: dict[str, tuple[str, At]] = {}
    names: dict[str, str] = {}
    for setting in table:
        given = _given(setting, file, environ, flags, problems)
        if given is None:
            continue
        source, at, value = given
        try:
            value = setting.parse(str(value)) if source else value
        except InvalidValue as invalid:
            problems.wrong_elsewhere(source, str(at[0]), invalid.what, invalid.hint)
            continue
        if isinstance(value, values.FileName):
            names[setting.field] = value.shown
            value = str((folders[1] if source else folders[0]) / value.text)
        chosen[setting.field] = value
        origins[setting.field] = (source, at)
    return ListenSettings(Listen(**chosen), origins, names)


def _given(
    setting: _Setting, file: File, environ: Mapping[str, str], flags: Mapping[str, object], problems: Problems
) -> tuple[str, At, Any] | None:
    """Return the value that wins, with its source ("" is the file) and place."""
    keys = [key for key in (setting.key, *setting.aliases) if key in file.model_fields_set]
    if len(keys) > 1:
        problems.wrong((keys[1],), f"This is given twice: '{keys[0]}' is the same setting.", "Keep one of them.")
    if flags.get(setting.key) is not None:
        return COMMAND_LINE, (setting.flag,), flags[setting.key]
    if environ.get(setting.variable):
        return ENVIRONMENT, (setting.variable,), environ[setting.variable]
    return ("", (keys[0],), getattr(file, keys[0])) if keys else None


def _with_stdout(found: ListenSettings) -> ListenSettings:
    """Return the settings with `-` as a log file's name understood: stdout, as for other commands."""
    log_file = found.listen.log_file
    return (
        found if log_file is None or Path(log_file).name != "-" else replace(found, listen=replace(found.listen, log_file=None))
    )


def _check_ports(found: ListenSettings, problems: Problems) -> None:
    listen = found.listen
    if listen.port and (listen.port == listen.admin_port):
        what = f"Traffic and admin cannot both listen on port {listen.port}."
        field = "admin_port" if "admin_port" in found.origins else "port"
        found.wrong(field, problems, what, "Choose two ports.")


def _check_tls(found: ListenSettings, problems: Problems) -> None:
    """Load certificate and key now: an error is a problem of the configuration, not of the first client."""
    listen = found.listen
    given, other = ("tls_cert", "tls_key") if listen.tls_key is None else ("tls_key", "tls_cert")
    if (listen.tls_cert is None) != (listen.tls_key is None):
        found.wrong(given, problems, f"{given} is of no use without {other}.", f"Give {other} too, or neither.")
    if listen.tls_cert is None or listen.tls_key is None:
        return
    # Path.is_file raises where a folder may not be searched (Python 3.13 and before).
    missing = [field for field in ("tls_cert", "tls_key") if not os.path.isfile(getattr(listen, field))]
    for field in missing:
        base = "working directory" if found.origins[field][0] else "configuration's folder"
        hint = f"Check its name, which is relative to the {base}, and its permissions."
        found.wrong(field, problems, "There is no such file.", hint, named=found.names[field])
    if missing:
        return
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(listen.tls_cert, listen.tls_key, password="")
    except PermissionError:
        # OpenSSL does not say which of the two.
        field = "tls_key" if _is_readable(listen.tls_cert) else "tls_cert"
        hint = "Let the user that the program runs as read it."
        found.wrong(field, problems, "The file may not be read: permission denied.", hint, named=found.names[field])
    except (OSError, ValueError) as error:
        both = f"The certificate {found.names['tls_cert']} and the key {found.names['tls_key']}"
        fits = getattr(error, "reason", None) != "KEY_VALUES_MISMATCH"
        what = f"{both} cannot be loaded." if fits else f"{both} do not belong together."
        hint = "Give PEM files that belong together, the key without a password."
        found.wrong("tls_cert", problems, what, hint)


def _is_readable(file: str) -> bool:
    try:
        with open(file, "rb"):
            return True
    except OSError:
        return False
