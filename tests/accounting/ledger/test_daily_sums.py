"""Sums: those of an independent count, whatever was appended how often and in which pieces, on both databases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger.daily_sums import KEYS, Sums
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import SCHEMA
from passthrough.accounting.ledger.sum_queries import OLDER, only_of_exchanges
from tests.harness.entries import booked

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger, once in SQLite and once in PostgreSQL."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def emptied(ledger: Ledger) -> Ledger:
    """Return the ledger with nothing in it."""
    with ledger.transaction(writes=True) as connection:
        for table in reversed(SCHEMA.sorted_tables):
            kept = table.c.key == "schema" if table.name == "meta" else sa.false()
            connection.execute(sa.delete(table).where(sa.not_(kept)))
    return ledger


# ── an independent count ──


@dataclass
class Record:
    """What is known of one exchange."""

    first: Entry
    end: Entry | None = None
    charges: list[Charge] = field(default_factory=list)


@dataclass
class Count:
    """Exchanges in memory, by the rules of the ledger in their plainest form."""

    records: dict[str, Record] = field(default_factory=dict)
    lines: dict[tuple[str | None, str], str] = field(default_factory=dict)
    others: set[tuple[str | None, str, str]] = field(default_factory=set)

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Take entries, and return what of them is new."""
        return [accepted for entry in entries if (accepted := self._take(entry)) is not None]

    def _take(self, entry: Entry) -> Entry | None:
        record = self.records.get(entry.id)
        begins = record is None
        if record is None:
            record = self.records[entry.id] = Record(entry)
        elif entry.part is Part.WHOLE or (entry.part is Part.CLOSE and record.end is not None):
            return None
        ends = entry.part is not Part.OPEN
        if ends:
            record.end = entry
        charges = []
        for charge in entry.charges:
            if not (self._is_new(entry, charge) if charge.line else all(known.line for known in record.charges)):
                continue
            record.charges.append(charge)
            charges.append(charge)
        return replace(entry, charges=tuple(charges)) if begins or ends or charges else None

    def _is_new(self, entry: Entry, charge: Charge) -> bool:
        place, name = (entry.account, charge.line), charge.custom_id
        if place not in self.lines:
            self.lines[place] = name
            return True
        if not name or self.lines[place] in {"", name} or (*place, name) in self.others:
            return False
        self.others.add((*place, name))
        return True

    def sums(self, by: Sequence[str], since: datetime | None, until: datetime | None) -> dict[tuple[object, ...], Counter[str]]:
        """Return the figures of a period, by key."""
        found: dict[tuple[object, ...], Counter[str]] = {}
        for record in self.records.values():
            began_ms = int(record.first.began_utc * 1000)
            if since is not None and began_ms < int(since.timestamp() * 1000):
                continue
            if until is not None and began_ms >= int(until.timestamp() * 1000):
                continue
            own = record.first.usage.model or next((charge.model for charge in record.first.charges if charge.model), None)
            own_name = record.first.priced_as
            at_end = {"requests": 1}
            if record.end is not None:
                failed = record.end.outcome != "completed" or record.end.status is None or record.end.status >= 400
                at_end |= {"errors": int(failed), "unmetered": int(record.end.unmetered not in NO_DOUBT)}
            found.setdefault(key_of(record.first, own, own_name, by), Counter()).update(at_end)
            for charge in record.charges:
                names = (charge.model, charge.priced_as) if charge.model else (own, own_name)
                found.setdefault(key_of(record.first, *names, by), Counter()).update(
                    pages=charge.pages or 0,
                    pages_annotated=charge.pages_annotated or 0,
                    tokens_in=charge.tokens_in or 0,
                    tokens_out=charge.tokens_out or 0,
                    tokens_cached=charge.tokens_cached or 0,
                    cost_nano=charge.cost_nano or 0,
                    unpriced=charge.cost_nano is None,
                )
        return found


