"""One exchange as the log, the journal and the ledger record it: an entry, and the charges that belong to it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from ..exchange import Exchange, RouteTerms, TraceFields
from ..meter.usage import Unmetered, Usage
from .named_labels import labels_text

MAX_COUNT: Final = 10**12
"""The largest counter that is believed: no document has a million million pages, and sums of counters must fit 64 bits."""

_UNPRICED: Final = Unmetered.UNPRICED  # before Python 3.12 an enum's look-up is slow
_RANKS: Final = MappingProxyType({_UNPRICED: 1, Unmetered.UNKNOWN_UNIT: 2, Unmetered.BAD_COST: 3, Unmetered.UNPRICED_TIER: 4})

MAX_TEXT: Final = 2000
"""How many characters of a text from outside (a path, a label, a model) are kept."""


@dataclass(slots=True)
class Charge:
    """What one response, or one line of a batch file, used and cost. Never changed once made: see Entry.

    `cost_nano` is in 10⁻⁹ USD, None where no price is known. `cost_source` is where the price came from: `prices.yaml`,
    `routes.yaml`, `price_map`, `cost_per_request`, or the name of the header in which the provider reported the cost. `line` and
    `custom_id` identify a batch's line or a job's result, else they are empty: it is booked once within the entry's account,
    whichever exchange brings it. `priced_as` is the name of the price's row, or of the model that its name stands for. The others
    are Usage's.
    """

    model: str | None = None
    pages: int | None = None
    pages_annotated: int | None = None
    doc_bytes: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nano: int | None = None
    cost_source: str | None = None
    line: str = ""
    credits_micro: int | None = None
    in_batch: bool = False
    tokens_cached: int | None = None
    service_tier: str | None = None
    credits: str | None = None
    custom_id: str = ""
    priced_as: str | None = None


class Part(StrEnum):
    """Which part of an exchange an entry is: a batch file's lines are booked while it passes."""

    WHOLE = "whole"  # all of it
    OPEN = "open"  # charges so far: the exchange goes on, and how it ends is not known yet
    CLOSE = "close"  # the end of an exchange of which there were open parts, with the charges since the last


_OPEN: Final = Part.OPEN  # before Python 3.12 an enum's look-up is slow


@dataclass(slots=True)
class Entry:
    """One exchange as it is booked: every text is printable and bounded, every counter fits 64 bits.

    Never changed once made. It is not a frozen dataclass: that would take three times as long to make, for each exchange.
    `usage` is what the meter counted; `charges` are made from it: none, one or many. `account` is the provider's account within
    which a line's id is unique. `estimated_pages` and `estimated_nano` (10⁻⁹ USD) are an estimate of a call that was paid for
    and not counted; they are in no charge. `requests` is how many refused requests the entry stands for. `labels` are the named
    labels as one JSON object, its keys sorted, None without any. `priced_as` is Charge's, of the exchange's own model.
    `upstream_code` is the provider's own error code, for the log alone, and `trace` is for spans alone: neither the journal nor
    the ledger has them. The other fields are exchange.Exchange's.
    """

    id: str
    began_utc: float
    route: str | None
    client: str | None
    label: str | None
    target: str | None
    sandbox: bool
    method: str
    path: str
    status: int | None
    outcome: str
    error: str | None
    attempts: int
    upstream_request_id: str | None
    bytes_up: int
    bytes_down: int
    first_byte_s: float | None
    total_s: float
    unmetered: str | None
    usage: Usage
    charges: tuple[Charge, ...] = ()
    account: str | None = None
    part: Part = Part.WHOLE
    overhead_s: float | None = None
    estimated_pages: int | None = None
    estimated_nano: int | None = None
    requests: int = 1
    labels: str | None = None
    priced_as: str | None = None
    deployment: str | None = None
    model_group: str | None = None
    why: str | None = None
    upstream_code: str | None = None
    trace: TraceFields | None = None

    @property
    def cost_nano(self) -> int | None:
        """The sum of the charges' costs; None where there is no charge, or one of them has no price."""
        if len(self.charges) == 1:
            return self.charges[0].cost_nano
        costs = [charge.cost_nano for charge in self.charges]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None

    @property
    def cost_source(self) -> str | None:
        """Where the charges' prices came from, the first one's; None where `cost_nano` is None."""
        if len(self.charges) == 1:
            return self.charges[0].cost_source or None
        if any(charge.cost_nano is None for charge in self.charges):
            return None
        return next((charge.cost_source for charge in self.charges if charge.cost_source), None)


