"""Checks values that a shape takes from a response: counts, and the names of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from ..jsonscan.numbers import scalar
from ..jsonscan.paths import Value

_MAX_COUNT: Final = 2**53  # beyond it JSON numbers are not exact (RFC 8259 §6), and no document has that many pages
_MAX_MODEL: Final = 200
_MAX_DIGITS: Final = 16

Fields = Mapping[bytes, Sequence[bytes]]
"""The fields of a response's head: the values of each by its lower-case name."""


def count(value: Value) -> int | None:
    """Return the value if it is a count, else None."""
    if type(value) is int:  # no bool, which is one by its class
        return value if 0 <= value <= _MAX_COUNT else None
    if not isinstance(value, Decimal) or not 0 <= value <= _MAX_COUNT or value != int(value):
        return None
    return int(value)


def model_name(value: Value) -> str | None:
    """Return the value if it can name a model, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_MODEL else None


def number(value: Value) -> int | Decimal | None:
    """Return the value if it is a number, or a text that is spelt as one in JSON, else None."""
    if isinstance(value, str):
        value = scalar(value.strip().encode("utf-8", "replace"))
    return None if isinstance(value, bool) or not isinstance(value, int | Decimal) else value


def header_pages(fields: Fields | None, name: bytes) -> int | None:
    """Return the count in the response field `name` (lower case), None where there is none."""
    values = None if fields is None else fields.get(name)
    digits = values[0].strip() if values else b""
    return count(int(digits)) if digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def header_number(fields: Fields | None, name: bytes) -> int | Decimal | None:
    """Return the number in the response field `name` (lower case), None where there is none."""
    values = None if fields is None else fields.get(name)
    return number(values[0].decode("ascii", "replace")) if values else None
