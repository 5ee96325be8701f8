"""What is read back of exchanges: the latest, and all of a period as a stream, from both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from passthrough.accounting.entry import Charge, Part
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.queries import LedgerRow, Selection
from tests.harness.entries import booked, one

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger, once in SQLite and once in PostgreSQL."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def test_the_latest_come_first_and_page_on(ledger: Ledger) -> None:
    """The youngest first, no more than asked for; those before the last one follow; names restrict them."""
    entries = [booked(client, at=NOON.timestamp() + age, pages=age) for age, client in enumerate(["a", "b", None, "a", "b"])]
    ledger.append(entries[::-1])

    def pages(limit: int, before: str | None = None, **only: str | None) -> list[int | None]:
        return [row.charge and row.charge.pages for row in ledger.latest(limit, before=before, **only)]

    assert [4, 3] == pages(2)
    assert [2, 1] == pages(2, ledger.latest(2)[-1].id)
    assert ([3, 0], [2], []) == (pages(9, client="a"), pages(9, client=None), pages(9, client="a", route="/other"))
    assert [4, 1] == pages(9, client="b", model="mistral-ocr-2512", route="/mistral", target="api.mistral.ai", label=None)


def test_the_latest_of_a_named_label(ledger: Ledger) -> None:
    """A label is found by its whole name and value, whatever stands in others; None finds what does not have it."""
    labels = ('{"team": "a"}', '{"a-team": "a", "user": "\\"team\\": \\"a\\""}', '{"team": "a\\u00e9", "user": "x"}', None)
    ledger.append([replace(booked(at=NOON.timestamp() + age, pages=age), labels=text) for age, text in enumerate(labels)])

    def pages(**only: str | None) -> list[int | None]:
        return [row.charge and row.charge.pages for row in ledger.latest(9, **only)]

    assert ([0], [2], [3, 1]) == (pages(**{"label.team": "a"}), pages(**{"label.team": "aé"}), pages(**{"label.team": None}))
    assert ([1], [], [3, 0]) == tuple(pages(**{"label.user": value}) for value in ('"team": "a"', "a", None))
    assert [2] == pages(**{"label.team": "aé", "label.user": "x"})
    assert ["a-team", "team", "user"] == ledger.label_names()


def test_the_latest_of_a_model_by_either_name(ledger: Ledger) -> None:
    """A model is found by the name that came, and by the one that is priced."""
    ledger.append(
        [replace(booked(at=NOON.timestamp(), model="latest"), priced_as="m-2"), booked(at=NOON.timestamp() + 1, model="m-2")]
    )
    assert (1, 2, 0) == tuple(len(ledger.latest(9, model=name)) for name in ("latest", "m-2", "m-1"))


def test_the_latest_of_a_deployment(ledger: Ledger) -> None:
    """By the deployment, by the name that clients ask for, and those that have none."""
    made = [replace(booked(), deployment=name, model_group=group) for name, group in (("a", "ocr"), ("b", "ocr"), (None, None))]
    ledger.append(made)
    assert [made[1].id] == [row.id for row in ledger.latest(9, deployment="b")]
    assert {made[0].id, made[1].id} == {row.id for row in ledger.latest(9, model_group="ocr")}
    assert [made[2].id] == [row.id for row in ledger.latest(9, deployment=None)]


def test_what_is_read_back_is_what_was_written(ledger: Ledger) -> None:
    """Every field of an entry and of its charges comes back; the latest has their sum, the export each of them."""
    charges = (
        Charge("m", 3, 1, 2**40, 5, 6, 2**62, "prices.yaml"),
        Charge("n", 4, None, None, None, 7, 2**62, "x-cost", line="batch-1", credits_micro=1_500_000, in_batch=True),
    )
    entry = replace(
        booked(at=1_795_219_200.123),
        label="ünïcode 📄",
        account="one",
        error="upstream_broke",
        unmetered="broken",
        first_byte_s=0.25,
        overhead_s=0.001,
        upstream_request_id="id",
        deployment="azure-1",
        model_group="mistral-ocr",
        why="vertex-1: 503",
        charges=charges,
    )
    ledger.append([entry])
    (latest,), exported = ledger.latest(1), list(ledger.exported())
    assert [(1, charges[0]), (1, charges[1])] == [(row.charges, row.charge) for row in exported]
    summed = Charge("m", 7, 1, 2**40, 5, 13, 2**63, "prices.yaml", credits_micro=1_500_000, in_batch=True)
    assert (2, summed) == (latest.charges, latest.charge)
    names = [field.name for field in fields(LedgerRow) if field.name not in {"charge", "charges", "model", "open"}]
    for row in (latest, *exported):
        assert [getattr(entry, name) for name in names] == [getattr(row, name) for name in names]
        assert (entry.usage.model, False) == (row.model, row.open)


def test_a_cost_that_is_not_known_has_no_source(ledger: Ledger) -> None:
    """Of several charges one has no price: their sum has neither a cost nor a source, and each alone has its own."""
    charges = tuple(
        Charge("m", 1, cost_nano=cost, cost_source=source, line=line)
        for cost, source, line in ((210_000, "prices.yaml", "a"), (None, None, "b"))
    )
    ledger.append([replace(booked(at=1.0), charges=charges)])
    assert [(None, None)] == [
        (row.charge and row.charge.cost_nano, row.charge and row.charge.cost_source) for row in ledger.latest(9)
    ]
    assert [(210_000, "prices.yaml"), (None, None)] == [
        (row.charge and row.charge.cost_nano, row.charge and row.charge.cost_source) for row in ledger.exported()
    ]


def test_an_exchange_without_a_charge_is_read_too(ledger: Ledger) -> None:
    """It has no charge; one with a charge of unknown price has no cost."""
    ledger.append([replace(booked(at=1.0), charges=()), booked(at=2.0, cost_nano=None)])
    assert [(0, None), (1, None)] == [(row.charges, row.charge and row.charge.cost_nano) for row in ledger.exported()]
    assert [None, None] == [row.charge and row.charge.cost_nano for row in ledger.latest(2)]


def test_an_export_is_of_a_period_and_of_one_moment(ledger: Ledger) -> None:
    """The oldest first, from `since` on and before `until`; what is appended meanwhile is not in it."""
    ledger.append([booked(at=NOON.timestamp() + age, pages=age) for age in range(2500)])
    exported = ledger.exported(NOON + timedelta(seconds=10), NOON + timedelta(seconds=2400))
    first = next(exported)
    ledger.append([booked(at=NOON.timestamp() + 2000.5)])
    assert list(range(10, 2400)) == [row.charge.pages for row in (first, *exported) if row.charge]


def test_an_export_that_is_given_up_leaves_nothing_open(ledger: Ledger) -> None:
    """A closed iterator gives its connection back."""
    ledger.append([booked() for _ in range(3)])
    for _ in range(20):
        exported = ledger.exported()
        next(exported)
        exported.close()
    assert 3 == one(ledger)[0]


# ── which are selected ──


@pytest.fixture
def chosen(ledger_url: str) -> Iterator[Ledger]:
    """Yield a ledger of a few exchanges, a second apart, told apart by their pages."""
    made = [
        booked("a", at=_at(0), pages=0),
        replace(booked("a", at=_at(1), pages=1), status=502, outcome="upstream_failed", error="upstream_timeout"),
        replace(booked(None, at=_at(2), pages=2), unmetered="no_usage"),
        replace(booked("b", at=_at(3), pages=3), unmetered="bad_cost", status=None),
        booked("b", at=_at(4), pages=4, cost_nano=None),
        replace(booked("b", at=_at(5), pages=5, cost_nano=None), unmetered=None, part=Part.OPEN),
        booked("c", at=_at(6), pages=6, sandbox=True),
        replace(booked("c", at=_at(7), pages=7), outcome="client_gone"),
    ]
    with closing(Ledger.open(ledger_url)) as opened:
        opened.append(made)
        yield opened


def _at(seconds: float) -> float:
    return NOON.timestamp() + seconds


@pytest.mark.parametrize(
    ("which", "pages"),
    [
        (Selection(), [7, 6, 5, 4, 3, 2, 1, 0]),
        (Selection(errors=True), [7, 3, 1]),
        (Selection(errors=False), [6, 5, 4, 2, 0]),
        (Selection(unmetered="any"), [2]),
        (Selection(unmetered="none"), [7, 6, 5, 1, 0]),
        (Selection(unmetered="bad_cost"), [3]),
        (Selection(unpriced=True), [5, 4]),
        (Selection(unpriced=False), [7, 6, 3, 2, 1, 0]),
        (Selection(sandbox=True), [6]),
        (Selection(sandbox=False, errors=False, unpriced=False), [2, 0]),
        (Selection(values={"status": 502}), [1]),
        (Selection(values={"status": None}), [3]),
        (Selection(values={"error": "upstream_timeout", "client": "a"}), [1]),
        (Selection(values={"error": None, "client": None}), [2]),
        (Selection(NOON + timedelta(seconds=5)), [7, 6, 5]),
        (Selection(until=NOON + timedelta(seconds=2)), [1, 0]),
        (Selection(NOON + timedelta(milliseconds=1), NOON + timedelta(seconds=2, milliseconds=1)), [2, 1]),
        (Selection(NOON, NOON), []),
        (Selection(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), errors=True), [7, 3, 1]),
        (Selection(until=datetime(1, 1, 2, tzinfo=UTC)), []),
    ],
)
def test_a_selection_is_read(chosen: Ledger, which: Selection, pages: list[int]) -> None:
    """All conditions hold together; how they ended is read of the same exchanges, but of those that go on."""
    assert pages == [row.charge.pages for row in chosen.latest(9, which=which) if row.charge]
    began_ms = [int(_at(number) * 1000) for number in pages if number != 5]
    assert began_ms == [end.began_ms for end in chosen.latest_ends(9, which)]
    assert began_ms[:2] == [end.began_ms for end in chosen.latest_ends(2, which)]


def test_it_is_what_sums_count(chosen: Ledger) -> None:
    """Errors, unmetered and unpriced are as many as in the sums of the same time."""
    (sums,), (narrow,) = chosen.sums(()), chosen.sums((), since=NOON + timedelta(seconds=1), until=NOON + timedelta(seconds=7))
    for which, (total,) in ((Selection(), sums), (Selection(NOON + timedelta(seconds=1), NOON + timedelta(seconds=7)), narrow)):
        counted = [
            len(chosen.latest(9, which=replace(which, errors=True))),
            len(chosen.latest(9, which=replace(which, unmetered="any"))),
            len(chosen.latest(9, which=replace(which, unpriced=True))),
        ]
        assert [total.errors, total.unmetered, total.unpriced] == counted


def test_how_an_exchange_ended(chosen: Ledger) -> None:
    """Each field is the entry's."""
    (end,) = chosen.latest_ends(1, Selection(values={"status": 502}))
    assert (int(_at(1) * 1000), "api.mistral.ai", None, 502, "upstream_failed", "upstream_timeout", 0.0, 1) == tuple(end)


def test_texts_are_as_they_are_stored(chosen: Ledger) -> None:
    """A value is looked for as the ledger has stored it: without NUL, and in the database's encoding."""
    chosen.append([replace(booked(at=_at(8)), error="a\0b")])
    assert [1] == [row.charge.pages for row in chosen.latest(9, which=Selection(values={"error": "a\0b"})) if row.charge]
