"""Warns of paths at which a provider has nothing: `include_subpath` forgotten, `/v1` missing or doubled, a whole call's path."""

from __future__ import annotations

import re
from typing import Final

from ...proxy.routes import Route
from ..problems import Problems
from .apis import VERTEX, Api, api_of
from .example import example
from .placed import Placed

_VERSION: Final = b"/v1"
_TWICE: Final = b"/v1/v1"
_IS_CALL: Final = re.compile(rb"/(?:ocr|chat/completions|embeddings|models)/?|.*:(?:raw|streamRaw)Predict", re.DOTALL)
_LAST: Final = re.compile(rb"/[^/]*:(?:raw|streamRaw)Predict|/chat/completions|/(?:ocr|embeddings|models)")


def warn_of_paths(each: Placed, problems: Problems) -> None:
    """Warn of what is wrong with the paths of one target. A host that is not known may be any server: little is said of it."""
    route = each.route
    base = route.targets[0].base_path.rstrip(b"/")
    api = api_of(route.targets[0].host)
    if _TWICE in base + b"/":
        problems.warn(each.target_at, "'/v1' stands in the target twice.", "Keep one of them.")
    elif each.deployment is not None:
        _warn_of_deployment(each, api, problems)
    elif route.include_subpath:
        _warn_below(each, base, api, problems)
    else:
        _warn_at(each, base, api, problems)


def _warn_of_deployment(each: Placed, api: Api | None, problems: Problems) -> None:
    target = each.route.targets[0]
    if api is not None and api is not VERTEX and target.base_path != api.call:
        what = f"The calls go to {_url(each.route, target.base_path)}: at {api.name} OCR is at {_text(api.call)}."
        is_other = api.call == b"/v1/ocr" and target.base_path.endswith(b"/azure/ocr")
        hint = "Write 'model: mistral/NAME' for a serverless endpoint." if is_other else "Write the host alone."
        problems.warn(each.target_at, what, hint)


def _warn_at(each: Placed, base: bytes, api: Api | None, problems: Problems) -> None:
    """Warn of a route that serves its path alone."""
    route = each.route
    if api is None:
        # The root of a server may be a call's path, where something is counted.
        if not base and not _counts(route) and route.methods is None and not _IS_CALL.search(route.path):
            _warn_of_subpath(each, base, problems)
    elif api.is_above(base):
        _warn_of_subpath(each, base, problems)
    elif api.versioned and not (base + b"/").startswith(_VERSION + b"/"):
        what = f"'/v1' is missing in the target: at {api.name} all paths begin with it."
        problems.warn(each.target_at, what, f"Write {_url(route, _VERSION + base)}.")
    elif base.endswith(b"/ocr") and api.call.endswith(b"/ocr") and base != api.call:
        what = f"{api.name} has nothing at {_text(base)}: OCR is at {_text(api.call)}."
        problems.warn(each.target_at, what, f"Write {_url(route, api.call)}.")


def _counts(route: Route) -> bool:
    plan = route.terms.plan
    return plan.reads("POST", route.path) is not None or plan.shape != "auto" or route.terms.cost_per_request_nano is not None


def _warn_of_subpath(each: Placed, base: bytes, problems: Problems) -> None:
    route = each.route
    what = f"Only {_text(route.path)} itself is served, which goes to {_url(route, base or b'/')}: nothing is there."
    if api_of(route.targets[0].host) is None:
        what = f"Only {_text(route.path)} itself is served, which goes to {_url(route, b'/')}, and nothing below it."
    problems.warn(each.at, what, "Add 'include_subpath: true'.")


def _warn_below(each: Placed, base: bytes, api: Api | None, problems: Problems) -> None:
    """Warn of a route that serves what is below its path."""
    route = each.route
    call = _LAST.search(base)
    if call is not None and call.end() == len(base) and not route.path.endswith(call[0]):
        above = base[: -len(call[0])]
        if not route.path.endswith(_VERSION):  # then clients add it, and what they add goes below the target
            above = above.removesuffix(_VERSION)
        below = base[len(above) :]
        what = f"The target is one call's whole path: {_text(route.path + below)} goes to {_text(base + below)}."
        problems.warn(each.target_at, what, f"Write {_url(route, above)}, or remove include_subpath.")
    elif api is None or not api.call.startswith(_VERSION + b"/") or api is VERTEX:
        return
    elif base and api.versioned and not (base + b"/").startswith(_VERSION + b"/"):
        what = f"'/v1' is missing in the target: at {api.name} all paths begin with it."
        problems.warn(each.target_at, what, f"Write {_url(route, b'')}.")
    elif base == _VERSION and not route.path.endswith(_VERSION):
        twice = f"{_text(route.path)}/v1/… goes to {_url(route, base)}/v1/…"
        what = f"'/v1' is doubled for clients that add it themselves, as {api.name}'s SDKs do: {twice}"
        problems.warn(each.target_at, what, f"Write {_url(route, b'')}; then {_listening(route)} is called.")
    elif not base and route.path.endswith(_VERSION):
        what = f"'/v1' is lost: {_text(route.path)}/… goes to {_url(route, b'')}/…, where {api.name} has nothing."
        bare = _text(route.path.removesuffix(_VERSION)) or "/"
        problems.warn(each.target_at, what, f"Write {_url(route, _VERSION)}, or 'path: {bare}'.")


def _listening(route: Route) -> str:
    return example(route).path.replace("/ocr", "/v1/ocr")


def _url(route: Route, path: bytes) -> str:
    target = route.targets[0]
    return f"{'https' if target.tls else 'http'}://{target.authority.decode('ascii')}{_text(path)}"


def _text(path: bytes) -> str:
    return path.decode("ascii", "replace")
