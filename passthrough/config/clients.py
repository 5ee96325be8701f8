"""Client keys, the master key and the admin key: who may call, as the gate wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..proxy.auth import MASTER, Client
from ..secret import Secret
from . import syntax
from .litellm import ENDPOINTS
from .problems import At, Findings, did_you_mean
from .schema import ClientKey, File, General

_SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a file: those of clients, master among them, and the digest of the admin's."""

    clients: tuple[Client, ...]
    admin_digest: bytes | None


def keys(given: Sequence[tuple[At, ClientKey]], file: File, general: General, findings: Findings) -> Keys:
    """Return the keys; names and keys that are not unique are noted."""
    clients = [_client(part, at, findings) for at, part in given]
    master = _single("master_key", file, general, findings)
    places = [at for at, _ in given]
    if master is not None:
        clients.append(Client(MASTER, syntax.digest(master[1])))
        places.append(master[0])
        _warn_short(master[1], master[0], findings)
    _check_unique(clients, places, findings)
    admin = _single("admin_key", file, general, findings)
    if admin is not None:
        _warn_short(admin[1], admin[0], findings)
    chosen = admin or master
    return Keys(tuple(clients), syntax.digest(chosen[1]) if chosen else None)


def _client(part: ClientKey, at: At, findings: Findings) -> Client:
    if part.name == MASTER:
        findings.wrong((*at, "name"), f"'{MASTER}' is what calls with the master key are booked as.", "Choose another name.")
    if part.routes == []:
        findings.wrong((*at, "routes"), "A key without any route may do nothing.", "Name routes, or remove 'routes': all.")
    _warn_short(part.key, (*at, "key"), findings)
    return Client(part.name, syntax.digest(part.key), None if part.routes is None else frozenset(part.routes), part.max_parallel)


def check_named_routes(tree: Mapping[str, Any], findings: Findings) -> None:
    """Note what client keys name as their route and is none.

    Looks at the file as it stands: what is wrong elsewhere in a client key, or in an endpoint, hides nothing here.
    """
    known = _paths(tree, findings)
    given = tree.get("client_keys")
    for place, item in enumerate(given if isinstance(given, list) else ()):
        named = item.get("routes") if isinstance(item, dict) else None
        for index, value in enumerate(named if isinstance(named, list) else ()):
            path = _path(value)
            if path is not None and path not in known:
                mend = did_you_mean(path, known, "Write the route's 'path' as it is configured.")
                findings.wrong(("client_keys", place, "routes", index), "There is no route with this path.", mend)


def _paths(tree: Mapping[str, Any], findings: Findings) -> set[str]:
    """The paths of all endpoints that can be read, also of those that are wrong elsewhere."""
    found: set[str] = set()
    for place in ENDPOINTS:
        value: Any = tree
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        for index, item in enumerate(value if isinstance(value, list) else ()):
            path = _path(item.get("path")) if isinstance(item, dict) else None
            if path is not None and not findings.excused((*place, index, "path")):
                found.add(path)
    return found


def _path(value: object) -> str | None:
    return value.reveal() if isinstance(value, Secret) else value if isinstance(value, str) else None


def _single(name: str, file: File, general: General, findings: Findings) -> tuple[At, Secret] | None:
    """A key that may stand at the top or in general_settings."""
    top, inner = getattr(file, name), getattr(general, name)
    if top is not None and inner is not None:
        findings.wrong((name,), "This is given twice: general_settings has it too.", "Keep one of them.")
    if top is not None:
        return (name,), top
    return (("general_settings", name), inner) if inner is not None else None


def _check_unique(clients: Sequence[Client], places: Sequence[At], findings: Findings) -> None:
    names: dict[str, At] = {}
    digests: dict[bytes, At] = {}
    for client, at in zip(clients, places, strict=True):
        first = names.setdefault(client.name, at)
        if first is not at and client.name != MASTER:
            what = f"'{client.name}' is the name of two keys; the first is on line {findings.line(first)}."
            findings.wrong((*at, "name"), what, "Give each its own: usage is booked by name.")
        where = (*at, "key") if at[0] == "client_keys" else at
        if findings.excused(where):
            continue
        first = digests.setdefault(client.digest, at)
        if first is not at:
            what = f"This is the same key as the one on line {findings.line(first)}."
            findings.wrong(where, what, "Give each client its own key: it tells who calls.")


def _warn_short(key: Secret, at: At, findings: Findings) -> None:
    value = key.reveal()
    if len(value) < _SHORT and not findings.excused(at):
        findings.warn(at, f"The key is shorter than {_SHORT} characters.", "Make one with 'passthrough keygen'.")
