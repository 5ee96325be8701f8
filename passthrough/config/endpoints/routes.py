"""Turns endpoints into routes, and checks what schema.py cannot: conflicts between routes, loops, files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...credentials.identity import Identity
from ...exchange import RouteTerms
from ...loopback import is_loopback
from ...proxy.routes import LabelHeader, Retries, Route, Serves, Target, Timeouts
from ...secret import Secret
from .. import syntax
from ..identities.identities import Identities
from ..model import Listen
from ..problems import At, InvalidValue, Problems
from ..schema import SPECIAL_HEADER, Endpoint, General, LabelPart, MeterPart
from ..syntax import Location
from .certificates import holds_certificates
from .meters import plan

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What all routes are built with: the file's folder, the program's own ports, the sandbox, settings for all routes, and the
    builder of identities."""

    folder: Path
    listen: Listen
    sandbox: bool
    labels: Sequence[tuple[At, LabelPart]]
    general: General
    identities: Identities


def routes(endpoints: Sequence[tuple[At, Endpoint]], context: BuildContext, problems: Problems) -> tuple[Route, ...]:
    """Return one route for each endpoint, in order; problems are noted."""
    trusted: dict[str, bool] = {}
    built = tuple(_route(endpoint, at, context, problems) for at, endpoint in endpoints)
    _check_conflicts([(at, route) for (at, _), route in zip(endpoints, built, strict=True)], problems)
    for at, endpoint in endpoints:
        if not context.sandbox:
            for place, where in _locations(endpoint, at):
                check_loop(where, place, context.listen, problems)
            _check_trust(endpoint, at, context.folder, trusted, problems)
    return built


def check_targets(given: Iterable[tuple[At, Mapping[str, object]]], problems: Problems) -> None:
    """Note endpoints, as they stand in the file, that have neither a target nor `targets`, and those that have both."""
    for at, endpoint in given:
        if "target" not in endpoint and "targets" not in endpoint:
            hint = f"Add it, or 'targets' for several. {Endpoint.model_fields['target'].description}"
            problems.wrong((*at, "target"), "This key is missing.", hint)
        elif "target" in endpoint and "targets" in endpoint:
            what = f"'target', on line {problems.line((*at, 'target'))}, says where this goes already."
            problems.wrong((*at, "targets"), what, "Move it into 'targets', or remove one of them.")
        if endpoint.get("targets") == []:
            problems.wrong((*at, "targets"), "There is no target in this list.", "Name at least one: '- target: https://…'.")
        if "sticky" in endpoint and "targets" not in endpoint:
            what = "There is one target only: all requests go there."
            problems.wrong((*at, "sticky"), what, "Remove it, or write 'targets'.")


def has_target(endpoint: Endpoint) -> bool:
    """Tell whether there is somewhere to go; `check_targets` notes where there is not."""
    return endpoint.target is not None or bool(endpoint.targets)


def _locations(endpoint: Endpoint, at: At) -> Iterator[tuple[At, Location]]:
    """Yield where an endpoint goes, each with its place."""
    if endpoint.targets is None:
        assert endpoint.target is not None  # else it is no valid endpoint: see `has_target`
        yield (*at, "target"), endpoint.target
        return
    for index, item in enumerate(endpoint.targets):
        yield (*at, "targets", index, "target"), item.target


