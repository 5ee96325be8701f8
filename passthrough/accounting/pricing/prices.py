"""Prices usage: what pages, tokens and credits cost on the day when an exchange began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeAlias

from ...exchange import DeploymentPrice, RouteTerms
from ...meter.usage import Usage, has_counts
from ..entry import Charge, charged
from .names import ModelNames, plain
from .offers import Offer, Offers
from .price_list import BATCH, MISTRAL, OVERRIDE, PRICE_MAP, RESELLERS, SHIPPED, Alias, Host, Price, PriceList, shipped
from .rate import Rate, rate_of, with_page_prices

__all__ = ["OVERRIDE", "PER_REQUEST", "PRICE_MAP", "SHIPPED", "Alias", "Host", "Price", "PriceList", "Prices", "Row", "shipped"]

PER_REQUEST: Final = "cost_per_request"

_DAY_S: Final = 86_400
_MAX_REMEMBERED: Final = 1024  # rates; responses name the models, so their number is not bounded otherwise

_RateKey: TypeAlias = tuple[str, str | None, int, str | None, str | None, bool, str | None, DeploymentPrice | None]
_Tiers: TypeAlias = tuple[str | None, ...]
_DearestKey: TypeAlias = tuple[str | None, str | None, str | None, str | None, int, DeploymentPrice | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `passthrough prices`: what applies on a day.

    `kind` is `price`, `alias` (`price` is that of the model that it `stands_for`) or `host` (its prices are those of the
    provider that it `stands_for`, times `factor`; None where no list of that provider ships). `from_file` is the list that
    contains it.
    """

    kind: str
    name: str
    price: Price | None = None
    stands_for: str | None = None
    factor: Decimal | None = None
    from_file: str = SHIPPED


