"""What pages and tokens cost, on the day an exchange began."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from typing import Any, Final, TypeVar

import yaml

from ..exchange import Terms
from ..meter.usage import Usage
from .entry import Charge

SHIPPED: Final = "prices.yaml"
OVERRIDE: Final = "routes.yaml"
PER_REQUEST: Final = "cost_per_request"

_NANO_PER_PAGE: Final = 10**6  # of one USD per 1000 pages
_NANO_PER_TOKEN: Final = 10**3  # of one USD per million tokens
_LARGEST: Final = 2**63 - 1  # nano-USD that fit a database's column: more than nine thousand million dollars
_DAY_S: Final = 86_400
_REMEMBERED: Final = 1024  # rates; models are named by answers, so that their number has no bound of its own


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from one day on; a price that is None is not known.

    `usd_per_1000_annotated_pages` replaces the plain price for pages that were annotated, it is not added to it.
    `effective_from` None means always. `source` says where the figures were found. `route` is the path of the only route on
    which it holds, None: on all.
    """

    model: str
    usd_per_1000_pages: Decimal | None = None
    usd_per_1000_annotated_pages: Decimal | None = None
    usd_per_million_input_tokens: Decimal | None = None
    usd_per_million_output_tokens: Decimal | None = None
    batch_factor: Decimal = Decimal("0.5")
    effective_from: date | None = None
    source: str = OVERRIDE
    usd_per_credit: Decimal | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for another model from one day on (None: always)."""

    alias: str
    model: str
    effective_from: date | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """Whose offer is behind a target's host, and by what its prices are multiplied; `*` first stands for any beginning."""

    host: str
    provider: str
    factor: Decimal = Decimal(1)
    source: str = ""

    def covers(self, host: str) -> bool:
        """Tell whether this row speaks of `host` (lower case, without a port)."""
        return host.endswith(self.host[1:]) if self.host.startswith("*") else host == self.host


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `passthrough prices`: what applies on a day.

    `kind` is `price`, `alias` (`price` is that of the model that it `stands_for`) or `host` (whose prices are those of the
    provider that it `stands_for`, times `factor`). `from_file` is the list that it stands in.
    """

    kind: str
    name: str
    price: Price | None = None
    stands_for: str | None = None
    factor: Decimal | None = None
    from_file: str = SHIPPED


_Dated = TypeVar("_Dated", Price, Alias)
_Shape = TypeVar("_Shape", Price, Alias, Host)
_CELLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "effective_from": date.fromisoformat,
    "batch_factor": Decimal,
    "factor": Decimal,
}


@dataclass(frozen=True, slots=True)
class _Rate:
    """Nano-USD for one of each, exactly; None is not known."""

    source: str
    page: Fraction | int | None
    annotated: Fraction | int | None
    token_in: Fraction | int | None
    token_out: Fraction | int | None

    def cost(self, usage: Usage) -> int | None:
        """Return nano-USD, half a one rounded to even; None where a price that is needed is not known.

        Where pages are counted they are the bill; tokens then only add where the model has a price for them.
        """
        total: Fraction | int = 0
        for count, price in ((usage.pages, self.page), (usage.pages_annotated, self.annotated)):
            if count:
                if price is None:
                    return None
                total += count * price
        by_page = usage.pages is not None or usage.pages_annotated is not None
        for count, price in ((usage.tokens_in, self.token_in), (usage.tokens_out, self.token_out)):
            if count and price is None and not by_page:
                return None
            total += (count or 0) * (price or 0)
        return round(total) if total <= _LARGEST else None


class Prices:
    """The price list: the operator's rows first, then those that came with the program.

    A model's name is compared in lower case, without `-completion`, and with the provider's prefix that it carries, or that of
    the target's host; a row without a prefix is for every provider that has none of its own. Aliases stand for what they stood
    for on the day. Among several rows of one model the latest that is in force counts. The operator's price is what the operator
    pays: no host's factor is laid on it.
    """

    def __init__(self, overrides: Iterable[Price] = (), shipped: Iterable[Price] | None = None) -> None:
        """`shipped` None: the list in the package. Aliases, hosts and prefixes are always the package's."""
        text = files(__package__).joinpath(SHIPPED).read_text("utf-8")
        tables = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes strings only, so that no price passes through a float
        self._prefixes: Mapping[str, str] = tables["prefixes"]
        self._hosts = tuple(_row(Host, row) for row in tables["hosts"])
        self._aliases = tuple(_row(Alias, row) for row in tables["aliases"])
        own = tuple(_row(Price, row) for row in tables["prices"]) if shipped is None else tuple(shipped)
        self._lists = ((OVERRIDE, tuple(overrides)), (SHIPPED, own))
        self._rates: dict[tuple[str, str | None, int], _Rate | None] = {}

    def charge(self, usage: Usage, *, terms: Terms | None, target: str | None, began_utc: float) -> Charge | None:
        """Return what an answer costs; None where nothing was counted and the route has no price per request.

        `target` is the authority that answered. A charge without a cost is one whose price is not known: never 0 for that.
        """
        counters = (usage.pages, usage.pages_annotated, usage.tokens_in, usage.tokens_out)
        charge = Charge(usage.model, usage.pages, usage.pages_annotated, usage.doc_bytes, usage.tokens_in, usage.tokens_out)
        if terms is not None and terms.cost_per_request_nano is not None:
            return replace(charge, cost_nano=terms.cost_per_request_nano, cost_source=PER_REQUEST)
        if all(counter is None for counter in counters):
            return None
        rate = None if usage.model is None else self._rate(usage.model, target, int(began_utc // _DAY_S))
        cost = None if rate is None else rate.cost(usage)
        if rate is None or cost is None:
            return charge
        return replace(charge, cost_nano=cost, cost_source=rate.source)

    def today(self, on: date) -> list[Row]:
        """Return what applies on a day: the prices in force, then the aliases with theirs, then the hosts."""
        rows: dict[str, Row] = {}
        for source, prices in reversed(self._lists):  # the operator's come last and replace
            for name in dict.fromkeys(self._key(price.model) for price in prices):
                found = _latest(price for price in prices if self._key(price.model) == name and _in_force(price, on))
                if found is not None:
                    rows[name] = Row("price", name, found, from_file=source)
        listed = sorted(rows.values(), key=lambda row: (row.from_file != OVERRIDE, row.name))
        for alias in dict.fromkeys(alias.alias for alias in self._aliases):
            model = self._stands_for(alias, on)
            applied = None if alias in rows else self._find(alias, None, on)
            if model != alias and applied is not None:
                listed.append(Row("alias", alias, applied[1], stands_for=model, from_file=applied[0]))
        listed.extend(Row("host", host.host, stands_for=host.provider, factor=host.factor) for host in self._hosts)
        return listed

    def _rate(self, model: str, target: str | None, day: int) -> _Rate | None:
        asked = (model, target, day)
        if asked not in self._rates:
            if len(self._rates) >= _REMEMBERED:
                self._rates.clear()
            host = self._host(target)
            found = self._find(model, host.provider if host else None, datetime.fromtimestamp(day * _DAY_S, UTC).date())
            factor = host.factor if host and found and found[0] == SHIPPED else Decimal(1)
            self._rates[asked] = found and _rate(found[0], found[1], Fraction(factor))
        return self._rates[asked]

    def _find(self, model: str, provider: str | None, day: date) -> tuple[str, Price] | None:
        """Return the price of a model at a provider and the list that it stands in: (1) that provider's row, (2) anyone's."""
        named, bare = self._split(model)
        provider = named or provider or "mistral"
        names = dict.fromkeys((bare, self._stands_for(bare, day)))
        candidates = (*(f"{provider}/{name}" for name in names), *names)
        for source, prices in self._lists:
            in_force = [price for price in prices if _in_force(price, day)]
            for candidate in candidates:
                spelt = [price for price in in_force if self._key(price.model) == candidate]
                meant = [price for price in in_force if self._meant(price.model, day) == candidate]
                found = _latest(spelt) or _latest(meant)
                if found is not None:
                    return source, found
        return None

    def _split(self, model: str) -> tuple[str | None, str]:
        """Return the provider that a model's name begins with (None: it does not), and the rest."""
        name = model.strip().lower().removesuffix("-completion")
        prefix, slash, rest = name.partition("/")
        return (self._prefixes[prefix], rest) if slash and prefix in self._prefixes else (None, name)

    def _key(self, model: str) -> str:
        provider, bare = self._split(model)
        return f"{provider}/{bare}" if provider else bare

    def _meant(self, model: str, day: date) -> str:
        provider, bare = self._split(model)
        meant = self._stands_for(bare, day)
        return f"{provider}/{meant}" if provider else meant

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
    # Of two rows from one day the later in the list counts: max() keeps the first that it meets.
    return max(reversed(tuple(rows)), key=lambda row: row.effective_from or date.min, default=None)


def _row(shape: type[_Shape], cells: Mapping[str, str]) -> _Shape:
    return shape(**{name: _CELLS.get(name, Decimal if name.startswith("usd_") else str)(cell) for name, cell in cells.items()})


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
    )
