"""The dashboard of a running program in a real browser: what it shows, and what a person does with it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.meter.usage import NOTHING
from tests.harness.browser import Page, browser
from tests.harness.entries import booked, exchange
from tests.harness.process import Program, program

SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
KEY = "canary-of-invoices-0123456789"
ROUTES = f"""\
pass_through_endpoints:
  - {{path: /mistral, target: https://api.mistral.ai, include_subpath: true}}
client_keys:
  - {{name: invoices, key: {KEY}, budget: {{pages: 400, per: month}}}}
"""
LOADED = "Number(document.body.dataset.round) > 0"


def history() -> Iterator[Entry]:
    """Yield entries of the last days: clients, models, labels that would be markup, what failed, was dear or not counted."""
    now = datetime.now(UTC).timestamp()
    for number in range(60):
        at = now - number * 40_000
        client = ("invoices", "archive", None)[number % 3]
        model = ("mistral-ocr-2512", "azure/mistral-document-ai-2512")[number % 2]
        made = booked(client, at=at, pages=number + 1, cost_nano=(number + 1) * 4_000_000 + 1, model=model)
        yield replace(made, label=(None, SCRIPT, "team@example.com" * 5)[number % 3])
    yield booked("archive", at=now - 86400, pages=1, cost_nano=123_456_789_012_345_678, model="dear")
    yield replace(booked("archive", at=now - 1), charges=(Charge("chat", tokens_in=900, tokens_out=80, cost_nano=7),))
    yield booked("archive", at=now - 2, cost_nano=None, model="unheard-of")
    failed = exchange("invoices", at=now - 3)
    failed.status, failed.error = 502, "upstream_broke"
    yield replace(entry(failed, NOTHING), unmetered="no_usage")


@asynccontextmanager
async def dashboard(
    folder: Path, *, routes: str = ROUTES, filled: bool = True, entries: Iterable[Entry] = ()
) -> AsyncIterator[tuple[Page, Program, str]]:
    """Run the program with a ledger, and the browser; at the end the page's console must be without an error.

    The ledger holds `entries` or, where there are none and it is `filled`, those of history().
    """
    held = list(entries) or (list(history()) if filled else [])
    if held:
        with closing(Ledger.open(f"sqlite:///{folder}/passthrough.db")) as ledger:
            ledger.append(held)
    async with program(folder, routes, "--sandbox") as running, browser() as page:
        await page.size(1400)
        yield page, running, f"http://127.0.0.1:{running.admin_port}/"
        assert [] == page.errors
        assert 0 == await running.stop()


async def usage(running: Program, *flags: str) -> dict[str, Any]:
    """Return what `passthrough usage --format json` prints; costs are the text that stands there."""
    code, out, err = await running.command("usage", "--format", "json", *flags)
    assert 0 == code, err
    found: dict[str, Any] = json.loads(out, parse_float=str)
    return found


def plain(shown: str) -> str:
    """Return a figure as it came: without the dollar, commas, and the zeros that align a column."""
    digits = shown.replace(",", "").removeprefix("$")
    return re.sub(r"\.?0+$", "", digits) if "." in digits else digits


async def cells(page: Page, place: str) -> list[list[str]]:
    """Return the texts of a table, row by row, without what is small in them; money is exact."""
    return await page.run(
        f"""[...document.querySelectorAll('#{place} tbody tr')].map((row) => [...row.children].map((cell) => {{
            const copy = cell.cloneNode(true);
            copy.querySelectorAll('small, .bar').forEach((part) => part.remove());
            copy.querySelectorAll('data').forEach((part) => part.replaceWith(part.value));
            return copy.textContent;
        }}))"""
    )


async def totals(page: Page) -> dict[str, str]:
    """Return the figures at the top, by their head; money is exact."""
    pairs = await page.run(
        """[...document.querySelectorAll('#total div')].map((each) =>
            [each.querySelector('dt').textContent,
             each.querySelector('dd data')?.value ?? each.querySelector('dd').textContent])"""
    )
    return {head: plain(value) for head, value in pairs}


async def attention(page: Page) -> list[str]:
    """Return what needs a person, as the page says it."""
    return await page.run("[...document.querySelectorAll('#attention-list a')].map((each) => each.textContent)")


async def act(page: Page, script: str) -> None:
    """Do something in the page that asks for other figures, and wait for them."""
    before = await page.run("Number(document.body.dataset.round)")
    await page.run(script)
    await page.until(f"Number(document.body.dataset.round) > {before}")


async def choose(page: Page, **chosen: str) -> None:
    """Choose in the filters as a person does, and wait for the figures."""
    before = await page.run("Number(document.body.dataset.round)")
    for name, value in chosen.items():
        await page.run(
            f"""(() => {{ const select = document.getElementById('{name}'); select.value = {json.dumps(value)};
                select.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"""
        )
    await page.until(f"Number(document.body.dataset.round) >= {before + len(chosen)}")
