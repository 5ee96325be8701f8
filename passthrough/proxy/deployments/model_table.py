"""Finds the group of deployments of a model's name: exact, by alias, by wildcard; and the groups to fall back on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ...errors import Refusal
from .deployment import Deployment, ModelGroup, Routing

_NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})


class ModelTable:
    """The groups of one configuration. It never changes, but for a bounded cache of what wildcards stand for."""

    __slots__ = ("_aliases", "_groups", "_hidden", "deployments", "routing")

    def __init__(
        self,
        groups: Sequence[ModelGroup],
        routing: Routing = Routing(),
        *,
        aliases: Mapping[str, str] = _NO_ALIASES,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        """`aliases` are further names of groups (`model_group_alias`); those in `hidden` are not listed."""
        self._groups = {group.name: group for group in groups}
        self._aliases = dict(aliases)
        self._hidden = hidden
        self.routing = routing
        self.deployments: tuple[Deployment, ...] = tuple(each for group in groups for each in group.deployments)

    def group(self, name: str, allowed: frozenset[str] | None = None) -> ModelGroup:
        """Return the group that clients call `name`; its wildcards are replaced by what `name` has in their place.

        `allowed` are the models of the client's key, None: all. Raises Refusal: `unknown_model` with the nearest names that the
        key may call, `model_forbidden`.
        """
        found = self._groups.get(self._aliases.get(name, name))
        if found is None:
            raise Refusal("unknown_model", "There is no such model.")
        return found

    def fallbacks(self, group: ModelGroup) -> tuple[ModelGroup, ...]:
        """Return the groups that are tried after this one, in order."""
        return ()

    def names(self, allowed: frozenset[str] | None = None) -> tuple[str, ...]:
        """Return the names that a client key may call, in the order of the file, for the list of models."""
        return tuple(self._groups)
