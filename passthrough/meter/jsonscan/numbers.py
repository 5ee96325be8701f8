"""Parses a JSON number, true, false or null."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

from .paths import Mark, Value

_NUMBER_BYTES: Final = 64
_NUMBER: Final = re.compile(rb"-?+(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?+[0-9]++)?").fullmatch
_WORDS: Final[dict[bytes, Value]] = {b"null": None, b"true": True, b"false": False}


def scalar(spelt: bytes) -> Value:
    """Return the value of a scalar's bytes; `Mark.LONG` for a number of more than 64 bytes, `Mark.END` for what is no scalar."""
    if spelt in _WORDS:
        return _WORDS[spelt]
    number = _NUMBER(spelt)
    if number is None:
        return Mark.END
    if len(spelt) > _NUMBER_BYTES:
        return Mark.LONG
    if not (number[1] or number[2]):
        return int(spelt)
    try:
        return Decimal(spelt.decode())
    except InvalidOperation:  # an exponent of twenty digits
        return Mark.LONG
