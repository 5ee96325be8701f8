"""The dashboard at the daily look: what needs a person comes first, and each figure leads on to what is behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.exchange import Outcome
from passthrough.meter.usage import NOTHING
from tests.harness.browser import CHROMIUM, Page
from tests.harness.dashboard import KEY, LOADED, ROUTES, act, attention, cells, choose, dashboard, totals, usage
from tests.harness.entries import booked, exchange

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium here: install Debian's package 'chromium'."),
]

DAY = 86400
PHONE = (390, 844)
SHOWN = "[...document.querySelectorAll('#latest-table tbody tr')].length"


def failure(status: int | None, error: str | None, *, at: float, target: str = "api.mistral.ai") -> Entry:
    """Return the entry of a call that failed."""
    made = exchange("invoices", at=at)
    made.status, made.error, made.target = status, error, target
    if status is None:
        made.outcome = Outcome.UPSTREAM_FAILED
    return entry(made, NOTHING)


def at_noon(days_ago: int = 0) -> float:
    """Return the middle of a UTC day, in seconds since the epoch; of today it is a moment ago."""
    now = datetime.now(UTC)
    if not days_ago:
        return now.timestamp() - 1
    return (now - timedelta(days=days_ago)).replace(hour=12, minute=0).timestamp()


def clients(count: int) -> Iterator[Entry]:
    """Yield an entry for each of so many clients, some with names that have no place to break."""
    for number in range(count):
        name = f"client-{number:02}" if number % 7 else f"a-name-without-{'x' * 50}-{number}"
        yield booked(name, at=at_noon() - number, pages=count - number, cost_nano=(count - number) * 2_000_000)


# ── figures ──

DOLLARS = {
    "0": "$0.00",
    "0.000000007": "<$0.0001",
    "0.00005": "$0.0001",
    "0.012": "$0.0120",
    "0.99994": "$0.9999",
    "0.99995": "$1.00",
    "1": "$1.00",
    "1.005": "$1.01",
    "12.345": "$12.35",
    "999.995": "$1,000.00",
    "60795600": "$60,795,600.00",
    "123456789.012345678": "$123,456,789.01",
    "9007199254740993.5": "$9,007,199,254,740,993.50",
}


async def test_money_is_cents_and_exact_on_hover(tmp_path: Path) -> None:
    """Cents, and four digits below a dollar, rounded on digits; what is too little for them is not nothing."""
    dear = booked(at=at_noon(), pages=15_198_900_000, cost_nano=60_795_600 * 10**9 + 123_456_789)
    async with dashboard(tmp_path, entries=[dear]) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        script = "import(location.origin + '/assets/text.js').then(({dollars}) => %s.map((text) => dollars(text)))"
        assert list(DOLLARS.values()) == await page.run(script % list(DOLLARS))
        card = "(({ title, textContent, value }) => [textContent, title, value])(document.querySelector('#total data'))"
        assert ["$60,795,600.12", "$60,795,600.123456789", "60795600.123456789"] == await page.run(card)


CHANGES = [
    (150, 100, "+50 %"),
    (50, 100, "−50 %"),
    (0, 100, "−100 %"),
    (100.4, 100, "±0 %"),
    (1090, 100, "+990 %"),
    (100_000, 10, "× 10,000"),
    (5, 0, None),
    (0, 0, None),
]


async def test_changes_are_in_per_cent(tmp_path: Path) -> None:
    """Whole per cent with their sign, many times as much as a factor; against nothing there is none."""
    async with dashboard(tmp_path, filled=False) as (page, _, url):
        await page.open(url)
        script = "import(location.origin + '/assets/text.js').then(({change}) => %s.map((pair) => change(...pair)))"
        pairs = [[now, before] for now, before, _ in CHANGES]
        assert [text for _, _, text in CHANGES] == await page.run(script % pairs)


async def test_figures_that_are_zero_have_no_card(tmp_path: Path) -> None:
    """Only what there is is shown; the cost always, and where it is not known, it is not said to be nothing."""
    free = replace(booked(at=at_noon(), pages=0, cost_nano=0), charges=())
    lacking = booked(at=at_noon(), pages=3, cost_nano=None, model="unheard-of")
    for entries, expected in (
        ([free], {"Cost": "0", "Requests": "1"}),
        ([lacking], {"Cost": "unpriced", "Pages": "3", "Requests": "1"}),
    ):
        folder = tmp_path / expected["Cost"]
        folder.mkdir()
        async with dashboard(folder, entries=entries) as (page, _, url):
            await page.open(url)
            await page.until(LOADED)
            shown = {head: value for head, value in (await totals(page)).items() if not head.startswith("Latency")}
            assert expected == shown


async def test_cost_per_page_is_of_priced_pages(tmp_path: Path) -> None:
    """What has no price, and what tokens cost, does not make pages cheap or dear."""
    chat = replace(booked(at=at_noon()), charges=(Charge("chat", tokens_in=900, tokens_out=80, cost_nano=10**9),))
    lacking = booked(at=at_noon(), pages=1000, cost_nano=None, model="unheard-of")
    async with dashboard(tmp_path, entries=[booked(at=at_noon(), pages=10, cost_nano=20_000_000), chat, lacking]) as (
        page,
        _,
        url,
    ):
        await page.open(url)
        await page.until(LOADED)
        shown = await totals(page)
        assert ("0.002", "980") == (shown["Cost per page"], shown["Tokens"])
        models = """Object.fromEntries([...document.querySelectorAll('#by-model tr')].map(({ cells }) =>
            [cells[0].textContent, cells[3].textContent]))"""
        assert "$0.0200$0.0020 a page" == (await page.run(models))["mistral-ocr-2512"]


async def test_the_stretch_before_is_beside_it(tmp_path: Path) -> None:
    """Figures say how they have changed against as long a stretch before; where there was nothing they say nothing."""
    entries = [booked(at=at_noon(1), pages=30, cost_nano=10**9), booked(at=at_noon(8), pages=20, cost_nano=2 * 10**9)]
    async with dashboard(tmp_path, entries=entries) as (page, _, url):
        await page.open(url + "?period=7")
        await page.until(LOADED)
        beside = """Object.fromEntries([...document.querySelectorAll('#total div')].map((each) =>
            [each.querySelector('dt').textContent, each.querySelector('.aside')?.textContent ?? '']))"""
        shown = await page.run(beside)
        assert ("−50 %", "+50 %", "±0 %") == (shown["Cost"], shown["Pages"], shown["Requests"])
        today = datetime.now(UTC).date()
        assert f"against {today - timedelta(days=13)} to {today - timedelta(days=7)} " in await page.run("compared.textContent")
        await choose(page, period="all")
        assert "" == (await page.run(beside))["Pages"]
        assert await page.run("compared.hidden")


async def test_the_forecast_is_said_to_be_one(tmp_path: Path) -> None:
    """The month's cost so far, by the share of the month that has passed; on its first day there is none."""
    async with dashboard(tmp_path, entries=[booked(at=at_noon(), cost_nano=600 * 10**9)]) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        begin, end, now = await page.run(
            "(() => { const n = new Date(), [y, m] = [n.getUTCFullYear(), n.getUTCMonth()];"
            " return [Date.UTC(y, m), Date.UTC(y, m + 1), Number(n)]; })()"
        )
        shown = (await totals(page)).get("Month's forecast")
        if now - begin < DAY * 1000:
            assert shown is None
        else:
            expected = 600 * (end - begin) / (now - begin)
            assert expected == pytest.approx(float(re.sub("[≈ $,]", "", shown or "")), rel=0.002)


