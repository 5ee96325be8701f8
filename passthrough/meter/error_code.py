"""The provider's own error code, read from the body of a 4xx response: JSON's `code`, `type` and the like.

The body passes unchanged and is never held back: its begin is copied, and read when the exchange is booked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from .decode import Oversized, chain
from .false_coding import Undecodable

MAX_BYTES: Final = 8192
"""The code of a body that is larger, coded or decoded, is not read."""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STATUS: Final = re.compile(r"[1-5][0-9]{2}")
"""A number that repeats a status says nothing more (Google's `error.code`, Azure's `statusCode`)."""


_WORD: Final = re.compile(rb"[a-z0-9_.-]{8,}")
_SHARED: Final = 12
"""How many characters in a row a code may not have in common with a secret."""

_KEY: Final = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{21,}")
"""Keys look like this: more than twenty letters and digits without a separator, a digit among them."""


class ErrorBody:
    """The begin of one response's body; takes what a meter takes, and is no source of a usage."""

    __slots__ = ("_content_encoding", "_left_bytes", "_pieces", "_secrets")

    def __init__(self, content_encoding: bytes, secrets: Sequence[bytes] = ()) -> None:
        """`content_encoding`: all fields, joined by commas. A code that tells of one of the `secrets` is none."""
        self._content_encoding = content_encoding
        self._secrets = secrets
        self._pieces: list[bytes] = []
        self._left_bytes = MAX_BYTES

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body. Always True: nothing is queued."""
        if self._left_bytes >= 0:
            self._left_bytes -= len(chunk)
            if self._left_bytes >= 0:
                self._pieces.append(bytes(chunk))
            else:
                self._pieces.clear()
        return True

    async def drained(self) -> None:
        """Return at once: nothing is queued."""

    def end(self, cut: object = None) -> None:
        """Do nothing: a body that was cut is not whole, and has no code then."""

    def code(self) -> str | None:
        """Return the error code, None where there is none; never raises because of the body's bytes."""
        if not self._pieces:
            return None
        body = b"".join(self._pieces)
        try:
            decoders = chain(self._content_encoding, MAX_BYTES)
            document = orjson.loads(body if decoders is None else b"".join(decoders.pieces(body)))
        except (Undecodable, Oversized, ValueError, MemoryError):
            return None
        for found in _candidates(document):
            code = str(found) if type(found) is int else found
            if isinstance(code, str) and _CODE.fullmatch(code) and not _STATUS.fullmatch(code):
                return None if _is_secret(code, self._secrets) else code
        return None


def _is_secret(code: str, secrets: Sequence[bytes]) -> bool:
    """Tell whether a code looks like a key, or tells of one of the secrets: of the whole or of a part, in any case.

    Only a secret's words of eight characters and more count: in shorter ones a code would be found by chance.
    """
    if _KEY.search(code):
        return True
    text = code.lower().encode("ascii")
    for word in [word for secret in secrets for word in _WORD.findall(secret.lower())]:
        if word in text or (len(text) >= 8 and text in word):
            return True
        if any(text[at : at + _SHARED] in word for at in range(len(text) - _SHARED + 1)):
            return True
    return False


def _candidates(document: Any) -> Iterator[Any]:
    """Yield what may be a code, the most telling first.

    1. `error: {code}` (OpenAI, Azure), else its `status` (Google) or `type`; or `error` is the code itself. 2. `code`, else
    `type`, of the document (Mistral). 3. The `type` of the first of `detail` (a 422 of Mistral's).
    """
    if isinstance(document, list) and document:
        document = document[0]  # Google's streams
    if not isinstance(document, dict):
        return
    error = document.get("error")
    if isinstance(error, dict):
        yield from map(error.get, ("code", "status", "type"))
    else:
        yield error
    yield from map(document.get, ("code", "type"))
    detail = document.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        yield detail[0].get("type")
