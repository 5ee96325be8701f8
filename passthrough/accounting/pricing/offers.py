"""By which provider's list a route is priced: the one that it names, else that of its target's host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from .price_list import MISTRAL, RESELLERS, Host, PriceList

NO_LIST: Final = "none"
"""The name of no list at all."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a route is priced by.

    `provider` is whose offer it is; None where a route goes by no list and its host is not known. `lists`: the shipped list is
    asked. `factor` is on the list's prices. `is_known`: the host table has the target's host.
    """

    provider: str | None
    lists: bool = True
    factor: Fraction = Fraction(1)
    is_known: bool = True

    @property
    def takes_mistral_rows(self) -> bool:
        """Whether a row without a prefix holds, where the provider has none of its own."""
        return self.provider in RESELLERS


@dataclass(frozen=True, slots=True)
class NamedLists:
    """The price lists that a configuration names: of routes by their paths, of targets with a meter by their ids.

    A target with a meter that names no list goes by that of its host: None.
    """

    routes: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, route: str, target: str | None) -> str | None:
        """Return the list that a target goes by, None for its host's; `target` is its id, None that of a route with only one."""
        return self.targets[target] if target is not None and target in self.targets else self.routes.get(route)


class Offers:
    """The offers behind targets, by the table of hosts."""

    def __init__(self, listed: PriceList) -> None:
        """`listed` has the hosts; a provider without rows in it has no list."""
        self._hosts: Sequence[Host] = listed.hosts
        self._providers = providers(listed)

    def of(self, target: str | None, price_list: str | None = None) -> Offer:
        """Return the offer of a target (an authority) on a route that names a `price_list`, or none.

        1. `none`: no list is asked. 2. A list that the route names; the host's factor holds on the host's own list. 3. The list
        of the host's provider; it may have none. 4. A host that is not known is priced by Mistral's list: it may be a gateway.
        """
        host = self._host(target)
        if price_list == NO_LIST:
            return Offer(host.provider if host else None, lists=False, is_known=host is not None)
        if host is None:
            return Offer(price_list or MISTRAL, is_known=False)
        if price_list is not None and price_list != host.provider:
            return Offer(price_list)
        return Offer(host.provider, host.provider in self._providers, Fraction(host.factor))

    def _host(self, target: str | None) -> Host | None:
        if target is None:
            return None
        host = target.rsplit("@")[-1].partition(":")[0].rstrip(".").lower()
        return next((row for row in self._hosts if row.covers(host)), None)


def providers(listed: PriceList) -> frozenset[str]:
    """Return the providers that have rows in a list."""
    return frozenset(_prefixes(price.model for price in listed.prices)) | {MISTRAL}


def _prefixes(models: Iterable[str]) -> Iterable[str]:
    return (model.partition("/")[0] for model in models if "/" in model)
