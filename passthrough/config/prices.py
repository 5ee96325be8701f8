"""The file's own prices: those for every route, and those of one route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..accounting.pricing.price_map import BadPriceMap, read
from ..accounting.pricing.prices import Price
from .litellm import ENDPOINTS
from .problems import At, Problems
from .schema import Endpoint, PricePart, RoutePrices
from .values import FileName

_NO_FIGURES: Final = {"model", "batch_factor", "effective_from", "service_tier"}
_MAP_HINT: Final = "Name LiteLLM's model_prices_and_context_window.json, relative to the configuration's folder."


def prices(
    everywhere: Iterable[tuple[At, PricePart]], routes: Sequence[tuple[At, Endpoint | RoutePrices]], problems: Problems
) -> tuple[Price, ...]:
    """Return all prices in the order of the file; empty and duplicate ones are noted."""
    given: list[tuple[At, str | None, PricePart]] = [(at, None, row) for at, row in everywhere]
    for at, route in routes:
        given += [((*at, "prices", index), route.path, row) for index, row in enumerate(route.prices)]
    found: dict[tuple[str | None, str, str | None, object], Price] = {}
    for at, path, row in given:
        figures = row.model_dump(exclude=_NO_FIGURES, exclude_none=True)
        if not figures:
            problems.wrong(at, "This row has no price.", "Add usd_per_1000_pages.")
        key = (path, row.model, row.service_tier, row.effective_from)
        if key in found:
            tier = "" if row.service_tier is None else f" for the tier {row.service_tier}"
            what = f"This model has another price{tier} from the same day on."
            problems.wrong((*at, "model"), what, "Keep one, or give each its 'effective_from'.")
        found[key] = Price(
            row.model,
            **figures,
            batch_factor=row.batch_factor,
            effective_from=row.effective_from,
            route=path,
            service_tier=row.service_tier,
        )
    return tuple(found.values())


def price_map(named: FileName | None, folder: Path, problems: Problems) -> tuple[Price, ...]:
    """Return the rows of LiteLLM's price map; a file that is none, or cannot be read, is noted."""
    if named is None:
        return ()
    try:
        return read((folder / named.text).read_bytes(), Path(named.text).name)
    except FileNotFoundError:
        what = "There is no such file."
    except OSError as error:
        what = f"The file cannot be read: {error.strerror}."
    except BadPriceMap as error:
        what = str(error)
    problems.wrong(("price_map",), what, _MAP_HINT, named=named.shown)
    return ()


def only_prices(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's prices alone: a command that needs only them reads a file that is wrong elsewhere."""
    found = {key: tree[key] for key in ("prices", "price_map") if tree.get(key) is not None}
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
    if not isinstance(item, dict):
        return {"path": "/"}
    found = {key: item[key] for key in ("prices", "cost_per_request") if key in item}
    meter = item.get("meter")
    if isinstance(meter, dict) and "price_list" in meter:
        found["meter"] = {"price_list": meter["price_list"]}
    if isinstance(item.get("targets"), list):
        found["targets"] = [_target_prices(target) for target in item["targets"]]
    if not found:
        return {"path": "/"}
    return {"path": item["path"], **found} if "path" in item else found


def _target_prices(item: object) -> object:
    """Return a target's name, and whose list its meter names: it replaces the endpoint's, also where it names none."""
    if not isinstance(item, dict):
        return {}
    meter = item.get("meter")
    named = {"price_list": meter["price_list"]} if isinstance(meter, dict) and "price_list" in meter else {}
    return {key: item[key] for key in ("id",) if key in item} | ({"meter": named} if "meter" in item else {})
