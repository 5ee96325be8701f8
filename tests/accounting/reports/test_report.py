"""Reports: groups and totals, periods, the sandbox beside real traffic, and three ways to write them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.accounting.ledger.daily_sums import KEYS
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.prices import Alias, Price, PriceList, Prices
from passthrough.accounting.reports.model_names import ModelNaming
from passthrough.accounting.reports.report import (
    Report,
    Sandbox,
    harmless,
    moment,
    narrowed,
    summarize,
    to_csv,
    to_json,
    unknown_labels,
)
from passthrough.accounting.reports.usage_table import to_table
from passthrough.cli.terminal import show
from passthrough.errors import LedgerError
from passthrough.meter.usage import Usage
from tests.harness.entries import booked, exchange

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AT = NOW.timestamp()
DAY_S = 86_400


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield a new ledger."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as opened:
        yield opened


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Return a ledger with traffic of two clients, one unknown client, a failure and the sandbox."""
    failed = replace(booked("invoices", at=AT), charges=(), usage=Usage(), status=502, unmetered="broken")
    unpriced = booked("=archive", at=AT, pages=5, cost_nano=None, model="mine")
    ledger.append(
        [
            booked("invoices", at=AT - 40 * DAY_S, pages=100),
            booked("invoices", at=AT - DAY_S, pages=3, cost_nano=48_000_001),
            booked(None, at=AT, pages=1),
            replace(unpriced, unmetered="unpriced"),
            failed,
            booked("invoices", at=AT, pages=1000, sandbox=True),
        ]
    )
    return ledger


def tokens(client: str, tokens_in: int, tokens_out: int) -> Entry:
    """Return the entry of a chat, whose price is not known."""
    charge = Charge("chat", tokens_in=tokens_in, tokens_out=tokens_out)
    return entry(exchange(client, at=AT), Usage(model="chat", tokens_in=tokens_in, tokens_out=tokens_out), (charge,))


def shown(report: Report, width: int | None = 160) -> str:
    """Return the table as a terminal of that width shows it; None: as a file has it."""
    file = io.StringIO()
    show(to_table(report), file=file, width=width)
    return file.getvalue()


def test_json_is_exact(filled: Ledger) -> None:
    """The JSON has the promised keys, in their order, sums to the nano-dollar, and null for no client."""
    report = summarize(filled, ("client",), NOW - timedelta(days=30), NOW + timedelta(hours=1))
    text = to_json(report)
    assert '"cost_usd": 0.048000001' in text

    def sums(requests: int, pages: int, cost: str, unmetered: int, unpriced: int) -> dict[str, object]:
        counts = {"requests": requests, "pages": pages, "pages_annotated": 0}
        tokens = {"tokens_in": 0, "tokens_out": 0}
        return {**counts, "cost_usd": Decimal(cost), "unmetered": unmetered, "unpriced": unpriced, **tokens}

    expected = {
        "since": "2026-10-21T12:00:00Z",
        "until": "2026-11-20T13:00:00Z",
        "sandbox": False,
        "left_out": 1,
        "groups": [
            {"client": None, **sums(1, 1, "0.002", 0, 0)},
            {"client": "=archive", **sums(1, 5, "0", 0, 1)},
            {"client": "invoices", **sums(2, 3, "0.048000001", 1, 0)},
        ],
        "total": sums(4, 9, "0.050000001", 1, 1),
    }
    found = json.loads(text, parse_float=Decimal)
    assert expected == found
    assert list(found["groups"][0]) == ["client", *found["total"]]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ((), [()]),
        (("client",), [(None,), ("=archive",), ("invoices",)]),
        (("model",), [("mine",), ("mistral-ocr-2512",), (None,)]),
        (("day",), [("2026-10-11",), ("2026-11-19",), ("2026-11-20",)]),
        (("month",), [("2026-10",), ("2026-11",)]),
        (("status",), [(200,), (502,)]),
        (("route", "label"), [("/mistral", None)]),
        (
            ("client", "month", "client"),
            [(None, "2026-11"), ("=archive", "2026-11"), ("invoices", "2026-10"), ("invoices", "2026-11")],
        ),
    ],
)
def test_groups_are_by_any_keys(filled: Ledger, by: tuple[str, ...], keys: list[tuple[object, ...]]) -> None:
    """Each key, and two at once, make one group for each of their values; groups add up to the total."""
    report = summarize(filled, by)
    assert set(keys) == {group.key for group in report.groups}
    assert len(keys) == len(report.groups)
    assert report.total.requests == sum(group.requests for group in report.groups)
    assert report.total.cost_nano == sum(group.cost_nano for group in report.groups)


