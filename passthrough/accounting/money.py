"""US dollars as whole nano-dollars, and their exact decimals in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

NANO: Final = 10**9
"""Nano-dollars to the dollar: a token of the cheapest model is 100 of them."""

_CENT: Final = NANO // 100
_PART: Final = NANO // 10_000


class Number(str):
    """The text of a JSON number: it is written without quotes, and never passes through a float."""

    __slots__ = ()


def usd(nano: int | None) -> Number | None:
    """Return nano-dollars as dollars, with all their decimals and no exponent: 48000000 → `0.048`; None stays None."""
    if nano is None:
        return None
    whole, rest = divmod(abs(nano), NANO)
    sign = "-" if nano < 0 else ""
    return Number(f"{sign}{whole}.{rest:09d}".rstrip("0") if rest else f"{sign}{whole}")


def rounded_usd(nano: int) -> str:
    """Return nano-dollars for people: cents, and below a dollar four digits: `1,234.50`, `0.0480`, `<0.0001`, `0.00`."""
    sign, size = "-" if nano < 0 else "", abs(nano)
    parts = (size + _PART // 2) // _PART
    if size and parts < NANO // _PART:
        return f"{sign}0.{parts:04d}" if parts else f"{sign or '<'}0.0001"
    cents = (size + _CENT // 2) // _CENT
    return f"{sign}{cents // 100:,}.{cents % 100:02d}"


json_text: Final = json.JSONEncoder(ensure_ascii=False).encode
"""Returns a plain value as JSON, on one line."""


def members(fields: Iterable[tuple[str, object]]) -> str:
    """Return the members of a JSON object without its braces, in the order of `fields`: at least one, all plain values."""
    return json_text(dict(fields))[1:-1]


def json_object(fields: Iterable[tuple[str, object]]) -> str:
    """Return one JSON object on one line, its keys in the order of `fields`; a `Number` is written as it is."""
    parts: list[str] = []
    plain: dict[str, object] = {}
    for key, value in fields:
        if isinstance(value, Number):
            # The plain values before it are encoded in one go: that is four times as fast as one value after the other.
            parts.extend((json_text(plain)[1:-1], f"{json_text(key)}: {value}"))
            plain = {}
        else:
            plain[key] = value
    parts.append(json_text(plain)[1:-1])
    return "{" + ", ".join(filter(None, parts)) + "}"
