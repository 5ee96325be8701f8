"""LiteLLM's price map (`model_prices_and_context_window.json`) as rows of a price list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from .price_list import BATCH, MISTRAL, Price

_FIGURES: Final = (  # a key of the map, the field of a Price, and by which power of ten the two differ
    ("ocr_cost_per_page", "usd_per_1000_pages", 3),
    ("annotation_cost_per_page", "usd_per_1000_annotated_pages", 3),
    ("input_cost_per_token", "usd_per_million_input_tokens", 6),
    ("output_cost_per_token", "usd_per_million_output_tokens", 6),
    ("cache_read_input_token_cost", "usd_per_million_cached_input_tokens", 6),
    ("ocr_cost_per_credit", "usd_per_credit", 0),
)
_TIERS: Final = ("priority", "flex")
_SAMPLE: Final = "sample_spec"  # the map's own description of its keys
_MAX_USD: Final = 10**6


class BadPriceMap(ValueError):
    """A text that is no price map: what is wrong, and where."""


def read(text: bytes, source: str) -> tuple[Price, ...]:
    """Return the rows of a price map; keys that mean nothing here are ignored. Raises BadPriceMap.

    Each model is named with its provider: `mistral/…`, `azure/…` (LiteLLM's `azure_ai`, too), `vertex/…`, else LiteLLM's own name
    of the provider. Numbers keep their decimals. It takes a tenth of a second for LiteLLM's map of 3.5 MB.
    """
    try:
        # A function of ours for each object lets other threads run in between: the scanner in C would keep the interpreter.
        tree = json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise BadPriceMap(f"This is not JSON: line {error.lineno}, column {error.colno}.") from None
    except (UnicodeDecodeError, RecursionError):
        raise BadPriceMap("This is not JSON.") from None
    if not isinstance(tree, dict):
        raise BadPriceMap("This is no object of models.")
    rows = tuple(row for key, fields in tree.items() if isinstance(fields, dict) for row in _rows(key, fields, source))
    if not rows:
        raise BadPriceMap("No model in it has a price.")
    return rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def _rows(key: str, fields: Mapping[str, object], source: str) -> Iterator[Price]:
    """Yield the rows of a model: for the standard tier, for other tiers, and for batches where they do not cost half.

    LiteLLM takes half, too, where the map has no price for batches.
    """
    model = _model(key, fields.get("litellm_provider"))
    if model is None:
        return
    full = _figures(key, fields, "")
    for suffix, tier in (("", None), *((f"_{tier}", tier) for tier in _TIERS)):
        figures = _figures(key, fields, suffix)
        if figures:
            yield Price(model, **figures, source=source, service_tier=tier)
    if batches := _figures(key, fields, f"_{BATCH}es"):
        half = {field: usd / 2 for field, usd in full.items()}
        if half | batches != half:
            yield Price(model, **(half | batches), source=source, service_tier=BATCH)


def _figures(key: str, fields: Mapping[str, object], suffix: str) -> dict[str, Any]:
    """Return the prices whose keys end in `suffix`, by the fields of a Price."""
    found = ((field, _usd(key, name + suffix, fields), power) for name, field, power in _FIGURES)
    return {field: usd.scaleb(power) for field, usd, power in found if usd is not None}


def _model(key: str, named: object) -> str | None:
    """Return a model's name with its provider; None for an entry that is no model."""
    name = key.strip().lower()
    prefix, slash, rest = name.partition("/")
    provider = _provider(named.lower() if isinstance(named, str) else prefix if slash else "")
    if key == _SAMPLE or not provider:
        return None
    return f"{provider}/{rest if slash and _provider(prefix) == provider else name}"


def _provider(name: str) -> str:
    if name in {MISTRAL, "mistralai"}:
        return MISTRAL
    if name in {"azure", "azure_ai", "azure_text"}:
        return "azure"
    return "vertex" if name.startswith("vertex_ai") else name


def _usd(key: str, name: str, fields: Mapping[str, object]) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        usd = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd <= _MAX_USD:
        raise BadPriceMap(f"'{name}' of '{key}' is no price.")
    return usd
