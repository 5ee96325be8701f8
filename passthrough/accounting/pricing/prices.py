"""Prices usage: what pages, tokens and credits cost on the day when an exchange began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeVar

from ...exchange import RouteTerms
from ...meter.usage import Usage
from ..entry import Charge, charged, counted
from .price_list import OVERRIDE, SHIPPED, Alias, Host, Price, PriceList, shipped

__all__ = ["OVERRIDE", "PER_REQUEST", "SHIPPED", "Alias", "Host", "Price", "PriceList", "Prices", "Row", "shipped"]

PER_REQUEST: Final = "cost_per_request"

_NANO_PER_PAGE: Final = 10**6  # of one USD per 1000 pages
_NANO_PER_TOKEN: Final = 10**3  # of one USD per million tokens
_NANO_PER_MICRO_CREDIT: Final = 10**3  # of one USD per credit
_MAX_PRICE: Final = 2**63 - 1  # nano-USD that fit a database's column: more than nine thousand million dollars
_DAY_S: Final = 86_400
_MAX_REMEMBERED: Final = 1024  # rates; responses name the models, so their number is not bounded otherwise


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


_Dated = TypeVar("_Dated", Price, Alias)


@dataclass(frozen=True, slots=True)
class _Rate:
    """Exact prices in nano-USD for one page, token or micro-credit; None where a price is not known."""

    source: str
    page: Fraction | int | None
    annotated: Fraction | int | None
    token_in: Fraction | int | None
    token_out: Fraction | int | None
    credit_micro: Fraction | int | None

    def cost(self, usage: Usage) -> int | None:
        """Return nano-USD, rounded half to even; None where a price that is needed is not known.

        1. Credits with a price are the whole bill: they are the provider's own units. 2. Else pages are, where they are counted;
        tokens then add only where the model has a price for them. 3. Else tokens are.
        """
        if usage.credits_micro is not None and self.credit_micro is not None:
            return _bounded(usage.credits_micro * self.credit_micro)
        total: Fraction | int = 0
        if usage.pages:
            if self.page is None:
                return None
            total = usage.pages * self.page
        if usage.pages_annotated:
            if self.annotated is None:
                return None
            total += usage.pages_annotated * self.annotated
        by_page = usage.pages is not None or usage.pages_annotated is not None
        if usage.tokens_in is None and usage.tokens_out is None:
            return _bounded(total) if by_page else None
        for count, price in ((usage.tokens_in, self.token_in), (usage.tokens_out, self.token_out)):
            if count and price is None and not by_page:
                return None
            total += (count or 0) * (price or 0)
        return _bounded(total)


def _bounded(nano: Fraction | int) -> int | None:
    return round(nano) if nano <= _MAX_PRICE else None


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
        self._prefixes, self._hosts, self._aliases = listed.prefixes, listed.hosts, listed.aliases
        self._tables: dict[tuple[str, str | None], dict[str, list[Price]]] = {}  # by list and route, then by the model's key
        for source, rows in ((OVERRIDE, overrides), (SHIPPED, listed.prices)):
            for row in rows:
                self._tables.setdefault((source, row.route), {}).setdefault(self._key(row.model), []).append(row)
        self._rates: dict[tuple[str, str | None, int, str | None, bool], _Rate | None] = {}

    def charge(self, usage: Usage, *, terms: RouteTerms | None, target: str | None, began_utc: float) -> Charge | None:
        """Return the charge of a usage; None where nothing was counted and the route has no price per request.

        `target` is the authority that responded. Where the price is not known, the charge's cost is None, never 0.
        """
        if terms is not None and terms.cost_per_request_nano is not None:
            return charged(usage, terms.cost_per_request_nano, PER_REQUEST)
        if not counted(usage):
            return None
        if usage.model is None:
            return charged(usage)
        key = (usage.model, target, int(began_utc // _DAY_S), None if terms is None else terms.route, usage.in_batch)
        try:
            rate = self._rates[key]
        except KeyError:
            rate = self._rate(*key)
        cost = None if rate is None else rate.cost(usage)
        return charged(usage) if rate is None or cost is None else charged(usage, cost, rate.source)

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
        for alias in dict.fromkeys(alias.alias for alias in self._aliases):
            model = self._stands_for(alias, on)
            applied = None if (None, alias) in rows else self._find(alias, None, on, None)
            if model != alias and applied is not None:
                listed.append(Row("alias", alias, applied[1], stands_for=model, from_file=applied[0]))
        listed.extend(Row("host", host.host, stands_for=host.provider, factor=host.factor) for host in self._hosts)
        return listed

    def _rate(self, model: str, target: str | None, day: int, route: str | None, in_batch: bool) -> _Rate | None:
        """Return the rate for a key of `charge`, and remember it."""
        if len(self._rates) >= _MAX_REMEMBERED:
            self._rates.clear()
        host = self._host(target)
        found = self._find(model, host.provider if host else None, datetime.fromtimestamp(day * _DAY_S, UTC).date(), route)
        factor = Fraction(host.factor if host and found and found[0] == SHIPPED else 1)
        if found and in_batch:
            factor *= Fraction(found[1].batch_factor)
        rate = self._rates[model, target, day, route, in_batch] = found and _rate(found[0], found[1], factor)
        return rate

    def _find(self, model: str, provider: str | None, day: date, route: str | None) -> tuple[str, Price] | None:
        """Return the price of a model at a provider, and its list: (1) that provider's row, (2) a row for any provider."""
        named, bare = self._split(model)
        provider = named or provider or "mistral"
        names = dict.fromkeys((bare, self._stands_for(bare, day)))
        candidates = (*(f"{provider}/{name}" for name in names), *names)
        for source, of in dict.fromkeys(((OVERRIDE, route), (OVERRIDE, None), (SHIPPED, None))):
            table = self._tables.get((source, of), {})
            for candidate in candidates if table else ():
                for keys in ((candidate,), self._meaning(candidate, day)):
                    found = _latest(price for key in keys for price in table.get(key, ()) if _in_force(price, day))
                    if found is not None:
                        return source, found
        return None

    def _split(self, model: str) -> tuple[str | None, str]:
        """Return the provider whose prefix a model's name has (None: no prefix), and the rest."""
        name = model.strip().lower().removesuffix("-completion")
        prefix, slash, rest = name.partition("/")
        return (self._prefixes[prefix], rest) if slash and prefix in self._prefixes else (None, name)

    def _key(self, model: str) -> str:
        provider, bare = self._split(model)
        return f"{provider}/{bare}" if provider else bare

    def _meaning(self, key: str, day: date) -> Iterable[str]:
        """Return the aliases that stand for a key's model on a day."""
        provider, slash, model = key.rpartition("/")
        aliases = dict.fromkeys(alias.alias for alias in self._aliases)
        return [f"{provider}{slash}{alias}" for alias in aliases if self._stands_for(alias, day) == model]

    def _stands_for(self, name: str, day: date) -> str:
        found = _latest(alias for alias in self._aliases if alias.alias == name and _in_force(alias, day))
        return name if found is None else found.model

    def _host(self, target: str | None) -> Host | None:
        if target is None:
            return None
        host = target.rsplit("@")[-1].partition(":")[0].rstrip(".").lower()
        return next((row for row in self._hosts if row.covers(host)), None)


def _in_force(row: Price | Alias, day: date) -> bool:
    return row.effective_from is None or row.effective_from <= day


def _latest(rows: Iterable[_Dated]) -> _Dated | None:
    # Of two rows from one day, the later in the list counts: max() keeps the first of equals.
    return max(reversed(tuple(rows)), key=lambda row: row.effective_from or date.min, default=None)


def _rate(source: str, price: Price, factor: Fraction) -> _Rate:
    def nano(usd: Decimal | None, unit: int) -> Fraction | int | None:
        if usd is None:
            return None
        exact = Fraction(usd) * unit * factor
        return exact.numerator if exact.denominator == 1 else exact

    return _Rate(
        source,
        page=nano(price.usd_per_1000_pages, _NANO_PER_PAGE),
        annotated=nano(price.usd_per_1000_annotated_pages, _NANO_PER_PAGE),
        token_in=nano(price.usd_per_million_input_tokens, _NANO_PER_TOKEN),
        token_out=nano(price.usd_per_million_output_tokens, _NANO_PER_TOKEN),
        credit_micro=nano(price.usd_per_credit, _NANO_PER_MICRO_CREDIT),
    )
