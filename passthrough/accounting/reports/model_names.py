"""Names models in reports by what prices them, so that a model with many names is one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

from ...exchange import RouteTerms
from ..entry import Charge
from ..ledger.ledger import Ledger
from ..ledger.queries import LedgerRow
from ..ledger.sum_queries import OLDER
from ..named_labels import label_name
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
        self._of_model: dict[str, str | None] = {}

    @cached_property
    def _prices(self) -> Prices:
        return self._load()

    def columns(self, ledger: Ledger, by: tuple[str, ...], since: datetime | None, until: datetime | None) -> tuple[str, ...]:
        """Return what the ledger is to be asked for, as columns_of does.

        Beside labels, of which there may be as many as users, older rows are split by day, route and target only where a model
        has more than one name by those.
        """
        if "model" not in by or not any(name == "label" or label_name(name) is not None for name in by):
            return columns_of(by)
        names: dict[str, set[str | None]] = {}
        for row in ledger.sums(OLDER, since=since, until=until)[0]:
            model, day, route, target = row.key
            if model is not None:
                names.setdefault(str(model), set()).add(self._older(str(model), str(day), _text(route), _text(target)))
        if any(len(found) > 1 for found in names.values()):
            return columns_of(by)
        self._of_model = {model: found.pop() for model, found in names.items()}
        return tuple(name for name in columns_of(by) if name not in OLDER[1:])

    def key(self, by: Sequence[str], asked: Sequence[str], values: Sequence[Any]) -> Key:
        """Return a group's key from the values of what was asked for."""
        found = dict(zip(asked, values, strict=False))  # behind them there may be more
        if "model" in by and not found["priced_as"]:
            model, *rest = (found.get(name) for name in OLDER)
            found["model"] = self._older(model, *rest) if OLDER[1] in asked else self._of_model.get(str(model), model)
        elif "model" in by:
            found["model"] = found["priced_as"]
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


def _text(value: object) -> str | None:
    return None if value is None else str(value)
