"""What budgets' periods came to, and what each process may still spend of them, in the ledger's database.

Whatever process books an exchange adds it to every running period that it belongs to, in the same transaction. So what is spent
is exact at every moment, also for processes whose configuration is older. A period's row is made when one first asks for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from .allowance import LEASE_S, Grant, Plea
from .budget import Period, Scope, Span, Unit
from .entry import Entry, Part
from .money import NANO
from .rows import upsert
from .schema import CHARGES, EXCHANGES, SCHEMA, SUMS, TEXT

LARGEST: Final = 2**62
"""No sum grows beyond it: what passes 64 bits would keep all that comes after it out of the ledger."""

_LEASE_MS: Final = int(LEASE_S * 1000)
_DAY_MS: Final = 86_400_000
_ENDED_MS: Final = 600_000

_SPAN: Final = ("scope_name", "scope_kind", "unit", "sandbox", "starts_ms", "ends_ms")


def _keyed() -> list[sa.Column[Any]]:
    return [
        sa.Column("scope_name", TEXT, primary_key=True),
        sa.Column("scope_kind", TEXT, primary_key=True),
        sa.Column("unit", TEXT, primary_key=True),
        sa.Column("sandbox", sa.Boolean, primary_key=True),
        sa.Column("starts_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ends_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    ]


BUDGETS: Final = sa.Table(
    "budgets",
    SCHEMA,
    *_keyed(),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("warned", sa.BigInteger, nullable=False),  # the highest amount from which the operator was warned; -1: none
    sqlite_with_rowid=False,
)

LEASES: Final = sa.Table(
    "leases",
    SCHEMA,
    *_keyed(),
    sa.Column("replica", TEXT, primary_key=True),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def amount_of(entry: Entry, unit: Unit) -> int:
    """Return what an entry adds to a budget in a unit. Requests are those that went on to the target, counted at their end."""
    if unit == Unit.REQUESTS:
        return int(entry.attempts > 0 and entry.part is not Part.OPEN)
    if unit == Unit.PAGES:
        return sum((charge.pages or 0) + (charge.pages_annotated or 0) for charge in entry.charges)
    return sum(charge.cost_nano or 0 for charge in entry.charges)


def scopes_of(client: str | None, route: str | None) -> tuple[Scope, ...]:
    """Return the scopes that an exchange belongs to."""
    found = [Scope("all")]
    if client is not None:
        found.append(Scope("client", client))
    if route is not None:
        found.append(Scope("route", route))
    return tuple(found)


def spend(connection: sa.Connection, accepted: Sequence[Entry]) -> None:
    """Add entries, which are written in the same transaction, to the periods that run for them."""
    if not accepted:
        return
    began = [int(entry.began_utc * 1000) for entry in accepted]
    names = {scope.name for entry in accepted for scope in scopes_of(entry.client, entry.route)}
    rows = connection.execute(
        sa.select(*(BUDGETS.c[name] for name in _SPAN))
        .where(BUDGETS.c.scope_name.in_(sorted(names)), BUDGETS.c.starts_ms <= max(began), BUDGETS.c.ends_ms > min(began))
        .order_by(*(BUDGETS.c[name] for name in _SPAN))
        .with_for_update()  # all rows in one order, so that two processes never wait for each other
    ).all()
    running: dict[tuple[Scope, bool], list[tuple[Span, Any]]] = {}
    for row in rows:
        span = _span(row)
        running.setdefault((span.scope, span.sandbox), []).append((span, row))
    added: dict[Any, int] = {}
    for entry, at_ms in zip(accepted, began, strict=True):
        for scope in scopes_of(entry.client, entry.route):
            for span, row in running.get((scope, entry.sandbox), ()):
                if span.period.starts_ms <= at_ms < span.period.ends_ms:
                    added[row] = added.get(row, 0) + amount_of(entry, span.unit)
    changes = [_bound(row._mapping) | {"amount": min(amount, LARGEST)} for row, amount in added.items() if amount]
    if changes:
        amount = sa.bindparam("amount", type_=sa.BigInteger)
        larger = sa.case((BUDGETS.c.spent > LARGEST - amount, LARGEST), else_=BUDGETS.c.spent + amount)
        connection.execute(sa.update(BUDGETS).where(*_is_bound(BUDGETS)).values(spent=larger), changes)


def make(connection: sa.Connection, spans: Iterable[Span]) -> None:
    """Make the rows that are not there yet, with what was booked so far; in a transaction that is alone, or it misses some."""
    there = spent(connection, spans := list(spans))
    rows = [_keys(span) | {"spent": _sum(connection, span), "warned": -1} for span in spans if span not in there]
    if rows:
        connection.execute(upsert(connection, BUDGETS).on_conflict_do_nothing(), rows)


def spent(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, int]:
    """Return what the periods came to so far; those without a row are left out."""
    wanted = set(spans)
    rows = connection.execute(sa.select(*(BUDGETS.c[name] for name in _SPAN), BUDGETS.c.spent).where(_within(BUDGETS, spans)))
    found = {_span(row): int(row.spent) for row in rows}
    return {span: amount for span, amount in found.items() if span in wanted}


def ask(connection: sa.Connection, pleas: Sequence[Plea], replica: str, now_ms: int) -> dict[Plea, Grant]:
    """Lease to one process what is neither spent nor held by others, as far as wanted; periods without a row are left out.

    What it keeps it keeps in any case: that is spent, or promised to requests under way.
    """
    spans = [plea.span for plea in pleas]
    columns = [BUDGETS.c[name] for name in _SPAN]
    locked = sa.select(*columns, BUDGETS.c.spent, BUDGETS.c.warned).where(_within(BUDGETS, spans)).order_by(*columns)
    budgets = {_span(row): row for row in connection.execute(locked.with_for_update())}
    leases = _leases(connection, spans, now_ms)
    granted: dict[Plea, Grant] = {}
    for plea in pleas:
        row = budgets.get(plea.span)
        if row is None:
            continue
        held = [lease.held for name, lease in leases.get(plea.span, {}).items() if name != replica]
        left = plea.most - row.spent - sum(held) - plea.keep
        # Each of those who are here gets its part of what is left, one unit at least: so nobody is kept out by who came first.
        more = max(min(plea.wanted, max(left // (len(held) + 1), 1), left), 0)
        warns = plea.warn_from is not None and row.spent >= plea.warn_from > row.warned
        granted[plea] = Grant(int(row.spent), sum(held), len(held) + 1, plea.keep + more, warns)
    mine = {span: found[replica] for span, found in leases.items() if replica in found}
    _write_leases(connection, granted, mine, {"replica": replica, "expires_ms": now_ms + _LEASE_MS})
    warned = [_bound(_keys(plea.span)) | {"from": plea.warn_from} for plea, grant in granted.items() if grant.warns]
    if warned:
        connection.execute(sa.update(BUDGETS).where(*_is_bound(BUDGETS)).values(warned=sa.bindparam("from")), warned)
    return granted


def give_back(connection: sa.Connection, replica: str) -> None:
    """End all leases of one process."""
    connection.execute(sa.delete(LEASES).where(LEASES.c.replica == replica))


def sweep(connection: sa.Connection, now_ms: int) -> None:
    """Remove what nobody asks for any more: periods that ended a day ago (minutes: some), and leases that ran out long since."""
    minute = BUDGETS.c.ends_ms - BUDGETS.c.starts_ms <= 60_000
    ended = sa.or_(BUDGETS.c.ends_ms < now_ms - _DAY_MS, sa.and_(minute, BUDGETS.c.ends_ms < now_ms - _ENDED_MS))
    connection.execute(sa.delete(BUDGETS).where(ended))
    connection.execute(sa.delete(LEASES).where(LEASES.c.expires_ms < now_ms - 10 * _LEASE_MS))


def booked(connection: sa.Connection, ids: Collection[str]) -> set[str]:
    """Return which of some exchanges are in the ledger, with their end."""
    ended = sa.select(EXCHANGES.c.id).where(EXCHANGES.c.id.in_(sorted(ids)), sa.not_(EXCHANGES.c.open))
    return set(connection.execute(ended).scalars())


# ── rows ──


def _span(row: Any) -> Span:
    period = Period(int(row.starts_ms), int(row.ends_ms))
    return Span(Scope(row.scope_kind, row.scope_name), Unit(row.unit), bool(row.sandbox), period)


def _keys(span: Span) -> dict[str, Any]:
    values = (span.scope.name, span.scope.kind, str(span.unit), span.sandbox, span.period.starts_ms, span.period.ends_ms)
    return dict(zip(_SPAN, values, strict=True))


def _bound(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {f"of_{name}": keys[name] for name in _SPAN}


def _is_bound(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == sa.bindparam(f"of_{name}", type_=table.c[name].type) for name in _SPAN]


def _within(table: sa.Table, spans: Collection[Span]) -> sa.ColumnElement[bool]:
    """Where the rows of some spans are, and few others."""
    names = sorted({span.scope.name for span in spans})
    starts = sorted({span.period.starts_ms for span in spans})
    return sa.and_(table.c.scope_name.in_(names), table.c.starts_ms.in_(starts))


def _leases(connection: sa.Connection, spans: Collection[Span], now_ms: int) -> dict[Span, dict[str, Any]]:
    """Return the leases that count now, by period and process."""
    found: dict[Span, dict[str, Any]] = {}
    for row in connection.execute(sa.select(LEASES).where(_within(LEASES, spans), LEASES.c.expires_ms > now_ms)):
        found.setdefault(_span(row), {})[row.replica] = row
    return found


def _write_leases(
    connection: sa.Connection, granted: Mapping[Plea, Grant], mine: Mapping[Span, Any], own: dict[str, Any]
) -> None:
    """Write what has changed of one process's leases, and those that need a later end."""
    changed, ended = [], []
    for plea, grant in granted.items():
        span, lease = plea.span, mine.get(plea.span)
        if plea.ends:
            if lease is not None:
                ended.append(_bound(_keys(span)) | {"of_replica": own["replica"]})
        elif lease is None or lease.held != grant.held or lease.expires_ms < own["expires_ms"] - _LEASE_MS // 3:
            changed.append(_keys(span) | own | {"held": grant.held})
    if changed:
        insert = upsert(connection, LEASES)
        new = {"held": insert.excluded.held, "expires_ms": insert.excluded.expires_ms}
        connection.execute(insert.on_conflict_do_update(index_elements=[*_SPAN, "replica"], set_=new), changed)
    if ended:
        is_own = LEASES.c.replica == sa.bindparam("of_replica", type_=TEXT)
        connection.execute(sa.delete(LEASES).where(*_is_bound(LEASES), is_own), ended)