class Prices:
    """The prices in order of precedence: those of the exchange's route, the operator's others, the shipped list, the price map.

    A model's name is compared in lower case, without `-completion`, and with the provider's prefix that it carries, or that of
    the route's offer; of the operator's rows one without a prefix applies to every provider, of the shipped ones to those that
    resell Mistral's models, in both cases after a row of the provider's own. A row of the price map is for its provider only.
    Aliases stand for the model of that day. Among several rows of one model, the latest that is in force counts. The operator's
    price is what the operator pays: no host's factor applies to it.

    A deployment's usage is priced by (1) the deployment's own prices for pages; (2) the response's model, by those lists; (3) the
    deployment's `model`, by the same lists. What (1) does not have comes from (2) and (3).
    """

    def __init__(self, overrides: Iterable[Price] = (), listed: PriceList | None = None, mapped: Iterable[Price] = ()) -> None:
        """`listed` None: the list in the package, which is parsed for it. `mapped` are the rows of LiteLLM's price map."""
        listed = shipped() if listed is None else listed
        self._hosts = listed.hosts
        self._offers = Offers(listed)
        self._names = ModelNames(listed.prefixes, listed.aliases, (row.model for row in listed.prices))
        self._tables: dict[tuple[str, str | None], dict[str, list[Price]]] = {}  # by list and route, then by the model's key
        self._paged: dict[tuple[str, str | None], dict[str, None]] = {}  # the keys of models with a price for pages
        for source, rows in ((OVERRIDE, overrides), (SHIPPED, listed.prices), (PRICE_MAP, mapped)):
            for row in rows:
                place, key = (source, row.route), self._names.key(row.model)
                self._tables.setdefault(place, {}).setdefault(key, []).append(row)
                if row.usd_per_1000_pages is not None or row.usd_per_1000_annotated_pages is not None:
                    self._paged.setdefault(place, {})[key] = None
        self._rates: dict[_RateKey, Rate] = {}
        self._dearest: dict[_DearestKey, int | None] = {}

    def charge(self, usage: Usage, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> Charge | None:
        """Return the charge of a usage; None where nothing was counted and the route has no price per request.

        `target` is the authority that responded. Where the price is not known, the charge's cost is None, never 0.
        """
        if terms is not None and terms.cost_per_request_nano is not None:
            name = self.priced_as(usage.model, terms=terms, target=target, began_utc=began_utc)
            return charged(usage, terms.cost_per_request_nano, PER_REQUEST, name)
        if not has_counts(usage):
            return None
        model = usage.model or _deployed(terms)
        if model is None:
            return charged(usage)
        rate = self._rate(model, terms, target, began_utc, usage.in_batch, usage.service_tier)
        return charged(usage, rate.cost(usage), rate.source, rate.priced_as)

    def priced_as(self, model: str | None, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> str | None:
        """Return the one name of a model that has many: that of the row which prices it, else its canonical name.

        None where `model` is None. It does not depend on whether the price list, the route or a header gives the cost.
        """
        return None if model is None else self._rate(model, terms, target, began_utc).priced_as

    def knows_tier(self, usage: Usage, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> bool:
        """Tell whether a usage is priced by its service tier; without a tier, and with a price per request, it always is.

        Otherwise `charge` prices it as the standard tier.
        """
        if usage.service_tier is None or (terms is not None and terms.cost_per_request_nano is not None):
            return True
        model = usage.model or _deployed(terms)
        if model is None:
            return False
        return self._rate(model, terms, target, began_utc, usage.in_batch, usage.service_tier).for_tier

    def dearest_page(self, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> int | None:
        """Return the nano-USD of the dearest page, plain or annotated, that a route may be charged on a day.

        1. A price per request is that price. 2. Where the route's meter names a model, that model's pages count, and none where
        it has no price at all. 3. Else, and for a model that is billed by tokens or credits alone, all models count that the
        route's list has a price for. None where there is none. It is remembered: cheap for each request. A deployment's
        model is one that is named, and its own prices for pages count.
        """
        if terms is None:
            key: _DearestKey = (None, None, None, target, int(began_utc // _DAY_S), None)
        elif terms.cost_per_request_nano is not None:
            return terms.cost_per_request_nano
        else:
            own = terms.deployment_price
            key = (terms.route, terms.price_list, terms.plan.model, target, int(began_utc // _DAY_S), own)
        try:
            return self._dearest[key]
        except KeyError:
            return self._find_dearest(key, terms, began_utc)

    def today(self, on: date) -> list[Row]:
        """Return what applies on a day: the prices in force, then the aliases with theirs, then the hosts."""
        rows: dict[tuple[str | None, str, str | None], Row] = {}
        # The operator's rows come last and replace the shipped ones; a route's own rows are listed beside both.
        for place in sorted(self._tables, key=lambda place: (place[0] == OVERRIDE, place[0] == SHIPPED, place[1] or "")):
            source, route = place
            for key, prices in self._tables[place].items():
                name = key if source == PRICE_MAP else key.removeprefix(f"{MISTRAL}/")
                for tier in dict.fromkeys(price.service_tier for price in prices):
                    found = _latest(price for price in prices if price.service_tier == tier and _in_force(price, on))
                    if found is not None and (source != PRICE_MAP or self._is_mapped(found, on)):
                        rows[route, name, tier] = Row("price", name, found, from_file=source)
        order = (OVERRIDE, SHIPPED, PRICE_MAP)
        listed = sorted(
            rows.values(), key=lambda row: (order.index(row.from_file), row.name, (row.price and row.price.route) or "")
        )
        for alias in sorted(self._names.aliases()):
            model = self._names.stands_for(alias, on)
            if model != alias and (None, alias, None) not in rows:
                applied = self._find(alias, Offer(MISTRAL), on, None)
                source, price = (SHIPPED, None) if applied is None else applied
                listed.append(Row("alias", alias, price, stands_for=model, from_file=source))
        for host in self._hosts:
            lists = self._offers.of(host.host.replace("*", "any")).lists
            listed.append(Row("host", host.host, stands_for=host.provider, factor=host.factor if lists else None))
        return listed

    def _is_mapped(self, price: Price, on: date) -> bool:
        """Tell whether a row of the price map applies: no other list has its model."""
        provider, _, model = self._names.key(price.model).partition("/")
        tiers = _tiers(None, in_batch=True) if price.service_tier == BATCH else ((price.service_tier,),)
        found = self._find(model, Offer(provider), on, None, tiers)
        return found is not None and found[1] is price

    def in_force(self, source: str, on: date) -> dict[str, list[Price]]:
        """Return the rows of a list that are in force on a day, by the name of the model that they price (`priced_as`)."""
        found: dict[str, list[Price]] = {}
        for table in [table for place, table in self._tables.items() if place[0] == source]:
            for rows in table.values():
                for tier in dict.fromkeys(row.service_tier for row in rows):
                    row = _latest(row for row in rows if row.service_tier == tier and _in_force(row, on))
                    if row is not None:
                        found.setdefault(self._names.canonical(row.model, on), []).append(row)
        return found

    def host_factor(self, source: str, target: str | None) -> Fraction:
        """Return the factor on the prices of a list that the host of a target has."""
        return self._offers.of(target).factor if source in {SHIPPED, PRICE_MAP} else Fraction(1)

    def _rate(
        self,
        model: str,
        terms: RouteTerms | None,
        target: str | None,
        began_utc: float,
        in_batch: bool = False,
        tier: str | None = None,
    ) -> Rate:
        """Return the rate of a model on a route, remembered."""
        route, price_list, own = (None, None, None) if terms is None else (terms.route, terms.price_list, terms.deployment_price)
        key = (model, target, int(began_utc // _DAY_S), route, price_list, in_batch, tier, own)
        try:
            return self._rates[key]
        except KeyError:
            return self._find_rate(key)

    def _find_rate(self, key: _RateKey) -> Rate:
        """Return the rate for a key of `_rate`, and remember it."""
        if len(self._rates) >= _MAX_REMEMBERED:
            self._rates.clear()
        model, target, day_number, route, price_list, in_batch, tier, own = key
        day = datetime.fromtimestamp(day_number * _DAY_S, UTC).date()
        offer = self._offers.of(target, price_list)
        tiers = _tiers(tier, in_batch=in_batch)
        found = self._find(model, offer, day, route, tiers)
        if found is None and own is not None:
            found = self._find(own.model, offer, day, route, tiers)
        if found is None:
            rate = Rate(self._names.canonical(model, day))
        else:
            source, price = found
            factor = Fraction(1) if source == OVERRIDE else offer.factor
            if in_batch and price.service_tier != BATCH:
                factor *= Fraction(price.batch_factor)
            name = self._names.canonical(price.model, day)
            rate = rate_of(price, factor, priced_as=name, source=source, for_tier=price.service_tier == tier)
        if own is not None:
            rate = with_page_prices(rate, own, OVERRIDE)
        self._rates[key] = rate
        return rate

    def _find(
        self, model: str, offer: Offer, day: date, route: str | None, tiers: Iterable[_Tiers] = ((None,),)
    ) -> tuple[str, Price] | None:
        """Return the price of a model, and its list.

        It is a row for one of the first of `tiers` (None: the standard tier) that any list has; of those, the first list counts.
        """
        places = dict.fromkeys(((OVERRIDE, route), (OVERRIDE, None), (SHIPPED, None), (PRICE_MAP, None)))
        lists = [(place[0], self._tables[place]) for place in places if place in self._tables]
        for alike in tiers:
            for source, table in lists:
                for tier in alike:
                    found = self._find_in(table, self._candidates(source, model, offer, day), day, tier)
                    if found is not None:
                        return source, found
        return None

    def _candidates(self, source: str, model: str, offer: Offer, day: date) -> Sequence[str]:
        """Return the keys under which a list may have a model: (1) as its provider's own row, (2) as a row for any provider."""
        named, bare = self._names.split(model)
        provider = named if named is not None and (source == OVERRIDE or offer.takes_mistral_rows) else offer.provider
        if source == OVERRIDE:
            provider = provider or MISTRAL
        names = list(dict.fromkeys((bare, self._names.stands_for(bare, day))))
        own = [f"{provider}/{name}" for name in names]
        if source == OVERRIDE or (source == SHIPPED and offer.lists and provider in RESELLERS):
            return [*own, *names]
        if source == SHIPPED:
            return own if offer.lists else []
        if provider is None:
            return []
        whole = plain(model)
        others = [] if offer.is_known else [whole]  # a gateway may say whose model it is
        return [*own, f"{provider}/{whole.removeprefix(f'{provider}/')}", *others]

    def _find_in(
        self, table: Mapping[str, Sequence[Price]], candidates: Iterable[str], day: date, tier: str | None
    ) -> Price | None:
        """Return the row of the first candidate that has one, by its own name or an alias of it."""
        for candidate in candidates:
            for keys in ((candidate,), self._names.meaning(candidate, day)):
                rows = (price for key in keys for price in table.get(key, ()) if price.service_tier == tier)
                found = _latest(price for price in rows if _in_force(price, day))
                if found is not None:
                    return found
        return None

    def _find_dearest(self, key: _DearestKey, terms: RouteTerms | None, began_utc: float) -> int | None:
        """Return dearest_page for a key of its, and remember it."""
        if len(self._dearest) >= _MAX_REMEMBERED:
            self._dearest.clear()
        route, price_list, model, target, _, own = key
        if model is None and own is not None and "*" not in own.model:  # a wildcard's model is any
            model = own.model
        named = None if model is None else self._rate(model, terms, target, began_utc)
        found = None if named is None else named.dearest_page()
        if named is None or (named.source is not None and found is None):
            models = self._models_with_pages(route, self._offers.of(target, price_list))
            rates = (self._rate(each, terms, target, began_utc) for each in models)
            found = max((page for rate in rates if (page := rate.dearest_page()) is not None), default=None)
        self._dearest[key] = found
        return found

    def _models_with_pages(self, route: str | None, offer: Offer) -> Iterable[str]:
        """Return the models with a price for pages in the lists of a route, without those of other providers."""
        found: dict[str, None] = {}
        for place in dict.fromkeys(((OVERRIDE, route), (OVERRIDE, None), (SHIPPED, None), (PRICE_MAP, None))):
            for key in self._paged.get(place, ()):
                provider, slash, bare = key.partition("/")
                if not slash:
                    found[key] = None
                elif provider == offer.provider:
                    found[bare] = None
        return found


def _deployed(terms: RouteTerms | None) -> str | None:
    """Return the model by which a response without a model is priced: the deployment's."""
    return None if terms is None or terms.deployment_price is None else terms.deployment_price.model


def _tiers(tier: str | None, *, in_batch: bool) -> Sequence[_Tiers]:
    """Return the tiers whose rows price a usage: its own before all, then, list by list, one for batches or the standard one."""
    standard: _Tiers = (BATCH, None) if in_batch else (None,)
    return (standard,) if tier is None else ((tier,), standard)


def _in_force(row: Price, day: date) -> bool:
    return row.effective_from is None or row.effective_from <= day


def _latest(rows: Iterable[Price]) -> Price | None:
    # Of two rows from one day, the later in the list counts: max() keeps the first of equals.
    return max(reversed(tuple(rows)), key=lambda row: row.effective_from or date.min, default=None)
