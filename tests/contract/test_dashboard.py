"""The dashboard in a real browser: its figures are the ledger's, and it can be used by keyboard, on a phone and in the dark."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from passthrough.accounting.entry import entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.admin.app import AdminView, app
from passthrough.admin.health import Health, Phase
from passthrough.exchange import Outcome
from passthrough.meter.usage import NOTHING
from tests.harness.browser import CHROMIUM, Page, browser
from tests.harness.dashboard import (
    KEY,
    LOADED,
    ROUTES,
    SCRIPT,
    attention,
    cells,
    choose,
    dashboard,
    history,
    plain,
    totals,
    usage,
)
from tests.harness.documents import pdf
from tests.harness.entries import booked, exchange
from tests.harness.ocr_upstreams import data_uri

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium here: install Debian's package 'chromium'."),
]


async def agree(page: Page, summed: dict[str, Any], total: dict[str, Any], by: str) -> None:
    """Compare one table, and the totals, with what the command printed."""
    heads = {
        "Cost": "cost_usd",
        "Pages": "pages",
        "Requests": "requests",
        "Annotated": "pages_annotated",
    }
    shown = await totals(page)
    assert {head: str(total[name]) for head, name in heads.items()} == {head: shown.get(head, "0") for head in heads}
    expected = {
        group[by] or "(none)": (
            str(group["requests"]),
            str(group["pages"]),
            "" if group["unpriced"] and not group["cost_usd"] else str(group["cost_usd"]),
        )
        for group in summed["groups"]
    }
    assert expected == {row[0]: tuple(map(plain, row[1:])) for row in await cells(page, f"by-{by}")}


async def test_the_figures_are_those_of_the_command(tmp_path: Path) -> None:
    """Totals and tables equal `passthrough usage --format json` to the last digit, also where no float could hold them."""
    async with dashboard(tmp_path) as (page, running, url):
        await page.open(url)
        await page.until(LOADED)
        await choose(page, period="all")
        for by in ("client", "model", "route", "label"):
            summed = await usage(running, "--by", by)
            await agree(page, summed, summed["total"], by)
        assert "123456789.012345678" in {row[-1] for row in [[plain(c) for c in row] for row in await cells(page, "by-model")]}
        days = {group["day"]: group for group in (await usage(running, "--by", "day"))["groups"]}
        shown = await cells(page, "by-day")
        assert sorted(days, reverse=True) == [row[0] for row in shown]
        names = ("requests", "pages", "cost_usd")  # no page was annotated
        assert [[str(days[day][name]) for name in names] for day in sorted(days, reverse=True)] == [
            [plain(cell) for cell in row[1:]] for row in shown
        ]


async def test_filters_narrow_all_of_it(tmp_path: Path) -> None:
    """A client, a model, both, and those without a client; the address keeps them, and Clear takes them back."""
    async with dashboard(tmp_path) as (page, running, url):
        await page.open(url)
        await page.until(LOADED)
        await choose(page, period="all", client="=archive")
        summed = await usage(running, "--by", "client,model")
        groups = [group for group in summed["groups"] if group["client"] == "archive"]
        by_client = next(group for group in (await usage(running, "--by", "client"))["groups"] if group["client"] == "archive")
        await agree(page, {"groups": groups}, by_client, "model")
        assert {"archive"} == {row[1] for row in await cells(page, "latest-table")}
        await choose(page, model="=dear")
        assert {"Cost": "123456789.012345678", "Pages": "1"}.items() <= (await totals(page)).items()
        assert "?period=all&client=archive&model=dear" == await page.run("location.search")
        link = await page.run("document.getElementById('csv').href")
        async with aiohttp.ClientSession() as session, session.get(link) as answer:
            lines = (await answer.text()).splitlines()
        assert 2 == len(lines)
        assert ",archive,,/mistral,dear,1,1,0,123456789.012345678," in lines[1]
        await choose(page, model="*", client="=")
        none = next(group for group in (await usage(running, "--by", "client"))["groups"] if group["client"] is None)
        assert str(none["cost_usd"]) == (await totals(page))["Cost"]
        await page.open(url + "?client=archive&period=all")
        await page.until(LOADED)
        assert str(by_client["cost_usd"]) == (await totals(page))["Cost"]
        before = await page.run("Number(document.body.dataset.round)")
        await page.run("document.getElementById('clear').click()")
        await page.until(f"Number(document.body.dataset.round) > {before}")
        assert ["", "30", "*"] == await page.run("[location.search, period.value, client.value]")


async def test_a_label_is_chosen_and_filtered_by(tmp_path: Path) -> None:
    """Named labels have a choice of their own, the first is shown where there is no plain one; the address keeps both."""
    now = datetime.now(UTC).timestamp()
    teams = ('{"cost-centre": "4001", "team": "red"}', '{"team": "=blue"}', None)
    made = [replace(booked("invoices", at=now - n, pages=n + 1, cost_nano=n + 1), labels=teams[n % 3]) for n in range(30)]
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append(made)
    async with dashboard(tmp_path, filled=False) as (page, running, url):
        await page.open(url)
        await page.until(LOADED)
        shown = "[document.getElementById('label-head').textContent, label.value, value.labels[0].innerText.split(' ')[0]]"
        assert ["By cost-centre", "label.cost-centre", "Cost-centre"] == [each.split("\n")[0] for each in await page.run(shown)]
        assert ["label", "label.cost-centre", "label.team"] == await page.run("[...label.options].map((option) => option.value)")
        await choose(page, label="label.team")
        summed = await usage(running, "--by", "label.team")
        groups = {group["label.team"] or "(none)": str(group["pages"]) for group in summed["groups"]}
        assert groups == {row[0]: row[2] for row in await cells(page, "by-label")}
        assert "?by=label.team" == await page.run("location.search")
        await choose(page, value="==blue")
        blue = next(group for group in summed["groups"] if group["label.team"] == "=blue")
        total = await totals(page)
        assert (str(blue["pages"]), str(blue["cost_usd"])) == (total["Pages"], total["Cost"])
        small = "[...new Set([...document.querySelectorAll('#latest-table small')].map((each) => each.textContent))]"
        assert ["team: =blue"] == await page.run(small)
        where = await page.run("location.search")
        link = await page.run("document.getElementById('csv').href")
        async with aiohttp.ClientSession() as session, session.get(link) as answer:
            lines = (await answer.text()).splitlines()
        assert "day,client,label.team,route,model,requests" == ",".join(lines[0].split(",")[:6])
        assert {"'=blue"} == {line.split(",")[2] for line in lines[1:]}
        await page.open(url + where)
        await page.until(LOADED)
        assert ["label.team", "==blue"] == await page.run("[label.value, value.value]")
        assert str(blue["cost_usd"]) == (await totals(page))["Cost"]
        await choose(page, label="label.cost-centre")
        assert "*" == await page.run("value.value")
        assert str(summed["total"]["cost_usd"]) == (await totals(page))["Cost"]


async def test_what_has_no_price_is_not_free(tmp_path: Path) -> None:
    """A model without a price has no cost there, but how many answers lack it."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        shown = await page.run(
            """Object.fromEntries([...document.querySelectorAll('#by-model tbody tr')].map(({cells}) =>
                [cells[0].textContent, [...cells].at(-1).textContent]))"""
        )
        assert "1 unpriced" == shown["unheard-of"]


