"""Keys of LiteLLM's format: which have a meaning here, which are LiteLLM's alone and do nothing, and which are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .models.selection import SECTIONS as MODEL_SECTIONS
from .models.selection import selected
from .problems import KEEP_FOR_LITELLM, Problems, did_you_mean, nearest, printable
from .schema import IDLE_KEYS, LITELLM_SECTIONS, SECTIONS, Endpoint, File, General

ENDPOINTS: Final = (("pass_through_endpoints",), ("general_settings", "pass_through_endpoints"))
"""The places where routes stand; the lists are joined in this order."""

_NO_ROUTE: Final = "There is no route: pass_through_endpoints is missing or empty."
_NO_MODEL: Final = "There is no route, and model_list has no entry for OCR that is served here."
_ROUTE_HINT: Final = "Add a route under pass_through_endpoints: path, target, headers."


def supported(tree: Mapping[str, object], environ: Mapping[str, str], problems: Problems, *, sandbox: bool) -> dict[str, object]:
    """Return the keys that have a meaning here; unknown keys are noted.

    1. LiteLLM's other sections: one warning that names them all. Those for models are among them where none is for OCR.
    2. Unknown keys at the top are problems.
    3. Unknown keys in general_settings: one warning that names them all; but for keys of ours that belong at the top, which are
       problems: they would be without effect, and a proxy without its client_keys is open.
    4. A section that is null (all its lines commented out) counts as absent.
    5. A file without a single route and without a model for OCR is refused.
    """
    found = {key: value for key, value in tree.items() if key in File.model_fields}
    found = {key: value for key, value in found.items() if not (value is None and key in SECTIONS)}
    models = selected(tree, environ, problems, sandbox=sandbox)
    found = {key: value for key, value in found.items() if key not in MODEL_SECTIONS} | models
    foreign = [key for key in tree if key in LITELLM_SECTIONS or (key in MODEL_SECTIONS and not models)]
    if foreign:
        problems.warn((foreign[0],), f"{', '.join(foreign)}: sections of LiteLLM, which do nothing here.", KEEP_FOR_LITELLM)
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
    if not models:
        _check_any_route(found, "model_list" in tree, problems)
    _warn_idle(found, problems)
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
        problems.warn(("general_settings", idle[0]), what, meant or KEEP_FOR_LITELLM)
    known = {key: value for key, value in section.items() if key in General.model_fields}
    return {key: value for key, value in known.items() if not (value is None and key in SECTIONS)}


def _endpoint_lists(found: Mapping[str, object]) -> tuple[object, object]:
    general = found.get("general_settings", {})
    return found.get("pass_through_endpoints"), general.get("pass_through_endpoints") if isinstance(general, dict) else None


def _check_any_route(found: Mapping[str, object], has_models: bool, problems: Problems) -> None:
    if all(value is None or value == [] for value in _endpoint_lists(found)):
        problems.wrong(("model_list",) if has_models else (), _NO_MODEL if has_models else _NO_ROUTE, _ROUTE_HINT)


def _warn_idle(found: Mapping[str, object], problems: Problems) -> None:
    """Warn once of each key of endpoints that does nothing."""
    seen: set[str] = set()
    for place, value in zip(ENDPOINTS, _endpoint_lists(found), strict=True):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            idle = [key for key in item if key in IDLE_KEYS and key not in seen] if isinstance(item, dict) else []
            seen.update(idle)
            for key in idle:
                problems.warn((*place, index, key), f"'{key}' does nothing here.", KEEP_FOR_LITELLM)
