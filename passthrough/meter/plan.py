"""How a route's responses are metered: which of them carry a count, and in which shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from .path_variants import folded, variants

PAGES_HEADER: Final = b"x-pages-processed"
"""The response field in which Azure and Vertex report the pages beside their responses (recorded 2026-09)."""

_WITHOUT_BODY: Final = frozenset({"HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class JsonCounts:
    """Where a JSON response has its counts, as the configuration says (`shape: json`).

    Pages are counted in one way: `pages` are paths (`usage.num_pages`, `results[].pages`) whose numbers are summed; `count` are
    paths of arrays (`document.pages`, `[]`) whose lengths are summed; `highest` and `distinct` are paths of page numbers, of
    which the highest, or how many different ones there are, counts; `header` is a response field (lower case) that holds the
    number; `constant` is a count that every successful response has. `credits`, `tokens_in`, `tokens_out` and `tokens_cached` are
    paths whose numbers are summed; `credits_header` is a response field that holds the credits.

    `when` are pairs of a path and the texts one of which must stand there (`status`: `succeeded`), and `unless` are paths at
    which nothing may stand (`NextToken`); otherwise nothing is counted.
    `model` is the path of the model's name. `once` says where the id of a job stands whose result is booked once: a path, or a
    part of the URL's path (`/job/{}/`); the first that is there counts. `lines`: each line of the body is a document of its own.
    `methods` are those whose responses are counted, None all but HEAD and OPTIONS; `constant_methods` those that `constant` is
    for.
    """

    pages: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    constant: int | None = None
    credits: tuple[str, ...] = ()
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()
    model: str | None = "model"
    highest: tuple[str, ...] = ()
    distinct: tuple[str, ...] = ()
    header: bytes | None = None
    tokens_in: tuple[str, ...] = ()
    tokens_out: tuple[str, ...] = ()
    tokens_cached: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    lines: bool = False
    methods: frozenset[str] | None = None
    constant_methods: frozenset[str] = frozenset({"POST"})
    credits_header: bytes | None = None
    unless: tuple[str, ...] = ()

    @property
    def by_page(self) -> bool:
        """Whether pages are counted."""
        return self._pages_in_body or self.header is not None or self.constant is not None

    @property
    def by_credit(self) -> bool:
        """Whether the provider's own units are counted."""
        return bool(self.credits) or self.credits_header is not None

    @property
    def by_token(self) -> bool:
        """Whether tokens are counted."""
        return bool(self.tokens_in or self.tokens_out)

    @property
    def in_body(self) -> bool:
        """Whether anything is read in the body that a count depends on."""
        has_id = any(not where.startswith("/") for where in self.once)
        return self._pages_in_body or bool(self.credits or self.when or self.unless) or self.by_token or has_id

    @property
    def _pages_in_body(self) -> bool:
        return bool(self.pages or self.count or self.highest or self.distinct)

    def reads(self, method: str) -> bool:
        """Tell whether the response to this method is counted."""
        if self.methods is not None:
            return method in self.methods
        if method in _WITHOUT_BODY:
            return False
        # A fixed number is for what was asked for, not for each time that it is fetched.
        is_constant = self.constant is not None and not (self.by_credit or self.by_token)
        return not is_constant or method in self.constant_methods


class ResponseKind(Enum):
    """How a response is read."""

    OCR = auto()
    EITHER = auto()  # OCR or chat: one path serves both
    CHAT = auto()
    RESULTS = auto()  # a batch's results, one in each line
    JOB = auto()  # a batch's job, which may contain its results
    CONFIGURED = auto()  # as the configuration says
    OTHER_UNIT = auto()  # billed in a unit that has no price here: seconds of audio, characters, a library's pages


_RESULTS, _JOB, _OTHER_UNIT = ResponseKind.RESULTS, ResponseKind.JOB, ResponseKind.OTHER_UNIT  # see `expects_count`


