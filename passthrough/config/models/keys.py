"""Which keys of LiteLLM's sections mean something for OCR, which do nothing here, and which are misspelt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from ..problems import KEEP_FOR_LITELLM, At, Problems, listed, printable
from .schema import ConnectionPart, CredentialPart, EntryPart, InfoPart, LiteLLMSettingsPart, ParamsPart, RouterPart

_MAX_NAMED: Final = 12
_CLOSE: Final = 0.8
"""How near an unknown key must be to count as misspelt: LiteLLM takes any key, and some of its own are near to others."""

_INSTEAD: Final = {"base_url": "api_base", "api_token": "api_key", "max_parallel": "max_parallel_requests"}
"""Keys that mean one of ours, although their spelling differs much."""

_OTHER_NAMES: Final = {
    "vertex_ai_project": "vertex_project", "vertex_ai_location": "vertex_location", "vertex_ai_credentials": "vertex_credentials",
}  # fmt: skip
"""LiteLLM's other names of its own keys."""

_WORKS: Final[Mapping[str, frozenset[str]]] = {
    "entry": frozenset(EntryPart.model_fields),
    "litellm_params": frozenset(ParamsPart.model_fields),
    "model_info": frozenset(InfoPart.model_fields),
    "credential": frozenset(CredentialPart.model_fields),
    "credential_values": frozenset(ConnectionPart.model_fields),
    "router_settings": frozenset(RouterPart.model_fields),
    "litellm_settings": frozenset(LiteLLMSettingsPart.model_fields),
}

_LITELLM_ONLY: Final = frozenset({
    *_OTHER_NAMES, "azure_username", "azure_password", "max_retries", "stream_timeout", "api_type", "region_name", "organization",
    "rpd", "tpd", "itpm", "otpm", "tags", "timeout_by_service_tier", "stream_timeout_by_service_tier", "max_budget",
    "retry_policy", "model_group_retry_policy", "allowed_fails_policy", "content_policy_fallbacks",
    "context_window_fallbacks", "max_fallbacks", "num_retries_per_request", "default_max_parallel_requests",
    "default_litellm_params", "cache", "cache_params", "drop_params",
    "ocr_cost_per_page_batches", "annotation_cost_per_page_batches", "ocr_cost_per_credit",
    "routing_strategy_args", "routing_groups", "credential_info", "enable_pre_call_checks",
    "callbacks", "global_max_parallel_requests", "baseline_model", "mode", "tier_litellm_params", "models",
})  # fmt: skip
"""Keys of LiteLLM's own that are near to one that works, or belong to other kinds of calls."""


def renamed(given: Mapping[str, object]) -> dict[str, object]:
    """Return a mapping with LiteLLM's other names of its keys replaced; a key that is there under both names stays as it is."""
    return {_OTHER_NAMES[key] if _OTHER_NAMES.get(key, key) not in given else key: value for key, value in given.items()}


class LiteLLMKeys:
    """Looks at the keys of each mapping, and gathers those that do nothing: one warning for each section names them."""

    __slots__ = ("_idle", "_problems")

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._idle: dict[str, dict[str, At]] = {}

    def working(self, section: str, given: Mapping[str, object], at: At, idle: Collection[str] = ()) -> dict[str, object]:
        """Return the keys that work, without those that are null; a misspelt key is noted as a problem.

        `idle` are keys that do nothing in this mapping, while they work in others.
        """
        works, found = _WORKS[section], dict[str, object]()
        for key, value in given.items():
            if key in works and key not in idle:
                if value is not None:
                    found[key] = value
                continue
            near = _INSTEAD.get(key) if _INSTEAD.get(key) in works else None
            if near is None and key not in _LITELLM_ONLY and key not in works:
                near = next(iter(get_close_matches(key[:60], sorted(works), n=1, cutoff=_CLOSE)), None)
            if near is not None:
                self._problems.wrong((*at, key), "There is no such key here.", f"Did you mean '{near}'?")
                self._problems.excuse((*at, near))  # That it is missing follows from this.
            elif section not in {"model_info", "credential"}:  # LiteLLM's model_info holds notes of any kind
                self._idle.setdefault(section, {}).setdefault(key, (*at, key))
        return found

    def warn(self) -> None:
        """Warn once for each section of the keys that do nothing."""
        for names in self._idle.values():
            shown = listed([printable(name) for name in names], _MAX_NAMED)
            what = f"{shown}: {'these keys do' if len(names) > 1 else 'this key does'} nothing for OCR here."
            self._problems.warn(next(iter(names.values())), what, KEEP_FOR_LITELLM)