def test_an_unknown_key_names_those_that_there_are(filled: Ledger) -> None:
    """A key that cannot be summed by is refused with the list of those that can."""
    with pytest.raises(LedgerError, match="by nobody") as refused:
        summarize(filled, ("client", "nobody"))
    assert all(key in str(refused.value) for key in KEYS)


@pytest.mark.parametrize(
    ("sandbox", "requests", "is_sandbox", "left_out", "note"),
    [
        ("auto", 5, False, 1, "without 1 request to the sandbox"),
        ("exclude", 5, False, 1, "without 1 request to the sandbox"),
        ("include", 6, False, 0, "with 1 request to the sandbox: what that would have cost is in the sums"),
        ("only", 1, True, 0, "sandbox: what it would have cost"),
    ],
)
def test_the_sandbox_is_told_apart(
    filled: Ledger, sandbox: Sandbox, requests: int, is_sandbox: bool, left_out: int, note: str
) -> None:
    """Real traffic is summed without the sandbox's unless asked; what was left out, or is not real, is said."""
    report = summarize(filled, ("client",), sandbox=sandbox)
    assert (requests, is_sandbox, note) == (report.total.requests, report.sandbox, report.note)
    assert requests == sum(group.requests for group in report.groups)
    assert note in shown(report)
    said = json.loads(to_json(report))
    assert (is_sandbox, left_out) == (said["sandbox"], said["left_out"])


def test_real_traffic_alone_needs_no_note(ledger: Ledger) -> None:
    """Where there is no sandbox's traffic, there is nothing to say of it."""
    ledger.append([booked(at=AT)])
    assert [None, None] == [summarize(ledger, sandbox=sandbox).note for sandbox in ("auto", "include")]


def test_only_sandbox_traffic_is_shown_as_such(ledger: Ledger) -> None:
    """Where there is nothing but the sandbox's traffic, it is summed, with the caption that says so."""
    ledger.append([booked(at=AT, sandbox=True, pages=7)])
    report = summarize(ledger, ("model",))
    assert (report.sandbox, report.total.pages) == (True, 7)
    assert "sandbox: what it would have cost" in shown(report)
    assert json.loads(to_json(report))["sandbox"] is True


def test_no_traffic_is_a_sentence(filled: Ledger) -> None:
    """A period without requests is said in words, and is empty but whole in the other formats."""
    report = summarize(filled, ("client",), NOW + timedelta(days=1), NOW + timedelta(days=2))
    assert shown(report) == "No requests since 2026-11-21T12:00:00Z until 2026-11-22T12:00:00Z.\n"
    assert json.loads(to_json(report))["groups"] == []
    assert json.loads(to_json(report))["total"]["cost_usd"] == 0
    assert to_csv(report) == (
        "client,requests,pages,pages_annotated,cost_usd,unmetered,unpriced,tokens_in,tokens_out,sandbox\r\n"
    )


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, "so far"),
        (1, None, "since 2026-11-21T12:00:00Z"),
        (None, -400, "before 2025-10-16T12:00:00Z"),
        (1, 2, "since 2026-11-21T12:00:00Z until 2026-11-22T12:00:00Z"),
    ],
)
def test_a_period_is_said_in_words(ledger: Ledger, since: int | None, until: int | None, expected: str) -> None:
    """Each of the four kinds of period makes a sentence."""
    ends = [None if days is None else NOW + timedelta(days=days) for days in (since, until)]
    assert f"No requests {expected}.\n" == shown(summarize(ledger, (), *ends))


