"""Chooses how the token of an identity is fetched: by google-auth or by azure-identity."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final
from urllib.parse import unquote, urlsplit

from ..extras import install_command
from ..secret import Secret
from . import entra, google
from .identity import GoogleIdentity, Identity
from .messages import without_secrets
from .token import FetchError, Token
from .token_source import Fetch

MAX_TOKEN: Final = 16_384
"""How long a token may be: it goes up in the head of each request."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
_LOGGERS: Final = ("azure", "google", "msal", "requests", "urllib3")
_EXTRAS: Final = {
    "google": ("google.auth", "requests", "urllib3", "cryptography"),
    "azure": ("azure.identity", "requests", "urllib3"),
}


def fetcher(identity: Identity, environ: Mapping[str, str] = os.environ) -> Fetch:
    """Return what fetches tokens of this identity. It is called on a thread, blocks for half a minute at most, raises FetchError.

    The libraries are imported with the first fetch. What they log goes nowhere: it may hold what servers echo.
    """
    return _Fetcher(identity, environ)


def missing_extra(identity: Identity) -> str | None:
    """Return the extra (`google`, `azure`) that this identity needs and that is not installed, else None."""
    extra = _extra(identity)
    return extra if any(not _is_there(module) for module in _EXTRAS[extra]) else None


class _Fetcher:
    """Fetches tokens, and remembers those that it fetched: a server's error could echo them."""

    def __init__(self, identity: Identity, environ: Mapping[str, str]) -> None:
        self._identity = identity
        self._environ = environ
        self._before: tuple[str, ...] = ()

    def __call__(self) -> Token:
        """Fetch one. Raises FetchError."""
        identity = self._identity
        if (extra := missing_extra(identity)) is not None:
            raise FetchError(f"The extra '{extra}' is not installed: {install_command(extra)}")
        _mute()
        from .bounded_session import BoundedSession  # noqa: PLC0415 - of the extras

        proxy = None if identity.proxy is None else identity.proxy.reveal()
        session = BoundedSession({*self._before, *_passwords(proxy)}, proxy)
        try:
            with session:
                if isinstance(identity, GoogleIdentity):
                    value, ends = google.fetch(identity, session, self._environ)
                else:
                    value, ends = entra.fetch(identity, session, self._environ)
        except FetchError:
            raise
        except Exception as error:  # noqa: BLE001 - what libraries raise for an odd response is of any kind
            raise session.trouble or session.useless or _unexpected(error, session.secrets) from None
        token = _token(value, ends, session.useless)
        self._before = (*self._before, token.secret.reveal())[-2:]
        return token


def _token(value: object, ends: float | None, useless: FetchError | None) -> Token:
    """Return the token of a response. Raises FetchError where it is none that can stand in a head, or no one knows its end."""
    if ends is None or not isinstance(value, str) or len(value) > MAX_TOKEN or not _TOKEN.fullmatch(value):
        raise useless or FetchError("No token was fetched.")
    return Token(Secret(value), ends)


def _unexpected(error: Exception, secrets: set[str]) -> FetchError:
    """Return the error of a library that asked no server: it does not understand what the configuration says."""
    name = type(error).__name__
    words = without_secrets(str(error), secrets).rstrip(".") or name
    return FetchError(f"No token was fetched: {words}.", name)


def _passwords(proxy: str | None) -> set[str]:
    """Return what is secret in the URL of a proxy."""
    password = None if proxy is None else urlsplit(proxy).password
    return set() if not password else {password, unquote(password)}


def _mute() -> None:
    """Keep to themselves what the libraries log, at every level."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _extra(identity: Identity) -> str:
    return "google" if isinstance(identity, GoogleIdentity) else "azure"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False
