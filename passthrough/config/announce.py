"""The log messages on a configuration that comes into force: logged once, by one process or for several workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Final

from ..accounting.pricing.offers import Offers
from ..accounting.pricing.price_list import shipped
from ..proxy.deployments.model_table import ModelTable
from ..proxy.routes import Route
from .model import Config
from .problems import listed
from .reload import needing_restart

Messages = Iterator[tuple[int, str]]
"""Log messages, each with its level."""

_SANDBOX: Final = "sandbox"
_MAX_NAMED: Final = 5

ANONYMOUS: Final = "No client keys: everybody who reaches the port may call."


def adopted(config: Config, before: Config) -> Messages:
    """Yield the messages on a configuration that comes into force; `before` is the one before it, at the start itself."""
    if before.clients and not config.clients:
        yield logging.WARNING, ANONYMOUS
    for problem in config.warnings:
        yield logging.WARNING, str(problem)


def reloaded(config: Config, start: Config) -> Messages:
    """Yield the messages on a reload that succeeded; `start` is what the program was started with."""
    models = "" if config.models is None else f"{models_text(config.models)}, "
    yield (
        logging.INFO,
        f"Reloaded {config.file}: {number(config.routes, 'route')}, {models}{number(config.clients, 'client key')}.",
    )
    if (lists := price_lists(config)) is not None and lists != price_lists(start):
        yield logging.INFO, lists
    for name in needing_restart(start, config):
        yield logging.WARNING, f"{config.file}: '{name}' has changed; that takes a restart."


def not_reloaded(error: Exception) -> str:
    """Return the message on a reload that failed."""
    return f"The configuration was not reloaded; the last good one is in force.\n{error}"


def models_text(models: ModelTable) -> str:
    """Return how many models and deployments there are."""
    return f"{number(models.names(), 'model')} with {number(models.deployments, 'deployment')}"


def number(things: Sized, name: str) -> str:
    """Return how many things there are: `2 routes`."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


@dataclass(slots=True)
class _Group:
    """Routes and deployments that go by one list for one reason, and their targets' hosts."""

    paths: dict[str, None] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)


def price_lists(config: Config) -> str | None:
    """Return whose lists price the routes and deployments that are priced by a list; None where none is, and in the sandbox.

    It names the hosts that the list does not know, and those that bill otherwise.
    """
    offers = Offers(shipped())
    groups: dict[tuple[str | None, bool, bool], _Group] = {}
    for name, route in _priced(config, offers):
        terms = route.terms
        for target in (target for target in route.targets if target.name != _SANDBOX):
            offer = offers.of(target.name, terms.price_list)
            is_chosen = terms.price_list is not None
            provider, is_sure = offer.provider if offer.lists else None, offer.is_known or is_chosen
            group = groups.setdefault((provider, is_sure, provider is None and is_chosen), _Group())
            group.paths[name] = None
            if not is_chosen:
                group.hosts[target.name] = None
    return f"Prices: {'; '.join(_clauses(groups))}." if groups else None


def _priced(config: Config, offers: Offers) -> Iterator[tuple[str, Route]]:
    """Yield what may be priced by a list: routes by their paths, deployments by their ids.

    A pool's targets go by its path where all are priced by one list.
    """
    pools = {id(pool.route): pool for pool in config.pools}
    for route in config.routes:
        path = route.path.decode("ascii") + ("/*" if route.include_subpath else "")
        pool = pools.get(id(route))
        targets = [(path, route)] if pool is None else [(each.id, each.route) for each in pool.deployments]
        found = [(name, each) for name, each in targets if _is_listed(each)]
        alike = {offers.of(each.targets[0].name, each.terms.price_list).provider for _, each in found}
        yield from ((path if len(alike) == 1 else name, each) for name, each in found)
    for each in () if config.models is None else config.models.deployments:
        price = each.route.terms.deployment_price
        if price is None or price.usd_per_page is None:
            yield each.id, each.route


def _is_listed(route: Route) -> bool:
    """Tell whether a list can price what a route's target bills."""
    return route.terms.plan.shape != "none" and route.terms.cost_per_request_nano is None


def _clauses(groups: Mapping[tuple[str | None, bool, bool], _Group]) -> Iterator[str]:
    for (provider, is_sure, _), group in groups.items():
        paths, hosts = listed(tuple(group.paths), _MAX_NAMED), listed(tuple(group.hosts), _MAX_NAMED)
        if provider is None:
            yield f"no list for {paths}" + (f" (bills otherwise: {hosts})" if hosts else "")
        else:
            yield f"{provider.capitalize()}'s list for {paths}" + ("" if is_sure else f" (not a known host: {hosts})")
