"""The tables of budgets in the ledger: what is spent in each period, and what each process may still spend (its lease).

The process that books an exchange adds it to every running period that it belongs to, in the same transaction. So the amount
spent is exact at every moment, also for processes with an older configuration. The first request for a period makes its row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..budget import LEASE_S, LeaseGrant, LeaseRequest, Scope, Span, Unit, Unpriced
from ..entry import Entry, Part
from . import unpriced
from .bulk_insert import upsert
from .period_sums import MAX_AMOUNT, sums_of
from .schema import SCHEMA, TEXT
from .span_rows import SPAN, bound, is_bound, is_within, keys_of, span_columns, span_of

MAX_SPANS: Final = 500
"""How many periods one statement asks for by name, at most."""

_LEASE_MS: Final = int(LEASE_S * 1000)
_KEEP_MS: Final = 86_400_000
_KEEP_MINUTES_MS: Final = 600_000

BUDGETS: Final = sa.Table(
    "budgets",
    SCHEMA,
    *span_columns(),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("warned", sa.BigInteger, nullable=False),  # the highest amount from which the operator was warned; -1: none
    sqlite_with_rowid=False,
)

LEASES: Final = sa.Table(
    "leases",
    SCHEMA,
    *span_columns(),
    sa.Column("replica", TEXT, primary_key=True),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

_RUNNING: Final = (
    sa.select(*(BUDGETS.c[name] for name in SPAN))
    .where(
        BUDGETS.c.scope_name.in_(sa.bindparam("names", expanding=True)),
        BUDGETS.c.starts_ms <= sa.bindparam("last"),
        BUDGETS.c.ends_ms > sa.bindparam("first"),
    )
    .order_by(*(BUDGETS.c[name] for name in SPAN))
    .with_for_update()  # all rows in one order, so that two processes never wait for each other
)
"""Selects the periods in which an exchange may have begun; built once, for building takes longer than running it."""


def amount_of(entry: Entry, unit: Unit) -> int:
    """Return the amount that an entry adds to a budget in a unit, estimates included.

    A request counts if it went on to the target, at its end.
    """
    if unit == Unit.REQUESTS:
        return int(entry.attempts > 0 and entry.part is not Part.OPEN)
    if unit == Unit.PAGES:
        return sum((charge.pages or 0) + (charge.pages_annotated or 0) for charge in entry.charges) + (entry.estimated_pages or 0)
    return sum(charge.cost_nano or 0 for charge in entry.charges) + (entry.estimated_nano or 0)


def scopes_of(client: str | None, route: str | None) -> tuple[Scope, ...]:
    """Return the scopes of budgets that an exchange counts against."""
    found = [Scope("all")]
    if client is not None:
        found.append(Scope("client", client))
    if route is not None:
        found.append(Scope("route", route))
    return tuple(found)


def spend(connection: sa.Connection, accepted: Sequence[Entry]) -> None:
    """Add entries, which are written in the same transaction, to the periods in which they began."""
    if not accepted:
        return
    began = [int(entry.began_utc * 1000) for entry in accepted]
    pairs = {(entry.client, entry.route) for entry in accepted}  # few; making scopes takes longer than all else here
    names = {scope.name for client, route in pairs for scope in scopes_of(client, route)}
    rows = connection.execute(_RUNNING, {"names": sorted(names), "first": min(began), "last": max(began)}).all()
    if not rows:
        return
    running: dict[tuple[Scope, bool], list[tuple[Span, Any]]] = {}
    for row in rows:
        span = span_of(row)
        running.setdefault((span.scope, span.sandbox), []).append((span, row))
    added: dict[Any, int] = {}
    lacking: dict[Span, set[Unpriced]] = {}
    for entry, at_ms in zip(accepted, began, strict=True):
        found = unpriced.of(entry)
        for scope in scopes_of(entry.client, entry.route):
            for span, row in running.get((scope, entry.sandbox), ()):
                if span.period.starts_ms <= at_ms < span.period.ends_ms:
                    added[row] = added.get(row, 0) + amount_of(entry, span.unit)
                    if found and span.unit == Unit.USD:
                        lacking.setdefault(span, set()).update(found)
    changes = [bound(row._mapping) | {"amount": min(amount, MAX_AMOUNT)} for row, amount in added.items() if amount]
    if changes:
        amount = sa.bindparam("amount", type_=sa.BigInteger)
        larger = sa.case((BUDGETS.c.spent > MAX_AMOUNT - amount, MAX_AMOUNT), else_=BUDGETS.c.spent + amount)
        connection.execute(sa.update(BUDGETS).where(*is_bound(BUDGETS)).values(spent=larger), changes)
    unpriced.note(connection, lacking)


def make(connection: sa.Connection, spans: Iterable[Span]) -> None:
    """Make the missing rows of periods, with the sums so far and what had no price.

    The transaction must be `alone`, or some appends are missed.
    """
    there = spent(connection, spans := list(spans))
    missing = [span for span in spans if span not in there]
    rows = [keys_of(span) | {"spent": amount, "warned": -1} for span, amount in sums_of(connection, missing).items()]
    if rows:
        connection.execute(upsert(connection, BUDGETS).on_conflict_do_nothing(), rows)
        unpriced.note(connection, unpriced.booked(connection, missing))


def name_unpriced(connection: sa.Connection) -> None:
    """Write what had no price in the periods that have rows, once: the tables of older versions do not say it."""
    spans = [span_of(row) for row in connection.execute(sa.select(*(BUDGETS.c[name] for name in SPAN)))]
    unpriced.note(connection, unpriced.booked(connection, spans))


def spent(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, int]:
    """Return what is spent in periods so far; those without a row are left out."""
    wanted = set(spans)
    asked = sa.select(*(BUDGETS.c[name] for name in SPAN), BUDGETS.c.spent)
    if len(wanted) <= MAX_SPANS:
        rows = connection.execute(asked.where(is_within(BUDGETS, spans)))
    else:  # nearly all rows are wanted: a list of their names would take longer
        rows = connection.execute(asked.where(BUDGETS.c.starts_ms.in_(sorted({span.period.starts_ms for span in spans}))))
    found = {span_of(row): int(row.spent) for row in rows}
    return {span: amount for span, amount in found.items() if span in wanted}


def now_ms(connection: sa.Connection, here_ms: int) -> int:
    """Return the time by the clock that all processes of a ledger share: the server's, or this machine's for a file."""
    if connection.dialect.name != "postgresql":
        return here_ms
    return int(connection.exec_driver_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").scalar_one())


def ask(connection: sa.Connection, requests: Sequence[LeaseRequest], replica: str, now_ms: int) -> dict[LeaseRequest, LeaseGrant]:
    """Lease to one process what is neither spent nor held by others, as far as wanted; periods without a row are left out.

    `keep` is granted in any case: it is spent, or reserved for requests under way.
    """
    spans = [request.span for request in requests]
    columns = [BUDGETS.c[name] for name in SPAN]
    locked = sa.select(*columns, BUDGETS.c.spent, BUDGETS.c.warned).where(is_within(BUDGETS, spans)).order_by(*columns)
    budgets = {span_of(row): row for row in connection.execute(locked.with_for_update())}
    leases = _leases(connection, spans, now_ms)
    _bound_leases(connection, leases, now_ms + _LEASE_MS)
    lacking = unpriced.named(connection, [request.span for request in requests if request.asks_unpriced])
    granted: dict[LeaseRequest, LeaseGrant] = {}
    for request in requests:
        row = budgets.get(request.span)
        if row is None:
            continue
        held = [lease.held for name, lease in leases.get(request.span, {}).items() if name != replica]
        left = request.limit - row.spent - sum(held) - request.keep
        # Each process gets its share of what is left, one unit at least: the first to ask does not keep the others out.
        more = max(min(request.wanted, max(left // (len(held) + 1), 1), left), 0)
        warns = request.warn_from is not None and row.spent >= request.warn_from > row.warned
        mine = leases.get(request.span, {}).get(replica)
        lasts_ms = _LEASE_MS if mine is None or _is_renewed(mine, request.keep + more, now_ms) else mine.expires_ms - now_ms
        granted[request] = LeaseGrant(
            *(int(row.spent), sum(held), len(held) + 1, request.keep + more, warns, lasts_ms / 1000),
            lacking.get(request.span, frozenset()),
        )
    own = {span: found[replica] for span, found in leases.items() if replica in found}
    _write_leases(connection, granted, own, {"replica": replica, "expires_ms": now_ms + _LEASE_MS})
    warned = [bound(keys_of(request.span)) | {"from": request.warn_from} for request, grant in granted.items() if grant.warns]
    if warned:
        connection.execute(sa.update(BUDGETS).where(*is_bound(BUDGETS)).values(warned=sa.bindparam("from")), warned)
    return granted


def give_back(connection: sa.Connection, replica: str) -> None:
    """Delete all leases of one process."""
    connection.execute(sa.delete(LEASES).where(LEASES.c.replica == replica))


def sweep(connection: sa.Connection, now_ms: int) -> None:
    """Delete periods that ended a day ago (minutes: ten minutes ago), and leases that expired long ago."""
    minute = BUDGETS.c.ends_ms - BUDGETS.c.starts_ms <= 60_000
    ended = sa.or_(BUDGETS.c.ends_ms < now_ms - _KEEP_MS, sa.and_(minute, BUDGETS.c.ends_ms < now_ms - _KEEP_MINUTES_MS))
    connection.execute(sa.delete(BUDGETS).where(ended))
    unpriced.sweep(connection, now_ms - _KEEP_MS)
    connection.execute(sa.delete(LEASES).where(LEASES.c.expires_ms < now_ms - 10 * _LEASE_MS))


# ── rows ──


def _leases(connection: sa.Connection, spans: Collection[Span], now_ms: int) -> dict[Span, dict[str, Any]]:
    """Return the leases that are valid now, by period and process."""
    found: dict[Span, dict[str, Any]] = {}
    for row in connection.execute(sa.select(LEASES).where(is_within(LEASES, spans), LEASES.c.expires_ms > now_ms)):
        found.setdefault(span_of(row), {})[row.replica] = row
    return found


def _bound_leases(connection: sa.Connection, leases: Mapping[Span, Mapping[str, Any]], latest_ms: int) -> None:
    """Shorten leases that would last longer than one that is written now: their writer's clock was ahead of this one.

    A living process renews its own; a dead process's amount becomes free.
    """
    late = [(span, row) for span, found in leases.items() for row in found.values() if row.expires_ms > latest_ms]
    if late:
        is_own = LEASES.c.replica == sa.bindparam("of_replica", type_=TEXT)
        bounded = sa.update(LEASES).where(*is_bound(LEASES), is_own).values(expires_ms=latest_ms)
        connection.execute(bounded, [bound(keys_of(span)) | {"of_replica": row.replica} for span, row in late])


def _is_renewed(lease: Any, held: int, now_ms: int) -> bool:
    """Tell whether a process's lease must be written again: it changed, or less than two thirds of its time is left."""
    if lease is None or lease.held != held:
        return True
    left_ms = lease.expires_ms - now_ms
    return bool(left_ms < _LEASE_MS - _LEASE_MS // 3 or left_ms > _LEASE_MS)


def _write_leases(
    connection: sa.Connection, granted: Mapping[LeaseRequest, LeaseGrant], mine: Mapping[Span, Any], own: dict[str, Any]
) -> None:
    """Write one process's leases that changed or need a later end."""
    changed, ended = [], []
    for request, grant in granted.items():
        span, lease = request.span, mine.get(request.span)
        if request.ends:
            if lease is not None:
                ended.append(bound(keys_of(span)) | {"of_replica": own["replica"]})
        elif _is_renewed(lease, grant.held, own["expires_ms"] - _LEASE_MS):
            changed.append(keys_of(span) | own | {"held": grant.held})
    if changed:
        insert = upsert(connection, LEASES)
        new = {"held": insert.excluded.held, "expires_ms": insert.excluded.expires_ms}
        connection.execute(insert.on_conflict_do_update(index_elements=[*SPAN, "replica"], set_=new), changed)
    if ended:
        is_own = LEASES.c.replica == sa.bindparam("of_replica", type_=TEXT)
        connection.execute(sa.delete(LEASES).where(*is_bound(LEASES), is_own), ended)