async def test_latency_is_of_what_was_answered(tmp_path: Path) -> None:
    """Median and 95th percentile of the newest exchanges."""
    entries = [replace(booked(at=at_noon() - n), total_s=n / 10) for n in range(21)]
    async with dashboard(tmp_path, entries=entries) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        shown = await totals(page)
        assert ("1.0 s", "1.9 s") == (shown["Latency, median"], shown["Latency, p95"])


# ── what needs a person ──


async def test_what_needs_a_person_leads_to_its_list(tmp_path: Path) -> None:
    """Budgets, keys that are refused, what is not metered or has no price: each by a link that can be shared."""
    lost = replace(failure(502, "upstream_broke", at=at_noon() - 5), unmetered="no_usage")
    entries = [
        *(booked("invoices", at=at_noon() - 10 - n, pages=35) for n in range(10)),
        lost,
        booked("archive", at=at_noon() - 3, cost_nano=None, model="unheard-of"),
        failure(401, None, at=at_noon(), target="eu.example.com"),
    ]
    routes = ROUTES + "  - {name: archive, key: canary-of-archive-0123456789, budget: {pages: 1, per: month}}\n"
    routes = routes.replace("pages: 400", "pages: 400, warn_at: 0.5")
    async with dashboard(tmp_path, entries=[replace(each, sandbox=True) for each in entries], routes=routes) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        said = await attention(page)
        assert re.fullmatch(r"eu\.example\.com refuses its key: 401 at \d\d:\d\d:\d\dZ", said[0])
        assert [
            "1 budget is used up: client archive",
            "1 budget is nearly used up: client invoices 87.5 %",
            "1 request unmetered: the use is not known",
            "1 request unpriced: in no sum of costs",
        ] == said[1:]
        for place, query, row in (
            (0, "?target=eu.example.com&status=401", "401"),
            (3, "?unmetered=any", "502upstream_broke"),
            (4, "?unpriced=true", "200"),
        ):
            await act(page, f"document.querySelectorAll('#attention-list a')[{place}].click()")
            assert [query, "#latest"] == await page.run("[location.search, location.hash]")
            assert [row] == await page.run(
                "[...document.querySelectorAll('#latest-table td:nth-child(5)')].map((each) => each.textContent)"
            )
        await act(page, "history.back()")
        assert ["?unmetered=any", 1] == await page.run(f"[location.search, {SHOWN}]")
        await page.open(url + "?unmetered=any&period=7#latest", url + "?unmetered=any&period=7")
        await page.until(f"{SHOWN} === 1 && list.selectedOptions[0].text === 'Unmetered'")
        await page.until("document.activeElement.id === 'latest-head'")
        before = await page.run("Number(document.body.dataset.round)")
        await page.run("document.querySelector('#attention-list a[href$=\"#budgets\"]').click()")
        await page.until(f"Number(document.body.dataset.round) > {before} && document.activeElement.id === 'budgets-head'")


