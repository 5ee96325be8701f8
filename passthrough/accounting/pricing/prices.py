"""Prices usage: what pages, tokens and credits cost on the day when an exchange began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeAlias

from ...exchange import RouteTerms
from ...meter.usage import Usage
from ..entry import Charge, charged, counted
from .names import MISTRAL, ModelNames
from .price_list import OVERRIDE, SHIPPED, Alias, Host, Price, PriceList, shipped
from .rate import Rate, rate_of

__all__ = ["OVERRIDE", "PER_REQUEST", "SHIPPED", "Alias", "Host", "Price", "PriceList", "Prices", "Row", "shipped"]

PER_REQUEST: Final = "cost_per_request"

_DAY_S: Final = 86_400
_MAX_REMEMBERED: Final = 1024  # rates; responses name the models, so their number is not bounded otherwise

_RateKey: TypeAlias = tuple[str, str | None, int, str | None, bool, str | None]
_DearestKey: TypeAlias = tuple[str | None, str | None, str | None, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `passthrough prices`: what applies on a day.

    `kind` is `price`, `alias` (`price` is that of the model that it `stands_for`) or `host` (its prices are those of the
    provider that it `stands_for`, times `factor`). `from_file` is the list that contains it.
    """

    kind: str
    name: str
    price: Price | None = None
    stands_for: str | None = None
    factor: Decimal | None = None
    from_file: str = SHIPPED


