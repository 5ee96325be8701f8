"""Looks into PEM files that are named, so that a broken one is said now, and not by the first connection that fails."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from ..listen import ENVIRONMENT
from ..problems import Problems

_AUTHORITIES: Final = "SSL_CERT_FILE"
_SYSTEM: Final = "system"
"""libpq's word for the system's authorities."""


def holds_certificates(file: str) -> bool:
    """Tell whether a PEM file can be read, and has a certificate in it."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError):
        return False
    return bool(context.cert_store_stats()["x509"])


def check_authorities(environ: Mapping[str, str], cwd: Path, problems: Problems) -> None:
    """Warn of an SSL_CERT_FILE in which there is no certificate: OpenSSL then trusts nobody, and says nothing."""
    named = environ.get(_AUTHORITIES)
    if named and not holds_certificates(str(cwd / named)):
        what = "The file holds no certificate that can be read, so that no target is trusted."
        problems.warn_elsewhere(ENVIRONMENT, _AUTHORITIES, what, "Name a PEM file of authorities, or unset it.")


def check_ledger_files(url: str | None, cwd: Path, problems: Problems) -> None:
    """Warn of PEM files in the URL of a PostgreSQL ledger that cannot be read; libpq reads them at each connect."""
    if url is None or not url.startswith("postgres"):
        return
    given = dict(parse_qsl(url.rpartition("?")[2]))  # urlsplit raises for a [ in a password
    root, certificate, key = given.get("sslrootcert"), given.get("sslcert"), given.get("sslkey")
    if root and root != _SYSTEM and not holds_certificates(str(cwd / root)):
        _warn("sslrootcert", root, "holds no certificate that can be read", problems)
    if not certificate:
        return
    if not os.path.isfile(cwd / certificate) or not holds_certificates(str(cwd / certificate)):
        _warn("sslcert", certificate, "holds no certificate that can be read", problems)
    elif key and not _belong_together(cwd / certificate, cwd / key, given.get("sslpassword", "")):
        _warn("sslkey", key, "is no key that can be read and belongs to 'sslcert'", problems)


def _belong_together(certificate: Path, key: Path, password: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=password)
    except (OSError, ValueError):
        return False
    return True


def _warn(parameter: str, file: str, what: str, problems: Problems) -> None:
    said = f"The URL's '{parameter}', {file}, {what}: the ledger will not be reached."
    problems.warn(("ledger",), said, "Name a PEM file, relative to the working directory, and check its permissions.")
