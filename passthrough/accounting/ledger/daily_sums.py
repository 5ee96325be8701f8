"""Daily sums of exchanges: what an entry adds to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import add as plus
from typing import Any, Final

import sqlalchemy as sa

from ...exchange import Outcome
from ...meter.usage import DOUBTS
from ..entry import Charge, Entry
from ..money import NANO
from ..named_labels import named_labels
from .bulk_insert import BulkInsert, Row
from .schema import ADDED_KEYS, FIGURES, LABEL_SUMS, SUM_KEYS, SUMS, TOTALS

KEYS: Final = ("client", "route", "model", "day", "month", "label", "target", "status", "deployment", "model_group")
"""The keys that sums can be grouped by, beside named labels (named_labels.PREFIX). Days and months are UTC."""

Key = tuple[Any, ...]
"""The values of SUM_KEYS and the named labels as stored, None where there is none."""

_DOUBTS: Final = frozenset(map(str, DOUBTS))
_COMPLETED: Final = str(Outcome.COMPLETED)
_OK: Final = 200
_LABEL: Final = SUM_KEYS.index("label")
_MODEL: Final = SUM_KEYS.index("model")  # before `priced_as`
_ADDED: Final = slice(SUM_KEYS.index(ADDED_KEYS[0]) - 1, SUM_KEYS.index(ADDED_KEYS[-1]))  # in a key without its day
_NONE_ADDED: Final = ("",) * len(ADDED_KEYS)
_SUMS: Final = BulkInsert(SUMS, adding=FIGURES)
_TOTALS: Final = BulkInsert(TOTALS, adding=FIGURES)
_LABEL_SUMS: Final = BulkInsert(LABEL_SUMS, adding=FIGURES)


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of one group: `key` has one value for each grouping key.

    `requests` are exchanges, each counted once, under its own model; `unmetered` are those whose count was expected and not
    found, `errors` those that did not end with a whole response below 400. The others are sums of charges, each under the
    charge's model; `unpriced` is how many charges have no price. `estimated_pages` and `estimated_nano` are of calls that were
    paid for and not counted: they are in none of the other sums.
    """

    key: tuple[str | int | None, ...]
    requests: int
    pages: int
    pages_annotated: int
    cost_nano: int
    unmetered: int
    unpriced: int
    tokens_in: int = 0
    tokens_out: int = 0
    errors: int = 0
    estimated_pages: int = 0
    estimated_nano: int = 0
    tokens_cached: int = 0


class SumDeltas:
    """Accumulates in memory what entries add to the daily sums."""

    def __init__(self) -> None:
        self._rows: dict[Key, dict[str, int]] = {}

    def count(self, key: Key, entry: Entry, charges: Iterable[Charge], *, begins: bool, ends: bool) -> None:
        """Count one part of an exchange under a key: its charges and, where it `begins` or `ends`, that."""
        figures = self._figures(key)
        if begins:
            figures["requests"] += entry.requests
        if ends:
            _end(entry, figures)
        for charge in charges:
            self._charge(key, charge, figures)

    def count_whole(self, entries: Iterable[tuple[Key, Entry]]) -> None:
        """Count whole exchanges, each under its key."""
        summed: Key = ()
        for key, entry in entries:
            if key != summed:  # mostly it is the key of the entry before
                summed, figures = key, self._figures(key)
            figures["requests"] += entry.requests
            if entry.outcome != _COMPLETED or entry.unmetered is not None or entry.status != _OK:
                _end(entry, figures)
            for charge in entry.charges:
                self._charge(key, charge, figures)

    def write(self, connection: sa.Connection) -> None:
        """Add all of it to the daily sums."""
        add(connection, self._rows)

    def _charge(self, key: Key, charge: Charge, figures: dict[str, int]) -> None:
        model, priced_as = charge.model, charge.priced_as
        if model and (model != key[_MODEL] or priced_as != key[_MODEL + 1]):
            figures = self._figures((*key[:_MODEL], model, priced_as, *key[_MODEL + 2 :]))
        _add(charge, figures)

    def _figures(self, key: Key) -> dict[str, int]:
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = dict.fromkeys(FIGURES, 0)
        return found


def _end(entry: Entry, figures: dict[str, int]) -> None:
    if entry.unmetered is not None and entry.unmetered not in _DOUBTS:
        figures["unmetered"] += entry.requests
    if entry.outcome != _COMPLETED or entry.status is None or entry.status >= 400:
        figures["errors"] += entry.requests
    if entry.estimated_pages:
        figures["estimated_pages"] += entry.estimated_pages
    if entry.estimated_nano:
        dollars, nano = divmod(entry.estimated_nano, NANO)
        figures["estimated_dollars"] += dollars
        figures["estimated_nano"] += nano


def _add(charge: Charge, figures: dict[str, int]) -> None:
    if charge.pages:
        figures["pages"] += charge.pages
    if charge.pages_annotated:
        figures["pages_annotated"] += charge.pages_annotated
    if charge.tokens_in:
        figures["tokens_in"] += charge.tokens_in
    if charge.tokens_out:
        figures["tokens_out"] += charge.tokens_out
    if charge.tokens_cached:
        figures["tokens_cached"] += charge.tokens_cached
    if charge.cost_nano is None:
        figures["unpriced"] += 1
    else:
        dollars, nano = divmod(charge.cost_nano, NANO)
        figures["dollars"] += dollars
        figures["nano"] += nano


def add(connection: sa.Connection, figures: Mapping[Key, Mapping[str, int]]) -> None:
    """Add figures, by key, to the daily sums: all of FIGURES, in their order."""
    sums: dict[Row, Mapping[str, int]] = {}  # by what is stored of the key: PostgreSQL takes no row twice in one statement
    totals: dict[Row, Mapping[str, int]] = {}
    labelled: dict[Row, Mapping[str, int]] = {}
    for (*key, labels), added in figures.items():
        before, after = key[:_LABEL], key[_LABEL + 1 :]
        _merge(sums, _kept(tuple(key)), added)
        _merge(totals, _kept((*before, None, *after)), added)
        for name, value in named_labels(labels).items() if labels else ():
            _merge(labelled, _labelled(name, _kept((*before, value, *after))), added)
    for table, rows in ((_SUMS, sums), (_TOTALS, totals), (_LABEL_SUMS, labelled)):
        table.write(connection, [(*key, *added.values()) for key, added in rows.items()])


def _merge(rows: dict[Row, Mapping[str, int]], key: Row, added: Mapping[str, int]) -> None:
    found = rows.get(key)
    rows[key] = added if found is None else dict(zip(FIGURES, map(plus, found.values(), added.values()), strict=True))


def _labelled(name: str, kept: Row) -> Row:
    """Return the key of a row of LABEL_SUMS: the label stands before the digest."""
    day, digest, *rest = kept
    label = rest.pop(_LABEL - 1)
    return (name, day, label, digest, *rest)


@lru_cache(1024)
def _kept(key: Row) -> Row:
    """Return what is stored of a key, with its digest. A null becomes empty (a null equals nothing), or 0 as status."""
    day, *texts, status, sandbox = key
    plain = (*(text or "" for text in texts), int(status or 0), bool(sandbox))
    # Without a deployment the digest is that of schema 4: a day on which the ledger was brought up has no more rows than others.
    digested = plain if plain[_ADDED] != _NONE_ADDED else (*plain[: _ADDED.start], *plain[_ADDED.stop :])
    digest = blake2b(json.dumps(digested).encode(), digest_size=16).hexdigest()
    return (day, digest, *plain)
