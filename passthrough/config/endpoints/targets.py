"""Turns the `targets` of an endpoint into a pool: each with an id, and with what it inherits of the endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ...credentials.identity import Identity
from ...proxy.auth import CREDENTIAL_HEADERS
from ...proxy.deployments.deployment import Deployment, ModelGroup, Routing
from ...proxy.deployments.model_table import ModelTable
from ...proxy.deployments.pool import Pool
from ...proxy.routes import Retries, Route
from ...secret import Secret
from ..problems import At, Problems
from ..schema import SPECIAL_HEADER, Endpoint, TargetPart
from .routes import BuildContext, headers, identity, target, terms

_REJECTED: Final = frozenset({401, 403})
"""Statuses after which `retries` go on with another target: one account is refused, another may not be."""

_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
"""Headers by which a provider knows an account: a target has these of its own, or a token that is fetched, never both."""

_Placed = tuple[At, Endpoint, Route]


def target_ids(endpoints: Iterable[tuple[str, Sequence[str | None]]]) -> list[tuple[str, ...]]:
    """Return the ids of the targets of endpoints, of each its path and the ids that the file gives.

    One without an id is called by its path and its number: `/mistral#2`. Where several endpoints have one path, the count goes
    on.
    """
    counted: Counter[str] = Counter()
    found = []
    for path, given in endpoints:
        found.append(tuple(name or f"{path}#{number}" for number, name in enumerate(given, counted[path] + 1)))
        counted[path] += len(given)
    return found


def pools(placed: Sequence[_Placed], context: BuildContext, taken: Mapping[str, At], problems: Problems) -> tuple[Pool, ...]:
    """Return a pool for each endpoint that has `targets`, in order; problems are noted.

    `placed` are endpoints with their places and the routes that they became; `taken` are the ids of model_list.
    """
    given = [(endpoint.path, [item.id for item in endpoint.targets or ()]) for _, endpoint, _ in placed]
    ids = target_ids(given)
    _check_ids(placed, ids, taken, problems)
    return tuple(
        _pool(each, names, context, problems) for each, names in zip(placed, ids, strict=True) if each[1].targets is not None
    )


def _check_ids(placed: Sequence[_Placed], ids: Sequence[Sequence[str]], taken: Mapping[str, At], problems: Problems) -> None:
    """Note ids that are not unique: those that the file gives, for these can be changed."""
    named = [
        ((*at, "targets", index), item.id is not None, name)
        for (at, endpoint, _), names in zip(placed, ids, strict=True)
        for index, (item, name) in enumerate(zip(endpoint.targets or (), names, strict=True))
    ]
    seen = dict(taken)
    for at, is_given, name in sorted(named, key=lambda each: each[1]):  # the numbered ones first
        other = seen.setdefault(name, at)
        if other is not at:
            what = f"'{name}' is the id of what is on line {problems.line(other)} too."
            hint = "Give each its own: the log and the ledger name targets by it."
            problems.wrong((*at, "id") if is_given else at, what, hint)


def _pool(placed: _Placed, ids: Sequence[str], context: BuildContext, problems: Problems) -> Pool:
    at, endpoint, route = placed
    shared = identity(endpoint, at, context)
    found = []
    for index, (item, name) in enumerate(zip(endpoint.targets or (), ids, strict=True)):
        place = (*at, "targets", index)
        found.append(_deployment(item, name, (place, endpoint, route), shared, context, problems))
    _check_weights(found, at, problems)
    if not context.sandbox:
        _check_repeated(found, at, problems)
    table = ModelTable((ModelGroup(route.terms.route, tuple(found)),), _routing(route.retries))
    sticky = endpoint.sticky if endpoint.sticky is not None else None if endpoint.include_subpath else False
    return Pool(route, table, sticky)


def _deployment(
    item: TargetPart, name: str, placed: _Placed, shared: Identity | None, context: BuildContext, problems: Problems
) -> Deployment:
    """Return one target; `placed` is its place, with its endpoint and the endpoint's route, `shared` the endpoint's identity."""
    at, endpoint, route = placed
    where = target(item.target, endpoint, context)
    if SPECIAL_HEADER in item.headers:
        what = "Where a client's key stands is for the whole endpoint: it is read before a target is chosen."
        problems.wrong((*at, "headers", SPECIAL_HEADER), what, "Move it into the endpoint's own headers.")
    own = headers(item.headers, at, problems)
    return Deployment(
        id=name,
        group=route.terms.route,
        provider=None,
        model="",
        target=where,
        route=replace(
            route,
            targets=(where,),
            serves=None,
            headers=(*_inherited(endpoint, item, own), *own),
            upstream_auth=_identity(endpoint, item, at, shared, context),
            terms=route.terms if item.meter is None else terms(endpoint, item.meter, at, problems),
        ),
        order=item.order,
        weight=item.weight,
    )


def _identity(endpoint: Endpoint, item: TargetPart, at: At, shared: Identity | None, context: BuildContext) -> Identity | None:
    """Return whose token a target's requests carry: its own; else the endpoint's, but for a target with a key of its own."""
    if item.upstream_auth is not None:
        return context.identities.of(item.upstream_auth, at, headers=item.headers, proxy=endpoint.proxy)
    return None if _has_key(name.encode("ascii") for name in item.headers) else shared


def _has_key(names: Iterable[bytes]) -> bool:
    """Tell whether one of these headers is a key by which a provider knows an account."""
    return any(name.lower() in _CREDENTIALS for name in names)


def _inherited(endpoint: Endpoint, item: TargetPart, own: Iterable[tuple[bytes, Secret]]) -> Iterable[tuple[bytes, Secret]]:
    """Return the endpoint's headers but for those that a target has of its own; case does not matter.

    None of the endpoint's keys goes to a target with a key or a token of its own: that may be another provider's.
    """
    replaced = {name.lower() for name, _ in own}
    if item.upstream_auth is not None or _has_key(replaced):
        replaced |= _CREDENTIALS
    for text, value in endpoint.headers.items():
        name = text.encode("ascii")
        if text != SPECIAL_HEADER and name.lower() not in replaced:
            yield name, value


def _routing(retries: Retries) -> Routing:
    """Return how targets are tried: without `retries` no body is held, and only what was never sent goes to another one."""
    if not retries.attempts:
        return Routing(statuses=frozenset(), takes_cooling=True)
    statuses = retries.statuses | _REJECTED
    return Routing(num_retries=retries.attempts, statuses=statuses, max_wait_s=retries.max_wait_s, takes_cooling=True)


def _check_weights(found: Sequence[Deployment], at: At, problems: Problems) -> None:
    for order in dict.fromkeys(each.order for each in found):
        same = [(index, each) for index, each in enumerate(found) if each.order == order]
        if not any(each.weight for _, each in same):
            what = "All targets of this order have the weight 0: none is ever chosen."
            problems.wrong((*at, "targets", same[0][0], "weight"), what, "Give one of them a weight above 0.")


def _check_repeated(found: Sequence[Deployment], at: At, problems: Problems) -> None:
    """Warn of targets that are the same, with the same credentials."""
    seen: dict[object, At] = {}
    for index, each in enumerate(found):
        place = (*at, "targets", index)
        sent = frozenset((name.lower(), value) for name, value in each.route.headers)
        other = seen.setdefault((each.target, sent, each.route.upstream_auth), place)
        if other is not place:
            has_any = each.route.upstream_auth is not None or _has_key(name for name, _ in each.route.headers)
            beside = "with the same credentials" if has_any else "and neither has credentials"
            what = f"The target on line {problems.line(other)} is the same, {beside}."
            hint = "Give it a key of its own, or remove it: both are one account, with one limit."
            problems.warn(place, what, hint if has_any else "Give each a key of its own, or remove it.")