class Prices:
    """The prices in order of precedence: the operator's for the exchange's route, the operator's others, the shipped list.

    A model's name is compared in lower case, without `-completion`, and with the provider's prefix that it carries, or that of
    the target's host; a row without a prefix applies to every provider that has no row of its own. Aliases stand for the model
    of that day. Among several rows of one model, the latest that is in force counts. The operator's price is what the operator
    pays: no host's factor applies to it.
    """

    def __init__(self, overrides: Iterable[Price] = (), listed: PriceList | None = None) -> None:
        """`listed` None: the list in the package, which is parsed for it."""
        listed = shipped() if listed is None else listed
        self._hosts = listed.hosts
        self._names = ModelNames(listed.prefixes, listed.aliases)
        self._tables: dict[tuple[str, str | None], dict[str, list[Price]]] = {}  # by list and route, then by the model's key
        for source, rows in ((OVERRIDE, overrides), (SHIPPED, listed.prices)):
            for row in rows:
                self._tables.setdefault((source, row.route), {}).setdefault(self._names.key(row.model), []).append(row)
        self._rates: dict[_RateKey, Rate] = {}
        self._dearest: dict[_DearestKey, int | None] = {}

    def charge(self, usage: Usage, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> Charge | None:
        """Return the charge of a usage; None where nothing was counted and the route has no price per request.

        `target` is the authority that responded. Where the price is not known, the charge's cost is None, never 0.
        """
        if terms is not None and terms.cost_per_request_nano is not None:
            name = self.priced_as(usage.model, terms=terms, target=target, began_utc=began_utc)
            return charged(usage, terms.cost_per_request_nano, PER_REQUEST, name)
        if not counted(usage):
            return None
        if usage.model is None:
            return charged(usage)
        route = None if terms is None else terms.route
        key = (usage.model, target, int(began_utc // _DAY_S), route, usage.in_batch, usage.service_tier)
        try:
            rate = self._rates[key]
        except KeyError:
            rate = self._find_rate(key)
        return charged(usage, rate.cost(usage), rate.source, rate.priced_as)

    def priced_as(self, model: str | None, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> str | None:
        """Return the one name of a model that has many: that of the row which prices it, else its canonical name.

        None where `model` is None. It does not depend on whether the price list, the route or a header gives the cost.
        """
        return None if model is None else self._rate(model, terms, target, began_utc, False, None).priced_as

    def knows_tier(self, usage: Usage, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> bool:
        """Tell whether a usage is priced by its service tier; without a tier, and with a price per request, it always is.

        Otherwise `charge` prices it as the standard tier.
        """
        if usage.service_tier is None or (terms is not None and terms.cost_per_request_nano is not None):
            return True
        if usage.model is None:
            return False
        return self._rate(usage.model, terms, target, began_utc, usage.in_batch, usage.service_tier).for_tier

    def dearest_page(self, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> int | None:
        """Return the nano-USD of the dearest page, plain or annotated, that a route may be charged on a day.

        1. A price per request is that price. 2. Where the route's meter names a model, that model's pages count. 3. Else all
        models count that the route's list has a price for. None where there is none. It is remembered: cheap for each request.
        """
        key: _DearestKey
        if terms is None:
            key = (None, None, target, int(began_utc // _DAY_S))
        elif terms.cost_per_request_nano is not None:
            return terms.cost_per_request_nano
        else:
            key = (terms.route, terms.plan.model, target, int(began_utc // _DAY_S))
        try:
            return self._dearest[key]
        except KeyError:
            return self._find_dearest(key, terms, began_utc)

    def _find_dearest(self, key: _DearestKey, terms: RouteTerms | None, began_utc: float) -> int | None:
        """Return dearest_page for a key of its, and remember it."""
        if len(self._dearest) >= _MAX_REMEMBERED:
            self._dearest.clear()
        route, model, target, _ = key
        models: Iterable[str] = [model] if model is not None else self._models_with_pages(route, target)
        rates = (self._rate(each, terms, target, began_utc, False, None) for each in models)
        found = self._dearest[key] = max(filter(None, (rate.dearest_page() for rate in rates)), default=None)
        return found

    def _models_with_pages(self, route: str | None, target: str | None) -> Iterable[str]:
        """Return the models of a route's lists that have a price for pages, those of other providers aside."""
        host = self._host(target)
        provider = host.provider if host else MISTRAL
        found: dict[str, None] = {}
        for place in dict.fromkeys(((OVERRIDE, route), (OVERRIDE, None), (SHIPPED, None))):
            for name, rows in self._tables.get(place, {}).items():
                named, bare = self._names.split(name)
                if (named or provider) == provider and any(_prices_pages(row) for row in rows):
                    found[bare] = None
        return found

    def today(self, on: date) -> list[Row]:
        """Return what applies on a day: the prices in force, then the aliases with theirs, then the hosts."""
        rows: dict[tuple[str | None, str], Row] = {}
        # The operator's rows come last and replace the shipped ones; a route's own rows are listed beside both.
        for (source, route), table in sorted(self._tables.items(), key=lambda item: (item[0][0] == OVERRIDE, item[0][1] or "")):
            for name, prices in table.items():
                found = _latest(price for price in prices if _in_force(price, on))
                if found is not None:
                    rows[route, name] = Row("price", name, found, from_file=source)
        listed = sorted(
            rows.values(), key=lambda row: (row.from_file != OVERRIDE, row.name, (row.price and row.price.route) or "")
        )
        for alias in self._names.aliases():
            model = self._names.stands_for(alias, on)
            applied = None if (None, alias) in rows else self._find(alias, None, on, None)
            if model != alias and applied is not None:
                listed.append(Row("alias", alias, applied[1], stands_for=model, from_file=applied[0]))
        listed.extend(Row("host", host.host, stands_for=host.provider, factor=host.factor) for host in self._hosts)
        return listed

    def _rate(
        self, model: str, terms: RouteTerms | None, target: str | None, began_utc: float, in_batch: bool, tier: str | None
    ) -> Rate:
        """Return the rate of a model, remembered."""
        key = (model, target, int(began_utc // _DAY_S), None if terms is None else terms.route, in_batch, tier)
        try:
            return self._rates[key]
        except KeyError:
            return self._find_rate(key)

    def _find_rate(self, key: _RateKey) -> Rate:
        """Return the rate for a key of `_rate`, and remember it."""
        if len(self._rates) >= _MAX_REMEMBERED:
            self._rates.clear()
        model, target, day_number, route, in_batch, tier = key
        day = datetime.fromtimestamp(day_number * _DAY_S, UTC).date()
        host = self._host(target)
        found = self._find(model, host.provider if host else None, day, route, tier)
        if found is None:
            rate = Rate(self._names.canonical(model, day))
        else:
            source, price = found
            factor = Fraction(host.factor if host and source == SHIPPED else 1)
            if in_batch:
                factor *= Fraction(price.batch_factor)
            rate = rate_of(price, factor, priced_as=self._names.canonical(price.model, day), source=source)
        self._rates[key] = rate
        return rate

    def _find(
        self, model: str, provider: str | None, day: date, route: str | None, tier: str | None = None
    ) -> tuple[str, Price] | None:
        """Return the price of a model at a provider, and its list.

        (1) a row for the tier, (2) one for the standard tier; of each (a) that provider's row, (b) a row for any provider.
        """
        named, bare = self._names.split(model)
        provider = named or provider or MISTRAL
        names = dict.fromkeys((bare, self._names.stands_for(bare, day)))
        candidates = (*(f"{provider}/{name}" for name in names), *names)
        places = dict.fromkeys(((OVERRIDE, route), (OVERRIDE, None), (SHIPPED, None)))
        tables = [(source, table) for source, of in places if (table := self._tables.get((source, of)))]
        for wanted in dict.fromkeys((tier, None)):
            for source, table in tables:
                for candidate in candidates:
                    for keys in ((candidate,), self._names.meaning(candidate, day)):
                        rows = (price for key in keys for price in table.get(key, ()) if price.service_tier == wanted)
                        found = _latest(price for price in rows if _in_force(price, day))
                        if found is not None:
                            return source, found
        return None

    def _host(self, target: str | None) -> Host | None:
        if target is None:
            return None
        host = target.rsplit("@")[-1].partition(":")[0].rstrip(".").lower()
        return next((row for row in self._hosts if row.covers(host)), None)


def _prices_pages(price: Price) -> bool:
    return price.usd_per_1000_pages is not None or price.usd_per_1000_annotated_pages is not None


def _in_force(row: Price, day: date) -> bool:
    return row.effective_from is None or row.effective_from <= day


def _latest(rows: Iterable[Price]) -> Price | None:
    # Of two rows from one day, the later in the list counts: max() keeps the first of equals.
    return max(reversed(tuple(rows)), key=lambda row: row.effective_from or date.min, default=None)
