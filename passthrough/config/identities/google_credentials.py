"""Checks a Google credentials file, before anybody waits for a token: that it holds what google-auth needs of its type."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import syntax
from ..problems import InvalidValue, did_you_mean, listed, printable

_Info = Mapping[str, Any]
_PEM: Final = re.compile(r"\s*-----BEGIN ((?:RSA )?PRIVATE KEY)-----\s+([A-Za-z0-9+/=\s]+)-----END \1-----\s*", re.ASCII)
_IMPERSONATED: Final = re.compile(r"https?://[^/]+/.*/(?P<account>[^/]+):generateAccessToken", re.ASCII)
_ACCOUNT_SHOWN: Final = 100
_AGAIN: Final = "Take the file as Google made it."

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "external_account_authorized_user": ("client_id", "client_secret", "refresh_token", "token_url"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}
"""Each `type` of credentials from which google-auth makes tokens → the keys that it needs (google-auth 2.63: `_default.py`
and the modules that it calls)."""

_SOURCES: Final = frozenset({"authorized_user", "service_account", "external_account_authorized_user"})
"""Types of credentials that may ask for another account's tokens (google-auth 2.63, `impersonated_credentials.py`)."""

_MAPPINGS: Final = frozenset({"credential_source", "source_credentials"})
_URLS: Final = ("token_uri", "token_url", "service_account_impersonation_url")


def checked(text: str) -> tuple[str, str]:
    """Return the JSON of credentials in its shortest spelling, and the account that they are of, for people to read.

    The same credentials have the same JSON, however they are spelt. Raises InvalidValue, which repeats nothing that is secret.
    """
    try:
        # A line break in a text is no JSON, but what `.env` makes of `\n` between double quotes: here it can only be one.
        info = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise InvalidValue("The credentials are not JSON.", _AGAIN) from None
    if not isinstance(info, dict):
        raise InvalidValue("The credentials are no JSON object ({…}).", _AGAIN)
    _check(info)
    return json.dumps(info, separators=(",", ":"), sort_keys=True), printable(_account(info), _ACCOUNT_SHOWN)


def _check(info: _Info) -> None:
    kind = info.get("type")
    if not isinstance(kind, str) or kind not in _NEEDED:
        known = listed(tuple(_NEEDED), len(_NEEDED))
        what = f"The credentials' 'type' is none of {known}."
        hint = (
            did_you_mean(kind, _NEEDED, "Make a key of a service account.") if isinstance(kind, str) else _installed_client(info)
        )
        raise InvalidValue(what, hint)
    for key in _NEEDED[kind]:
        value = info.get(key)
        if not value:
            raise InvalidValue(f"The credentials (type {kind}) have no '{key}'.", _AGAIN)
        if isinstance(value, dict) != (key in _MAPPINGS) or not isinstance(value, str | dict):
            raise InvalidValue(f"The credentials' '{key}' is not what stands there.", _AGAIN)
    for key in _URLS:
        if key in info:
            _check_url(key, info[key])
    if "private_key" in _NEEDED[kind]:
        _check_key(info["private_key"])
    if kind == "impersonated_service_account":
        if _IMPERSONATED.fullmatch(info["service_account_impersonation_url"]) is None:
            raise InvalidValue("The credentials' 'service_account_impersonation_url' names no account.", _AGAIN)
        source = info["source_credentials"]
        if source.get("type") not in _SOURCES:
            raise InvalidValue("The credentials' 'source_credentials' are of a type that cannot ask for another account.", _AGAIN)
        _check(source)


def _installed_client(info: _Info) -> str:
    """Return the hint for a file without a type: that of an OAuth client is often taken for one."""
    if "installed" in info or "web" in info:
        return "This is an OAuth client, for people who log in: make a key of a service account."
    return "Make a key of a service account, and take its file as Google made it."


def _check_url(key: str, value: object) -> None:
    try:
        syntax.location(value if isinstance(value, str) else "", f"credentials' '{key}'")
    except InvalidValue as invalid:
        raise InvalidValue(invalid.what, _AGAIN) from None


def _check_key(text: str) -> None:
    if "\\n" in text:
        what = "The line breaks of the credentials' 'private_key' are spelt twice: \\\\n instead of \\n."
        raise InvalidValue(what, "Write the JSON as Google made it; in .env between single quotes.")
    if "ENCRYPTED" in text:
        raise InvalidValue("The credentials' 'private_key' is encrypted.", "Take a key without a password.")
    match = _PEM.fullmatch(text)
    try:
        if match is not None and b64decode("".join(match[2].split()), validate=True):
            return
    except binascii.Error:
        pass
    raise InvalidValue("The credentials' 'private_key' is no private key as PEM (-----BEGIN PRIVATE KEY-----).", _AGAIN)


def _account(info: _Info) -> str:
    """Return who asks: the account's address where the credentials name one, else what stands for it."""
    return next((found for account in _ACCOUNTS if (found := account(info))), str(info["type"]))


def _text(key: str) -> Callable[[_Info], str]:
    return lambda info: value if isinstance(value := info.get(key), str) else ""


def _impersonated(info: _Info) -> str:
    match = _IMPERSONATED.fullmatch(_text("service_account_impersonation_url")(info))
    return "" if match is None else match["account"]


_ACCOUNTS: Final = (_impersonated, _text("client_email"), _text("account"), _text("client_id"), _text("audience"))
