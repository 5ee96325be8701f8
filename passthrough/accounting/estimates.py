"""Estimates what is not known of a call that was paid for: pages and cost, from the counted calls before it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from ..exchange import Exchange
from ..meter.plan import MeterPlan, ResponseKind
from ..meter.usage import Unmetered, Usage
from .entry import Charge, Entry, printable
from .pricing.prices import PER_REQUEST, Prices

_PAID: Final = (Unmetered.CANCELLED, Unmetered.BROKEN)
_FETCHING: Final = ("GET", "HEAD")
_SMOOTHED: Final = 8
_MAX_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Mean:
    """Moving averages of the last calls' pages and nano-USD; None where no call had any."""

    pages: float | None = None
    nano: float | None = None


class Estimates:
    """Moving averages by client and route, of calls with pages apart from others; for the event loop's thread only.

    Clients and routes are named in the configuration. Beyond ten thousand of them, which only many reloads bring, all are
    forgotten.
    """

    def __init__(self) -> None:
        self._means: dict[tuple[str | None, str | None, bool], _Mean] = {}

    def learn(self, entry: Entry) -> None:
        """Add a counted call, which has one charge; takes half a microsecond, for each exchange."""
        charge = entry.charges[0]
        by_page = charge.pages is not None or charge.pages_annotated is not None
        key = (entry.client, entry.route, by_page)
        mean = self._means.get(key)
        if mean is None:
            if len(self._means) >= _MAX_REMEMBERED:
                self._means.clear()
            mean = self._means[key] = _Mean()
        if by_page:
            pages = (charge.pages or 0) + (charge.pages_annotated or 0)
            mean.pages = pages if mean.pages is None else mean.pages + (pages - mean.pages) / _SMOOTHED
        if (nano := charge.cost_nano) is not None:
            mean.nano = nano if mean.nano is None else mean.nano + (nano - mean.nano) / _SMOOTHED

    def guess(
        self,
        exchange: Exchange,
        usage: Usage,
        charge: Charge | None,
        prices: Prices,
        reserved: tuple[int | None, int | None],
    ) -> tuple[int | None, int | None]:
        """Return the pages and nano-USD that a call used beyond its `charge`; None where there is no estimate.

        1. Pages: the average of this client's calls on this route, else of all clients' there; before the first call, one page
        where pages are counted. 2. Cost: the average in the same order, else today's price of those pages. 3. Neither is less
        than what budgets `reserved` for the call. 4. What is charged for a part of the call is not in it, and of a cost that does
        not depend on the count nothing lacks.
        """
        terms = exchange.terms
        route, plan = (None, MeterPlan()) if terms is None else (printable(terms.route), terms.plan)
        by_page = self._counts_pages(exchange, usage, route, plan)
        mean = self._mean(printable(exchange.client), route, by_page=by_page)
        held_pages, held_nano = reserved
        pages = max(1 if mean.pages is None else ceil(mean.pages), held_pages or 0) if by_page else None
        nano = mean.nano
        if nano is None:
            like = Usage(pages=pages, model=plan.model or usage.model)
            listed = prices.charge(like, terms=terms, target=exchange.target, began_utc=exchange.began_utc)
            nano = held_nano if listed is None else listed.cost_nano or held_nano
        if nano is not None:
            nano = max(ceil(nano), held_nano or 0)
        if charge is None:
            return pages, nano
        if exchange.reported_cost_nano is not None or charge.cost_source == PER_REQUEST:
            nano = None
        told = (usage.pages or 0) + (usage.pages_annotated or 0)
        return (
            None if pages is None else max(0, pages - told),
            None if nano is None else max(0, nano - (charge.cost_nano or 0)),
        )

    def _counts_pages(self, exchange: Exchange, usage: Usage, route: str | None, plan: MeterPlan) -> bool:
        """Tell whether a call is counted by the page.

        1. By what it told so far. 2. As the configuration says. 3. By its path. 4. By what was counted on its route.
        """
        if usage.pages is not None or usage.pages_annotated is not None:
            return True
        if plan.shape == "json" and plan.counted is not None:
            return plan.counted.by_page
        if usage.tokens_in is not None or usage.tokens_out is not None:
            return False
        kind = plan.reads(exchange.method, exchange.path.encode("utf-8", "replace"))
        if kind is ResponseKind.OCR or kind is ResponseKind.CHAT:
            return kind is ResponseKind.OCR
        known = {by_page for _, on, by_page in self._means if on == route}
        return True in known or not known

    def _mean(self, client: str | None, route: str | None, *, by_page: bool) -> _Mean:
        """Return the average of a client's calls on a route; where it had none, that of all other clients there."""
        own = self._means.get((client, route, by_page))
        if own is not None:
            return own
        others = [mean for key, mean in self._means.items() if key[1:] == (route, by_page)]
        pages = [mean.pages for mean in others if mean.pages is not None]
        costs = [mean.nano for mean in others if mean.nano is not None]
        return _Mean(sum(pages) / len(pages) if pages else None, sum(costs) / len(costs) if costs else None)


def is_paid_and_unknown(exchange: Exchange, usage: Usage) -> bool:
    """Tell whether the provider may bill more of a call than was counted: it was given up, cut off, or broke after its request.

    What was counted beside such a reason is what a stream had told so far. A GET or HEAD is not billed: it only fetches, and can
    be repeated.
    """
    return usage.unmetered in _PAID and exchange.went_up and exchange.admitted and exchange.method not in _FETCHING
