"""The rows of a price list, and the list that ships with the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml

SHIPPED: Final = "prices.yaml"
OVERRIDE: Final = "routes.yaml"
PRICE_MAP: Final = "price_map"

BATCH: Final = "batch"
"""The service tier of a row whose prices are for batches, as they stand: without the factor."""

MISTRAL: Final = "mistral"
"""The provider whose models need no prefix."""

RESELLERS: Final = frozenset({MISTRAL, "azure", "vertex"})
"""The providers of Mistral's models: where one has no row of its own, Mistral's row holds."""


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one model from one day on; None where a price is not known.

    `usd_per_1000_annotated_pages` replaces the plain price for annotated pages; it is not added to it. Without
    `usd_per_million_cached_input_tokens` cached tokens cost what others do. `usd_per_credit` is for one of the provider's own
    units. In a batch all prices are multiplied by `batch_factor`, but for those of a row whose tier is BATCH. `service_tier` is
    the only tier that the row is for, None for the standard one. `effective_from` None means always.
    `source` says where the figures were found. `route` is the path of the only route on which the prices apply, before all other
    rows; None: on all routes.
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
    usd_per_million_cached_input_tokens: Decimal | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for another model from one day on (None: always)."""

    alias: str
    model: str
    effective_from: date | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """The provider behind a target's host, and the factor on its prices; a `*` at the beginning matches any prefix.

    A provider without rows in the list bills by a list of its own, which does not ship.
    """

    host: str
    provider: str
    factor: Decimal = Decimal(1)
    source: str = ""

    def covers(self, host: str) -> bool:
        """Tell whether this row is about `host` (lower case, without a port)."""
        return host.endswith(self.host[1:]) if self.host.startswith("*") else host == self.host


@dataclass(frozen=True, slots=True)
class PriceList:
    """The shipped price list: parsed once, for any number of Prices."""

    prices: tuple[Price, ...]
    aliases: tuple[Alias, ...]
    hosts: tuple[Host, ...]
    prefixes: Mapping[str, str]


@cache
def shipped() -> PriceList:
    """Return the list in the package. Its file is parsed once in a process: that takes a few milliseconds."""
    text = files(__package__).joinpath(SHIPPED).read_text("utf-8")
    loader = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader  # in C it takes a tenth of the time
    tables = yaml.load(text, loader)  # noqa: S506 - it makes strings only, so that no price passes through a float
    return PriceList(
        tuple(_row(Price, row) for row in tables["prices"]),
        tuple(_row(Alias, row) for row in tables["aliases"]),
        tuple(_row(Host, row) for row in tables["hosts"]),
        MappingProxyType(dict(tables["prefixes"])),
    )


_Shape = TypeVar("_Shape", Price, Alias, Host)
_CELLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "effective_from": date.fromisoformat,
    "batch_factor": Decimal,
    "factor": Decimal,
}


def _row(shape: type[_Shape], cells: Mapping[str, str]) -> _Shape:
    return shape(**{name: _CELLS.get(name, Decimal if name.startswith("usd_") else str)(cell) for name, cell in cells.items()})