# ── sums ──


def _sum(connection: sa.Connection, span: Span) -> int:
    """Sum up what was booked of a period: whole days (UTC) by their daily sums, the rest by exchange."""
    starts_ms, ends_ms = span.period.starts_ms, span.period.ends_ms
    first, last = -(-starts_ms // _DAY_MS), ends_ms // _DAY_MS
    if span.unit == Unit.REQUESTS or first >= last:
        return min(_sum_of_exchanges(connection, span, starts_ms, ends_ms), LARGEST)
    edges = ((starts_ms, first * _DAY_MS), (last * _DAY_MS, ends_ms))
    total = sum(_sum_of_exchanges(connection, span, *edge) for edge in edges if edge[0] < edge[1])
    days = [datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d") for day in (first, last)]
    figures = (SUMS.c.pages + SUMS.c.pages_annotated, 0) if span.unit == Unit.PAGES else (SUMS.c.nano, SUMS.c.dollars)
    whole = sa.select(*(sa.func.sum(figure) for figure in figures))
    row = connection.execute(whole.where(*_is_of(SUMS, span), SUMS.c.day >= days[0], SUMS.c.day < days[1])).one()
    return min(total + int(row[0] or 0) + int(row[1] or 0) * NANO, LARGEST)


def _sum_of_exchanges(connection: sa.Connection, span: Span, since_ms: int, until_ms: int) -> int:
    ours = (*_is_of(EXCHANGES, span), EXCHANGES.c.began_ms >= since_ms, EXCHANGES.c.began_ms < until_ms)
    if span.unit == Unit.REQUESTS:
        counted = sa.select(sa.func.count()).select_from(EXCHANGES)
        return int(connection.execute(counted.where(*ours, EXCHANGES.c.attempts > 0, sa.not_(EXCHANGES.c.open))).scalar_one())
    pages = sa.func.coalesce(CHARGES.c.pages, 0) + sa.func.coalesce(CHARGES.c.pages_annotated, 0)
    # Dollars and the rest apart: no sum of costs passes 64 bits so.
    figures = (pages, 0) if span.unit == Unit.PAGES else (CHARGES.c.cost_nano % NANO, CHARGES.c.cost_nano // NANO)
    charged = sa.select(*(sa.func.sum(figure) for figure in figures))
    charged = charged.select_from(EXCHANGES.join(CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id))
    row = connection.execute(charged.where(*ours)).one()
    return int(row[0] or 0) + int(row[1] or 0) * NANO


def _is_of(table: sa.Table, span: Span) -> list[sa.ColumnElement[bool]]:
    claims: list[sa.ColumnElement[bool]] = [table.c.sandbox == span.sandbox]
    return claims if span.scope.kind == "all" else [*claims, table.c[span.scope.kind] == span.scope.name]