def _route(endpoint: Endpoint, at: At, context: BuildContext, problems: Problems) -> Route:
    if endpoint.forward_credentials and endpoint.auth:
        what = "The client's own credentials can only cross where no client key is asked for."
        problems.wrong((*at, "forward_credentials"), what, "Add 'auth: false', or remove forward_credentials.")
    if endpoint.forward_credentials and endpoint.targets is not None:
        what = "The client's own credentials are for one account, which not all of 'targets' belong to."
        problems.wrong((*at, "forward_credentials"), what, "Name one 'target', or remove forward_credentials.")
    if endpoint.methods == []:
        problems.wrong((*at, "methods"), "A route without any method serves nothing.", "Name methods, or remove it: all.")
    path = endpoint.path.rstrip("/") if endpoint.include_subpath else endpoint.path
    pooled = endpoint.targets is not None
    injected = headers(endpoint.headers, at, problems)
    return Route(
        path=path.encode("ascii"),
        targets=() if pooled else tuple(target(where, endpoint, context) for _, where in _locations(endpoint, at)),
        terms=terms(endpoint, endpoint.meter, at, problems),
        include_subpath=endpoint.include_subpath,
        methods=None if endpoint.methods is None else frozenset(endpoint.methods),
        headers=() if pooled else injected,  # each target has its own, and an identity
        forward_headers=endpoint.forward_headers,
        forward_credentials=endpoint.forward_credentials,
        auth=endpoint.auth,
        key_header=_key_header(endpoint, at, problems),
        merge_query_params=endpoint.merge_query_params,
        default_query=tuple(syntax.query_pair(n, v.reveal()) for n, v in endpoint.default_query_params.items()),
        max_body_bytes=endpoint.max_body,
        min_upload_rate=endpoint.min_upload_rate,
        timeouts=_timeouts(endpoint, at, context.general, problems),
        retries=_retries(endpoint),
        settles=None if endpoint.client_gone is None else endpoint.client_gone == "settle",
        label_headers=_labels(endpoint, at, context.labels, problems),
        max_parallel=endpoint.max_parallel,
        serves=Serves.POOL if pooled else None,
        upstream_auth=None if pooled else identity(endpoint, at, context),
    )


def identity(endpoint: Endpoint, at: At, context: BuildContext) -> Identity | None:
    """Return whose token an endpoint's requests carry, None without `upstream_auth`, and where it is wrong, which is noted."""
    return context.identities.of(
        endpoint.upstream_auth,
        at,
        headers=endpoint.headers,
        forwards_credentials=endpoint.forward_credentials and endpoint.targets is None,  # with targets it is wrong by itself
        proxy=endpoint.proxy,
    )


def terms(endpoint: Endpoint, meter: MeterPart, at: At, problems: Problems) -> RouteTerms:
    """Return the terms of an endpoint with a meter: its own, or that of one of its targets; `at` is where the meter is."""
    served = None if endpoint.methods is None else frozenset(endpoint.methods)
    metered = plan(meter, (*at, "meter"), problems, served)
    return RouteTerms(endpoint.path, metered, endpoint.cost_per_request, meter.account, meter.price_list)


def target(where: Location, endpoint: Endpoint, context: BuildContext) -> Target:
    """Return a target of an endpoint; in the sandbox it is the sandbox, at a port that is not known yet."""
    # The path below the route begins with '/': after a base path that ends in one, it would be doubled.
    base_path = where.base_path.rstrip(b"/") if endpoint.include_subpath else where.base_path
    if context.sandbox:
        return Target(tls=False, host="127.0.0.1", port=0, base_path=base_path, query=where.query, name="sandbox")
    tls = endpoint.upstream_tls
    ca_file = None if tls is None else str(context.folder / tls.ca_file.text)
    return Target(where.tls, where.host, where.port, base_path, where.query, ca_file, endpoint.proxy, where.authority)


def headers(given: Mapping[str, Secret], at: At, problems: Problems) -> tuple[tuple[bytes, Secret], ...]:
    """Return the headers that are set on each request; one that is given twice is noted. `at` is what they belong to."""
    seen: dict[str, str] = {}
    for name in given:
        if seen.setdefault(name.lower(), name) != name:
            what = f"This header is given twice, as '{seen[name.lower()]}' too: case does not matter."
            problems.wrong((*at, "headers", name), what, "Keep one of them.")
    return tuple((name.encode("ascii"), value) for name, value in given.items() if name != SPECIAL_HEADER)


