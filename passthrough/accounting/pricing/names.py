"""Names of models: providers' prefixes, aliases, and the one name by which a model is booked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from .price_list import MISTRAL, Alias

_MAX_DAYS: Final = 64


class ModelNames:
    """Reads models' names: in lower case, without `-completion`, with the provider that their prefix means."""

    def __init__(self, prefixes: Mapping[str, str], aliases: Iterable[Alias], rows: Iterable[str] = ()) -> None:
        """`prefixes` are what tools put before a name, and the provider that they mean; `rows` the models of the shipped list."""
        self._prefixes = prefixes
        self._rows = frozenset(rows)
        # Of two aliases from one day, the later in the list counts: sorting keeps their order.
        self._aliases = sorted(aliases, key=lambda alias: alias.effective_from or date.min)
        self._days: dict[date, tuple[Mapping[str, str], Mapping[str, list[str]]]] = {}

    def split(self, model: str) -> tuple[str | None, str]:
        """Return the provider whose prefix a model's name has (None: no prefix), and the rest.

        Of two prefixes the first counts: `vertex_ai/mistralai/codestral-2` is Vertex' offer.
        """
        provider, name = None, plain(model)
        while True:
            prefix, slash, rest = name.partition("/")
            if not slash or prefix not in self._prefixes or (provider and self._prefixes[prefix] != MISTRAL):
                return provider, name
            provider, name = provider or self._prefixes[prefix], rest

    def key(self, model: str) -> str:
        """Return a model's name with its provider's own prefix, if it has one."""
        provider, bare = self.split(model)
        return f"{provider}/{bare}" if provider else bare

    def canonical(self, model: str, day: date) -> str:
        """Return the one name of a model on a day: without prefixes of Mistral's, aliases replaced by what they stand for.

        What is an alias at Mistral may be another provider's own model, with a row of its own: `vertex/mistral-medium-3`.
        """
        provider, bare = self.split(model)
        name = bare if f"{provider}/{bare}" in self._rows else self.stands_for(bare, day)
        has_provider = name != bare and "/" in name
        return name if provider in {None, MISTRAL} or has_provider else f"{provider}/{name}"

    def stands_for(self, name: str, day: date) -> str:
        """Return the model that a name stands for on a day: the name itself where it is no alias."""
        return self._on(day)[0].get(name, name)

    def meaning(self, key: str, day: date) -> Iterable[str]:
        """Return the aliases that stand for a key's model on a day, with the key's provider."""
        provider, slash, model = key.rpartition("/")
        return [f"{provider}{slash}{alias}" for alias in self._on(day)[1].get(model, ())]

    def aliases(self) -> Iterable[str]:
        """Return every alias once, by the day on which it first held."""
        return dict.fromkeys(alias.alias for alias in self._aliases)

    def _on(self, day: date) -> tuple[Mapping[str, str], Mapping[str, list[str]]]:
        found = self._days.get(day)
        if found is None:
            if len(self._days) >= _MAX_DAYS:
                self._days.clear()
            models = {alias.alias: alias.model for alias in self._aliases if (alias.effective_from or day) <= day}
            names: dict[str, list[str]] = {}
            for alias, model in models.items():
                names.setdefault(model, []).append(alias)
            found = self._days[day] = (models, names)
        return found


def plain(model: str) -> str:
    """Return a model's name in lower case, without `-completion`."""
    return model.strip().lower().removesuffix("-completion")
