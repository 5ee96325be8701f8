"""Words about a failed fetch that may be logged: what a token's server says, without secrets, short and printable.

A token's server is trusted with secrets, and so is able to return them: the client secret, the assertion, a token, in an error's
description. Nothing of its words is shown but (1) the OAuth error code, where it looks like one, and (2) the description,
after known secrets and whatever looks like a token are taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

MAX_SHOWN: Final = 200
"""How many characters of a server's words are shown."""

_MAX_READ: Final = 4000
_LEFT_OUT: Final = "…"
_CODE: Final = re.compile(r"[A-Za-z]{1,16}([_-][A-Za-z]{1,16}){0,5}")
# What tokens, keys and assertions are made of (base64, base64url, percent-encoding, JWT), and what is no word of a sentence.
_TOKEN_LIKE: Final = re.compile(r"[A-Za-z0-9+/=_.~%|:-]{20,}")
_WORDS: Final = re.compile(r"[A-Za-z]{1,16}([_./:-]{1,3}[A-Za-z]{1,16})*[.:]?")
_NOT_SQUEEZED: Final = re.compile(r"[^A-Za-z0-9]+")
_LEAST_SECRET: Final = 8
# Entra ends its descriptions with lines that differ each time.
_TRACE: Final = re.compile(r"\s*(Trace ID|Correlation ID|Timestamp):.*", re.DOTALL)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text as one short printable line, without these secrets and without what looks like a token.

    A text in which a secret is hidden in pieces (with blanks between, in another case) is left out as a whole.
    """
    text = _TRACE.sub("", text[:_MAX_READ])
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    known = sorted({secret for secret in secrets if len(secret) >= _LEAST_SECRET}, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, _LEFT_OUT)
    squeezed = _squeezed(text)
    if any((part := _squeezed(secret)) and part in squeezed for secret in known):
        return ""
    text = _TOKEN_LIKE.sub(lambda found: found[0] if _WORDS.fullmatch(found[0]) else _LEFT_OUT, text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + _LEFT_OUT


def server_words(body: bytes, secrets: Iterable[str]) -> tuple[str, str]:
    """Return the error code and the description of a token server's response; both are empty where it is no JSON object.

    1. OAuth (RFC 6749 §5.2): `error`, `error_description`.
    2. Google's APIs: `error: {status, message}`.
    """
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(said, dict):
        return "", ""
    code: Any = said.get("error")
    description: Any = said.get("error_description")
    if isinstance(code, dict):
        code, description = code.get("status"), code.get("message")
    secrets = tuple(secrets)
    shown = code if isinstance(code, str) and _CODE.fullmatch(code) and code == without_secrets(code, secrets) else ""
    return shown, without_secrets(description, secrets) if isinstance(description, str) else ""


def secrets_in(said: Any) -> set[str]:
    """Return what is secret in a credentials file (JSON): every text whose key speaks of a secret, at any depth."""
    found: set[str] = set()
    open_ends = [said]
    while open_ends:
        value = open_ends.pop()
        if isinstance(value, list):
            open_ends.extend(value)
        elif isinstance(value, dict):
            open_ends.extend(value.values())
            found |= {each for key, each in value.items() if isinstance(each, str) and _IS_SECRET.search(str(key))}
    return found


_IS_SECRET: Final = re.compile(r"(secret|private|password|assertion|token)(?!.*(uri|url|type|id|endpoint)$)", re.IGNORECASE)


def _squeezed(text: str) -> str:
    return _NOT_SQUEEZED.sub("", text).casefold()
