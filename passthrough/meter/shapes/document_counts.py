"""What the paths of `shape: json` take from one document: its counts, and the texts that conditions and ids are read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

from ..jsonscan.paths import Mark, PathNode, Value, paths
from ..plan import JsonCounts
from .values import count, number

ROOT: Final = ""
"""The path of the document itself."""

EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""Decimals without loss: a number has 64 bytes at most."""

_MAX_CREDITS: Final = 10**12
_MAX_DISTINCT: Final = 1_000_000
_ARRAY: Final = Mark.ARRAY  # before Python 3.12 an enum's look-up is expensive

Counts = dict[str, int | Decimal]
"""The counts of one document by their names; BAD is one that is no number."""

BAD: Final = -1
"""Stands for a count of which a value was no number."""


class DocumentCounts:
    """What one document has said so far: its counts, and the texts at the paths that are kept."""

    __slots__ = ("counts", "pages_seen", "texts")

    def __init__(self) -> None:
        self.counts: Counts = {}
        self.texts: dict[str, Value] = {}
        self.pages_seen: bytearray | None = None  # a bit for each page number

    def add(self, name: str, value: int | Decimal | None) -> None:
        """Add to a count; once one value was no number, there is no sum."""
        so_far = self.counts.get(name, 0)
        if value is None or so_far == BAD:
            self.counts[name] = BAD
        elif isinstance(value, int) and isinstance(so_far, int):
            self.counts[name] = so_far + value
        else:
            self.counts[name] = EXACT.add(so_far, value)


_Take = Callable[[DocumentCounts, Value], None]


def _count(value: Value) -> int | None:
    return count(value) if isinstance(value, int) else count(number(value))


def _take_pages(document: DocumentCounts, value: Value) -> None:
    document.add("pages", _count(value))


def _take_tokens_in(document: DocumentCounts, value: Value) -> None:
    document.add("tokens_in", _count(value))


def _take_tokens_out(document: DocumentCounts, value: Value) -> None:
    document.add("tokens_out", _count(value))


def _take_tokens_cached(document: DocumentCounts, value: Value) -> None:
    document.add("tokens_cached", _count(value))


def _take_credits(document: DocumentCounts, value: Value) -> None:
    document.add("credits", credit_amount(number(value)))


def credit_amount(amount: int | Decimal | None) -> int | Decimal | None:
    """Return the amount if credits can be so many, else None."""
    return None if amount is None or not 0 <= amount <= _MAX_CREDITS else amount


def _take_array(document: DocumentCounts, value: Value) -> None:
    document.add("pages", 0 if value is _ARRAY else None)


def _take_item(document: DocumentCounts, _value: Value) -> None:
    document.add("pages", 1)


def _take_highest(document: DocumentCounts, value: Value) -> None:
    page, highest = _count(value), document.counts.get("pages", 0)
    document.counts["pages"] = BAD if page is None or highest == BAD else max(page, highest)


def _take_distinct(document: DocumentCounts, value: Value) -> None:
    """Note a page number, a bit for each: memory stays bounded, however many there are."""
    page = _count(value)
    if page is None or page > _MAX_DISTINCT:
        document.add("pages", None)
        return
    if document.pages_seen is None:
        document.pages_seen = bytearray()
    seen, (byte, bit) = document.pages_seen, divmod(page, 8)
    seen.extend(bytes(max(0, byte + 1 - len(seen))))
    is_new = not seen[byte] >> bit & 1
    seen[byte] |= 1 << bit
    document.add("pages", int(is_new))


def _keep_at(path: str) -> _Take:
    def keep(document: DocumentCounts, value: Value) -> None:
        document.texts[path] = value

    return keep


@dataclass(frozen=True, slots=True)
class Reading:
    """How documents are read: the tree of the wanted paths, what takes the values at each of them, and `items` of arrays.

    `in_body`: a count depends on the body.
    """

    wanted: PathNode
    takers: Mapping[str, tuple[_Take, ...]]
    items: frozenset[str]
    in_body: bool


@lru_cache(maxsize=256)
def reading(counted: JsonCounts) -> Reading:
    """Return how documents are read for these counts."""
    found: dict[str, tuple[_Take, ...]] = {}
    items = tuple("[]" if path == "[]" else f"{path}[]" for path in counted.count)
    arrays = tuple(ROOT if path == "[]" else path for path in counted.count)
    for names, take in (
        (counted.pages, _take_pages),
        (arrays, _take_array),
        (items, _take_item),
        (counted.highest, _take_highest),
        (counted.distinct, _take_distinct),
        (counted.credits, _take_credits),
        (counted.tokens_in, _take_tokens_in),
        (counted.tokens_out, _take_tokens_out),
        (counted.tokens_cached, _take_tokens_cached),
    ):
        for name in dict.fromkeys(names):
            found[name] = (*found.get(name, ()), take)
    kept = [*(path for path, _ in counted.when), *counted.unless, *(path for path in counted.once if not path.startswith("/"))]
    for name in dict.fromkeys([*kept, *([counted.model] if counted.model else [])]):
        found[name] = (*found.get(name, ()), _keep_at(name))
    return Reading(paths((ROOT, *found)), found, frozenset(items), counted.in_body)
