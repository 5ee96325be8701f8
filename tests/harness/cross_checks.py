"""What the books say of traffic, on every way that they can be asked, beside what its generator says."""

from __future__ import annotations

import csv
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from passthrough.accounting.ledger.ledger import Ledger
from tests.harness.expected_bills import FIGURES, KEYS, Key, Tally
from tests.harness.process import command
from tests.harness.traffic import BEGINS, CLIENTS

_SHOWN: Final = (
    *("requests", "pages", "pages_annotated", "cost_nano", "unmetered", "unpriced", "tokens_in", "tokens_out", "tokens_cached"),
)
Grouping = tuple[str, ...]
TIMELESS: Final[tuple[Grouping, ...]] = (
    *(("client",), ("model",), ("label",), ("route",), ("label.team",)),
    *(("client", "model"), ("label", "route"), ("model", "label.team")),
)
"""What can be compared where nobody knows when an exchange begins, nor what a client that leaves was sent."""
ALL: Final[tuple[Grouping, ...]] = (*TIMELESS, ("day",), ("status",), ("model", "day"), ("client", "model", "day"))

Ask = Callable[[str], Awaitable[str]]
"""Gets a path of the admin port."""


def check_ledger(tally: Tally, url: str) -> None:
    """See that the ledger's own sums are the generator's, in every grouping."""
    groupings = [(*names, "sandbox") for names in ((), *ALL, ("target",), ("priced_as",))]
    with closing(Ledger.open(url, read_only=True)) as ledger:
        found = ledger.sums(*groupings)
    for names, rows in zip(groupings, found, strict=True):
        same(
            tally.by(*names),
            {(*row.key[:-1], bool(row.key[-1])): tuple(getattr(row, name) for name in FIGURES) for row in rows},
            names,
        )


async def check_command(tally: Tally, folder: Path, *ledger: str, groupings: tuple[Grouping, ...]) -> None:
    """See that `passthrough usage --format json` says the same."""
    for names in groupings:
        code, out, err = await command(folder, "usage", *ledger, "--by", ",".join(names), "--format", "json")
        assert 0 == code, err
        said = _parsed(out)
        same(tally.by(*_priced(names), figures=_SHOWN, sandbox=False), _groups(said, names), names)
        same(tally.by(figures=_SHOWN, sandbox=False), {(): _cells(said["total"])}, "total")


async def check_dashboard(tally: Tally, ask: Ask, groupings: tuple[Grouping, ...] = ALL) -> None:
    """See that what the dashboard draws says the same, also narrowed to one client."""
    for names in groupings:
        said = _parsed(await ask(f"/usage?by={','.join(names)}"))
        same(tally.by(*_priced(names), figures=_SHOWN, sandbox=False), _groups(said, names), names)
    for client in CLIENTS:
        said = _parsed(await ask(f"/usage?by=model&client={client}"))
        same(tally.by("priced_as", figures=_SHOWN, sandbox=False, client=client), _groups(said, ("model",)), client)


async def check_edges(tally: Tally, ask: Ask) -> None:
    """See that a period that begins and ends at noon is summed up to the same."""
    days = [(BEGINS.timestamp() + day * 86400) for day in (2, 23)]
    since, until = (time.strftime("%Y-%m-%d", time.gmtime(day)) for day in days)
    between = {time.strftime("%Y-%m-%d", time.gmtime(day)) for day in range(int(days[0]) + 86400, int(days[1]), 86400)}
    found: dict[Key, list[int]] = defaultdict(lambda: [0] * len(_SHOWN))
    for part in ({"day": since, "half": "pm"}, {"day": between}, {"day": until, "half": "am"}):
        for key, figures in tally.by("client", figures=_SHOWN, sandbox=False, **part).items():
            found[key] = [one + other for one, other in zip(found[key], figures, strict=True)]
    said = _parsed(await ask(f"/usage?by=client&since={since}T12:00Z&until={until}T12:00Z"))
    same({key: tuple(figures) for key, figures in found.items()}, _groups(said, ("client",)), "edges")


async def check_metrics(tally: Tally, ask: Ask) -> None:
    """See that /metrics counted the same, by client, route and model."""
    found: dict[str, dict[Key, float]] = defaultdict(dict)
    plain: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(await ask("/metrics")):
        for sample in family.samples:
            plain[sample.name] += sample.value
            if sample.name == "passthrough_unmetered_total":
                plain[sample.labels["reason"]] += sample.value
            if "model" in sample.labels and "direction" not in sample.labels:
                key = tuple(sample.labels[name] for name in ("client", "route", "model", "sandbox"))
                found[sample.name][key] = sample.value
    by = {"passthrough_pages_total": "pages", "passthrough_pages_annotated_total": "pages_annotated"}
    for name, figure in (*by.items(), ("passthrough_cost_usd_total", "cost_nano")):
        unit = 10**9 if figure == "cost_nano" else 1
        wanted = tally.by("client", "route", "model", "sandbox", figures=(figure,))
        texts = {(*(value or "" for value in key[:3]), str(key[3]).lower()): value for key, (value,) in wanted.items() if value}
        same(texts, {key: round(value * unit) for key, value in found[name].items() if value}, name)
    ((requests,),) = tally.by(figures=("requests",)).values()
    assert requests + tally.refused == plain["passthrough_requests_total"]
    assert (tally.refused, tally.charges) == (plain["passthrough_refusals_total"], plain["passthrough_charges_total"])
    same(dict(tally.reasons), {reason: int(plain[reason]) for reason in tally.reasons}, "reasons")


