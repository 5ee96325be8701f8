"""The usage of a JSON response whose counts stand where the configuration says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum, auto
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from ..jsonscan.paths import Mark, Value
from ..plan import JsonCounts
from ..usage import Unmetered, Usage
from .document_counts import BAD, EXACT, ROOT, Counts, DocumentCounts, credit_amount, reading
from .values import Fields, header_number, header_pages, model_name

_MICRO: Final = 10**6
_DECIMALS: Final = 70  # of credits: what is spelt without an exponent has 62 at most, with one it may have billions
_FINEST: Final = Decimal(1).scaleb(-_DECIMALS)
_ONCE: Final = "once/"
_MAX_ID: Final = 200
_END, _OBJECT, _ARRAY = Mark.END, Mark.OBJECT, Mark.ARRAY  # before Python 3.12 an enum's look-up is expensive
_NO_USAGE, _NOT_JSON = Unmetered.NO_USAGE, Unmetered.NOT_JSON


class Documents(Enum):
    """Which documents a body has."""

    ONE = auto()
    LINES = auto()  # one in each line: their counts are summed
    EVENTS = auto()  # one in each event of a stream: the last one that has a count holds


_ONE, _LINES = Documents.ONE, Documents.LINES
_NONE: Final = DocumentCounts()
"""Stands for a document before one has begun; nothing is added to it."""


class ConfiguredShape:
    """The usage of a response whose counts stand where JsonCounts says.

    1. A document must be complete, because sums are not known before; of a body with one document, nothing but blanks may follow
    it. Lines must all have come; a line that is not JSON gives the reason beside the others' counts. Of a stream, the last event
    that has a count holds. Only a `constant`, or what the head says, does not need all that, if nothing is read in the body.
    2. A value that is null counts as missing. If all are missing, or one is no number (or no array), there is no count. A text
    that is spelt as a number is one.
    3. Where a `when` or an `unless` does not hold, no count is expected, and no reason is given: the operation still runs. But of
    a stream that was cut, a later event might have fulfilled it.
    4. Numbers and lengths that stand in several places are summed, duplicated keys too. Credits are exact decimals. Cached tokens
    are never more than the tokens in.
    5. A body that is empty, or neither says that it is JSON nor begins as JSON, has no usage, and needs no reason; of a stream,
    which may have had no event yet, that holds only where it came whole.
    6. What counts more than 0, and has a job's id, is booked once: its `line` is that id.
    """

    __slots__ = (
        "_alias", "_begun", "_counted", "_counts", "_document", "_documents", "_known", "_lost", "_path", "_reading",
        "_says_json", "_texts", "_touched", "_unmet", "_whole", "wanted",
    )  # fmt: skip

    final = False
    """Whether no document behind this one, in a stream, has another usage: see document.Shape."""

    def __init__(
        self,
        counted: JsonCounts,
        alias: str | None = None,
        *,
        documents: Documents = Documents.ONE,
        path: bytes = b"",
        known: Mapping[str, int | Decimal] = MappingProxyType({}),
        says_json: bool = True,
    ) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model).

        `path` is the raw path that may hold a job's id. `known` are counts that are known before the body (`before_body`).
        `says_json`: the Content-Type is JSON.
        """
        self._counted = counted
        self._alias = alias
        self._documents = documents
        self._path = path
        self._known = known
        self._says_json = says_json
        self._reading = reading(counted)
        self.wanted = self._reading.wanted
        self._document = _NONE  # the one that has begun
        self._counts: Counts = {}
        self._texts: dict[str, Value] = {}
        self._touched = False  # a value has begun
        self._begun = False  # a container has begun: it looks like JSON
        self._whole = False  # one has ended
        self._unmet = False  # a line's condition did not hold
        self._lost = False

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path; one path may be wanted for several reasons."""
        if path == ROOT:
            self._touched = True
            if value is _OBJECT or value is _ARRAY:
                self._begun = True
                self._document = DocumentCounts()
            else:
                if value is _END:
                    self._end_document()
                return  # a scalar has nothing inside
        document = self._document
        if value is None:
            if path in self._reading.items:
                document.add("pages", 1)
        elif value is not _END:
            for take in self._reading.takers.get(path, ()):
                take(document, value)

    def drop(self) -> None:
        """Drop the counts: something follows the document."""
        self._lost = True

    def _end_document(self) -> None:
        """Add the document that has ended to what is known."""
        document = self._document
        self._whole = True
        if self._documents is _ONE:
            self._texts, self._counts = document.texts, document.counts
        elif self._documents is not _LINES:
            self._texts.update(document.texts)
            self._counts.update(document.counts)
        elif self._holds(document.texts):
            self._texts = document.texts | self._texts  # the first line's id holds
            total = DocumentCounts()
            total.counts = self._counts
            for name, value in document.counts.items():
                total.add(name, None if value == BAD else value)
        else:
            self._unmet = True

    def _holds(self, texts: Mapping[str, Value]) -> bool:
        counted = self._counted
        for path, allowed in counted.when:
            if _spelling(texts.get(path)) not in allowed:
                return False
        return not any(path in texts for path in counted.unless) if counted.unless else True

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the counts, else `otherwise` as the reason; an empty usage where none is expected."""
        if self._known and not self._reading.in_body:
            return self._found(self._known, None)
        is_cut = otherwise is not _NO_USAGE and otherwise is not _NOT_JSON
        is_cut_stream = is_cut and self._documents is not _ONE and self._documents is not _LINES
        if not (self._begun or self._says_json or is_cut_stream) or (otherwise is _NO_USAGE and not self._touched):
            return Usage()
        why: Unmetered | None = None
        if self._documents is _ONE:
            whole = self._whole and not self._lost and otherwise is not _NOT_JSON
        elif self._documents is _LINES:
            whole, why = self._whole and not is_cut, _NOT_JSON if otherwise is _NOT_JSON else None
        else:  # The reader adds the reason why a stream was cut. A part of a job's result must not be what is booked for ever.
            whole = self._whole and not (is_cut and self._counted.once)
        if self._unmet and not self._counts:
            return Usage(unmetered=why if whole else otherwise)
        if self._documents is not _LINES and not self._holds(self._texts):
            is_known = otherwise is _NO_USAGE or (whole and not is_cut_stream)
            return Usage() if is_known else Usage(unmetered=otherwise)
        counts = {**self._counts, **self._known} if self._known else self._counts
        some = "pages" in counts or "credits" in counts or "tokens_in" in counts or "tokens_out" in counts
        if not whole or not some or BAD in counts.values():
            return Usage(model=self._model(), unmetered=otherwise)
        return self._found(counts, why)

    def _model(self) -> str | None:
        return self._alias or model_name(self._texts.get(self._counted.model or ROOT))

    def _found(self, counts: Mapping[str, int | Decimal], why: Unmetered | None) -> Usage:
        """Return the usage with these counts; all but the credits are whole."""
        get: Callable[[str], Any] = counts.get
        amount = get("credits")
        micro = exact = None
        if isinstance(amount, int):
            micro, exact = amount * _MICRO, str(amount)
        elif amount is not None:
            micro = int(EXACT.multiply(amount, _MICRO).to_integral_value(ROUND_HALF_EVEN))
            exact = _text(amount)
        line = self._line() if self._counted.once and any(counts.values()) else ""
        tokens_in, tokens_out, cached = get("tokens_in"), get("tokens_out"), get("tokens_cached")
        if cached is not None:
            cached = None if tokens_in is None else min(cached, tokens_in)
        # Positional: keyword names take twice the time.
        return Usage(get("pages"), None, self._model(), None, tokens_in, tokens_out, why, micro, line, False, cached, None, exact)

    def _line(self) -> str:
        """Return what identifies the job's result, empty where its id is missing."""
        for where in self._counted.once:
            job = _job_in(self._path, where) if where.startswith("/") else _spelling(self._texts.get(where), booleans=False)
            if job:
                short = len(job) <= _MAX_ID and job.isprintable()
                return _ONCE + (job if short else f"sha256:{sha256(job.encode('utf-8', 'replace')).hexdigest()}")
        return ""


