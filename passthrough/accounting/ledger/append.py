"""Appends entries to the ledger's tables in one transaction, idempotently: each exchange, charge and batch line once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from ..entry import Charge, Entry, Part
from .bulk_insert import BulkInsert, Row
from .daily_sums import Key, SumDeltas
from .lines import Claim, claim
from .schema import (
    CHARGES,
    EXCHANGES,
    SHARED_CHARGE_COLUMNS,
    SHARED_COLUMNS,
    SUM_KEYS,
    charge_row,
    ending,
    exchange_row,
    key_of,
    line_key,
    line_of,
)

_EXCHANGES: Final = BulkInsert(EXCHANGES, shared_columns=SHARED_COLUMNS)
_CHARGES: Final = BulkInsert(CHARGES, shared_columns=SHARED_CHARGE_COLUMNS)


@dataclass(slots=True)
class _Offer:
    """One part of an exchange that may bring something new, summed under `key`; `charges` are those that proved to be new."""

    entry: Entry
    key: Key
    begins: bool
    ends: bool
    charges: list[Charge] = field(default_factory=list)


def append(connection: sa.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Write entries, and return what of them is new, in their order: each entry with the charges that were not there before.

    (1) A whole exchange, or the first part of one, makes its row; if the row exists already, a whole one is left out.
    (2) Open parts bring charges; the closing part brings the last ones and, once, how the exchange ended.
    (3) A charge with a line is new only if no exchange has booked its line before, in its account (see lines.claim).
    (4) Everything new is added to the daily sums.
    (5) Nearly always all entries are whole and new, with at most one charge each and no lines: then (1) to (3) are trivial.

    Rows are written in the order of their keys, table by table: two processes with the same entries never deadlock.
    """
    rows = {entry.id: exchange_row(entry) for entry in reversed(entries)}  # the first one's, where there are several parts
    new = _EXCHANGES.write(connection, rows.values())
    deltas = SumDeltas()
    if len(new) == len(entries) and all(map(_is_plain, entries)):
        accepted = _plain(connection, entries, rows, deltas)
    else:
        accepted = _parts(connection, _offers(connection, entries, rows, {key for (key,) in new}), deltas)
    deltas.write(connection)
    return accepted


def _is_plain(entry: Entry) -> bool:
    charges = entry.charges
    return entry.part is Part.WHOLE and (not charges or (len(charges) == 1 and not charges[0].line))


def _plain(connection: sa.Connection, entries: Sequence[Entry], rows: Mapping[str, Row], deltas: SumDeltas) -> list[Entry]:
    """Write the charges of entries whose exchanges are all new: see (5) of `append`."""
    charges = [charge_row(entry, charge) for entry in entries for charge in entry.charges]
    written = _CHARGES.write(connection, charges)
    accepted = list(entries)
    if len(written) < len(charges):  # an exchange was deleted by hand, and not its charge
        new = {exchange for exchange, _ in written}
        accepted = [entry if entry.id in new else replace(entry, charges=()) for entry in entries]
    deltas.count_whole((key_of(rows[entry.id]), entry) for entry in accepted)
    return accepted


def _parts(connection: sa.Connection, offers: Sequence[_Offer], deltas: SumDeltas) -> list[Entry]:
    """Write what is new in the offers: see (1) to (3) of `append`."""
    _charge(connection, offers)
    ended = [{"exchange": offer.entry.id} | ending(offer.entry) for offer in offers if offer.ends and not offer.begins]
    if ended:
        ended.sort(key=lambda row: str(row["exchange"]))
        connection.execute(sa.update(EXCHANGES).where(EXCHANGES.c.id == sa.bindparam("exchange")), ended)
    for offer in offers:
        deltas.count(offer.key, offer.entry, offer.charges, begins=offer.begins, ends=offer.ends)
    return [_accepted(offer) for offer in offers if offer.begins or offer.ends or offer.charges]


def _accepted(offer: _Offer) -> Entry:
    entry, charges = offer.entry, offer.charges
    return entry if len(charges) == len(entry.charges) else replace(entry, charges=tuple(charges))


def _offers(connection: sa.Connection, entries: Sequence[Entry], rows: Mapping[str, Row], new: Collection[str]) -> list[_Offer]:
    parts = {entry.id for entry in entries if entry.part is not Part.WHOLE and entry.id not in new}
    known = _known(connection, sorted(parts))
    begun: set[str] = set()
    ended: set[str] = set()
    offers = []
    for entry in entries:
        begins = entry.id in new and entry.id not in begun
        was_open, key = known.get(entry.id) or (entry.id in begun, key_of(rows[entry.id]))
        ends = entry.part is not Part.OPEN and (begins or (entry.part is Part.CLOSE and was_open)) and entry.id not in ended
        if begins or ends or entry.part is Part.OPEN:
            offers.append(_Offer(entry, key, begins, ends))
        if begins:
            begun.add(entry.id)
        if ends:
            ended.add(entry.id)
    return offers


def _known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[bool, Key]]:
    """Lock exchanges that exist already, and return whether they are open, and the key under which they are summed."""
    if not ids:
        return {}
    columns = EXCHANGES.c["id", "open", *SUM_KEYS, "labels"]
    asked = sa.select(*columns).where(EXCHANGES.c.id.in_(ids)).order_by(EXCHANGES.c.id).with_for_update()
    return {key: (is_open, tuple(summed)) for key, is_open, *summed in connection.execute(asked)}


def _charge(connection: sa.Connection, offers: Iterable[_Offer]) -> None:
    """Write the charges that are new, and add them to their offers."""
    brought = [(offer, charge) for offer in offers for charge in offer.entry.charges]
    with_lines = [
        Claim(line_of(offer.entry, charge), line_key(charge.custom_id) or None) for offer, charge in brought if charge.line
    ]
    claimed = iter(claim(connection, with_lines))
    rows: dict[Row, Row] = {}
    places: list[Row | None] = []  # of each charge: the key of its row, None where it is not new
    for offer, charge in brought:
        row = charge_row(offer.entry, charge)
        key = next(claimed) if charge.line else ("", "")
        place = None if key is None else (row[0], key[1])
        if place is None or place in rows:
            places.append(None)
            continue
        rows[place] = (*place, *row[2:])
        places.append(place)
    written = set(_CHARGES.write(connection, rows.values()))
    for (offer, charge), place in zip(brought, places, strict=True):
        if place in written:
            offer.charges.append(charge)