async def test_a_budget_that_is_closed_says_by_what(tmp_path: Path) -> None:
    """One that refuses for what has no price comes first, however little is spent, with what that is."""
    lacking = booked("invoices", at=datetime.now(UTC).timestamp(), pages=1, cost_nano=None, model="gpt-5")
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append([replace(lacking, sandbox=True)])
    two = "budget: [{pages: 400, per: month}, {usd: 5, per: month, unpriced: refuse}]"
    routes = ROUTES.replace("budget: {pages: 400, per: month}", two)
    async with dashboard(tmp_path, routes=routes, filled=False) as (page, _, url):
        async with aiohttp.ClientSession() as session, session.get(f"{url}budgets") as answer:
            (why,) = {budget["unpriced"] for budget in (await answer.json())["budgets"]} - {None}
        assert "model 'gpt-5'" in why
        await page.open(url)
        await page.until(LOADED)
        assert ["0 %, closed", "0.2 %"] == [row[1] for row in await cells(page, "budget-table")]
        assert [why] == [
            text.removeprefix("no price: ")
            for text in await page.run("[...document.querySelectorAll('#budget-table .lack')].map((each) => each.textContent)")
        ]


async def test_estimates_are_shown_apart(tmp_path: Path) -> None:
    """What was paid and is not known has figures of its own, beside those that are; refused requests say how many they are."""
    now = datetime.now(UTC).timestamp()
    lost = exchange("invoices", at=now - 2)
    lost.status = None
    refused = exchange("invoices", at=now - 1)
    refused.status, refused.outcome, refused.error, refused.attempts = 429, Outcome.REFUSED, "rate_limited", 0
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append([booked(at=now - 3, pages=3, cost_nano=12_000_000)])
    async with dashboard(tmp_path, filled=False) as (page, running, url):
        await page.open(url)
        assert "Estimated pages" not in await totals(page)
        with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
            guessed = replace(entry(lost, NOTHING), unmetered="cancelled", estimated_pages=1200, estimated_nano=4_800_000_001)
            ledger.append([guessed, replace(entry(refused, NOTHING), requests=15_000)])
        await page.until("document.querySelectorAll('#latest-table tbody tr').length === 3")
        shown = await totals(page)
        assert ("3", "0.012", "1200", "4.800000001", "15002") == tuple(
            shown[head] for head in ("Pages", "Cost", "Estimated pages", "Estimated cost", "Requests")
        )
        small = "[...document.querySelectorAll('%s small')].map((each) => each.textContent)"
        assert "estimated: 1,200 pages, $4.80" in await page.run(small % "#by-client")
        latest = await page.run(small % "#latest-table")
        assert {"estimated: 1,200 pages, $4.80", "15,000 requests"} <= set(latest)
        (total,) = [(await usage(running))["total"]]
        assert (1200, "4.800000001") == (total["estimated_pages"], total["estimated_usd"])