def test_a_table_has_sums_and_shows_labels_as_they_are(ledger: Ledger) -> None:
    """The table has a row of sums, `-` for nothing, points below each other, and no label is taken for markup."""
    ledger.append([replace(booked(at=AT, pages=2000), label="[red]me[/red]"), booked(at=AT, pages=3, cost_nano=12_500_000_000)])
    expected = """\
Usage so far

label          requests  pages      USD  of USD
───────────────────────────────────────────────
-                     1      3  12.50    100.0%
[red]me[/red]         1  2,000   0.0020   <0.1%
───────────────────────────────────────────────
total                 2  2,003  12.50
"""
    assert expected.splitlines() == [line.rstrip() for line in shown(summarize(ledger, ("label",)), None).splitlines()]
    assert "Usage so far\n\nrequests  pages    USD\n──────────────────────\n       2  2,003  12.50\n" == shown(summarize(ledger))


def test_a_table_shows_what_is_rare_where_there_is_some(filled: Ledger) -> None:
    """Columns of annotated pages, of what was not metered or has no price, are there only where they hold more than zeros."""
    head, total = (shown(summarize(filled, ("client",)), None).splitlines()[line].split() for line in (2, -3))
    assert ["client", "requests", "pages", "unmetered", "unpriced", "USD", "of", "USD"] == head
    assert ["total", "5", "109", "1", "1", "0.0520"] == total


@pytest.mark.parametrize("by", [("client",), ("route", "model"), ("client", "day", "model"), KEYS])
@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_table_fits_a_terminal(filled: Ledger, by: tuple[str, ...], width: int) -> None:
    """No line is wider than the terminal, no figure and no day is broken, and no empty line holds spaces."""
    lines = shown(summarize(filled, by), width).splitlines()
    assert width >= max(map(len, lines))
    assert [] == [line for line in lines if line and not line.strip()]
    assert "0.0520" in " ".join(lines).split()
    assert "day" not in by or "2026-11-20" in " ".join(lines).split()


SHARES = [
    ([booked("a", at=AT, cost_nano=1), booked("b", at=AT, cost_nano=2)], "of USD", ["66.7%", "33.3%"]),
    ([booked("a", at=AT, cost_nano=1), booked("b", at=AT, cost_nano=10_000)], "of USD", ["100.0%", "<0.1%"]),
    ([booked("a", at=AT, cost_nano=0), booked("b", at=AT, cost_nano=7)], "of USD", ["100.0%", "0.0%"]),
    ([booked("a", at=AT, cost_nano=9), booked("b", at=AT, cost_nano=None, pages=3)], "of USD", ["100.0%", "-"]),
    ([booked("a", at=AT, cost_nano=None), booked("b", at=AT, cost_nano=None, pages=3)], "of pages", ["75.0%", "25.0%"]),
    ([tokens("a", 10, 30), tokens("b", 50, 10)], "of tokens", ["60.0%", "40.0%"]),
    ([booked("a", at=AT, cost_nano=0, pages=0), booked("b", at=AT, cost_nano=0, pages=0)], "of requests", ["50.0%", "50.0%"]),
]


@pytest.mark.parametrize(("entries", "head", "shares"), SHARES)
def test_shares_are_of_what_every_group_has(ledger: Ledger, entries: list[Entry], head: str, shares: list[str]) -> None:
    """A group's share is of the cost where any of it is known, else of the pages, tokens or requests; the head says of what."""
    ledger.append(entries)
    lines = shown(summarize(ledger, ("client",)), None).splitlines()
    assert lines[2].endswith(f"  {head}")
    assert shares == [line.split()[-1] for line in lines if line[:2] in {"a ", "b "}]


def test_bars_are_for_terminals(ledger: Ledger) -> None:
    """On a terminal each row has a bar beside the longest one's; where there is no room for them, and in files, there is none."""
    ledger.append([booked("a", at=AT, pages=1, cost_nano=4), booked("b", at=AT, pages=1, cost_nano=1)])
    report = summarize(ledger, ("client",))
    assert ["████████████", "███"] == [line.split()[-1] for line in shown(report, 80).splitlines() if line[:2] in {"a ", "b "}]
    assert "█" not in shown(report, 50) + shown(report, None)
    assert "80.0%" in shown(report, 50)


