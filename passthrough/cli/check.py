"""The report of `passthrough check`: a row for each route, then who may call and what each client may spend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from ..accounting.budget import Budget, Calendar, Per, Scope, Unit
from ..config.budgets import ALL
from ..config.model import Config
from ..config.values import WEEK_DAYS
from ..credentials.identity import shown
from ..meter.plan import PAGES_HEADER, JsonCounts, ResponseKind
from ..proxy.auth import CREDENTIAL_HEADERS, MASTER
from ..proxy.deployments.pool import Pool
from ..proxy.routes import Match, Route

COLUMNS: Final = ("path", "methods", "target", "credentials", "meter", "price", "limits")
EACH: Final = "see below"
"""What is said of a route where each of its targets has its own."""

_SECRET_WORDS: Final = (b"auth", b"key", b"token", b"secret", b"cookie")
_PRICED: Final = {
    ResponseKind.CHAT: "per token",
    ResponseKind.RESULTS: "per page, as a batch",
    ResponseKind.JOB: "per page, as a batch",
}
_BudgetsByScope = Mapping[Scope, Sequence[Budget]]


def rows(config: Config) -> tuple[tuple[str, ...], ...]:
    """Return a row for each route, with a text for each of COLUMNS. Credentials appear by the name of their variable only.

    Targets of pools have rows of their own: see `pools`.
    """
    priced = {price.route for price in config.prices}
    budgets = _by_scope(config)
    pools = {id(pool.route): pool for pool in config.pools}
    return tuple(_row(route, pools.get(id(route)), budgets, own_prices=route.terms.route in priced) for route in config.routes)


def notes(config: Config) -> tuple[str, ...]:
    """Return sentences on what the columns have no place for: the price map, and the headers that label exchanges."""
    return (*_price_map(config), *_labels(config))


def _price_map(config: Config) -> Iterator[str]:
    if config.price_map_file is not None:
        rows = _plural(len(config.price_map), "row")
        yield f"What no list has is priced by LiteLLM's price map: {config.price_map_file}, {rows}."


def _labels(config: Config) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for route in config.routes:
        for label in route.label_headers:
            key = (label.name.decode("ascii"), "the plain label" if label.fills is None else f"label {label.fills}")
            found.setdefault(key, []).append(_path(route))
    if found:
        everywhere = len(config.routes)
        parts = (
            f"{header} fills {filled}{'' if len(paths) == everywhere else ' on ' + ', '.join(paths)}"
            for (header, filled), paths in found.items()
        )
        yield f"Labels: {'; '.join(parts)}."


def callers(config: Config) -> tuple[str, ...]:
    """Return sentences that say who may call: the names of clients and what each may spend, or that no key is needed."""
    return (*_client_names(config), *_spending(config))


def _client_names(config: Config) -> Iterator[str]:
    names = [client.name for client in config.clients if client.name != MASTER]
    if not config.clients:
        where = config.listen
        yield f"No client keys: everybody who reaches port {where.port} of {where.host} may call."
        yield from _web_origins(config)
        return
    keys = f"{len(names) or 'No'} client key{'' if len(names) == 1 else 's'}{': ' if names else ''}{', '.join(names)}"
    if len(names) < len(config.clients):
        keys += "; the master key"
    yield f"{keys}."
    keyless = ", ".join(_path(route) for route in config.routes if not route.auth)
    if keyless:
        yield f"Without a key (auth: false) everybody may call {keyless}."
    yield from _web_origins(config)


def _web_origins(config: Config) -> Iterator[str]:
    if config.cors:
        yield f"Web pages of {', '.join(origin.decode('ascii') for origin in config.cors)} may call, and read what comes back."


def _spending(config: Config) -> Iterator[str]:
    budgets = _by_scope(config)
    for client in config.clients:
        limits = _limits(budgets, Scope("client", client.name), client.max_parallel)
        if limits:
            yield f"{client.name}: at most {limits}."
    limits = _limits(budgets, ALL, config.max_parallel)
    if limits:
        yield f"All together: at most {limits}."
    if any(budget.per is not Per.MINUTE for budget in config.budgets):
        yield _periods(config.calendar)
        yield _warnings(config.budgets)
    if config.budgets and config.ledger is None:
        yield "Without a ledger budgets are kept in memory: a restart forgets what was spent."


def _by_scope(config: Config) -> _BudgetsByScope:
    found: dict[Scope, list[Budget]] = {}
    for budget in config.budgets:
        found.setdefault(budget.scope, []).append(budget)
    return found


def _limits(budgets: _BudgetsByScope, scope: Scope, max_parallel: int | None) -> str:
    parts = [_limit(budget) for budget in budgets.get(scope, ())]
    if max_parallel is not None:
        parts.append(_plural(max_parallel, "request") + " at once")
    return ", ".join(parts)


def _limit(budget: Budget) -> str:
    if budget.unit is Unit.USD:
        refuses = " (unpriced: refuse)" if budget.refuses_unpriced else ""
        return f"${_usd(budget.limit)} per {budget.per}{refuses}"
    return f"{_plural(budget.limit, str(budget.unit).removesuffix('s'))} per {budget.per}"


def _warnings(budgets: Sequence[Budget]) -> str:
    """Return at which share of a budget the operator is warned; of which budget, where that is not the same for all."""
    found: dict[str, list[str]] = {}
    for budget in (budget for budget in budgets if budget.per is not Per.MINUTE):
        said = "not warned of" if budget.warn_at is None else f"warned of at {budget.warn_at * 100:g} %"
        found.setdefault(said, []).append(f"{budget.scope.name or 'all together'} ({_limit(budget)})")
    if len(found) == 1:
        return f"Budgets are {next(iter(found))}."
    clauses = (f"{said}: {', '.join(named)}" for said, named in found.items())
    return f"Budgets are {'; '.join(clauses)}."


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _periods(calendar: Calendar) -> str:
    hours, minutes = divmod(calendar.day_starts_minute, 60)
    day = f"Days begin at {hours:02}:{minutes:02} ({calendar.zone})"
    return f"{day}, weeks on {WEEK_DAYS[calendar.week_starts].capitalize()}, months on day {calendar.month_starts}."


def _row(route: Route, pool: Pool | None, budgets: _BudgetsByScope, *, own_prices: bool) -> tuple[str, ...]:
    methods = "all" if route.methods is None else ", ".join(sorted(route.methods))
    limits = _limits(budgets, Scope("route", route.terms.route), route.max_parallel)
    if pool is None:
        where, credentials = ", ".join(target.name for target in route.targets), credentials_text(route)
        meter, price = meter_text(route), price_text(route)
    else:
        where, credentials = _plural(len(pool.deployments), "target"), EACH
        meter, price = shared_text(pool, meter_text) or EACH, shared_text(pool, price_text) or EACH
    return (_path(route), methods, where, credentials, meter, price + (", of its own" if own_prices else ""), limits)


def shared_text(pool: Pool, text: Callable[[Route], str]) -> str | None:
    """Return what a text says of all targets of a pool, None where it differs."""
    found = {text(each.route) for each in pool.deployments}
    return found.pop() if len(found) == 1 else None


def meter_text(route: Route) -> str:
    """Return how a route's responses are counted."""
    plan = route.terms.plan
    shape = plan.shape if plan.model is None else f"{plan.shape} ({plan.model})"
    if plan.counted is None:
        return shape if plan.pages_header == PAGES_HEADER else f"{shape}, or header {plan.pages_header.decode('ascii')}"
    return f"{shape}: {'; '.join((', '.join(_counts(plan.counted)), *_conditions(plan.counted)))}"


