"""Client keys, the master key and the admin key out of the file, for the authenticator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..proxy.auth import MASTER, ClientKey
from ..proxy.deployments.deployment import OCR_ROUTE
from ..proxy.deployments.model_table import ModelTable
from ..secret import Secret
from . import syntax
from .litellm import ENDPOINTS
from .models.ocr_routes import NAMED as OCR_NAMES
from .problems import At, Problems, did_you_mean
from .schema import ClientKeyPart, File, General

_SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a file: those of clients, the master key among them, and the digest of the admin key."""

    clients: tuple[ClientKey, ...]
    admin_digest: bytes | None


def keys(
    given: Sequence[tuple[At, ClientKeyPart]], file: File, general: General, problems: Problems, *, has_models: bool = False
) -> Keys:
    """Return the keys; duplicate names and keys are noted. `has_models`: model_list is served, under one route of two names."""
    clients = [_client(part, at, problems, has_models=has_models) for at, part in given]
    master = _single("master_key", file, general, problems)
    places = [at for at, _ in given]
    if master is not None:
        clients.append(ClientKey(MASTER, syntax.digest(master[1])))
        places.append(master[0])
        _warn_short(master[1], master[0], problems)
    _check_unique(clients, places, problems)
    admin = _single("admin_key", file, general, problems)
    if admin is not None:
        _warn_short(admin[1], admin[0], problems)
    chosen = admin or master
    return Keys(tuple(clients), syntax.digest(chosen[1]) if chosen else None)


def _client(part: ClientKeyPart, at: At, problems: Problems, *, has_models: bool) -> ClientKey:
    if part.name == MASTER:
        problems.wrong((*at, "name"), f"'{MASTER}' is what calls with the master key are booked as.", "Choose another name.")
    if part.routes == []:
        problems.wrong((*at, "routes"), "A key without any route may do nothing.", "Name routes, or remove 'routes': all.")
    _warn_short(part.key, (*at, "key"), problems)
    if part.models == []:
        problems.wrong((*at, "models"), "A key without any model may call none.", "Name models, or remove 'models': all.")
    paths = None if part.routes is None else frozenset(part.routes)
    if paths is not None and has_models and not OCR_NAMES.isdisjoint(paths):
        paths |= {OCR_ROUTE}
    return ClientKey(
        part.name, syntax.digest(part.key), paths, part.max_parallel, None if part.models is None else frozenset(part.models)
    )


def check_named_models(given: Sequence[tuple[At, ClientKeyPart]], table: ModelTable | None, problems: Problems) -> None:
    """Note the models that a client key names but that do not exist; a wildcard must fit at least one, or be one."""
    for at, part in given:
        for index, name in enumerate(part.models or ()):
            if table is None:
                if problems.problems:
                    return  # Those of the file may be wrong only.
                what = "There are no models: model_list has no entry for OCR."
                problems.wrong((*at, "models", index), what, "Remove 'models'.")
            elif not (table.knows(name) or ("*" in name and table.names(frozenset({name})))):
                hint = did_you_mean(name, table.names(), "Write a model_name of model_list.")
                problems.wrong((*at, "models", index), "There is no such model in model_list.", hint)


def check_named_routes(tree: Mapping[str, Any], problems: Problems) -> None:
    """Note the routes that a client key names but that do not exist.

    Looks at the file before validation: another error in a client key, or in an endpoint, hides nothing here.
    """
    known = _paths(tree, problems) | (OCR_NAMES if "model_list" in tree else frozenset())
    given = tree.get("client_keys")
    for place, item in enumerate(given if isinstance(given, list) else ()):
        named = item.get("routes") if isinstance(item, dict) else None
        for index, value in enumerate(named if isinstance(named, list) else ()):
            path = _path(value)
            if path is not None and path not in known:
                hint = did_you_mean(path, known, "Write the route's 'path' as it is configured.")
                problems.wrong(("client_keys", place, "routes", index), "There is no route with this path.", hint)


def _paths(tree: Mapping[str, Any], problems: Problems) -> set[str]:
    """Return the paths of all endpoints that can be read, also of those that are wrong elsewhere."""
    found: set[str] = set()
    for place in ENDPOINTS:
        value: Any = tree
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        for index, item in enumerate(value if isinstance(value, list) else ()):
            path = _path(item.get("path")) if isinstance(item, dict) else None
            if path is not None and not problems.excused((*place, index, "path")):
                found.add(path)
    return found


def _path(value: object) -> str | None:
    return value.reveal() if isinstance(value, Secret) else value if isinstance(value, str) else None


def _single(name: str, file: File, general: General, problems: Problems) -> tuple[At, Secret] | None:
    """Return a key that may stand at the top or in general_settings, with its place."""
    top, inner = getattr(file, name), getattr(general, name)
    if top is not None and inner is not None:
        problems.wrong((name,), "This is given twice: general_settings has it too.", "Keep one of them.")
    if top is not None:
        return (name,), top
    return (("general_settings", name), inner) if inner is not None else None


def _check_unique(clients: Sequence[ClientKey], places: Sequence[At], problems: Problems) -> None:
    names: dict[str, At] = {}
    digests: dict[bytes, At] = {}
    for client, at in zip(clients, places, strict=True):
        first = names.setdefault(client.name, at)
        if first is not at and client.name != MASTER:
            what = f"'{client.name}' is the name of two keys; the first is on line {problems.line(first)}."
            problems.wrong((*at, "name"), what, "Give each its own: usage is booked by name.")
        where = (*at, "key") if at[0] == "client_keys" else at
        if problems.excused(where):
            continue
        first = digests.setdefault(client.digest, at)
        if first is not at:
            what = f"This is the same key as the one on line {problems.line(first)}."
            problems.wrong(where, what, "Give each client its own key: it tells who calls.")


def _warn_short(key: Secret, at: At, problems: Problems) -> None:
    value = key.reveal()
    if len(value) < _SHORT and not problems.excused(at):
        problems.warn(at, f"The key is shorter than {_SHORT} characters.", "Make one with 'passthrough keygen'.")