def test_tokens_are_shown_where_there_are_any(ledger: Ledger) -> None:
    """Tokens are summed beside pages, in every form."""
    ledger.append([tokens("a", 1200, 30), booked("a", at=AT)])
    report = summarize(ledger, ("client",))
    assert (1200, 30) == (report.total.tokens_in, report.total.tokens_out)
    head = shown(report, None).splitlines()[2]
    assert head.index("pages") < head.index("tokens in") < head.index("tokens out") < head.index("unpriced")
    assert [1200, 30] == list(json.loads(to_json(report))["groups"][0].values())[-2:]


def test_csv_is_for_spreadsheets(filled: Ledger) -> None:
    """CSV has a head and a row for each group; a cell that a spreadsheet would run as a formula is made text."""
    rows = list(csv.reader(io.StringIO(to_csv(summarize(filled, ("client",))))))
    assert [
        "client",
        "requests",
        "pages",
        "pages_annotated",
        "cost_usd",
        "unmetered",
        "unpriced",
        "tokens_in",
        "tokens_out",
        "sandbox",
    ] == rows[0]
    assert ["", "1", "1", "0", "0.002", "0", "0", "0", "0", "false"] in rows
    assert ["'=archive", "1", "5", "0", "0", "0", "1", "0", "0", "false"] in rows
    assert len(to_csv(summarize(filled)).splitlines()) == 2


@pytest.mark.parametrize("by", [("client",), ("client", "model"), ()])
def test_csv_marks_the_sandbox(filled: Ledger, by: tuple[str, ...]) -> None:
    """No row is of both kinds of traffic: where both are asked for, a group that has both is two rows; their sum is the sum."""

    def rows(sandbox: Sandbox) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(to_csv(summarize(filled, by, sandbox=sandbox)))))

    assert {"false"} == {row["sandbox"] for row in (*rows("auto"), *rows("exclude"))}
    assert [("1000", "true")] == [(row["pages"], row["sandbox"]) for row in rows("only")]
    assert rows("exclude") + rows("only") == rows("include")
    both = summarize(filled, by, sandbox="include")
    assert both.total.pages == sum(int(row["pages"]) for row in rows("include"))


def test_a_narrowed_report_marks_the_sandbox_too(filled: Ledger) -> None:
    """What is narrowed to some values of a key keeps both kinds of traffic apart."""
    report = narrowed(summarize(filled, ("month", "client"), sandbox="include"), ("month",), {"client": "invoices"})
    rows = [(row["month"], row["pages"], row["sandbox"]) for row in csv.DictReader(io.StringIO(to_csv(report)))]
    assert [("2026-10", "100", "false"), ("2026-11", "3", "false"), ("2026-11", "1000", "true")] == rows
    assert (1103, {"2026-11": 1003, "2026-10": 100}) == (
        report.total.pages,
        {str(group.key[0]): group.pages for group in report.groups},
    )
    assert [5] == [group.pages for group in narrowed(summarize(filled, ("model",)), (), {"model": "mine"}).groups]


def test_csv_of_nothing_but_the_sandbox(ledger: Ledger) -> None:
    """Its rows are marked, whatever was asked for."""
    ledger.append([booked("ann", at=AT, sandbox=True)])
    for sandbox in ("auto", "only", "include"):
        assert to_csv(summarize(ledger, ("client",), sandbox=sandbox)).endswith(",true\r\n")
    assert 1 == len(to_csv(summarize(ledger, ("client",), sandbox="exclude")).splitlines())


def test_the_largest_come_first(ledger: Ledger) -> None:
    """By cost, then pages; days and months in their order, and what stands beside them within each, or as a whole."""
    for age, client, dollars in ((2, "b", 3), (2, "a", 1), (1, "a", 5), (1, "b", 1), (0, "c", 7), (0, "b", 1)):
        ledger.append([booked(client, at=AT - age * DAY_S, cost_nano=dollars * 10**9)])
    ledger.append([booked("d", at=AT, pages=2, cost_nano=None), booked("e", at=AT, pages=3, cost_nano=None)])

    def keys(*by: str) -> list[tuple[str, ...]]:
        table = to_table(summarize(ledger, by))
        assert not isinstance(table, str)
        return list(zip(*(column.cells for column in table.columns[: len(by)]), strict=True))

    assert [("c",), ("a",), ("b",), ("e",), ("d",)] == keys("client")
    days = [f"2026-11-{day}" for day in (18, 19, 20)]
    assert [(day,) for day in days] == keys("day")
    by_day = [(days[0], "b"), (days[0], "a"), (days[1], "a"), (days[1], "b"), *((days[2], name) for name in "cbed")]
    assert by_day == keys("day", "client")
    by_client = [("c", 2), ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("e", 2), ("d", 2)]
    assert [(client, days[day]) for client, day in by_client] == keys("client", "day")


