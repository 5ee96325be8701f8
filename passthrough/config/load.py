"""Loads routes.yaml into a Config, or raises with every problem at once, each with its line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel

from ..accounting.budget import Budget, Scope
from ..accounting.pricing.offers import NamedLists
from ..accounting.pricing.prices import Price
from ..errors import ConfigError, LedgerError
from ..loopback import is_loopback
from ..proxy.deployments.pool import Pool
from ..proxy.routes import Route
from ..secret import Secret
from ..tracing.settings import tracing_settings
from .budgets import ALL, Limits, calendar
from .clients import Keys, check_named_models, check_named_routes, keys
from .endpoints.certificates import check_authorities, check_ledger_files
from .endpoints.routes import BuildContext, check_labels, check_targets, has_target, routes
from .endpoints.targets import pools, target_ids
from .environment import read_environment
from .identities.identities import Identities
from .listen import ADMIN_ADDRESS, ENVIRONMENT, ListenSettings, admin_address, listen_settings
from .litellm import ENDPOINTS, supported
from .model import Config
from .models.ocr_routes import check_conflicts
from .models.table import Models, deployment_routes, models
from .prices import only_prices, price_map, prices
from .problems import At, Problems
from .providers.placed import Placed, placed_deployments, placed_routes
from .providers.warnings import warn_of_providers
from .proxies import check_proxies
from .references import References
from .schema import SECTIONS, ClientKeyPart, Endpoint, File, General, LabelItem, LabelPart, PricePart, RoutePrices
from .validate import items, optional_part, part
from .values import FileName
from .variables import check_variables
from .yaml_document import Document, read

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_Part = TypeVar("_Part", bound=BaseModel)


def load(
    path: str,
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    sandbox: bool = False,
    listen: Mapping[str, object] = _NOTHING,
) -> Config:
    """Return the configuration in the file `path`, resolved and checked.

    `environ` is the real environment, over the `.env` files, which are read here. `cwd` is what names of files are relative to
    (the process's own by default). `listen` holds flags by the names of their keys (host, port, …); None means not given. With
    `sandbox` every target is the sandbox, with port 0: the server fills it in.

    Raises ConfigError with all problems, and no other error, whatever the file or the environment holds.
    """
    cwd = cwd or Path.cwd()
    opened = _open(path, environ, cwd, sandbox)
    problems = opened.problems
    file = optional_part(File, {key: value for key, value in opened.tree.items() if key not in SECTIONS}, (), problems)
    general = _general(opened)
    settings = listen_settings(file, opened.environ, listen, (opened.folder, cwd), problems)
    endpoints = _endpoints(opened)
    identities = Identities(opened.folder, cwd, opened.environ, problems, sandbox)
    build = BuildContext(opened.folder, settings.listen, sandbox, _labels(opened), general, identities)
    built, served, pooled = _routes_and_models(opened, endpoints, build)
    callers = opened.parts(ClientKeyPart, "client_keys")
    given_keys = _keys(opened, callers, file, general, served)
    allow_anonymous = file.allow_anonymous or general.allow_anonymous
    _check_open(settings, opened.tree, allow_anonymous, problems)
    ledger, journal = _ledger(file.ledger, problems), _journal(file.journal, cwd, problems)
    budgets = _limits(file, endpoints, callers, problems)
    own_prices = prices(opened.parts(PricePart, "prices"), endpoints, problems)
    mapped = price_map(file.price_map, opened.folder, problems)
    opened.raise_problems()
    direct = (*built, *deployment_routes(served.table, *(pool.table for pool in pooled)))
    check_proxies(opened.environ, opened.referred, direct, problems)
    check_ledger_files(ledger, cwd, problems)
    if not sandbox:
        check_authorities(opened.environ, cwd, problems)
        warn_of_providers(_placed(endpoints, built, served, pooled), own_prices, mapped, time.time(), problems)
    return Config(
        file=path,
        routes=built,
        clients=given_keys.clients,
        key_header=_lower(general.litellm_key_header_name),
        allow_anonymous=allow_anonymous,
        cors=tuple(file.cors),
        prices=own_prices,
        price_map=mapped,
        price_map_file=opened.beside(file.price_map),
        ledger=ledger,
        ledger_keep_days=file.ledger_keep,
        admin_digest=given_keys.admin_digest,
        budgets=budgets,
        calendar=calendar(file.budget_periods),
        refuse_unlent=file.on_ledger_down == "refuse",
        budget_webhook=_revealed(file.budget_webhook),
        journal=journal,
        max_parallel=file.max_parallel,
        models=served.table,
        ocr_routes=served.routes,
        ocr=served.ocr,
        pools=pooled,
        credential_files=identities.files,
        listen=settings.listen,
        tracing=tracing_settings(opened.environ, cwd, partial(problems.warn_elsewhere, ENVIRONMENT)),
        warnings=tuple(problems.warnings),
    )


def load_ledger_url(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> str | None:
    """Return the URL of the ledger that the file names, None for none; nothing else in the file is checked.

    Raises ConfigError where the file cannot be read or its `ledger` is wrong.
    """
    opened = _open(path, environ, cwd or Path.cwd(), False, _only_ledger)
    file = optional_part(File, opened.tree, (), opened.problems)
    opened.raise_problems()
    return file.ledger


def load_journal(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> str | None:
    """Return the folder of the journal that the file names, None where it names none; nothing else in the file is checked.

    Raises ConfigError where the file cannot be read or its `journal` is wrong.
    """
    cwd = cwd or Path.cwd()
    opened = _open(path, environ, cwd, False, _only_journal)
    file = optional_part(File, opened.tree, (), opened.problems)
    found = _journal(file.journal, cwd, opened.problems)
    opened.raise_problems()
    return found


def load_admin_address(
    path: str, environ: Mapping[str, str], flags: Mapping[str, object], *, cwd: Path | None = None
) -> tuple[str, int]:
    """Return the host and port of the admin port with this configuration; nothing else in the file is checked.

    Raises ConfigError where the file cannot be read or one of the two is wrong.
    """
    opened = _open(path, environ, cwd or Path.cwd(), False, _only_admin_address)
    file = optional_part(File, opened.tree, (), opened.problems)
    found = admin_address(file, opened.environ, flags, opened.problems)
    opened.raise_problems()
    return found


def load_prices(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> tuple[Price, ...]:
    """Return the file's own prices; nothing else in the file is checked. Raises ConfigError where they are wrong."""
    opened = _open(path, environ, cwd or Path.cwd(), False, only_prices)
    found = prices(opened.parts(PricePart, "prices"), _priced_routes(opened), opened.problems)
    opened.raise_problems()
    return found


def load_price_map(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> tuple[Price, ...]:
    """Return the rows of the price map that the file names; nothing else in the file is checked.

    Raises ConfigError where the file or the map is wrong.
    """
    opened = _open(path, environ, cwd or Path.cwd(), False, only_prices)
    file = optional_part(File, {key: opened.tree[key] for key in ("price_map",) if key in opened.tree}, (), opened.problems)
    found = price_map(file.price_map, opened.folder, opened.problems)
    opened.raise_problems()
    return found


def load_costs_per_request(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> Mapping[str, int]:
    """Return each route's cost per request (10⁻⁹ USD) by its path; nothing else in the file is checked.

    Raises ConfigError where it is wrong.
    """
    routes = _read_priced_routes(path, environ, cwd)
    return {route.path: route.cost_per_request for route in routes if route.cost_per_request is not None}


def load_price_lists(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> NamedLists:
    """Return the price lists that routes and their targets name; nothing else in the file is checked.

    Raises ConfigError where one is wrong.
    """
    routes = _read_priced_routes(path, environ, cwd)
    ids = target_ids((route.path, [target.id for target in route.targets]) for route in routes)
    return NamedLists(
        {route.path: route.meter.price_list for route in routes if route.meter.price_list is not None},
        {
            name: target.meter.price_list
            for route, names in zip(routes, ids, strict=True)
            for name, target in zip(names, route.targets, strict=True)
            if target.meter is not None
        },
    )


def _read_priced_routes(path: str, environ: Mapping[str, str], cwd: Path | None) -> list[RoutePrices]:
    opened = _open(path, environ, cwd or Path.cwd(), False, only_prices)
    found = [route for _, route in _priced_routes(opened)]
    opened.raise_problems()
    return found


def _priced_routes(opened: _Opened) -> list[tuple[At, RoutePrices]]:
    return [found for place in ENDPOINTS for found in opened.parts(RoutePrices, *place)]


def _only_ledger(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {"ledger": tree["ledger"]} if tree.get("ledger") is not None else {}


def _only_journal(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {"journal": tree["journal"]} if tree.get("journal") is not None else {}


def _only_admin_address(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tree[key] for key in ADMIN_ADDRESS if key in tree}


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that was read, with its references replaced, and the problems so far; `referred` are the variables it names."""

    tree: Mapping[str, Any]
    environ: Mapping[str, str]
    problems: Problems
    folder: Path
    referred: Collection[str]

    def parts(self, model: type[_Part], *place: str) -> list[tuple[At, _Part]]:
        """Return the valid items of a list with their places; the others are noted."""
        value = self._at(place)
        if value == ():
            return []
        found = [(at, part(model, item, at, self.problems)) for at, item in items(value, place, self.problems)]
        return [(at, item) for at, item in found if item is not None]

    def mappings(self, *place: str) -> list[tuple[At, Mapping[str, object]]]:
        """Return the mappings of a list as they stand in the file, valid or not."""
        value = self._at(place)
        given = enumerate(value) if isinstance(value, list) else ()
        return [((*place, index), item) for index, item in given if isinstance(item, dict)]

    def _at(self, place: tuple[str, ...]) -> Any:
        """Return what stands at a place, `()` where nothing does."""
        value: Any = self.tree
        for key in place:
            value = value.get(key, ()) if isinstance(value, dict) else ()
        return value

    def beside(self, named: FileName | None) -> str | None:
        """Return the name of a file that is relative to the configuration's folder."""
        return None if named is None else str(self.folder / named.text)

    def raise_problems(self) -> None:
        """Raise ConfigError if there are problems."""
        if self.problems.problems:
            raise ConfigError(self.problems.problems)


def _open(
    path: str,
    environ: Mapping[str, str],
    cwd: Path,
    sandbox: bool,
    only: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
) -> _Opened:
    document: Document = read(path, cwd)
    problems = Problems(document, document.problems)
    merged = read_environment(path, environ, cwd, problems.problems, problems.warnings)
    tree = cast("dict[str, Any]", document.tree())
    found = supported(tree, merged, problems, sandbox=sandbox) if only is None else only(tree)
    references = References(merged, problems, sandbox=sandbox)
    resolved = references.resolved(found)
    if only is None:
        check_variables(merged, references.names, problems)
    return _Opened(cast("dict[str, Any]", resolved), merged, problems, (cwd / path).parent, references.names)


def _general(opened: _Opened) -> General:
    section = opened.tree.get("general_settings", {})
    if isinstance(section, dict):
        section = {key: value for key, value in section.items() if key not in SECTIONS}
    return optional_part(General, section, ("general_settings",), opened.problems)


def _endpoints(opened: _Opened) -> list[tuple[At, Endpoint]]:
    check_targets([found for place in ENDPOINTS for found in opened.mappings(*place)], opened.problems)
    found = [found for place in ENDPOINTS for found in opened.parts(Endpoint, *place)]
    return [(at, endpoint) for at, endpoint in found if has_target(endpoint)]


def _labels(opened: _Opened) -> list[tuple[At, LabelPart]]:
    named = [(at, label.root) for at, label in opened.parts(LabelItem, "label_headers")]
    check_labels(named, opened.problems)
    return named


def _routes_and_models(
    opened: _Opened, endpoints: Sequence[tuple[At, Endpoint]], context: BuildContext
) -> tuple[tuple[Route, ...], Models, tuple[Pool, ...]]:
    built = routes(endpoints, context, opened.problems)
    served = models(opened.tree, context, opened.problems)
    placed = [(at, endpoint, route) for (at, endpoint), route in zip(endpoints, built, strict=True)]
    check_conflicts([(at, route) for at, _, route in placed], served.routes, opened.problems)
    return built, served, pools(placed, context, served.places, opened.problems)


def _placed(
    endpoints: Sequence[tuple[At, Endpoint]], built: Sequence[Route], served: Models, pooled: Sequence[Pool]
) -> Iterator[Placed]:
    """Yield what each route, target and deployment is called by, with its places."""
    yield from placed_routes(endpoints, built, pooled)
    if served.table is not None:
        yield from placed_deployments(served.table.deployments, served.places)


def _keys(opened: _Opened, given: Sequence[tuple[At, ClientKeyPart]], file: File, general: General, served: Models) -> Keys:
    found = keys(given, file, general, opened.problems, has_models=served.table is not None)
    check_named_routes(opened.tree, opened.problems)
    check_named_models(given, served.table, opened.problems)
    return found


def _limits(
    file: File, routes: Sequence[tuple[At, Endpoint]], clients: Sequence[tuple[At, ClientKeyPart]], problems: Problems
) -> tuple[Budget, ...]:
    limits = Limits(problems)
    for at, endpoint in routes:
        limits.add(Scope("route", endpoint.path), endpoint, at)
    for at, client in clients:
        limits.add(Scope("client", client.name), client, at)
    limits.add(ALL, file, ())
    return tuple(limits.budgets)


def _ledger(url: str | None, problems: Problems) -> str | None:
    """Return the ledger's URL; one that can never be a ledger is noted.

    Whether there is one, and whether it is writable, shows when it is used.
    """
    from ..accounting.ledger.ledger import Ledger  # noqa: PLC0415 - a fifth of a second, which callers who only want prices do not pay

    if url is None:
        return None
    try:
        Ledger.at(url).close()
    except LedgerError as error:
        what, _, hint = str(error).partition("\n")
        problems.wrong(
            ("ledger",), what, hint or "Write sqlite:///passthrough.db, postgresql://user:password@host/name, or none."
        )
    return url


def _journal(named: FileName | None, cwd: Path, problems: Problems) -> str | None:
    """Return the folder of the journal, which is relative to the working directory as the ledger is."""
    if named is None:
        return None
    folder = cwd / named.text
    if os.path.isfile(folder):  # Path.is_file raises where a folder may not be searched (Python 3.13 and before)
        problems.wrong(("journal",), "This is a file.", "Name a folder; it is made where there is none.", named=named.shown)
    return str(folder)


def _check_open(settings: ListenSettings, tree: Mapping[str, Any], allow_anonymous: bool, problems: Problems) -> None:
    """Note a host open to other machines without a single key: a proxy that is open by accident spends its owner's money."""
    general = tree.get("general_settings")
    guarded = tree.get("client_keys") or tree.get("master_key") or (isinstance(general, dict) and general.get("master_key"))
    if guarded or allow_anonymous or is_loopback(settings.listen.host):
        return
    what = "Without client_keys or master_key everybody who reaches this host may call, on your account."
    hint = "Add client_keys, listen on 127.0.0.1, or write 'allow_anonymous: true'."
    settings.wrong("host", problems, what, hint)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _lower(name: str | None) -> bytes | None:
    return None if name is None else name.lower().encode("ascii")