async def test_text_of_outside_is_text(tmp_path: Path) -> None:
    """A label that is markup is shown as it is; nothing of it runs, and no element is made of it."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        await choose(page, period="all")
        assert SCRIPT in [row[0] for row in await cells(page, "by-label")]
        assert "passthrough: pages and cost" == await page.run("document.title")
        assert 0 == await page.run("document.querySelectorAll('main script, main img').length")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1400])
async def test_nothing_hangs_out(tmp_path: Path, width: int, scheme: str) -> None:
    """On a phone, a tablet and a desk nothing is scrolled sideways, long names and all tables open; in the dark it is dark."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.size(width, scheme=scheme)
        await page.open(url)
        await page.until(LOADED)
        await choose(page, period="all")
        await page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert width == await page.run("Math.max(document.documentElement.scrollWidth, document.documentElement.clientWidth)")
        out = """[...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
                 .filter((each) => !each.closest('.hidden, caption, thead')).map((each) => each.outerHTML.slice(0, 120))"""
        assert [] == await page.run(out)
        ground = await page.run("getComputedStyle(document.documentElement).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3 > 128
        assert (scheme == "light") == bright
        assert 2 == await page.run("document.querySelectorAll('.chart canvas').length")


@pytest.mark.parametrize("width", [360, 400, 768, 1300])
async def test_figures_and_codes_are_whole(tmp_path: Path, width: int) -> None:
    """No line ends within a figure, a status, or the code that stands below it, however narrow the window is."""
    refused = exchange("invoices", at=datetime.now(UTC).timestamp())
    refused.status, refused.outcome, refused.error, refused.attempts = 429, Outcome.REFUSED, "budget_unpriced", 0
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append([entry(refused, NOTHING)])
    async with dashboard(tmp_path) as (page, _, url):
        await page.size(width)
        await page.open(url)
        await page.until(LOADED)
        words = """(() => {
            const broken = [], seen = [];
            for (const place of document.querySelectorAll('dd, td.number, .code, .good, .bad')) {
                const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
                while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {
                    const range = document.createRange();
                    range.setStart(texts.currentNode, word.index);
                    range.setEnd(texts.currentNode, word.index + word[0].length);
                    seen.push(word[0]);
                    if (new Set([...range.getClientRects()].map((line) => line.top)).size > 1) broken.push(word[0]);
                }
            }
            return [seen, broken];
        })()"""
        seen, broken = await page.run(words)
        assert {"budget_unpriced", "$123,456,789.01"} <= set(seen)
        assert [] == broken


async def test_it_is_used_by_keyboard(tmp_path: Path) -> None:
    """Tab goes through every control in order, each with a name and a visible focus; keys choose, and Enter clears."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        reached = []
        for _ in range(8):
            await page.press("Tab", 9)
            reached.append(await page.run("document.activeElement.id || document.activeElement.className"))
            assert "none" != await page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert ["skip", "period", "client", "model", "route", "value", "clear", "csv"] == reached
        await page.run("document.getElementById('client').focus()")
        await page.press("a", 65, text="a")
        await page.until("document.getElementById('client').value === '=archive' && location.search === '?client=archive'")
        await page.run("document.getElementById('clear').focus()")
        await page.press("Enter", 13, text="\r")
        await page.until("document.getElementById('client').value === '*' && location.search === ''")


async def test_it_is_heard(tmp_path: Path) -> None:
    """Landmarks, names of controls and tables, heads of columns and rows, and polite news are in the accessibility tree."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        await page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
        assert {"banner", "main", "contentinfo", "search", "status"} <= {role for role, _ in found}
        assert {"Period", "Client", "Model", "Route"} <= {name.strip() for role, name in found if role == "combobox"}
        tables = {name for role, name in found if role == "table"}
        assert {"Pages and cost by day", "Pages and cost by client", "The latest exchanges, newest first"} <= tables
        assert {"Pages", "USD", "Requests"} <= {name for role, name in found if role == "columnheader"}
        assert "archive" in {name for role, name in found if role == "rowheader"}
        assert all(name for role, name in found if role in {"button", "link", "combobox", "heading", "table"})
        assert "polite" == await page.run("document.getElementById('news').getAttribute('aria-live')")


async def test_it_is_live(tmp_path: Path) -> None:
    """Nothing yet says what to do; a request appears by itself, with what it cost, its budget, and a word for who listens."""
    async with dashboard(tmp_path, filled=False) as (page, running, url):
        await page.open(url)
        await page.until(f"{LOADED} && !document.getElementById('empty').hidden")
        assert await page.run("document.getElementById('figures').hidden")
        assert "curl" in await page.run("document.getElementById('empty').textContent")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            form = aiohttp.FormData({"purpose": "ocr"})
            form.add_field("file", pdf(5), filename="five.pdf")
            async with session.post(f"{running.url}/mistral/v1/files", data=form) as answer:
                file = (await answer.json())["id"]
            asked = {"model": "mistral-ocr-latest", "document": {"type": "file", "file_id": file}}
            async with session.post(f"{running.url}/mistral/v1/ocr", json=asked) as answer:
                assert 200 == answer.status
        await page.until(
            "document.querySelector('#total dd')?.textContent.length > 0 && !document.getElementById('figures').hidden"
        )
        await page.until("/new exchange/.test(document.getElementById('news').textContent)")
        await page.until("[...document.querySelectorAll('#total dd')].some((each) => each.textContent === '5')")
        assert "sandbox" in await page.run("document.getElementById('note').textContent")
        (budget,) = await cells(page, "budget-table")
        assert ["client invoices", "5", "400"] == [budget[place] for place in (0, 2, 3)]


async def test_a_ledger_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Why, and the cure, are said in words, beside what is known without the ledger."""
    await asyncio.to_thread((tmp_path / "passthrough.db").write_bytes, b"this is no database" * 400)
    async with dashboard(tmp_path, filled=False) as (page, _, url):
        await page.open(url)
        await page.until("/passthrough.db is not an? .*move that one away/.test(document.getElementById('trouble').textContent)")
        assert "alert" == await page.run("document.getElementById('trouble').getAttribute('role')")
        await page.until("document.getElementById('health').textContent === 'degraded'")
        assert "ledger" in [text.partition(":")[0] for text in await attention(page)]
        page.errors.clear()  # the browser's own words for answers that were errors


async def test_a_program_that_is_gone_is_said(tmp_path: Path) -> None:
    """What was shown stays, and that nobody answers any more is said."""
    async with dashboard(tmp_path) as (page, running, url):
        await page.open(url)
        await page.until(LOADED)
        assert 0 == await running.stop()
        await page.until("/does not answer/.test(document.getElementById('trouble').textContent)")
        assert not await page.run("document.getElementById('figures').hidden")
        assert ["pill gone", "gone"] == await page.run("[health.className, health.textContent]")
        assert re.fullmatch(r"Last answer at \d\d:\d\d:\d\dZ", await page.run("updated.textContent"))
        page.errors.clear()  # likewise


async def test_the_admin_key_opens_it(tmp_path: Path) -> None:
    """Off loopback the browser asks for the password, and sends it with every question; a wrong one is said in words."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append(list(history()))
        digest = [sha256(KEY.encode()).digest()]
        shown = AdminView(Health(phase=Phase.READY), ledger, lambda: [()], tuple, lambda: digest[0])
        async with TestServer(app(shown, on_loopback=False)) as server, browser() as page:
            await page.open(f"http://admin:{KEY}@127.0.0.1:{server.port}/", f"http://127.0.0.1:{server.port}/")
            await page.until(f"{LOADED} && !document.getElementById('figures').hidden")
            assert [] == page.errors
            await page.know_no_password()
            digest[0] = sha256(b"another key").digest()
            await page.until("/admin key is needed/.test(document.getElementById('trouble').textContent)")


POOL = """\
model_list:
  - {model_name: mistral-ocr, litellm_params: {model: mistral/mistral-ocr-latest, api_key: canary-of-mistral-0123456789}}
  - model_name: mistral-ocr
    litellm_params: {model: azure_ai/mistral-document-ai-2512, api_key: canary-of-azure-012345678, api_base: "https://x.example"}
"""


async def test_pools_are_shown(tmp_path: Path) -> None:
    """Each deployment with its share and its state; without a model_list there is no such table."""
    async with dashboard(tmp_path, routes=ROUTES + POOL) as (page, running, url):
        body = {"model": "mistral-ocr", "document": {"document_url": data_uri(pdf(2))}}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            for _ in range(4):
                async with session.post(f"http://127.0.0.1:{running.port}/v1/ocr", json=body) as answer:
                    assert 200 == answer.status
        await page.open(url)
        await page.until(LOADED)
        rows = await cells(page, "pool-table")
        assert ["mistral/mistral-ocr-latest", "azure_ai/mistral-document-ai-2512"] == [row[0] for row in rows]
        assert 4 == sum(int(row[3]) for row in rows)
        assert 100 == sum(float(row[1].removesuffix(" %")) for row in rows)
        assert {"up"} == {row[2] for row in rows}


TARGETS = """\
  - path: /keys
    include_subpath: true
    targets:
      - {target: https://api.mistral.ai, headers: {Authorization: key of a}}
      - {target: https://api.mistral.ai, headers: {Authorization: key of b}, weight: 0, id: "<b>b</b>"}
"""


async def test_targets_of_an_endpoint_are_shown(tmp_path: Path) -> None:
    """Below the models' deployments, each with its endpoint's path and its share of that; exchanges name the target."""
    before, _, behind = ROUTES.partition("client_keys")
    async with dashboard(tmp_path, routes=f"{before}{TARGETS}client_keys{behind}{POOL}") as (page, running, url):
        body = {"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": data_uri(pdf(2))}}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            for _ in range(3):
                async with session.post(f"http://127.0.0.1:{running.port}/keys/v1/ocr", json=body) as answer:
                    assert 200 == answer.status
        await page.open(url)
        await page.until(LOADED)
        rows = await cells(page, "pool-table")
        assert ["mistral/mistral-ocr-latest", "azure_ai/mistral-document-ai-2512", "/keys#1", "<b>b</b>"] == [
            row[0] for row in rows
        ]
        assert [("0.0 %", "0"), ("0.0 %", "0"), ("100.0 %", "3"), ("0.0 %", "0")] == [(row[1], row[3]) for row in rows]
        assert "/keys at sandbox" in await page.run("document.getElementById('pool-table').innerText")
        assert "/keys#1" in await page.run("document.getElementById('latest-table').innerText")


async def test_without_a_pool_nothing_is_said_of_pools(tmp_path: Path) -> None:
    """Most users have none."""
    async with dashboard(tmp_path) as (page, _, url):
        await page.open(url)
        await page.until(LOADED)
        assert await page.run("document.getElementById('pools').hidden")