_IS_JOB: Final = re.compile(rb".*/batch/jobs/[^/]+", re.I | re.S).fullmatch
_IS_FILE: Final = re.compile(rb".*/files/[^/]+/content", re.I | re.S).fullmatch

# Mistral's and OpenAI's paths whose responses report tokens, in lower case. A conversation is begun, continued and restarted.
_TOKENS: Final = re.compile(
    rb".*(?:/completions|/embeddings|/responses|/conversations(?:/[^/]+(?:/restart)?)?|:streamrawpredict)", re.S
).fullmatch
# Mistral's and OpenAI's paths whose requests are billed by the minute, the character, or the page of a library.
_OTHER_UNITS: Final = re.compile(
    rb".*(?:/audio/(?:transcriptions|speech)|/libraries/[^/]+/documents(?:/[^/]+/reprocess)?)", re.S
).fullmatch
_OCR: Final = b"/ocr"
_PREDICTION: Final = b":rawpredict"

_MAX_CACHED_BYTES: Final = 256


def results_path(path: bytes) -> bytes:
    """Return the variant of a raw path that names a batch's job or file; the most decoded one if none does."""
    found = variants(path)
    return next((variant for variant in found if _IS_JOB(variant) or _IS_FILE(variant)), found[0])


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """How a route's responses are metered.

    `shape`: `auto` goes by the method and the path, however it is spelt: OCR and chat (a count is expected on POST), a batch's
    results (counted where they are found), and what is billed in another unit. `ocr` and `chat`: expected on every POST.
    `batch`: on every GET. `json`: as `counted` says. `none`: never. `model`: the model's name for the prices, for providers whose
    responses name a deployment or nothing. `cost_headers` (lower case): response fields in which the provider reports the cost in
    USD; the first that is present takes precedence over any price. `pages_header` (lower case) is the response field whose number
    counts where an OCR response has no count.
    """

    shape: str = "auto"
    model: str | None = None
    counted: JsonCounts | None = None
    cost_headers: tuple[bytes, ...] = ()
    pages_header: bytes = PAGES_HEADER

    def expects_count(self, kind: ResponseKind) -> bool:
        """Tell whether a response of this kind should carry a count."""
        # Constants, and no set of them: before Python 3.12 each look-up would call Python.
        return self.shape != "auto" or not (kind is _RESULTS or kind is _JOB or kind is _OTHER_UNIT)

    def reads(self, method: str, path: bytes) -> ResponseKind | None:
        """Return how the response to this method and raw path (no query) is read, None if it is not read."""
        if self.counted is not None:
            return ResponseKind.CONFIGURED if self.counted.reads(method) else None
        look_up = _cached_kind if len(path) <= _MAX_CACHED_BYTES else _kind
        return look_up(self.shape, method, path)


def _kind(shape: str, method: str, path: bytes) -> ResponseKind | None:
    """Return MeterPlan.reads where nothing is configured."""
    match shape, method:
        case "auto", "POST":
            meant = [folded(variant) for variant in variants(path)]
            if any(variant.endswith(_OCR) for variant in meant):
                return ResponseKind.OCR
            if any(variant.endswith(_PREDICTION) for variant in meant):
                return ResponseKind.EITHER
            if any(map(_TOKENS, meant)):
                return ResponseKind.CHAT
            return ResponseKind.OTHER_UNIT if any(map(_OTHER_UNITS, meant)) else None
        case (("auto" | "batch"), "GET"):
            meant = [folded(variant) for variant in variants(path)]
            if any(map(_IS_JOB, meant)):
                return ResponseKind.JOB
            return ResponseKind.RESULTS if shape == "batch" or any(map(_IS_FILE, meant)) else None
        case "ocr", "POST":
            return ResponseKind.OCR
        case "chat", "POST":
            return ResponseKind.CHAT
    return None


_cached_kind = lru_cache(maxsize=1024)(_kind)
