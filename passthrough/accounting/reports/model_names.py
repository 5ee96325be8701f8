"""Names models in reports by what prices them, so that a model with many names is one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

from ...exchange import RouteTerms
from ..entry import Charge
from ..ledger.queries import LedgerRow
from ..ledger.sum_queries import OLDER
from ..pricing.prices import Prices

Key: TypeAlias = "tuple[str | int | None, ...]"


def columns_of(by: Sequence[str]) -> tuple[str, ...]:
    """Return what the ledger is to be asked for, so that ModelNaming.key can make a key of it."""
    return tuple(by) if "model" not in by else (*(name for name in by if name != "model"), "priced_as", *OLDER)


class ModelNaming:
    """The name by which a model is priced: the stored one or, in older rows, what the price lists say for their day."""

    def __init__(self, prices: Callable[[], Prices]) -> None:
        """`prices` is called where something is stored without a name, and once: lists take a while to read."""
        self._load = prices

    @cached_property
    def _prices(self) -> Prices:
        return self._load()

    def key(self, by: Sequence[str], asked: Sequence[str], values: Sequence[Any]) -> Key:
        """Return a group's key from the values of what was asked for (`columns_of`)."""
        found = dict(zip(asked, values, strict=False))  # behind them there may be more
        if "model" in by:
            found["model"] = found["priced_as"] or self._older(*(found[name] for name in OLDER))
        return tuple(found[name] for name in by)

    def of_charge(self, row: LedgerRow, charge: Charge) -> str | None:
        """Return the name of a charge's model, else of its exchange's."""
        model, priced_as = (charge.model, charge.priced_as) if charge.model else (row.model, row.priced_as)
        return priced_as or self._name(model, row.route, row.target, row.began_utc)

    def _older(self, model: str | None, day: str | None, route: str | None, target: str | None) -> str | None:
        began = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() if day else 0.0
        return self._name(model, route, target, began)

    def _name(self, model: str | None, route: str | None, target: str | None, began_utc: float) -> str | None:
        if model is None:
            return None
        terms = None if route is None else RouteTerms(route)
        return self._prices.priced_as(model, terms=terms, target=target, began_utc=began_utc)
