"""The usage of one exchange, as a meter finds it, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Unmetered(StrEnum):
    """Why an exchange whose pages were expected has none, or has no price."""

    NO_USAGE = "no_usage"  # a well-formed response without the counter (`null` and an empty one too)
    NOT_JSON = "not_json"
    UNKNOWN_CODING = "unknown_coding"  # an unknown Content-Encoding, or coded bytes that do not decode
    BROKEN = "broken"  # the response did not arrive whole
    TOO_LARGE = "too_large"  # larger than the bound, decoded
    CANCELLED = "cancelled"  # the client left and the call was cancelled, or the drain deadline cut it off
    UNPRICED = "unpriced"  # counted, but no price is known for its model
    UNPRICED_TIER = "unpriced_tier"  # counted in a service tier without a price of its own: booked at the standard price
    BAD_COST = "bad_cost"  # the header for the provider's cost held no amount: the price list applied
    UNKNOWN_UNIT = "unknown_unit"  # the provider bills it, or a part of it, in a unit that has no price here


DOUBTS: Final = frozenset({Unmetered.UNPRICED, Unmetered.UNPRICED_TIER, Unmetered.BAD_COST})
"""Reasons that are about the price alone: the count is known."""


@dataclass(slots=True, unsafe_hash=True)  # not frozen: one is made for each response, and none is changed
class Usage:
    """The usage that one response, or one line of a batch file, reports.

    `pages` are billed at the plain price and `pages_annotated` at the annotated one; the two never count the same page.
    `model` is as the response spells it. `doc_bytes` is the document's size as the provider saw it. `tokens_cached` is the part
    of `tokens_in` that the provider had cached. `service_tier` is one that is billed apart, None for the standard one. `credits`
    are a provider's own units as an exact decimal number (`0.00000164`), and `credits_micro` the same in 10⁻⁶, rounded. A counter
    is None if none was found; `unmetered` is then the reason, and None too if none was expected (`NOTHING`). Beside counters it
    says that they are not all: a stream was cut, or a part is billed in a unit without a price. `line` identifies
    what is booked once, however often it is fetched: a batch's line, a job's result; it is empty for a response of its own.
    `custom_id` is the client's own name of a batch's line: one `line` with another `custom_id` is another line. `in_batch`: the
    price of a batch applies.
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
    tokens_cached: int | None = None
    service_tier: str | None = None
    credits: str | None = None
    custom_id: str = ""


def has_counts(usage: Usage) -> bool:
    """Tell whether anything was counted, be it 0."""
    return (
        usage.pages is not None
        or usage.pages_annotated is not None
        or usage.tokens_in is not None
        or usage.tokens_out is not None
        or usage.credits_micro is not None
    )


NOTHING: Final = Usage()
"""The usage of an exchange in which no count was expected."""
