"""The usage of a response that is billed by its tokens: chat, completions, responses, embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..jsonscan.paths import Mark, PathNode, Value, paths
from ..usage import Unmetered, Usage
from .values import count, model_name

_END: Final = Mark.END  # before Python 3.12 an enum's look-up is expensive

# At the top, or in the last event of a stream of OpenAI's responses; the model of a conversation is that of its outputs.
_TOKENS: Final = ("usage", "response.usage")
_MODELS: Final = ("model", "response.model", "outputs[].model")
_IN: Final = ("prompt_tokens", "input_tokens")
_OUT: Final = ("completion_tokens", "output_tokens")

CHAT_PATHS: Final = (*_MODELS, *_TOKENS, *(f"{usage}.{name}" for usage in _TOKENS for name in (*_IN, *_OUT)))
"""The paths that ChatShape wants."""

_WANTED: Final = paths(CHAT_PATHS)


class ChatShape:
    """The usage of a response that is billed by its tokens, whole or as a stream of events.

    1. A `usage` counts only once it is complete, with one counter at least: tokens in, tokens out. A counter that is null counts
       as missing, and one that is no count makes the usage void.
    2. The last usage counts, and the last model that is named: a stream has them early, late, or in each event.
    """

    __slots__ = ("_alias", "_counters", "_model", "_tokens")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model)."""
        self._alias = alias
        self._model: str | None = None
        self._counters: dict[str, Value] = {}
        self._tokens: tuple[int | None, int | None] | None = None

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path."""
        if path in _MODELS:
            self._model = model_name(value) or self._model
        elif path not in _TOKENS:
            self._counters[path.rpartition(".")[2]] = value
        elif value is _END:
            self._tokens = self._counted() or self._tokens
        else:
            self._counters = {}

    def _counted(self) -> tuple[int | None, int | None] | None:
        counts = {}
        for name, value in self._counters.items():
            if value is not None:
                counted = counts[name] = count(value)
                if counted is None:
                    return None
        return (_first(_IN, counts), _first(_OUT, counts)) if counts else None

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the tokens if there was a complete usage, else `otherwise` as the reason."""
        model = self._alias or self._model
        if self._tokens is None:
            return Usage(model=model, unmetered=otherwise)
        return Usage(None, None, model, None, *self._tokens)


def _first(names: Iterable[str], counts: Mapping[str, int | None]) -> int | None:
    for name in names:
        if name in counts:
            return counts[name]
    return None