def before_body(counted: JsonCounts, method: str, fields: Fields | None) -> Mapping[str, int | Decimal]:
    """Return the counts that are known before a response's body: the constant, and those of its head."""
    known: dict[str, int | Decimal | None] = {}
    if counted.header is not None:
        known["pages"] = header_pages(fields, counted.header)
    elif method in counted.constant_methods:
        known["pages"] = counted.constant
    if counted.credits_header is not None:
        known["credits"] = credit_amount(header_number(fields, counted.credits_header))
    return {name: value for name, value in known.items() if value is not None}


def _text(amount: Decimal) -> str:
    """Return an amount as decimal text, without an exponent and without zeros at its end."""
    if amount.as_tuple().exponent < -_DECIMALS:  # type: ignore[operator] # it is finite
        amount = amount.quantize(_FINEST, context=EXACT)
    return f"{amount.normalize(EXACT) if amount else Decimal(0):f}"


def _spelling(value: Value, *, booleans: bool = True) -> str | None:
    """Return a value as the configuration writes it, None for one that it cannot write."""
    if isinstance(value, bool):
        return ("true" if value else "false") if booleans else None
    return None if value is None or isinstance(value, Mark) else str(value)


def _job_in(path: bytes, template: str) -> str | None:
    """Return the segments that `{}` stand for in the first part of a raw path that is like the template, None without any."""
    found = _pattern(template)(path)
    return None if found is None else b"/".join(found.groups()).decode("ascii", "backslashreplace")


@lru_cache(maxsize=256)
def _pattern(template: str) -> Callable[[bytes], re.Match[bytes] | None]:
    parts = [re.escape(part).encode("ascii") for part in template.split("{}")]
    # A template that does not end with a slash ends where a segment does.
    end = rb"" if template.endswith("/") else rb"(?![^/])"
    return re.compile(rb"([^/]+)".join(parts) + end).search