def test_unpriced_is_said(ledger: Ledger) -> None:
    """A cost that is not known at all is no 0.00, in rows and in the total; a note says how many charges have no price."""
    ledger.append([booked("a", at=AT, cost_nano=None), booked("b", at=AT, cost_nano=0)])
    lines = shown(summarize(ledger, ("client",)), None).splitlines()
    assert ["a  1  1  1  unpriced  50.0%", "b  1  1  0  0.00  50.0%"] == [
        re.sub(" {2,}", "  ", line.strip()) for line in lines if line[:2] in {"a ", "b "}
    ]
    assert "total  2  2  1  unpriced" in [re.sub(" {2,}", "  ", line.strip()) for line in lines]
    assert "1 charge has no price and is in no cost; --by model shows which models" == lines[-1]
    ledger.append([booked("b", at=AT, cost_nano=None), booked("b", at=AT, cost_nano=5 * 10**9)])
    lines = shown(summarize(ledger, ("model",)), None).splitlines()
    assert "2 charges have no price and are in no cost" == lines[-1]
    assert ["mistral-ocr-2512", "4", "4", "2", "5.00", "100.0%"] == lines[4].split()


def test_columns_of_zeros_are_left_out(ledger: Ledger) -> None:
    """The total decides, for pages and cost as well; CSV and JSON have all."""
    ledger.append([replace(booked("a", at=AT), charges=(), usage=Usage())])
    report = summarize(ledger, ("client",))
    assert ["client", "requests", "of", "requests"] == shown(report, None).splitlines()[2].split()
    assert "cost_usd" in to_csv(report)


