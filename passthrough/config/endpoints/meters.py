"""Turns a route's `meter` section into a MeterPlan: how its responses are counted."""

from __future__ import annotations

from typing import Final

from ...meter.plan import PAGES_HEADER, JsonCounts, MeterPlan
from .. import values
from ..problems import At, InvalidValue, Problems
from ..schema import MeterPart

_POST: Final = frozenset({"POST"})
_WITHOUT_BODY: Final = frozenset({"HEAD", "OPTIONS"})
_PAGES: Final = ("pages", "count", "max", "distinct", "header", "constant")
_TOKENS: Final = ("tokens_in", "tokens_out")
_CREDITS: Final = ("credits", "credits_header")
_ONLY_JSON: Final = (*_PAGES, *_CREDITS, *_TOKENS, "tokens_cached", "when", "unless", "model_path", "once", "lines", "methods")
_NO_COUNT: Final = "Write one such as pages: usage.num_pages, count: document.pages, constant: 1, or credits: usage.credits."
_WITH_HEADER: Final = ("auto", "ocr")


def plan(part: MeterPart, at: At, problems: Problems, served: frozenset[str] | None = None) -> MeterPlan:
    """Return the plan of a meter; `at` is its place in the file, `served` are the route's methods, None for all.

    1. Keys that say what counts in a JSON response are for `shape: json` only; `header` is also for OCR.
    2. `shape: json` counts something, and pages by one key only; credits too.
    3. `tokens_cached` are a part of `tokens_in`.
    4. The route serves one of the meter's `methods`.
    """
    given = [name for name in _ONLY_JSON if name in part.model_fields_set]
    if part.shape != "json":
        if part.shape in _WITH_HEADER and "header" in given:
            given.remove("header")
        if given:
            what = f"'{given[0]}' says where a count stands, which only 'shape: json' asks for."
            problems.wrong((*at, given[0]), what, "Add 'shape: json', or remove it.")
        return MeterPlan(part.shape, part.model, None, tuple(part.cost_header), part.header or PAGES_HEADER)
    counters = [name for name in _PAGES if getattr(part, name)]
    if not counters and not any(getattr(part, name) for name in (*_CREDITS, *_TOKENS)):
        problems.wrong(at, "This meter counts nothing.", _NO_COUNT)
    if len(counters) > 1:
        problems.wrong(
            (*at, counters[1]), f"Pages are counted by '{counters[0]}' already.", "Keep one of them; each can be a list."
        )
    if part.credits and part.credits_header:
        problems.wrong((*at, "credits_header"), "Credits are counted by 'credits' already.", "Keep one of them.")
    if part.tokens_cached and not part.tokens_in:
        problems.wrong((*at, "tokens_cached"), "Cached tokens are a part of the tokens in.", "Add 'tokens_in'.")
    if part.methods is not None and (served is None or not served.intersection(part.methods)):
        if not part.methods:
            problems.wrong((*at, "methods"), "No method is left whose responses could count.", "Name one, or remove it.")
        elif served is not None:
            problems.wrong((*at, "methods"), "The route serves none of these methods.", "Name one of the route's own 'methods'.")
    return MeterPlan(part.shape, part.model, _json_counts(part, at, problems, served), tuple(part.cost_header))


def _json_counts(part: MeterPart, at: At, problems: Problems, served: frozenset[str] | None) -> JsonCounts:
    for path, texts in part.when.items():
        try:
            values.json_path(path)
        except InvalidValue as invalid:
            problems.wrong((*at, "when", path), invalid.what, invalid.hint)
        if not texts:
            problems.wrong((*at, "when", path), "No text can stand there, so nothing would be counted.", "Write one or a list.")
    methods = None if part.methods is None else frozenset(part.methods)
    return JsonCounts(
        pages=tuple(part.pages),
        count=tuple(part.count),
        constant=part.constant,
        credits=tuple(part.credits),
        when=tuple((path, tuple(texts)) for path, texts in part.when.items()),
        model=part.model_path,
        highest=tuple(part.max),
        distinct=tuple(part.distinct),
        header=part.header,
        tokens_in=tuple(part.tokens_in),
        tokens_out=tuple(part.tokens_out),
        tokens_cached=tuple(part.tokens_cached),
        once=tuple(part.once),
        lines=part.lines,
        methods=methods,
        constant_methods=methods or _constant_methods(served),
        credits_header=part.credits_header,
        unless=tuple(part.unless),
    )


def _constant_methods(served: frozenset[str] | None) -> frozenset[str]:
    """Return the methods that a fixed number of pages is for: POST, or those of a route that serves no POST."""
    return _POST if served is None or served >= _POST else served - _WITHOUT_BODY