def printable(text: str | None) -> str | None:
    r"""Return `text` with unprintable characters as escapes (`\x1b`), cut to MAX_TEXT.

    An unprintable character (a control, a line end, a direction mark, a lone surrogate) could forge log lines, act on a terminal,
    or be refused by a database.
    """
    if text is None or (text.isprintable() and len(text) <= MAX_TEXT):
        return text
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def believable(usage: Usage, terms: RouteTerms | None = None) -> Usage:
    """Return the usage with bounded texts and credible counters; `terms` are its route's.

    1. Where one counter is negative or above MAX_COUNT, all are dropped. 2. Where the only count is 0 pages, it is kept, with
    NO_USAGE as the reason: Azure has sent that for a document of one page. Where the route's meter says which number counts,
    0 is one.
    """
    counted = (
        usage.pages,
        usage.pages_annotated,
        usage.tokens_in,
        usage.tokens_out,
        usage.credits_micro,
        usage.tokens_cached,
        usage.doc_bytes,
    )
    model, line, custom_id = printable(usage.model), printable(usage.line) or "", printable(usage.custom_id) or ""
    for counter in counted:
        if counter is not None and not 0 <= counter <= MAX_COUNT:
            return Usage(None, None, model, unmetered=Unmetered.NO_USAGE, line=line, in_batch=usage.in_batch, custom_id=custom_id)
    if usage.pages == 0 and usage.unmetered is None and not any(counted[:-1]):
        usage = usage if terms is not None and terms.plan.counted else replace(usage, unmetered=Unmetered.NO_USAGE)
    if model == usage.model and line == usage.line and custom_id == usage.custom_id:
        return usage
    return replace(usage, model=model, line=line, custom_id=custom_id)


def charged(usage: Usage, cost_nano: int | None = None, cost_source: str | None = None, priced_as: str | None = None) -> Charge:
    """Return a charge for a usage, with its cost if that is known."""
    return Charge(
        usage.model,
        usage.pages,
        usage.pages_annotated,
        usage.doc_bytes,
        usage.tokens_in,
        usage.tokens_out,
        cost_nano,
        cost_source if cost_nano is not None else None,
        usage.line,
        usage.credits_micro,
        usage.in_batch,
        usage.tokens_cached,
        usage.service_tier,
        usage.credits,
        usage.custom_id,
        priced_as,
    )


def first_reason(one: Unmetered | None, other: Unmetered | None) -> Unmetered | None:
    """Return the reason that counts, of two: a missing count comes first, then what is about the price alone.

    1. Any reason for a missing count, the earlier one of two. 2. UNPRICED. 3. UNKNOWN_UNIT. 4. BAD_COST. 5. UNPRICED_TIER.
    """
    if one is None or other is None:
        return one or other
    return one if _RANKS.get(one, 0) <= _RANKS.get(other, 0) else other


def entry(
    exchange: Exchange,
    usage: Usage,
    charges: tuple[Charge, ...] = (),
    *,
    part: Part = Part.WHOLE,
    doubt: Unmetered | None = None,
    priced_as: str | None = None,
) -> Entry:
    """Return the entry of an ended exchange or, as an OPEN part, of one that goes on; `usage` is believable.

    `doubt` is what is doubtful beside the usage: see first_reason. `priced_as` is the name of the usage's model.
    """
    unmetered = usage.unmetered
    for charge in charges:
        if charge.cost_nano is None:
            unmetered = first_reason(unmetered, _UNPRICED)
    if doubt is not None:
        unmetered = first_reason(unmetered, doubt)
    terms = exchange.terms
    target = printable(exchange.target)
    deployment, group, why = exchange.deployment, exchange.model_group, exchange.why
    return Entry(  # positional: keyword names take twice the time of all the rest
        exchange.id,
        exchange.began_utc,
        None if terms is None else printable(terms.route),
        printable(exchange.client),
        printable(exchange.label),
        target,
        exchange.sandbox,
        printable(exchange.method) or "",
        printable(exchange.path) or "",
        exchange.status,
        str(exchange.outcome),
        exchange.error,
        exchange.attempts,
        printable(exchange.upstream_request_id),
        exchange.bytes_up,
        exchange.bytes_down,
        exchange.first_byte_s,
        time.monotonic() - exchange.began if part is _OPEN else exchange.total_s,
        unmetered and str(unmetered),
        usage,
        charges,
        target if terms is None or not terms.account else printable(terms.account),
        part,
        exchange.overhead_s,
        None,
        None,
        1,
        _labels_text(exchange.labels) if exchange.labels else None,
        priced_as,
        deployment and printable(deployment),  # a call for None would cost each exchange more
        group and printable(group),
        why and printable(why),
        None if exchange.error_body is None else exchange.error_body.code(),
        exchange.trace,
    )


@lru_cache(1024)  # most of a user's requests have the same labels
def _labels_text(labels: tuple[tuple[str, str], ...]) -> str:
    return labels_text({name: printable(value) or "" for name, value in labels})