def key_of(entry: Entry, model: str | None, priced_as: str | None, by: Sequence[str]) -> tuple[object, ...]:
    """Return what an entry is summed under."""
    day = datetime.fromtimestamp(int(entry.began_utc * 1000) // 1000, UTC).date().isoformat()
    known = {"model": model, "priced_as": priced_as, "day": day, "month": day[:7]}
    older = {"model": model, "day": day, "route": entry.route, "target": entry.target} if model and not priced_as else {}
    known |= {name: older.get(name.removeprefix("older_")) for name in OLDER}
    known |= {f"label.{name}": value for name, value in json.loads(entry.labels or "{}").items()}
    return tuple(known.get(name) if "." in name or name in known else getattr(entry, name) for name in by)


def assert_same(expected: dict[tuple[object, ...], Counter[str]], found: list[Sums], by: Sequence[str]) -> None:
    """Compare sums with the count's. Of exchanges without the label that is asked for, groups of zeros only may be missing."""
    places = [place for place, key in enumerate(by) if "." in key]
    counted = {key: +figures for key, figures in expected.items()}
    missing = {key for key in counted if not counted[key] and any(key[place] is None for place in places)} - {
        row.key for row in found
    }
    assert {key: figures for key, figures in counted.items() if key not in missing} == plain(found)


def plain(rows: Iterable[Sums]) -> dict[tuple[object, ...], Counter[str]]:
    """Return the ledger's sums in the form of the count's, without zeros."""
    names = [field.name for field in fields(Sums) if field.name != "key"]
    return {row.key: +Counter({name: getattr(row, name) for name in names}) for row in rows}


# ── what is appended ──

NO_DOUBT = {None, "unpriced", "unpriced_tier", "bad_cost"}
"""With these the count is known."""

COUNTS = st.one_of(st.none(), st.integers(0, 10**12))
MODELS = st.sampled_from([None, "mistral-ocr-2512", "m"])
CHARGES = st.builds(
    Charge,
    model=MODELS,
    pages=COUNTS,
    pages_annotated=COUNTS,
    tokens_in=COUNTS,
    tokens_out=COUNTS,
    tokens_cached=COUNTS,
    priced_as=MODELS,
    cost_nano=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    line=st.sampled_from(["", "batch-1", "batch-2", "batch-3", "batch-4"]),
    custom_id=st.sampled_from(["", "a", "b"]),
)
MOMENTS = st.one_of(
    st.integers(-3 * 24, 3 * 24).map(lambda hours: NOON.timestamp() + hours * 3600.0),  # midnights too
    st.floats(NOON.timestamp() - 3 * 86_400, NOON.timestamp() + 3 * 86_400),
)
WHEN = st.one_of(st.none(), MOMENTS.map(lambda moment: datetime.fromtimestamp(moment, UTC)))
NAMES = st.sampled_from([None, "a", "Ä", "z", "B"])
MORE_KEYS = ["sandbox", "priced_as", *OLDER, "label.team", "label.user", "label.nobody-has-it"]
BY = st.lists(st.sampled_from([*KEYS, *MORE_KEYS]), unique=True, max_size=3)
LABELS = st.none() | st.dictionaries(st.sampled_from(["team", "user"]), NAMES.filter(bool) | st.just('"user": "a"')).map(
    json.dumps
)


@st.composite
def parts(draw: st.DrawFn) -> list[Entry]:
    """Return the parts of one exchange: a whole one, or some open ones and perhaps their end."""
    whole = replace(
        booked(draw(NAMES), at=draw(MOMENTS), model=draw(MODELS), sandbox=draw(st.booleans())),
        label=draw(NAMES),
        route=draw(NAMES),
        status=draw(st.sampled_from([None, 200, 404])),
        outcome=draw(st.sampled_from(["completed", "client_gone"])),
        unmetered=draw(st.sampled_from([None, "no_usage", "unpriced", "bad_cost", "unpriced_tier", "unknown_unit"])),
        account=draw(st.sampled_from([None, "one", "other"])),
        labels=draw(LABELS),
        priced_as=draw(MODELS),
    )
    charges = draw(st.lists(CHARGES, max_size=4))
    opened = draw(st.integers(0, 2))
    if not opened:
        return [replace(whole, charges=tuple(charges))]
    cut = draw(st.integers(0, len(charges)))
    entries = [replace(whole, part=Part.OPEN, charges=tuple(charges[:cut]), unmetered=None)] * opened
    return [*entries, replace(whole, part=Part.CLOSE, charges=tuple(charges[cut:]))][: draw(st.integers(1, opened + 1))]


@st.composite
def appends(draw: st.DrawFn) -> list[list[Entry]]:
    """Return batches: the parts of some exchanges, each in its order, with stretches that are brought again."""
    exchanges = draw(st.lists(parts(), max_size=8))
    turns = draw(st.permutations([number for number, entries in enumerate(exchanges) for _ in entries]))
    left = [iter(entries) for entries in exchanges]
    sequence = [next(left[number]) for number in turns]
    batches, done = [], 0
    while done < len(sequence):
        begin = draw(st.integers(0, done))  # again from here
        done = draw(st.integers(done + 1, len(sequence)))
        batches.append(sequence[begin:done] * draw(st.integers(1, 2)))
    return batches


PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(batches=appends(), by=BY, since=WHEN, until=WHEN)
def test_sums_are_those_of_an_independent_count(
    ledger: Ledger, batches: list[list[Entry]], by: list[str], since: datetime | None, until: datetime | None
) -> None:
    """Of any period and grouping, exactly what adding up gives; and what an append returns is what was new."""
    emptied(ledger)
    count = Count()
    for batch in batches:
        assert count.append(batch) == ledger.append(batch)
    summed, total = ledger.sums(by, (), since=since, until=until)
    assert_same(count.sums(by, since, until), summed, by)
    assert_same(count.sums((), since, until), total, ())


@pytest.mark.slow
@PROPERTY
@given(batches=appends(), by=BY, since=WHEN, until=WHEN, pruned=st.integers(-4, 4), most=st.integers(1, 9))
def test_sums_outlive_the_exchanges(
    ledger: Ledger,
    batches: list[list[Entry]],
    by: list[str],
    since: datetime | None,
    until: datetime | None,
    pruned: int,
    most: int,
) -> None:
    """Where exchanges were pruned, their days are summed as before; a period that cuts such a day has all of it."""
    emptied(ledger)
    count = Count()
    for batch in batches:
        count.append(batch)
        ledger.append(batch)
    before = (NOON + pruned * DAY).date()
    old = [record for record in count.records.values() if record.first.began_utc < midnight(before).timestamp()]
    assert len(old) == sum(iter(lambda: ledger.prune(before, most), 0))
    assert len(count.records) - len(old) == len({row.id for row in ledger.exported()})
    expected = {}
    if since is None or until is None or since < until:
        rounded_since = midnight(since.date()) if old and since and since.date() < before else since
        rounded_until = until
        if old and until and until.date() < before and until != midnight(until.date()):
            rounded_until = midnight(until.date()) + DAY
        if not only_of_exchanges(by):
            expected = count.sums(by, rounded_since, rounded_until)
        elif not old or until is None or until > midnight(before):  # of pruned days, nothing is known of two labels together
            expected = count.sums(by, max(midnight(before), since or midnight(before)) if old else since, until)
    (summed,) = ledger.sums(by, since=since, until=until)
    assert_same(expected, summed, by)


def midnight(day: date) -> datetime:
    """Return the first moment of a day, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_groups_come_sorted_those_without_a_name_first(ledger: Ledger) -> None:
    """Both databases sort alike: by code points, what has no name at the beginning."""
    ledger.append([booked(name) for name in ("b", None, "Z", "ä", "a", "_")])
    (found,) = ledger.sums(("client",))
    assert [(None,), ("Z",), ("_",), ("a",), ("b",), ("ä",)] == [row.key for row in found]


def test_an_empty_ledger_has_no_groups(ledger: Ledger) -> None:
    """Without exchanges there is nothing to sum up, in no grouping."""
    assert ([], []) == ledger.sums((), ("client", "day"), since=NOON)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, 4),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), 4),
        (datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC), 2),
        (datetime(2026, 11, 19, 0, 0, 0, 1000, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC), 1),
        (datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 11, 19, 12, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC), 2),
        (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC), None),
        (NOON, NOON, None),
    ],
)
def test_a_period_begins_with_since_and_ends_before_until(
    ledger: Ledger, since: datetime | None, until: datetime | None, expected: int | None
) -> None:
    """To the millisecond, at midnight as within a day; a period that ends before it begins has nothing."""
    times = ("2026-11-18T23:59:59.999", "2026-11-19T00:00:00", "2026-11-19T23:59:59.999", "2026-11-20T00:00:00")
    ledger.append([booked(at=datetime.fromisoformat(f"{text}+00:00").timestamp()) for text in times])
    (found,) = ledger.sums((), since=since, until=until)
    assert expected == (found[0].requests if found else None)


def test_sums_by_deployment_outlive_the_exchanges(ledger: Ledger) -> None:
    """By itself, beside others and beside a named label, for whole days and for a part of one; the others are the group None."""
    first, second = ((NOON + timedelta(days=days)).timestamp() for days in (0, 1))
    team = '{"team": "x"}'
    calls = [("azure-1", first, 1, team), ("azure-1", second, 2, None), ("vertex-1", second, 4, team), (None, second, 8, None)]
    for name, at, pages, labels in calls:
        made = booked(at=at, pages=pages)
        ledger.append([replace(made, deployment=name, model_group=name and "ocr", labels=labels)])
    expected = {
        ("deployment",): {(None,): 8, ("azure-1",): 3, ("vertex-1",): 4},
        ("model_group", "client"): {(None, "invoices"): 8, ("ocr", "invoices"): 7},
        ("deployment", "label.team"): {(None, None): 8, ("azure-1", None): 2, ("azure-1", "x"): 1, ("vertex-1", "x"): 4},
    }
    for since in (None, NOON):  # the second is within a day
        for by, groups in expected.items():
            assert groups == {row.key: row.pages for row in ledger.sums(by, since=since)[0]}
    while ledger.prune((NOON + timedelta(days=9)).date()):
        pass
    for by, groups in expected.items():
        assert groups == {row.key: row.pages for row in ledger.sums(by)[0]}


def test_what_is_stored_alike_is_one_row_of_the_sums(ledger: Ledger) -> None:
    """A model whose name is blank is priced under no name; entries of an older journal have none either: both are booked."""
    blank = booked(at=NOON.timestamp(), model=" ")
    named = replace(blank, id=f"{1:032x}", priced_as="", charges=tuple(replace(charge, priced_as="") for charge in blank.charges))
    assert 2 == len(ledger.append([blank, named]))
    (rows,) = ledger.sums(("model", "client"))
    assert [((" ", "invoices"), 2, 2)] == [(row.key, row.requests, row.pages) for row in rows]