def _key_header(endpoint: Endpoint, at: At, problems: Problems) -> bytes | None:
    """Return the client header that LiteLLM's special name among the headers names."""
    named = endpoint.headers.get(SPECIAL_HEADER)
    if named is None:
        return None
    try:
        return syntax.header_name(named.reveal()).lower().encode("ascii")
    except InvalidValue as invalid:
        problems.wrong((*at, "headers", SPECIAL_HEADER), invalid.what, invalid.hint)
        return None


def _timeouts(endpoint: Endpoint, at: At, general: General, problems: Problems) -> Timeouts:
    ours = endpoint.timeouts
    has_total = "total" in ours.model_fields_set
    if has_total and "timeout" in endpoint.model_fields_set:
        problems.wrong((*at, "timeout"), "This is given twice: timeouts.total is the same.", "Keep one of them.")
    default = endpoint.timeout if "timeout" in endpoint.model_fields_set else general.pass_through_request_timeout
    return Timeouts(ours.connect, ours.header, ours.idle, ours.total if has_total else default)


def _retries(endpoint: Endpoint) -> Retries:
    ours = endpoint.retries
    return Retries(ours.attempts, frozenset(ours.statuses), ours.held_body, ours.spool, ours.max_wait)


def _labels(
    endpoint: Endpoint, at: At, everywhere: Sequence[tuple[At, LabelPart]], problems: Problems
) -> tuple[LabelHeader, ...]:
    """Return the labels of all routes, then the route's own, which wins where both name one."""
    check_labels([((*at, "label_headers", i), label) for i, label in enumerate(endpoint.label_headers)], problems)
    found = {label.name: label for _, label in everywhere} | {label.name: label for label in endpoint.label_headers}
    return tuple(LabelHeader(label.name, label.forward, label.fills) for label in found.values())


def check_labels(labels: Iterable[tuple[At, LabelPart]], problems: Problems) -> None:
    """Note a label header that is twice in one list."""
    seen: set[bytes] = set()
    for at, label in labels:
        if label.name in seen:
            problems.wrong(at, f"{label.name.decode('ascii')} is given twice.", "Keep one of them: a header fills one label.")
        seen.add(label.name)


def _check_conflicts(built: Sequence[tuple[At, Route]], problems: Problems) -> None:
    """Note two routes for one method and path: neither could be preferred."""
    by_method: dict[tuple[bytes, str], At] = {}
    for_all: dict[bytes, At] = {}
    first: dict[bytes, At] = {}
    for at, route in built:
        if route.methods is None:
            rival = first.get(route.path)
            for_all.setdefault(route.path, at)
        else:
            same = (by_method.setdefault((route.path, method), at) for method in sorted(route.methods))
            rival = next((other for other in list(same) if other is not at), for_all.get(route.path))
        first.setdefault(route.path, at)
        if rival is not None:
            what = f"Another route, on line {problems.line(rival)}, has this path and one of its methods."
            problems.wrong((*at, "path"), what, "Change the path, or give each its own 'methods'.")


def check_loop(where: Location | Target, at: At, listen: Listen, problems: Problems) -> None:
    """Note a target that is this program itself."""
    for host, port in ((listen.host, listen.port), (listen.admin_host, listen.admin_port)):
        ours = where.host == host or is_loopback(where.host) or where.host in _WILDCARDS
        if ours and where.port == port:
            what = f"The target is this proxy itself (port {port})."
            problems.wrong(at, what, "Name the provider's host, or listen on another port.")
            return


def _check_trust(endpoint: Endpoint, at: At, folder: Path, trusted: dict[str, bool], problems: Problems) -> None:
    """Note a ca_file that holds no certificate; each file is loaded once, however many routes name it."""
    if endpoint.upstream_tls is None:
        return
    file = str(folder / endpoint.upstream_tls.ca_file.text)
    if file not in trusted:
        trusted[file] = holds_certificates(file)
    if not trusted[file]:
        what = "The file holds no certificate." if os.path.isfile(file) else "There is no such file."
        hint = "Name a PEM file, relative to the configuration's folder."
        problems.wrong((*at, "upstream_tls", "ca_file"), what, hint, named=endpoint.upstream_tls.ca_file.shown)