def _counts(counted: JsonCounts) -> Iterator[str]:
    """Yield where the counts of a JSON response stand."""
    yield from (*counted.pages, *counted.count)
    yield from (f"max {path}" for path in counted.highest)
    yield from (f"distinct {path}" for path in counted.distinct)
    if counted.header is not None:
        yield f"header {counted.header.decode('ascii')}"
    if counted.constant is not None:
        yield str(counted.constant)
    yield from counted.credits
    if counted.credits_header is not None:
        yield f"header {counted.credits_header.decode('ascii')}"
    yield from (*counted.tokens_in, *counted.tokens_out, *counted.tokens_cached)


def _conditions(counted: JsonCounts) -> Iterator[str]:
    """Yield which JSON responses are counted, and how."""
    if counted.lines:
        yield "by lines"
    yield from (f"when {path} is {' or '.join(texts)}" for path, texts in counted.when)
    yield from (f"unless {path}" for path in counted.unless)
    if counted.once:
        yield f"once by {' or '.join(counted.once)}"
    if counted.methods is not None:
        yield f"on {', '.join(sorted(counted.methods))}"


def _path(route: Route) -> str:
    path = route.path.decode("ascii")
    return f"{path}/*" if route.include_subpath else path


def credentials_text(route: Route) -> str:
    """Return what proves to a route's target who calls, by the names of variables only."""
    named = [(name, value.shown) for name, value in route.headers if value.shown != "***" or _carries_secrets(name)]
    own = ["the client's own"] if route.forward_credentials else []
    if route.upstream_auth is not None:
        own.append(shown(route.upstream_auth))
    return ", ".join((*own, *(f"{name.decode('ascii')}: {text}" for name, text in named))) or "none"


def _carries_secrets(name: bytes) -> bool:
    lower = name.lower()
    return lower in CREDENTIAL_HEADERS or any(word in lower for word in _SECRET_WORDS)


def price_text(route: Route) -> str:
    """Return by which unit a route is priced, or its price for each request."""
    nano, plan = route.terms.cost_per_request_nano, route.terms.plan
    if nano is not None:
        return f"${_usd(nano)} per request"
    if plan.counted is not None:
        units = [("credit", plan.counted.by_credit), ("page", plan.counted.by_page), ("token", plan.counted.by_token)]
        price = ", else ".join(f"per {unit}" for unit, counted in units if counted)
    else:
        price = _priced_by(route)
    headers = " or ".join(name.decode("ascii") for name in plan.cost_headers)
    return f"as {headers} says, else {price}" if headers else price


def _usd(nano: int) -> str:
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def _priced_by(route: Route) -> str:
    """Return the unit by which this route's usage is priced: that of the first request whose response is metered."""
    match, path = (Match(route, b"/ocr"), b"/ocr") if route.include_subpath else (Match(route, b""), route.path)
    methods = [method for method in ("POST", "GET") if route.allows(method)]
    kinds = (route.terms.plan.reads(method, match.metered_path(method, path)) for method in methods)
    kind = next((kind for kind in kinds if kind is not None), None)
    if kind is ResponseKind.OCR and route.include_subpath and route.terms.plan.shape == "auto":
        return "page/token"  # by the path of each request; no longer text fits a narrow terminal
    return "not metered" if kind is None else _PRICED.get(kind, "per page")
