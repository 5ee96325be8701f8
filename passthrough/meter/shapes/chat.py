"""The usage of a response that is billed by its tokens: chat, completions, responses, conversations, embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ..jsonscan.paths import ANY, Mark, PathNode, Value, paths
from ..usage import Unmetered, Usage
from .values import count, model_name

_END: Final = Mark.END  # before Python 3.12 an enum's look-up is expensive
_UNKNOWN_UNIT: Final = Unmetered.UNKNOWN_UNIT

# At the top, or in the last event of a stream of OpenAI's responses; the model of a conversation is that of its outputs.
_USAGES: Final = ("usage", "response.usage")
_MODELS: Final = ("model", "response.model", "outputs[].model")
_TIERS: Final = ("service_tier", "response.service_tier")
_TYPE: Final = "type"

# Within a usage.
_IN: Final = ("prompt_tokens", "input_tokens")
_OUT: Final = ("completion_tokens", "output_tokens")
_CONNECTOR: Final = "connector_tokens"
_CACHED: Final = ("prompt_tokens_details.cached_tokens", "num_cached_tokens", "input_tokens_details.cached_tokens")
_AUDIO: Final = "prompt_audio_seconds"
_TIER: Final = "service_tier"
_FEES: Final = (f"connectors.{ANY}", "connectors[]")

_BILLED: Final = (*_IN, *_OUT, _CONNECTOR)
_FIELDS: Final = {f"{usage}.{name}": name for usage in _USAGES for name in (*_BILLED, *_CACHED, _AUDIO, _TIER, *_FEES)}

CHAT_PATHS: Final = (*_MODELS, *_USAGES, *_TIERS, _TYPE, *_FIELDS)
"""The paths that ChatShape wants."""

_WANTED: Final = paths(CHAT_PATHS)

_STANDARD_TIERS: Final = frozenset({"", "default", "standard", "auto"})
_LAST_TYPES: Final = frozenset({
    "conversation.response.done", "conversation.response.error", "response.completed", "response.incomplete", "response.failed",
})  # fmt: skip
"""The types of events behind which no usage comes."""


@dataclass(slots=True)
class _Tokens:
    """What one complete usage says."""

    tokens_in: int | None
    tokens_out: int | None
    cached: int | None
    tier: str | None
    has_other_unit: bool


class ChatShape:
    """The usage of a response that is billed by its tokens, whole or as a stream of events.

    1. A `usage` counts only once it is complete, with one counter at least: tokens in, tokens out. A counter that is null counts
       as missing, and one that is no count makes the usage void.
    2. `connector_tokens`, what a conversation's tools gave the model to read, are tokens in beside `prompt_tokens`.
    3. Cached tokens are a part of the tokens in, and never more. A number of them that is no count is ignored, unlike the other
       counters: without it all tokens in are priced in full, and none is lost.
    4. Seconds of audio, and connectors with a fee for each call, are UNKNOWN_UNIT beside the tokens.
    5. The last usage counts, and the last model and tier that are named: a stream has them early, late, or in each event.
    """

    __slots__ = ("_alias", "_fields", "_model", "_tier", "_tokens", "final")

    final: bool
    """Whether no document behind this one, in a stream, has another usage: see document.Shape."""

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model)."""
        self._alias = alias
        self._model: str | None = None
        self._tier: str | None = None
        self._fields: dict[str, Value] = {}
        self._tokens: _Tokens | None = None
        self.final = False

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path."""
        name = _FIELDS.get(path)
        if name is not None:
            self._take_field(name, value)
        elif path in _MODELS:
            self._model = model_name(value) or self._model
        elif path in _USAGES:
            if value is _END:
                self._tokens = self._counted() or self._tokens
            else:
                self._fields = {}
        elif path == _TYPE:
            self.final = value in _LAST_TYPES
        elif isinstance(value, str):
            self._tier = _special_tier(value)

    def _take_field(self, name: str, value: Value) -> None:
        if name not in _FEES:
            self._fields[name] = value
        elif value:  # 0 and null: a connector that was not called
            self._fields[_FEES[0]] = value

    def _counted(self) -> _Tokens | None:
        fields = self._fields
        counts = {}
        for name in _BILLED:
            value = fields.get(name)
            if value is not None:
                counted = counts[name] = count(value)
                if counted is None:
                    return None
        if not counts:
            return None
        tokens_in, connector = _first(_IN, counts), counts.get(_CONNECTOR)
        if connector is not None:
            tokens_in = (tokens_in or 0) + connector
        cached = _first(_CACHED, {name: count(fields.get(name)) for name in _CACHED})
        if cached is not None:
            cached = None if tokens_in is None else min(cached, tokens_in)
        tier = fields.get(_TIER)
        return _Tokens(
            tokens_in,
            _first(_OUT, counts),
            cached,
            _special_tier(tier) if isinstance(tier, str) else None,
            _is_some(fields.get(_AUDIO)) or _FEES[0] in fields,
        )

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the tokens if there was a complete usage, else `otherwise` as the reason."""
        model, tokens = self._alias or self._model, self._tokens
        if tokens is None:
            return Usage(model=model, unmetered=otherwise)
        why = _UNKNOWN_UNIT if tokens.has_other_unit else None
        usage = Usage(None, None, model, None, tokens.tokens_in, tokens.tokens_out, why)
        usage.tokens_cached, usage.service_tier = tokens.cached, tokens.tier or self._tier
        return usage


def _first(names: Iterable[str], counts: Mapping[str, int | None]) -> int | None:
    """Return the first count of these names that there is."""
    for name in names:
        found = counts.get(name)
        if found is not None:
            return found
    return None


def _special_tier(name: str) -> str | None:
    """Return the name of a tier that is billed apart, None for the standard one."""
    tier = name.strip().lower()
    return tier if tier not in _STANDARD_TIERS and tier.isprintable() else None


def _is_some(value: Value) -> bool:
    """Tell whether a value is a number above 0."""
    return type(value) in {int, Decimal} and value > 0  # type: ignore[operator] # a number
