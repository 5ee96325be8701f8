"""Warns of credentials that a provider will not take: none, without Bearer or with it twice, in the wrong field, unencrypted."""

from __future__ import annotations

import re
from typing import Final

from ...credentials.identity import GoogleIdentity
from ...proxy.auth import CREDENTIAL_HEADERS
from ...proxy.routes import Route
from ..problems import Problems
from .apis import Api, api_of
from .placed import Placed

_AUTHORIZATION: Final = b"authorization"
_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_NAMES_KEY: Final = re.compile(rb"auth|key|token|secret|cookie|password|signature", re.IGNORECASE).search
_BEARER: Final = re.compile(r"bearer(?=\s|$)\s*", re.IGNORECASE)
_QUOTES: Final = ("'", '"')


def warn_of_credentials(each: Placed, *, bills: bool, problems: Problems) -> None:
    """Warn of what is wrong with the credentials of one target; `bills`: its host is a provider's, which takes no call without.

    1. What is wrong everywhere. 2. What one of the known APIs does not take. 3. None at all. No value is shown.
    """
    route = each.route
    for name, value in route.headers:
        if name.lower() in _CREDENTIALS:
            _warn_of_value(each, name, value.reveal(), value.shown, problems)
    api = api_of(route.targets[0].host)
    if bills and not route.forward_credentials and not _has_credential(route):
        _warn_of_none(each, api, problems)
    elif api is not None:
        _warn_of_kind(each, api, problems)
    if api is not None and not route.targets[0].tls:
        what = f"http:// sends keys and documents to {api.name} unencrypted."
        problems.warn(each.target_at, what, "Write https://.")


def _warn_of_value(each: Placed, name: bytes, text: str, shown: str, problems: Problems) -> None:
    place = each.header_places.get(name.lower(), each.at)
    bearer = _BEARER.match(text)
    key = text if bearer is None else text[bearer.end() :]
    held = "" if shown == "***" else f", or in what {shown} holds"
    if bearer is not None and not key:
        problems.warn(place, "There is no key behind 'Bearer'.", "Write 'Bearer os.environ/NAME'.")
    elif bearer is not None and _BEARER.match(key):
        _warn_of_two(each, name, shown, problems)
    elif bearer is not None and name.lower() != _AUTHORIZATION:
        field = name.decode("ascii")
        what = f"'Bearer' belongs into Authorization; {field} takes the key alone."
        problems.warn(place, what, f"Remove 'Bearer'{held}.")
    if len(key) > 1 and key[0] in _QUOTES and key[-1] == key[0]:
        what = "The key stands between quotation marks, which are sent too."
        hint = "Remove them" + (f" from {shown}: an env-file of docker keeps them." if held else ".")
        problems.warn(place, what, hint)


def _warn_of_two(each: Placed, name: bytes, shown: str, problems: Problems) -> None:
    place = each.header_places.get(name.lower(), each.at)
    if place[-1] == "api_key":
        whose = "this key" if shown == "***" else f"what {shown} holds"
        problems.warn(place, f"'Bearer' is put before the key, and {whose} begins with it too.", "Write the key alone.")
    elif shown == "***":
        problems.warn(place, "'Bearer' stands before the key twice.", "Keep one of them.")
    else:
        what = f"'Bearer' stands before the key twice: here, or in what {shown} holds."
        problems.warn(place, what, "Keep one: a variable should hold the key alone.")


def _has_credential(route: Route) -> bool:
    target = route.targets[0]
    if route.upstream_auth is not None or _NAMES_KEY(target.query) or any(map(_NAMES_KEY, route.default_query)):
        return True
    return any(_NAMES_KEY(name) for name, _ in route.headers)


def _warn_of_none(each: Placed, api: Api | None, problems: Problems) -> None:
    name = each.route.targets[0].name if api is None else api.name
    what = f"No credentials go to {name}: a client's own never cross, so it will refuse every call."
    hint = "Add 'headers' with its key." if api is None else f"Add '{api.example}'."
    problems.warn(each.at, what, hint)


def _warn_of_kind(each: Placed, api: Api, problems: Problems) -> None:
    """Warn of a credential that this API does not know."""
    route, identity = each.route, each.route.upstream_auth
    if identity is not None:
        if api.identity is None or not isinstance(identity, api.identity):
            whose = "Google" if isinstance(identity, GoogleIdentity) else "Entra"
            problems.warn((*each.at, "upstream_auth"), f"{api.name} takes no token of {whose}.", f"Write '{api.example}'.")
        return
    given = {name.lower(): (name, value) for name, value in route.headers if name.lower() in _CREDENTIALS}
    read = [given[name] for name in given if name in api.headers]
    if given and not read:
        name, _ = next(iter(given.values()))
        what = f"{api.name} does not read {name.decode('ascii')}: it will refuse every call."
        problems.warn(each.header_places.get(name.lower(), each.at), what, f"Write '{api.example}'.")
    if api.needs_bearer and _AUTHORIZATION in given:
        name, value = given[_AUTHORIZATION]
        if _BEARER.match(value.reveal()) is None:
            what = f"{api.name} takes 'Bearer' and the key; 'Bearer' is missing."
            shown = "<the key>" if value.shown == "***" or "," in value.shown else f"os.environ/{value.shown}"
            hint = f"Write '{name.decode('ascii')}: Bearer {shown}'."
            problems.warn(each.header_places.get(_AUTHORIZATION, each.at), what, hint)
