"""Checks values that a shape takes from a response: counts, and the names of models."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from ..jsonscan.paths import Value

_MAX_COUNT: Final = 2**53  # beyond it JSON numbers are not exact (RFC 8259 §6), and no document has that many pages
_MAX_MODEL: Final = 200


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
