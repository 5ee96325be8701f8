"""Turns a route's `meter` section into a MeterPlan: how its responses are counted."""

from __future__ import annotations

from typing import Final

from ..meter.plan import JsonCounts, MeterPlan
from . import values
from .problems import At, InvalidValue, Problems
from .schema import MeterPart

_COUNTERS: Final = ("pages", "count", "constant")
_ONLY_JSON: Final = (*_COUNTERS, "credits", "when", "model_path")
_NO_COUNT: Final = "Write one such as pages: usage.num_pages, count: document.pages, constant: 1, or credits: usage.credits."


def plan(part: MeterPart, at: At, problems: Problems) -> MeterPlan:
    """Return the plan of a meter; `at` is its place in the file.

    1. Keys that say what counts in a JSON response are for `shape: json` only.
    2. `shape: json` counts something, and pages by one key only.
    """
    given = [name for name in _ONLY_JSON if name in part.model_fields_set]
    if part.shape != "json":
        if given:
            what = f"'{given[0]}' says where a count stands, which only 'shape: json' asks for."
            problems.wrong((*at, given[0]), what, "Add 'shape: json', or remove it.")
        return MeterPlan(part.shape, part.model, None, tuple(part.cost_header))
    counters = [name for name in _COUNTERS if getattr(part, name)]
    if not counters and not part.credits:
        problems.wrong(at, "This meter counts nothing.", _NO_COUNT)
    if len(counters) > 1:
        problems.wrong(
            (*at, counters[1]), f"Pages are counted by '{counters[0]}' already.", "Keep one of them; each can be a list."
        )
    return MeterPlan(part.shape, part.model, _json_counts(part, at, problems), tuple(part.cost_header))


def _json_counts(part: MeterPart, at: At, problems: Problems) -> JsonCounts:
    for path in part.when:
        try:
            values.json_path(path)
        except InvalidValue as invalid:
            problems.wrong((*at, "when", path), invalid.what, invalid.hint)
    return JsonCounts(
        pages=tuple(part.pages),
        count=tuple(part.count),
        constant=part.constant,
        credits=tuple(part.credits),
        when=tuple(part.when.items()),
        model=part.model_path,
    )
