"""What is written of entries, in one transaction: each thing once, however often it is brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from .entry import Charge, Entry, Part
from .rows import Into
from .schema import CHARGES, EXCHANGES, KEYED, LINES, charge_row, ending, exchange_row, line_of
from .sums import Additions

_EXCHANGES: Final = Into(EXCHANGES)
_CHARGES: Final = Into(CHARGES)
_LINES: Final = Into(LINES)


@dataclass(slots=True)
class _Offer:
    """One part of an exchange that may bring something new: `row` is its exchange's; `charges` what proved to be new."""

    entry: Entry
    row: Mapping[str, Any]
    begins: bool
    ends: bool
    charges: list[Charge] = field(default_factory=list)


def append(connection: sa.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Write entries, and return what of them is new, in their order: each entry with those charges that were not there.

    (1) A whole exchange, or the first part of one, makes its row; if the row is there already, a whole one is left out.
    (2) Open parts bring charges; the closing part brings the last ones and, once, how the exchange ended.
    (3) A charge with a line is new only if its line was booked by nobody before, in its account.
    (4) Everything new is added to the daily sums.

    Rows are written in the order of their keys, table by table: two processes that bring the same never wait for each other.
    """
    offers = _offers(connection, entries)
    _charge(connection, offers)
    ended = [{"exchange": offer.entry.id} | ending(offer.entry) for offer in offers if offer.ends and not offer.begins]
    if ended:
        ended.sort(key=lambda row: str(row["exchange"]))
        connection.execute(sa.update(EXCHANGES).where(EXCHANGES.c.id == sa.bindparam("exchange")), ended)
    additions = Additions()
    for offer in offers:
        if offer.begins:
            additions.begin(offer.row)
        if offer.ends:
            additions.end(offer.row, offer.entry)
        for charge in offer.charges:
            additions.charge(offer.row, charge)
    additions.write(connection)
    return [_accepted(offer) for offer in offers if offer.begins or offer.ends or offer.charges]


def _accepted(offer: _Offer) -> Entry:
    entry, charges = offer.entry, offer.charges
    return entry if len(charges) == len(entry.charges) else replace(entry, charges=tuple(charges))


def _offers(connection: sa.Connection, entries: Sequence[Entry]) -> list[_Offer]:
    rows = {entry.id: exchange_row(entry) for entry in reversed(entries)}  # of several parts, the first one's
    new = set(_EXCHANGES.write(connection, list(rows.values())))
    parts = {entry.id for entry in entries if entry.part is not Part.WHOLE and (entry.id,) not in new}
    known = _known(connection, sorted(parts))
    begun: set[str] = set()
    ended: set[str] = set()
    offers = []
    for entry in entries:
        begins = (entry.id,) in new and entry.id not in begun
        row = known.get(entry.id) or rows[entry.id]
        was_open = (entry.id in known and known[entry.id]["open"]) or entry.id in begun
        ends = entry.part is not Part.OPEN and (begins or (entry.part is Part.CLOSE and was_open)) and entry.id not in ended
        if begins or ends or entry.part is Part.OPEN:
            offers.append(_Offer(entry, row, begins, ends))
        begun.update((entry.id,) if begins else ())
        ended.update((entry.id,) if ends else ())
    return offers


def _known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of exchanges that are there, and keep others from changing them."""
    if not ids:
        return {}
    columns = EXCHANGES.c["id", "open", *KEYED]
    asked = sa.select(*columns).where(EXCHANGES.c.id.in_(ids)).order_by(EXCHANGES.c.id).with_for_update()
    return {row["id"]: dict(row) for row in connection.execute(asked).mappings()}


def _charge(connection: sa.Connection, offers: Iterable[_Offer]) -> None:
    """Write the charges that are new, and note them in their offers."""
    claims: dict[tuple[str, str], tuple[_Offer, Charge, dict[str, Any]]] = {}
    lines: dict[tuple[str, str], tuple[str, str]] = {}
    for offer in offers:
        for charge in offer.entry.charges:
            row = charge_row(offer.entry, charge)
            place = (row["exchange_id"], row["line"])
            if place in claims or (charge.line and lines.setdefault(line_of(offer.entry, charge), place) != place):
                continue
            claims[place] = (offer, charge, row)
    new = _LINES.write(connection, [{"account": account, "line": line} for account, line in lines])
    billed = {lines[found] for found in new}
    rows = [row for place, (_, charge, row) in claims.items() if not charge.line or place in billed]
    written = set(_CHARGES.write(connection, rows))
    for place, (offer, charge, _) in claims.items():
        if place in written:
            offer.charges.append(charge)
