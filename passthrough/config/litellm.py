"""Keys of LiteLLM's format: which have a meaning here, which are LiteLLM's alone and do nothing, and which are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .problems import Problems, did_you_mean, nearest, printable
from .schema import IDLE_KEYS, LITELLM_SECTIONS, SECTIONS, Endpoint, File, General

ENDPOINTS: Final = (("pass_through_endpoints",), ("general_settings", "pass_through_endpoints"))
"""The places where routes stand; the lists are joined in this order."""

_NO_ROUTE: Final = "There is no route: pass_through_endpoints is missing or empty."
_ONLY_MODELS: Final = "The only routes are LiteLLM's model_list, which is not served yet in this version."
_KEEP: Final = "Leave it if LiteLLM reads this file too, else remove it."
_ROUTE_HINT: Final = "Add a route under pass_through_endpoints: path, target, headers."


def supported(tree: Mapping[str, object], problems: Problems) -> dict[str, object]:
    """Return the keys that have a meaning here; unknown keys are noted.

    1. LiteLLM's other sections: one warning that names them all.
    2. Unknown keys at the top are problems.
    3. Unknown keys in general_settings: one warning that names them all; but for keys of ours that belong at the top, which are
       problems: they would be without effect, and a proxy without its client_keys is open.
    4. A section that is null (all its lines commented out) counts as absent.
    5. A file without a single route is refused.
    """
    found = {key: value for key, value in tree.items() if key in File.model_fields}
    found = {key: value for key, value in found.items() if not (value is None and key in SECTIONS)}
    foreign = [key for key in tree if key in LITELLM_SECTIONS]
    if foreign:
        problems.warn((foreign[0],), f"{', '.join(foreign)}: sections of LiteLLM, which do nothing here.", _KEEP)
    for key in tree:
        if key in General.model_fields and key not in File.model_fields:
            problems.wrong((key,), "There is no such key at the top.", "Move it under general_settings.")
        elif key in Endpoint.model_fields and key not in File.model_fields and key not in LITELLM_SECTIONS:
            problems.wrong(
                (key,), "This key belongs to a route.", "Move it to the routes that are to have it, in pass_through_endpoints."
            )
        elif key not in File.model_fields and key not in LITELLM_SECTIONS:
            hint = did_you_mean(key, {*File.model_fields, *LITELLM_SECTIONS}, "Remove it.")
            problems.wrong((key,), "There is no such key.", hint)
    general = found.get("general_settings")
    if isinstance(general, dict):
        found["general_settings"] = _general(general, problems)
    _check_routes(found, "model_list" in tree, problems)
    return found


def _general(section: Mapping[str, object], problems: Problems) -> dict[str, object]:
    unknown = [key for key in section if key not in General.model_fields]
    for key in unknown:
        if key in File.model_fields:
            at = ("general_settings", key)
            problems.wrong(at, "This key belongs at the top of the file.", f"Move '{key}' out of general_settings.")
    idle = [key for key in unknown if key not in File.model_fields]
    if idle:
        near = [(key, nearest(key, General.model_fields)) for key in idle]
        meant = " ".join(f"Did you mean '{known}' by '{printable(key)}'?" for key, known in near if known)
        what = f"{', '.join(map(printable, idle))}: {'these keys do' if len(idle) > 1 else 'this key does'} nothing here."
        problems.warn(("general_settings", idle[0]), what, meant or _KEEP)
    known = {key: value for key, value in section.items() if key in General.model_fields}
    return {key: value for key, value in known.items() if not (value is None and key in SECTIONS)}


def _check_routes(found: Mapping[str, object], has_models: bool, problems: Problems) -> None:
    general = found.get("general_settings", {})
    lists = [found.get("pass_through_endpoints"), general.get("pass_through_endpoints") if isinstance(general, dict) else None]
    endpoints = [item for value in lists if isinstance(value, list) for item in value]
    if not endpoints and all(value is None or value == [] for value in lists):
        problems.wrong(("model_list",) if has_models else (), _ONLY_MODELS if has_models else _NO_ROUTE, _ROUTE_HINT)
    seen: set[str] = set()
    for place, value in zip(ENDPOINTS, lists, strict=True):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            idle = [key for key in item if key in IDLE_KEYS and key not in seen] if isinstance(item, dict) else []
            seen.update(idle)
            for key in idle:
                problems.warn((*place, index, key), f"'{key}' does nothing here.", _KEEP)
