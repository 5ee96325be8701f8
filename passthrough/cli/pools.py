"""The models of `passthrough check`: a row for each deployment, then their other names, fallbacks, and who may call what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..config.model import Config
from ..proxy.deployments.deployment import Deployment
from ..proxy.deployments.model_table import ModelTable

POOL_COLUMNS: Final = ("model", "deployment", "order", "weight", "host", "credential", "price")
_CREDENTIALS: Final = frozenset({b"authorization", b"api-key"})


def pool_rows(models: ModelTable) -> tuple[tuple[str, ...], ...]:
    """Return a row for each deployment, with a text for each of POOL_COLUMNS. Credentials appear by their variable only."""
    return tuple(
        (each.group, each.id, str(each.order), f"{each.weight:g}", each.target.name, _credential(each), _price(each))
        for each in models.deployments
    )


def pool_notes(config: Config) -> tuple[str, ...]:
    """Return sentences on where models are served, on their other names and fallbacks, and on what keys may call."""
    return () if config.models is None else tuple(_sentences(config, config.models))


def _sentences(config: Config, models: ModelTable) -> Iterator[str]:
    yield f"Models are served at {' and '.join(route.path.decode('ascii') for route in config.ocr_routes[:2])}."
    if models.aliases:
        unlisted = dict.fromkeys(models.hidden, " (not listed)")
        others = [f"{alias} is {name}{unlisted.get(alias, '')}" for alias, name in models.aliases.items()]
        yield f"Aliases: {', '.join(others)}."
    falling = [f"{name} to {', '.join(targets)}" for name, targets in models.routing.fallbacks.items()]
    if models.routing.default_fallbacks:
        falling.append(f"any other to {', '.join(models.routing.default_fallbacks)}")
    if falling:
        yield f"Fallbacks: {'; '.join(falling)}."
    for client in config.clients:
        if client.models is not None:
            yield f"{client.name}: only models {', '.join(sorted(client.models))}."


def _credential(deployment: Deployment) -> str:
    shown = [value.shown for name, value in deployment.route.headers if name.lower() in _CREDENTIALS]
    return ", ".join(shown) or "none"


def _price(deployment: Deployment) -> str:
    price = deployment.route.terms.deployment_price
    if price is None:
        return ""
    if price.usd_per_page is not None:
        return f"${price.usd_per_page.normalize():f} per page"
    return "per page" if price.model == deployment.full_model else f"as {price.model}"
