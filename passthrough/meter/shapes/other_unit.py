"""The usage of a response that is billed in a unit without a price here: audio, a library's documents."""

from __future__ import annotations

from typing import Final

from ..jsonscan.paths import PathNode, Value, paths
from ..usage import Unmetered, Usage
from .values import model_name

_WANTED: Final = paths(("model",))


class OtherUnitShape:
    """The usage of such a response: the model that it names, and UNKNOWN_UNIT, however it ended. It may be no JSON at all."""

    __slots__ = ("_model",)

    final = False
    """Whether no document behind this one, in a stream, has another usage: see document.Shape."""

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name, whatever the response says (MeterPlan.model)."""
        self._model = alias

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take the model's name; the alias and the first name stay."""
        self._model = self._model or model_name(value)

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the model and the reason. How the response ended does not matter: there is no count."""
        return Usage(model=self._model, unmetered=Unmetered.UNKNOWN_UNIT)