async def test_nothing_is_said_where_nothing_needs_a_person(tmp_path: Path) -> None:
    """The list is not there at all."""
    async with dashboard(tmp_path, entries=[booked(at=at_noon())]) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        assert await page.run("attention.hidden && errors.hidden")


async def test_errors_are_by_status_and_code(tmp_path: Path) -> None:
    """The most frequent first, with what was never answered; each lists its exchanges."""
    entries = [
        *(failure(504, "upstream_timeout", at=at_noon() - n) for n in range(3)),
        *(failure(429, None, at=at_noon() - n) for n in range(2)),
        failure(None, "upstream_unreachable", at=at_noon()),
        booked(at=at_noon()),
    ]
    async with dashboard(tmp_path, entries=entries) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        rows = await cells(page, "error-table")
        assert [["504 upstream_timeout", "3"], ["429", "2"], ["none upstream_unreachable", "1"]] == [
            [" ".join(row[0].split()).removesuffix(" upstream_failed"), row[1]] for row in rows
        ]
        assert "Errors: 6" == await page.run("document.getElementById('errors-head').textContent")
        for place, count in enumerate((3, 2, 1)):
            await act(page, f"document.querySelectorAll('#error-table .pick')[{place}].click()")
            assert count == await page.run(SHOWN)
        await act(page, "list.value = ''; list.dispatchEvent(new Event('change'))")
        assert 7 == await page.run(SHOWN)


# ── from a row to what is behind it ──


async def test_a_row_filters(tmp_path: Path) -> None:
    """By a click anywhere in it, and by keyboard; again, or a step back, shows all."""
    entries = [
        replace(booked(client, at=at_noon() - n, pages=n + 1, model=model), label=label)
        for n, (client, model, label) in enumerate([("invoices", "a", "x"), ("archive", "b", "y"), (None, "a", None)])
    ]
    async with dashboard(tmp_path, entries=entries) as (page, running, url):
        await page.open(url)
        await page.until(LOADED)
        everything = str((await usage(running))["total"]["pages"])
        await act(page, "document.querySelectorAll('#by-client tbody tr')[0].querySelector('td').click()")
        assert ["?client=", "="] == await page.run("[location.search, client.value]")
        assert "3" == (await totals(page))["Pages"]
        assert ["true"] == await page.run("[...document.querySelectorAll('#by-client .pick')].map((each) => each.ariaPressed)")
        await act(page, "document.querySelector('#by-client .pick').click()")
        assert ["", "*"] == await page.run("[location.search, client.value]")
        await page.run("[...document.querySelectorAll('#by-model .pick')].find((each) => each.textContent === 'b').focus()")
        before = await page.run("Number(document.body.dataset.round)")
        await page.press("Enter", 13, text="\r")
        await page.until(f"location.search === '?model=b' && Number(document.body.dataset.round) > {before}")
        assert "2" == (await totals(page))["Pages"]
        assert "b" == await page.run("document.activeElement.textContent")
        await act(page, "history.back()")
        assert everything == (await totals(page))["Pages"]
        await act(page, "[...document.querySelectorAll('#by-label .pick')].find((each) => each.textContent === 'x').click()")
        assert ["=x", "1"] == [await page.run("value.value"), (await totals(page))["Pages"]]