def test_a_table_can_be_shorter(ledger: Ledger) -> None:
    """The largest stay, the others are one row; of days the last ones stay. The total is as it was."""
    for number in range(1, 6):
        ledger.append([booked(f"c{number}", at=AT - number * DAY_S, pages=number, cost_nano=number * 10**9)])
    table = to_table(summarize(ledger, ("client",)))
    assert not isinstance(table, str)
    assert table.shorter is not None
    for most, names, bars in ((2, ("c5", "c4", "+ 3 more"), 2), (0, ("+ 5 more",), 0)):
        client, requests, pages, usd, share, bar = table.shorter(most).columns
        assert names == client.cells
        assert ("total", "5", "15", "15.00") == (client.foot, requests.foot, pages.foot, usd.foot)
        assert [15, 5] == [sum(map(int, pages.cells)), sum(map(int, requests.cells))]
        assert (most + 1, bars) == (len(share.cells), sum(map(bool, bar.cells)))
    by_day = to_table(summarize(ledger, ("day", "client")))
    assert not isinstance(by_day, str)
    assert by_day.shorter is not None
    day, client, *_ = by_day.shorter(1).columns
    assert (("+ 4 earlier", "2026-11-19"), ("", "c1")) == (day.cells, client.cells)
    alone = to_table(summarize(ledger))
    assert not isinstance(alone, str)
    assert alone.shorter is None


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("7d", datetime(2026, 11, 14, tzinfo=UTC)),
        ("1d", datetime(2026, 11, 20, tzinfo=UTC)),
        ("0d", datetime(2026, 11, 21, tzinfo=UTC)),
        ("30d", datetime(2026, 10, 22, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 7, tzinfo=UTC)),
        ("24h", NOW - timedelta(hours=24)),
        (" 90m ", NOW - timedelta(minutes=90)),
        ("2026-08-01", datetime(2026, 8, 1, tzinfo=UTC)),
        ("2026-08-01T09:30", datetime(2026, 8, 1, 9, 30, tzinfo=UTC)),
        ("2026-08-01T09:30:00+02:00", datetime(2026, 8, 1, 7, 30, tzinfo=UTC)),
        ("2026-08-01T09:30Z", datetime(2026, 8, 1, 9, 30, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(text: str, when: datetime) -> None:
    """Hours go back from now; days are whole ones, today the last; a date or time without an offset is UTC."""
    assert when == moment(text, NOW)
    assert when == moment(text, NOW.astimezone(timezone(timedelta(hours=13))))  # where it is the 21st


@pytest.mark.parametrize("text", ["", "yesterday", "30", "-3d", "999999w", "2026-13-01", "9999999999d"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    """A text that names no time is refused, and the message shows what would do."""
    with pytest.raises(ValueError, match="write 30d"):
        moment(text, NOW)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(1)", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """Spreadsheets take what begins so for a formula, some in full width too; figures stay as they are."""
    assert (f"'{cell}", -1, "a=1") == (harmless(cell), harmless(-1), harmless("a=1"))


def labelled(pages: int, at: float = AT, **labels: str) -> Entry:
    """Return an OCR call of so many pages with named labels."""
    made = exchange("invoices", at=at)
    made.labels = tuple(sorted(labels.items()))
    return entry(made, Usage(pages, 0, "m"), (Charge("m", pages, 0, cost_nano=pages * 10**6),))


def test_groups_by_a_named_label(ledger: Ledger) -> None:
    """Each value is a group, what has no such label is one without a name, and they add up to all; other keys stand beside it."""
    ledger.append([labelled(1, team="a", user="ann"), labelled(2, team="a", user="=bob"), labelled(4, team="b"), labelled(8)])
    report = summarize(ledger, ("label.team",))
    assert [((None,), 1, 8), (("a",), 2, 3), (("b",), 1, 4)] == [(row.key, row.requests, row.pages) for row in report.groups]
    assert report.total.cost_nano == sum(row.cost_nano for row in report.groups) == 15 * 10**6
    beside = summarize(ledger, ("client", "label.user", "day"))
    assert [(None, 12), ("=bob", 2), ("ann", 1)] == [(row.key[1], row.pages) for row in beside.groups]
    assert to_csv(beside).splitlines()[2].startswith("invoices,'=bob,2026-11-20,1,2,")
    assert "\nlabel.team  requests  pages" in shown(report)
    assert "\n-                  1      8" in shown(report)
    assert {"label.team": "a", "requests": 2} == dict(list(json.loads(to_json(report))["groups"][1].items())[:2])


def test_two_labels_together_are_known_while_exchanges_are_kept(ledger: Ledger) -> None:
    """Of pruned days there are sums by each label, and none by both: the note says from when on there are."""
    old = labelled(16, AT - 2 * DAY_S, team="a", user="ann")
    ledger.append([old, labelled(1, team="a", user="ann"), replace(labelled(2, team="a"), label="plain")])
    both = summarize(ledger, ("label.team", "label.user"))
    assert [(("a", None), 2), (("a", "ann"), 17)] == [(row.key, row.pages) for row in both.groups]
    assert both.note is None
    assert 1 == ledger.prune(NOW.date() - timedelta(days=1), 10)
    assert [("a", 19)] == [(row.key[0], row.pages) for row in summarize(ledger, ("label.team",)).groups]
    both = summarize(ledger, ("label.team", "label.user"))
    assert [(("a", None), 2), (("a", "ann"), 1)] == [(row.key, row.pages) for row in both.groups]
    assert both.note == "by two labels only from 2026-11-19 on: of the days before, only their daily sums are kept"
    assert summarize(ledger, ("label", "label.team"), NOW - timedelta(hours=40)).note is not None
    recent = summarize(ledger, ("label", "label.team"), NOW - timedelta(hours=20))
    assert [((None, "a"), 1), (("plain", "a"), 2)] == [(row.key, row.pages) for row in recent.groups]
    assert recent.note is None


def test_a_misspelt_label_names_those_that_there_are(ledger: Ledger) -> None:
    """A name that no exchange ever had is misspelt, if there are others; without any, there is nothing to compare with."""
    assert None is unknown_labels(ledger, ("label.team",))
    ledger.append([labelled(1, team="a", user="ann")])
    assert None is unknown_labels(ledger, ("label.team", "client"))
    said = "No request has a label named teem.\nThere are: label.team, label.user."
    assert said == unknown_labels(ledger, ("label.teem", "label.user"))
    with pytest.raises(LedgerError, match=r"by label\.Team\.\nThere are: .*label\.NAME"):
        summarize(ledger, ("label.Team",))


LISTED = PriceList(
    prices=(Price("m-1", Decimal(1)), Price("m-2", Decimal(2))),
    aliases=(Alias("latest", "m-1", None), Alias("latest", "m-2", NOW.date())),
    hosts=(),
    prefixes={},
)


def test_one_model_is_one_row(ledger: Ledger) -> None:
    """A model is named by what prices it: by what is stored or, in older rows, by the aliases of their day; or as it came."""
    new = replace(booked(at=AT, model="m-2", pages=1), priced_as="m-2")
    new = replace(new, charges=(replace(new.charges[0], priced_as="m-2"),))
    spelt = replace(
        new, id="f" * 32, usage=Usage(1, 0, "M-2-completion"), charges=(replace(new.charges[0], model="M-2-completion"),)
    )
    older = [booked(at=AT, model="latest", pages=4), booked(at=AT - DAY_S, model="latest", pages=8), booked(at=AT, model="x")]
    ledger.append([new, spelt, *older, replace(booked(at=AT), usage=Usage(), charges=())])
    naming = ModelNaming(lambda: Prices((), LISTED))
    report = summarize(ledger, ("model",), naming=naming)
    assert [((None,), 1, 0), (("m-1",), 1, 8), (("m-2",), 3, 6), (("x",), 1, 1)] == [
        (row.key, row.requests, row.pages) for row in report.groups
    ]
    told = [(row.key[0], row.pages) for row in summarize(ledger, ("model",)).groups]
    assert [(None, 0), ("M-2-completion", 1), ("latest", 12), ("m-2", 1), ("x", 1)] == told
    by_day = summarize(ledger, ("day", "model", "route"), NOW - timedelta(hours=30), naming=naming)
    assert [("2026-11-19", "m-1", 8), ("2026-11-20", None, 0), ("2026-11-20", "m-2", 6), ("2026-11-20", "x", 1)] == [
        (*row.key[:2], row.pages) for row in by_day.groups
    ]


@pytest.mark.parametrize("until", [None, NOW - timedelta(hours=12)])
def test_one_model_is_one_row_beside_labels(ledger: Ledger, until: datetime | None) -> None:
    """The same, whether the names of the period's older rows depend on their day (`latest` moved on the last one) or not."""
    ages = {"latest": (1, 2, 0), "M-1": (1,)}
    made = [(model, age) for model, found in ages.items() for age in found]
    ledger.append(
        [
            replace(booked(at=AT - age * DAY_S, model=model, pages=age + 1), label="a", labels='{"team": "b"}')
            for model, age in made
        ]
    )
    expected = [("m-1", 7)] if until else [("m-1", 7), ("m-2", 1)]
    for by, value in (("label", "a"), ("label.team", "b")):
        report = summarize(ledger, (by, "model"), None, until, naming=ModelNaming(lambda: Prices((), LISTED)))
        assert [((value, model), pages) for model, pages in expected] == [(row.key, row.pages) for row in report.groups]


def test_cached_tokens_are_shown_where_there_are_any(ledger: Ledger) -> None:
    """They are a column behind the tokens in every form; without any there is none."""
    ledger.append([tokens("a", 10, 2)])
    assert "cached" not in shown(summarize(ledger)) + to_csv(summarize(ledger)) + to_json(summarize(ledger))
    some = tokens("a", 100, 2)
    ledger.append([replace(some, charges=(replace(some.charges[0], tokens_cached=90),))])
    report = summarize(ledger)
    assert "tokens_out,tokens_cached" in to_csv(report)
    assert '"tokens_cached": 90' in to_json(report)
    assert "tokens in  cached  tokens out" in shown(report, None)
