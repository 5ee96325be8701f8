"""The usage of one exchange, as a meter finds it, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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