async def test_dates_are_free(tmp_path: Path) -> None:
    """From one UTC day to another, both with all their hours; the address keeps them; a row of the table is a day."""
    entries = [booked(at=at_noon(days), pages=10**place) for place, days in enumerate((5, 4, 3, 2))]
    day = [str((datetime.now(UTC) - timedelta(days=days)).date()) for days in range(6)]
    async with dashboard(tmp_path, entries=entries) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        assert await page.run("dates.hidden")
        await choose(page, period="dates")
        assert [False, day[0]] == await page.run("[dates.hidden, document.getElementById('to').value]")
        await choose(page, **{"from": day[4], "to": day[3]})
        assert "110" == (await totals(page))["Pages"]
        where = await page.run("location.search")
        assert f"?period=dates&from={day[4]}&to={day[3]}" == where
        assert [day[3], day[4]] == [row[0] for row in await cells(page, "by-day")]
        await page.open(url + where)
        await page.until(LOADED)
        assert "110" == (await totals(page))["Pages"]
        await act(page, "document.querySelector('#by-day .pick').click()")
        assert "100" == (await totals(page))["Pages"]
        assert 1 == await page.run(SHOWN)
        await choose(page, to=day[5])
        assert "before it begins" in await page.run("trouble.textContent")
        page.errors.clear()  # the browser's words for the 400


async def test_rows_beyond_the_first_open_in_place(tmp_path: Path) -> None:
    """How many there are is said; they stay open while the page refreshes, and what has the focus keeps it."""
    async with dashboard(tmp_path, entries=list(clients(50))) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        rows = "document.querySelectorAll('#by-client tbody tr').length"
        more = "document.querySelector('#by-client .more')"
        assert [10, "+ 40 more", "false"] == await page.run(f"[{rows}, {more}.textContent, {more}.ariaExpanded]")
        await page.run(f"{more}.focus()")
        await page.press("Enter", 13, text="\r")
        assert [50, "Fewer", True] == await page.run(f"[{rows}, {more}.textContent, document.activeElement === {more}]")
        await choose(page, period="7")
        assert 50 == await page.run(rows)


async def test_a_phone_shows_all_in_four_screens(tmp_path: Path) -> None:
    """With fifty clients, a budget for each, errors, labels and long names; filters and what comes later are closed."""
    keys = "".join(
        f"  - {{name: client-{n:02}, key: canary-{n:02}-of-0123456789, budget: {{pages: 60, per: month}}}}\n" for n in range(49)
    )
    entries = [replace(each, label="team") for each in clients(50)] + [failure(502, "upstream_broke", at=at_noon())]
    async with dashboard(tmp_path, entries=[replace(each, sandbox=True) for each in entries], routes=ROUTES + keys) as (
        page,
        _,
        url,
    ):
        await page.size(*PHONE)
        await page.open(url)
        await page.until(LOADED)
        more = await page.run("[...document.querySelectorAll('.more')].map((each) => each.textContent)")
        assert ["+ 46 more", "+ 47 more"] == more[:2]
        assert 4 >= await page.run("document.documentElement.scrollHeight") / PHONE[1]
        assert PHONE[0] == await page.run("document.documentElement.scrollWidth")
        assert "Last 30 days" == await page.run("chosen.textContent")


# ── the first look ──


async def test_the_first_command_works_as_printed(tmp_path: Path) -> None:
    """Where nothing was booked, a command for what really listens is shown; what it sends then appears by itself."""
    async with dashboard(tmp_path, filled=False) as (page, _, url):
        await page.open(url)
        await page.until(f"{LOADED} && !document.getElementById('empty').hidden")
        command = await page.run("document.getElementById('trial-command').innerText")
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command), env={"CLIENT_KEY": KEY, "PATH": "/usr/bin:/bin"}, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert b'"pages"' in out
        await page.until("!document.getElementById('figures').hidden")
        assert "1" == (await totals(page))["Pages"]


async def test_what_is_chosen_is_said_on_a_phone(tmp_path: Path) -> None:
    """The filters are closed there; their line says what they are."""
    async with dashboard(tmp_path, entries=[booked(at=at_noon())]) as (page, _, url):
        await page.size(*PHONE)
        await page.open(url + "?client=invoices&period=7")
        await page.until(LOADED)
        assert [False, "Last 7 days · client invoices"] == await page.run("[choices.open, chosen.textContent]")
        await page.size(1400)
        await page.until("choices.open")  # a phone that is turned, a window that is drawn wider


async def see_no_time_without_zone(page: Page) -> None:
    """Fail where the page shows a time of day without its Z."""
    text = await page.run("document.body.innerText")
    assert [] == re.findall(r"\d\d:\d\d(?::\d\d)?(?![\d:]|Z)", text)


async def test_times_are_utc_and_say_so(tmp_path: Path) -> None:
    """Wherever a time is shown, a Z stands behind it."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        await see_no_time_without_zone(page)
