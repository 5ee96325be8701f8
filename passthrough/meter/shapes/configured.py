"""The usage of a JSON response whose counts stand where the configuration says."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from ..jsonscan.paths import Mark, PathNode, Value, paths
from ..plan import JsonCounts
from ..usage import Unmetered, Usage
from .values import count, model_name

_MICRO: Final = Decimal(10**6)
_MAX_CREDITS: Final = 10**12
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)  # a number has 64 bytes at most
_ROOT: Final = ""


class ConfiguredShape:
    """The usage of a response whose counts stand where JsonCounts says.

    1. The document must be complete, because sums are not known before. Only a `constant` without a `when` does not need that.
    2. A value that is null counts as missing. If all are missing, or one is no number (or no array), there is no count.
    3. Where a `when` does not hold, no count is expected, and no reason is given: the operation still runs.
    4. Numbers and lengths that stand in several places are summed, duplicated keys too. Credits are exact decimals.
    """

    __slots__ = ("_alias", "_counted", "_credits", "_found", "_lengths", "_pages", "_spoilt", "_whole", "wanted")

    def __init__(self, counted: JsonCounts, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model)."""
        self._counted = counted
        self._alias = alias
        self._lengths = frozenset(f"{path}[]" for path in counted.count)
        names = (*counted.pages, *counted.credits, *counted.count, *self._lengths, *(path for path, _ in counted.when))
        self.wanted: PathNode = paths((_ROOT, *names, *([counted.model] if counted.model else [])))
        self._found: dict[str, Value] = {}
        self._pages: int | None = counted.constant
        self._credits: Decimal | None = None
        self._spoilt = False
        self._whole = False

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path; one path may be wanted for several reasons."""
        counted = self._counted
        if value is Mark.END:
            self._whole = self._whole or path == _ROOT
            return
        if path in self._lengths:
            self._pages = (self._pages or 0) + 1
        if value is None:
            return
        self._found[path] = value
        if path in counted.pages:
            self._add_pages(count(value))
        if path in counted.credits:
            self._add_credits(value)
        if path in counted.count:
            self._add_pages(0 if value is Mark.ARRAY else None)

    def _add_pages(self, pages: int | None) -> None:
        self._spoilt = self._spoilt or pages is None
        self._pages = (self._pages or 0) + (pages or 0)

    def _add_credits(self, value: Value) -> None:
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= _MAX_CREDITS:
            self._spoilt = True
        else:
            self._credits = _EXACT.add(self._credits or Decimal(0), Decimal(value))

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the counts, else `otherwise` as the reason; an empty usage where a `when` does not hold."""
        counted = self._counted
        if not all(_spelling(self._found.get(path)) == text for path, text in counted.when):
            whole = self._whole or otherwise is Unmetered.NO_USAGE  # an empty response too: it says nothing yet
            return Usage() if whole else Usage(unmetered=otherwise)
        model = self._alias or model_name(self._found.get(counted.model or _ROOT))
        fixed = counted.constant is not None and not (counted.pages or counted.count or counted.credits or counted.when)
        none = self._pages is None and self._credits is None
        if not fixed and (self._spoilt or none or not self._whole):
            return Usage(model=model, unmetered=otherwise)
        micro = None if self._credits is None else int(_EXACT.multiply(self._credits, _MICRO).to_integral_value(ROUND_HALF_EVEN))
        return Usage(pages=self._pages, model=model, credits_micro=micro)


def _spelling(value: Value) -> str | None:
    """Return a value as the configuration writes it, None for one that it cannot write."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None or isinstance(value, Mark) else str(value)
