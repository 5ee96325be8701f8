"""The file's own prices: those for every route, and those of one route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..accounting.pricing.prices import Price
from .litellm import ENDPOINTS
from .problems import At, Problems
from .schema import Endpoint, PricePart, RoutePrices


def prices(
    everywhere: Iterable[tuple[At, PricePart]], routes: Sequence[tuple[At, Endpoint | RoutePrices]], problems: Problems
) -> tuple[Price, ...]:
    """Return all prices in the order of the file; empty and duplicate ones are noted."""
    given: list[tuple[At, str | None, PricePart]] = [(at, None, row) for at, row in everywhere]
    for at, route in routes:
        given += [((*at, "prices", index), route.path, row) for index, row in enumerate(route.prices)]
    found: dict[tuple[str | None, str, object], Price] = {}
    for at, path, row in given:
        figures = row.model_dump(exclude={"model", "batch_factor", "effective_from"}, exclude_none=True)
        if not figures:
            problems.wrong(at, "This row has no price.", "Add usd_per_1000_pages.")
        key = (path, row.model, row.effective_from)
        if key in found:
            what = "This model has another price from the same day on."
            problems.wrong((*at, "model"), what, "Keep one, or give each its 'effective_from'.")
        found[key] = Price(row.model, **figures, batch_factor=row.batch_factor, effective_from=row.effective_from, route=path)
    return tuple(found.values())


def only_prices(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's prices alone: a command that needs only them reads a file that is wrong elsewhere."""
    found = {"prices": tree["prices"]} if tree.get("prices") is not None else {}
    for place in ENDPOINTS:
        section: Any = tree
        for key in place:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, list):
            inner: Any = [_route_prices(item) for item in section]
            for key in reversed(place[1:]):
                inner = {key: inner}
            found[place[0]] = inner
    return found


def _route_prices(item: object) -> object:
    """Return an endpoint's prices; a stand-in for one that has none keeps its place in the list."""
    if not isinstance(item, dict) or not {"prices", "cost_per_request"} & item.keys():
        return {"path": "/"}
    return {key: item[key] for key in RoutePrices.model_fields if key in item}