async def check_export(tally: Tally, folder: Path, *ledger: str, names: Grouping = ("client", "model", "day", "sandbox")) -> int:
    """See that the exported rows sum up to the same, each line of a batch once; return how many rows there are."""
    file = folder / "entries.csv"
    code, _, err = await command(folder, "usage", *ledger, "--export", str(file), "--sandbox", "include")
    assert 0 == code, err
    sums: dict[Key, list[int]] = defaultdict(lambda: [0] * 4)
    ids, lines, rows = set[str](), list[tuple[str, str]](), 0
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            rows += 1
            ids.add(row["id"])
            if row["line"]:
                assert "true" == row["in_batch"]
                lines.append((row["account"], row["line"]))
            key = row | {"model": row["model"] or None, "day": row["time"][:10], "sandbox": row["sandbox"] == "true"}
            key["label"] = row["label"].removeprefix("'") or None  # before what a spreadsheet would take for a formula
            found = sums[tuple(key[name] for name in names)]
            cost = int(Decimal(row["cost_usd"] or 0) * 10**9)
            counted = (int(row["pages"] or 0), int(row["pages_annotated"] or 0), cost, int(row["tokens_in"] or 0))
            for place, value in enumerate(counted):
                found[place] += value
    figures = ("pages", "pages_annotated", "cost_nano", "tokens_in")
    same(tally.by(*names, figures=figures), {key: tuple(found) for key, found in sums.items()}, "export")
    ((requests,),) = tally.by(figures=("requests",)).values()
    assert (requests, len(tally.lines)) == (len(ids), len(lines))
    assert len(lines) == len(set(lines))
    return rows


async def check_statement(tally: Tally, folder: Path, *ledger: str) -> None:
    """See that the statements of all months say the same, by client and by team, and have every reason."""
    figures = (*_SHOWN[:3], "cost_usd", *_SHOWN[4:])
    all_days = {str(key[KEYS.index("day")]) for key in tally.rows}
    reasons: dict[str, int] = defaultdict(int)
    for month in sorted({day[:7] for day in all_days}):
        days = {day for day in all_days if day.startswith(month)}
        for by, sandbox in (("client", "exclude"), ("label.team", "exclude"), ("client", "include")):
            flags = ("--month", month, "--by", by, "--sandbox", sandbox, "--format", "csv")
            code, out, err = await command(folder, "report", *ledger, *flags)
            assert 0 == code, err
            found: dict[Key, list[int]] = defaultdict(lambda: [0] * len(figures))
            for row in csv.DictReader(out.splitlines()):
                if row["row"] == "model":
                    exact = row | {"cost_usd": Decimal(row["cost_usd"]) * 10**9}
                    sums = found[row[by].removeprefix("'") or None,]
                    sums[:] = [summed + int(exact[name]) for summed, name in zip(sums, figures, strict=True)]
                elif row["row"] == "reason" and sandbox == "include":
                    reasons[row["name"]] += int(row["count"])
            real = {} if sandbox == "include" else {"sandbox": False}
            wanted = tally.by(by, figures=_SHOWN, day=days, **real)
            same(wanted, {key: tuple(sums) for key, sums in found.items()}, (month, by, sandbox))
    wanted_reasons = tally.reasons | {"unpriced": tally.reasons["unpriced"] - tally.unpriced_again}
    same(wanted_reasons, dict(reasons), "reasons of statements")


def same(wanted: dict[Any, Any], found: dict[Any, Any], what: object) -> None:
    """Raise AssertionError with the first of the differences."""
    nothing = {key for key, value in wanted.items() if not any(value if isinstance(value, tuple) else (value,))} - found.keys()
    differ = {key for key in {*wanted, *found} - nothing if wanted.get(key) != found.get(key)}
    first = [(key, wanted.get(key), found.get(key)) for key in sorted(differ, key=str)[:5]]
    assert not differ, f"{what}: {len(differ)} of {len(wanted)} differ: key, wanted, found: {first}"


def _priced(names: Grouping) -> Grouping:
    """Return the keys under which reports sum up: models have the names that are priced."""
    return tuple("priced_as" if name == "model" else name for name in names)


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def _groups(said: Any, names: tuple[str, ...]) -> dict[Key, tuple[int, ...]]:
    return {tuple(group[name] for name in names): _cells(group) for group in said["groups"]}


def _cells(said: Any) -> tuple[int, ...]:
    exact = {"cost_nano": int(Decimal(said["cost_usd"]) * 10**9)}
    return tuple(int(said[name]) if name in said else exact.get(name, 0) for name in _SHOWN)
