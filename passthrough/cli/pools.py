"""The pools of `passthrough check`: a row for each deployment and each target, and what a row has no place for.

Of models these are their other names, fallbacks, and who may call what; of an endpoint with `targets`, who goes to which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..config.model import Config
from ..credentials.identity import shown
from ..proxy.deployments.deployment import Deployment
from ..proxy.deployments.model_table import ModelTable
from ..proxy.deployments.pool import Pool
from .check import credentials_text, meter_text, price_text, shared_text

TARGET_COLUMNS: Final = ("target", "path", "order", "weight", "host", "credentials", "meter", "price")
POOL_COLUMNS: Final = ("model", "deployment", "order", "weight", "host", "credential", "price")
_CREDENTIALS: Final = frozenset({b"authorization", b"api-key"})


def pool_rows(models: ModelTable) -> tuple[tuple[str, ...], ...]:
    """Return a row for each deployment, with a text for each of POOL_COLUMNS. Credentials appear by their variable only."""
    return tuple(
        (each.group, each.id, str(each.order), f"{each.weight:g}", each.target.name, _credential(each), _price(each))
        for each in models.deployments
    )


def target_rows(config: Config) -> tuple[tuple[str, ...], ...]:
    """Return a row for each target of a pool, with a text for each of TARGET_COLUMNS; meter and price where they differ."""
    return tuple(_target_row(pool, each) for pool in config.pools for each in pool.deployments)


def _target_row(pool: Pool, target: Deployment) -> tuple[str, ...]:
    figures = ("" if shared_text(pool, text) else text(target.route) for text in (meter_text, price_text))
    weight = f"{target.weight:g}"
    return (target.id, pool.name, str(target.order), weight, target.target.name, credentials_text(target.route), *figures)


def pool_notes(config: Config) -> tuple[str, ...]:
    """Return sentences on models: where they are served, their other names and fallbacks, what keys may call; then on pools."""
    models = () if config.models is None else _sentences(config, config.models)
    return (*models, *(_choice(pool, config) for pool in config.pools if len(pool.deployments) > 1))


def _choice(pool: Pool, config: Config) -> str:
    """Return a sentence that says which of its targets a request goes to."""
    targets = f"its {len(pool.deployments)} targets"
    if pool.sticky is False:
        parted = pool.route.include_subpath
        more = " Files and batches are one account's: 'sticky: true' keeps a client key with one." if parted else ""
        orders = {each.order for each in pool.deployments}
        chosen = f"any of {targets}" if len(orders) == 1 else f"one of {targets}, of the lowest order that is free"
        return f"{pool.name}: each request goes to {chosen}.{more}"
    free = "" if pool.sticky else "; POST …/ocr goes to any, unless its client uses files there"
    keyless = "" if config.clients and pool.route.auth else " Calls without a key count as one client."
    return f"{pool.name}: a client key stays with one of {targets}{free} ('sticky: false' lifts it).{keyless}"


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
    identity = deployment.route.upstream_auth
    found = [value.shown for name, value in deployment.route.headers if name.lower() in _CREDENTIALS]
    if identity is not None:
        found.append(shown(identity))
    return ", ".join(found) or "none"


def _price(deployment: Deployment) -> str:
    price = deployment.route.terms.deployment_price
    if price is None:
        return ""
    if price.usd_per_page is not None:
        return f"${price.usd_per_page.normalize():f} per page"
    return "per page" if price.model == deployment.full_model else f"as {price.model}"
