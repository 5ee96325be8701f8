"""Finds the group of deployments of a model's name: exact, by alias, by wildcard; and the groups to fall back on."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from ...errors import Refusal
from .deployment import Deployment, ModelGroup, Routing

_NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})
_MAX_CONCRETE: Final = 256
_MAX_NAME: Final = 256
_NAME_COMPARED: Final = 64


class ModelTable:
    """The groups of one configuration. It never changes, but for a bounded cache of what wildcards stand for."""

    __slots__ = ("_concrete", "_groups", "_patterns", "aliases", "default_names", "deployments", "hidden", "routing")

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
        self.aliases = dict(aliases)
        self.hidden = hidden
        wild = [name for name in self._groups if "*" in name]
        self._patterns = tuple((name, _pattern(name)) for name in sorted(wild, key=lambda name: (-len(name), name)))
        self._concrete: dict[str, ModelGroup] = {}
        self.routing = routing
        self.deployments: tuple[Deployment, ...] = tuple(each for group in groups for each in group.deployments)
        self.default_names = frozenset(name for each in self.deployments for name, _ in each.defaults)
        """The OCR parameters for which any deployment has a default."""

    def at_port(self, port: int) -> ModelTable:
        """Return the same table with all targets at another port: the sandbox's, which is known when it runs."""
        groups = [
            ModelGroup(group.name, tuple(_at_port(each, port) for each in group.deployments)) for group in self._groups.values()
        ]
        return ModelTable(groups, self.routing, aliases=self.aliases, hidden=self.hidden)

    def group(self, name: str, allowed: frozenset[str] | None = None) -> ModelGroup:
        """Return the group that clients call `name`; its wildcards are replaced by what `name` has in their place.

        `allowed` are the models of the client's key, None: all. Raises Refusal: `unknown_model` with the nearest names that the
        key may call, `model_forbidden`.
        """
        found = self._find(name)
        if found is None:
            near = get_close_matches(name[:_NAME_COMPARED], self.names(allowed), n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else None
            raise Refusal("unknown_model", "The model is not in this proxy's model_list.", hint=hint)
        if not self._is_allowed(name, found, allowed):
            raise Refusal("model_forbidden", "The client key may not call this model.")
        return found

    def knows(self, name: str) -> bool:
        """Tell whether a group has this name, by an alias or a wildcard too."""
        return self._find(name) is not None

    def fallbacks(self, group: ModelGroup) -> tuple[ModelGroup, ...]:
        """Return the groups that are tried after this one, in order, and theirs after them; none twice.

        Those of the group's name, else of its wildcard, else of `*`, else `default_fallbacks`. What a client key may call
        does not narrow them: they are the operator's choice.
        """
        seen, found, queue = {group.name}, list[ModelGroup](), deque([group])
        while queue:
            for name in self._fallback_names(queue.popleft()):
                other = self._find(name)
                if other is not None and other.name not in seen:
                    seen.add(other.name)
                    found.append(other)
                    queue.append(other)
        return tuple(found)

    def names(self, allowed: frozenset[str] | None = None) -> tuple[str, ...]:
        """Return the names that a client key may call, in the order of the file, then aliases, for the list of models."""
        shown = [*self._groups, *(alias for alias in self.aliases if alias not in self.hidden and alias not in self._groups)]
        if allowed is None:
            return tuple(shown)
        return tuple(name for name in shown if (group := self._find(name)) and self._is_allowed(name, group, allowed))

    def _find(self, name: str) -> ModelGroup | None:
        """Return a group by its name, by an alias, by the longest wildcard that fits."""
        name = self.aliases.get(name, name)
        found = self._groups.get(name) or self._concrete.get(name)
        if found is not None or len(name) > _MAX_NAME:
            return found
        for wildcard, pattern in self._patterns:
            if (match := pattern.fullmatch(name)) and _is_segment(match[1]):
                group = self._groups[wildcard]
                found = ModelGroup(name, tuple(_concrete(each, match[1]) for each in group.deployments))
                if len(self._concrete) >= _MAX_CONCRETE:
                    del self._concrete[next(iter(self._concrete))]
                self._concrete[name] = found
                return found
        return None

    def _fallback_names(self, group: ModelGroup) -> tuple[str, ...]:
        """Return the names that the file gives as fallbacks of a group."""
        by_name = self.routing.fallbacks
        for name in (group.name, group.deployments[0].group, "*"):
            if name in by_name:
                return by_name[name]
        return self.routing.default_fallbacks

    def _is_allowed(self, name: str, group: ModelGroup, allowed: frozenset[str] | None) -> bool:
        """Tell whether a key may call a group by a name: by that name, the group's, its wildcard's, or a wildcard of the key."""
        if allowed is None or not allowed.isdisjoint((name, group.name, group.deployments[0].group)):
            return True
        return any("*" in each and _pattern(each).fullmatch(group.name) for each in allowed)


def _at_port(deployment: Deployment, port: int) -> Deployment:
    return replace(deployment, target=replace(deployment.target, port=port), route=deployment.route.at_port(port))


def _pattern(wildcard: str) -> re.Pattern[str]:
    """Return what a wildcard's name stands for; its first `*` is any text, further ones are literal."""
    before, _, after = wildcard.partition("*")
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)


def _is_segment(text: str) -> bool:
    """Tell whether a text can stand in a path and in a header field: no dot segment (RFC 3986 §5.2.4), no line break."""
    return text not in {".", ".."} and text.isprintable()


def _concrete(deployment: Deployment, text: str) -> Deployment:
    """Return a wildcard's deployment with `text` in place of `*`. It keeps its id, for state and metrics."""
    path = deployment.target.base_path.replace(b"*", quote(text, safe="").encode("ascii"))
    target = replace(deployment.target, base_path=path)
    return replace(deployment, model=deployment.model.replace("*", text), target=target)
