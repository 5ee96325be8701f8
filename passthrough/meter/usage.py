"""What a meter finds: the usage of one exchange, or why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import lru_cache
from typing import Final

from .path_variants import folded, readings


class Unmetered(StrEnum):
    """Why an exchange whose pages were expected has none, or has no price."""

    NO_USAGE = "no_usage"  # a well-formed answer without the counter (`null` and an empty answer too)
    NOT_JSON = "not_json"
    UNKNOWN_CODING = "unknown_coding"  # a Content-Encoding that is not decoded, or coded bytes that do not decode
    BROKEN = "broken"  # the answer did not arrive whole
    TOO_LARGE = "too_large"  # decoded, it passed the bound
    CANCELLED = "cancelled"  # the client left and the call was given up, or the drain deadline cut it off
    UNPRICED = "unpriced"  # counted, but no price is known for its model


@dataclass(slots=True, unsafe_hash=True)  # not frozen: one is made for each answer, and nobody changes it
class Usage:
    """What one answer, or one line of a batch file, says that it used.

    `pages` are billed at the plain price and `pages_annotated` at the annotated one; the two never count the same page.
    `model` is as the answer spells it. `doc_bytes` is the document's size as the provider saw it. `credits_micro` are a
    provider's own units, 10⁻⁶ of one. A counter is None where nothing was found, and `unmetered` then says why; it is None too
    where nothing was expected (`NOTHING`). `line` is the id of a batch file's line, empty for an answer of its own; `in_batch`
    tells that the price of a batch applies.
    """

    pages: int | None = None
    pages_annotated: int | None = None
    model: str | None = None
    doc_bytes: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    unmetered: Unmetered | None = None
    credits_micro: int | None = None
    line: str = ""
    in_batch: bool = False


NOTHING: Final = Usage()
"""The usage of an exchange in which no count was expected."""


@dataclass(frozen=True, slots=True)
class JsonCounts:
    """Where a configured JSON answer has its counts: `shape: json`.

    `pages` and `credits` are paths (`usage.num_pages`, `results[].pages`), whose numbers are summed; `count` are paths of arrays
    (`document.pages`), whose lengths are summed; `constant` is a count that every successful answer has. `when` are pairs of a
    path and the text that must stand there (`status`, `succeeded`), else nothing is counted. `model` is the path of the model's
    name.
    """

    pages: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    constant: int | None = None
    credits: tuple[str, ...] = ()
    when: tuple[tuple[str, str], ...] = ()
    model: str | None = "model"


class Kind(Enum):
    """What an answer is read as."""

    OCR = auto()
    EITHER = auto()  # OCR or chat: one path serves both
    CHAT = auto()
    RESULTS = auto()  # a batch's results, one in each line
    JOB = auto()  # a batch's job, which may have its results in it
    COUNTED = auto()  # as the configuration says


_JOB: Final = re.compile(rb".*/batch/jobs/[^/]+", re.I | re.S).fullmatch
_FILE: Final = re.compile(rb".*/files/[^/]+/content", re.I | re.S).fullmatch

# Mistral's and OpenAI's paths whose answers tell tokens, in lower case. A conversation is begun, continued and restarted.
_TOKENS: Final = re.compile(
    rb".*(?:/completions|/embeddings|/responses|/conversations(?:/[^/]+(?:/restart)?)?|:streamrawpredict)", re.S
).fullmatch
_OCR: Final = b"/ocr"
_PREDICTION: Final = b":rawpredict"

_REMEMBERED_BYTES: Final = 256


def results_path(path: bytes) -> bytes:
    """Return the reading of a raw path that names a batch's job or file; the plainest one where none does."""
    found = readings(path)
    return next((reading for reading in found if _JOB(reading) or _FILE(reading)), found[0])


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """How a route's answers are metered.

    `shape`: `auto` goes by the method and the path, however it is spelt: OCR (a count is expected on POST to a path that ends in
    `/ocr` or `:rawPredict`), a batch's results and chat (counted where they are found). `ocr` and `chat`: expected on every POST;
    `batch`: on every GET; `json`: as `counted` says, on every request but HEAD and OPTIONS; `none`: nothing is. `model`: the
    model's name for the prices, for providers whose answers name a deployment or nothing. `cost_headers` (lower case): answer
    fields in which the provider tells what the request cost in USD; the first that is there wins over any price.
    """

    shape: str = "auto"
    model: str | None = None
    counted: JsonCounts | None = None
    cost_headers: tuple[bytes, ...] = ()

    def expects(self, method: str, path: bytes) -> bool:
        """Tell whether an exchange with this method and raw path (no query) is one whose answer carries a count."""
        kind = self.reads(method, path)
        return kind is not None and self.counts_on(kind)

    def counts_on(self, kind: Kind) -> bool:
        """Tell whether an answer that is read as this is one that carries a count."""
        return self.shape != "auto" or kind is Kind.OCR or kind is Kind.EITHER  # no set of them: each look-up would call Python

    def reads(self, method: str, path: bytes) -> Kind | None:
        """Return what an answer to this method and raw path (no query) is read as, None if it is not read."""
        look_up = _remembered_kind if len(path) <= _REMEMBERED_BYTES else _kind
        return look_up(self.shape, self.counted is not None, method, path)


def _kind(shape: str, is_counted: bool, method: str, path: bytes) -> Kind | None:
    """Return Plan.reads; `is_counted` tells that there is a `counted`."""
    match shape, method:
        case "auto", "POST":
            meant = [folded(reading) for reading in readings(path)]
            if any(reading.endswith(_OCR) for reading in meant):
                return Kind.OCR
            if any(reading.endswith(_PREDICTION) for reading in meant):
                return Kind.EITHER
            return Kind.CHAT if any(map(_TOKENS, meant)) else None
        case (("auto" | "batch"), "GET"):
            meant = [folded(reading) for reading in readings(path)]
            if any(map(_JOB, meant)):
                return Kind.JOB
            return Kind.RESULTS if shape == "batch" or any(map(_FILE, meant)) else None
        case "ocr", "POST":
            return Kind.OCR
        case "chat", "POST":
            return Kind.CHAT
        case "json", _ if is_counted and method not in {"HEAD", "OPTIONS"}:
            return Kind.COUNTED
    return None


_remembered_kind = lru_cache(maxsize=1024)(_kind)
