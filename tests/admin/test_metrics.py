"""Metrics: what was booked and the instance's state, for Prometheus; labels are bounded, several processes are summed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from passthrough.accounting.budget import Budget, Per, Scope, Unit
from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.admin.budget_status import BudgetStatus
from passthrough.admin.deployment_status import DeploymentStatus
from passthrough.admin.exposition import exposition
from passthrough.admin.gauges import READINGS, Gauges, Reloads
from passthrough.admin.health import Health, Phase
from passthrough.admin.metrics import MAX_MODELS, OTHER, Metrics
from passthrough.credentials.token_source import TokenReading
from passthrough.exchange import Outcome
from passthrough.meter.usage import NOTHING, Unmetered
from tests.harness.documents import pdf
from tests.harness.entries import booked, exchange
from tests.harness.process import program
from tests.harness.waiting import eventually

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    """Return what a Prometheus server would read, by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Samples, name: str, /, **labels: str) -> float:
    """Return the sum of all samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(number for (each, has), number in found.items() if each == name and wanted <= has)


def of(metrics: Metrics, entries: Iterable[Entry] = ()) -> Samples:
    """Return what is exported after entries have ended and were booked."""
    entries = list(entries)
    for each in entries:
        metrics.ended(each)
    metrics.booked(entries)
    return samples(exposition([metrics.families()]))


def refusal(code: str) -> Entry:
    """Return the entry of a request that was refused."""
    made = exchange("invoices")
    made.status, made.outcome, made.error = 429, Outcome.REFUSED, code
    made.first_byte_s, made.total_s = 0.001, 0.001
    return entry(made, NOTHING)


def test_requests_by_what_became_of_them() -> None:
    """Each that has ended is one, by route, client, class of status, outcome and sandbox."""
    gone = replace(booked("archive"), status=None, outcome=str(Outcome.CLIENT_GONE))
    found = of(Metrics(), [booked(), booked(), replace(booked(), status=404), gone, booked(sandbox=True)])
    kinds = [("invoices", "2xx", "false", 2), ("invoices", "4xx", "false", 1), ("invoices", "2xx", "true", 1)]
    for client, status, sandbox, count in kinds:
        assert count == value(found, "passthrough_requests_total", client=client, status=status, sandbox=sandbox)
    assert 1 == value(found, "passthrough_requests_total", client="archive", status="none", outcome="client_gone")
    assert 5 == value(found, "passthrough_requests_total", route="/mistral")


def test_refusals_failures_and_what_was_not_counted_are_told_apart() -> None:
    """A refusal is not the upstream's fault, and neither is a page that was not counted; refusals are in no latency."""
    broke = replace(booked(), status=502, error="upstream_broke", outcome=str(Outcome.UPSTREAM_FAILED), total_s=3.0)
    unread = replace(booked(), unmetered=str(Unmetered.NO_USAGE))
    found = of(Metrics(), [refusal("budget_spent"), refusal("budget_spent"), refusal("invalid_key"), broke, unread])
    assert 2 == value(found, "passthrough_refusals_total", code="budget_spent", client="invoices", route="/mistral")
    assert 3 == value(found, "passthrough_refusals_total")
    assert 1 == value(found, "passthrough_failures_total", code="upstream_broke") == value(found, "passthrough_failures_total")
    assert 1 == value(found, "passthrough_unmetered_total", reason="no_usage") == value(found, "passthrough_unmetered_total")
    assert 2 == value(found, "passthrough_request_seconds_count")


def test_what_is_answered_here_takes_no_time() -> None:
    """A browser's preflight is a request, but says nothing of a target."""
    made = exchange(None)
    made.method, made.status, made.target, made.outcome = "OPTIONS", 204, None, Outcome.COMPLETED
    found = of(Metrics(), [entry(made, NOTHING)])
    assert 1 == value(found, "passthrough_requests_total", status="2xx", outcome="completed")
    assert 0 == value(found, "passthrough_request_seconds_count")


def test_times_and_bytes() -> None:
    """Histograms of seconds and sums of bytes, by route; a bucket holds what took up to its bound."""
    took = replace(booked(), first_byte_s=0.2, total_s=7.0, overhead_s=0.00015, bytes_up=1000, bytes_down=20)
    found = of(Metrics(), [took, took])
    assert 14.0 == value(found, "passthrough_request_seconds_sum", route="/mistral")
    for name, below, within in (
        ("passthrough_first_byte_seconds", "0.1", "0.25"),
        ("passthrough_request_seconds", "4.0", "8.0"),
        ("passthrough_overhead_seconds", "0.0001", "0.0002"),
    ):
        counts = [value(found, f"{name}_bucket", le=bound) for bound in (below, within, "+Inf")]
        assert [0, 2, 2] == counts
    assert 2000 == value(found, "passthrough_body_bytes_total", direction="up")
    assert 40 == value(found, "passthrough_body_bytes_total", direction="down")


def test_what_was_used_agrees_with_an_independent_sum() -> None:
    """Pages, tokens and cost of random entries, to the page and to the nano-dollar; without a price it is nothing."""
    rnd = random.Random(4)
    models = ["mistral-ocr-2512", "mistral-small", None]
    entries, sums = [], dict.fromkeys((*models, "cost"), 0)
    for _ in range(2000):
        charges = []
        for line in range(rnd.choice((0, 1, 1, 3))):
            model, pages, cost = rnd.choice(models), rnd.randrange(50), rnd.choice((None, rnd.randrange(10**9)))
            charges.append(Charge(model, pages, 2, tokens_in=7, tokens_out=1, tokens_cached=3, cost_nano=cost, line=str(line)))
            sums[model] += pages
            sums["cost"] += cost or 0
        entries.append(replace(booked(rnd.choice(("invoices", "archive"))), charges=tuple(charges)))
    found = of(Metrics(), entries)
    assert [sums[model] for model in models] == [value(found, "passthrough_pages_total", model=model or "") for model in models]
    count = sum(len(each.charges) for each in entries)
    assert count == value(found, "passthrough_charges_total")
    assert 2 * count == value(found, "passthrough_pages_annotated_total")
    assert (7 * count, count) == tuple(value(found, "passthrough_tokens_total", direction=way) for way in ("in", "out"))
    assert 3 * count == value(found, "passthrough_tokens_cached_total")
    assert sums["cost"] == round(value(found, "passthrough_cost_usd_total") * 10**9)


def test_models_are_bounded() -> None:
    """Whatever responses say, there are at most MAX_MODELS models, and one more for the rest: no page is lost."""
    metrics = Metrics()
    found = of(metrics, [booked(model=f"model-{number}", pages=1) for number in range(MAX_MODELS + 50)])
    named = {dict(labels)["model"] for name, labels in found if name == "passthrough_pages_total"}
    assert MAX_MODELS + 1 == len(named)
    assert 50 == value(found, "passthrough_pages_total", model=OTHER)
    again = of(metrics, [booked(model="model-0", pages=1)])
    assert 2 == value(again, "passthrough_pages_total", model="model-0")


@pytest.mark.parametrize("name", ['quote"d', "back\\slash", "ünï", "", "{}", "<script>"])
def test_names_are_what_they_are(name: str) -> None:
    """Text of outside stays in its label."""
    found = of(Metrics(), [booked(name or None, model=name or None)])
    assert 1 == value(found, "passthrough_pages_total", client=name, model=name)


def test_booking_in_another_thread_loses_nothing() -> None:
    """Charges come from the thread that writes the ledger, while metrics are read."""
    metrics, entries = Metrics(), [booked(pages=1) for _ in range(200)]
    threads = [Thread(target=lambda: [metrics.booked([each]) for each in entries]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        exposition([metrics.families()])
    assert 800 == value(samples(exposition([metrics.families()])), "passthrough_pages_total")


# ── the instance ──


def gauges(health: Health | None = None, **readings: float | None) -> Gauges:
    """Return the gauges of an instance with these readings and two budgets."""
    standings = [
        BudgetStatus(Budget(Scope("client", "invoices"), Unit.USD, Per.MONTH, 50 * 10**9), 25 * 10**9, 10**9, 1.8e9),
        BudgetStatus(Budget(Scope("all"), Unit.PAGES, Per.DAY, 0), 0, 0, 1.8e9),
    ]
    asked = {name: lambda number=number: number for name, number in readings.items()}
    return Gauges(asked, health or Health(), Reloads(good=3, failed=1, good_utc=1.7e9), lambda: standings)


def test_figures_of_the_house() -> None:
    """Every reading has its metric; what has no value is not there."""
    found = samples(exposition([gauges(**dict.fromkeys(READINGS, 7.0)).families()]))
    for row in READINGS.values():
        assert 7 == value(found, row.name + ("_total" if row.counts else ""))
    assert not [name for name, _ in samples(exposition([gauges(ledger_lag_s=None).families()])) if "lag" in name]


def test_troubles_reloads_and_budgets() -> None:
    """What /readyz says in words is a figure too; budgets are in their own unit, money in dollars."""
    health = Health({"ledger": lambda: "locked", "reload": lambda: None}, Phase.READY)
    found = samples(exposition([gauges(health).families()]))
    assert (1, 0) == tuple(value(found, "passthrough_degraded", part=part) for part in ("ledger", "reload"))
    assert (3, 1) == tuple(value(found, "passthrough_reloads_total", result=result) for result in ("good", "failed"))
    assert 1.7e9 == value(found, "passthrough_config_timestamp_seconds")
    labels = {"scope": "client", "name": "invoices", "unit": "usd", "per": "month"}
    figures = {"spent": 25, "reserved": 1, "limit": 50, "used_ratio": 0.5, "resets_timestamp_seconds": 1.8e9}
    assert figures == {name: value(found, f"passthrough_budget_{name}", **labels) for name in figures}
    assert 1 == value(found, "passthrough_budget_used_ratio", scope="all")
    assert 1 == value(found, "passthrough_build_info")


def test_processes_are_summed() -> None:
    """Counters, histograms and what each process has for itself are added up; of what all see alike, the largest counts."""
    one, two = Metrics(), Metrics()
    of(one, [replace(booked(pages=3), overhead_s=0.001)])
    of(two, [replace(booked(pages=4), overhead_s=0.004), booked("archive")])
    first, second = gauges(in_flight=2, ledger_lag_s=5.0), gauges(in_flight=3, ledger_lag_s=1.0)
    found = samples(exposition([[*one.families(), *first.families()], [*two.families(), *second.families()]]))
    assert 8 == value(found, "passthrough_pages_total")
    assert 2 == value(found, "passthrough_overhead_seconds_bucket", le="0.005")
    assert (5, 5) == (value(found, "passthrough_requests_in_flight"), value(found, "passthrough_ledger_lag_seconds"))
    assert (3, 25, 2) == tuple(
        value(found, name, **labels)
        for name, labels in (
            ("passthrough_reloads_total", {"result": "good"}),
            ("passthrough_budget_spent", {"scope": "client"}),
            ("passthrough_budget_reserved", {"scope": "client"}),
        )
    )


def test_requests_count_at_the_deployment_of_their_last_try() -> None:
    """By group, deployment, class of status and outcome; others are in no series. A target's group is its endpoint's path."""
    one = replace(booked(pages=1), deployment="a", model_group="m")
    target = replace(one, deployment="/mistral#1", model_group=None)
    found = of(Metrics(), [one, one, replace(one, deployment="b", status=503), target, booked(pages=1)])
    name = "passthrough_deployment_requests_total"
    assert (2, 1, 1, 4) == (
        value(found, name, model_group="m", deployment="a", status="2xx", outcome="completed"),
        value(found, name, deployment="b", status="5xx"),
        value(found, name, model_group="/mistral", deployment="/mistral#1"),
        value(found, name),
    )


def test_deployments_have_series_of_their_own() -> None:
    """One that cools is down; what its tries came to is counted by outcome. Without a deployment there is no such series."""
    one = DeploymentStatus("m", "a", "mistral", "h", 1, 1.0, 3, {"answered": 5, "429": 2}, {"429": 1}, "429", 1.0)
    other = DeploymentStatus("m", "b", "azure_ai", "h", 1, 1.0, 0, {"answered": 4}, {})
    found = samples(exposition([Gauges({}, Health({}), Reloads(), deployments=lambda: [one, other]).families()]))
    assert {
        ("up", "a"): 0,
        ("up", "b"): 1,
        ("calls_in_flight", "a"): 3,
        ("tries_total", "a"): 7,
        ("tries_total", "b"): 4,
        ("cooldowns_total", "a"): 1,
    } == {
        (name, deployment): value(found, f"passthrough_deployment_{name}", deployment=deployment, model_group="m")
        for name, deployment in (
            *(("up", "a"), ("up", "b"), ("calls_in_flight", "a")),
            *(("tries_total", "a"), ("tries_total", "b"), ("cooldowns_total", "a")),
        )
    }
    assert [] == [name for name, _ in samples(exposition([gauges().families()])) if "deployment" in name]


def test_tokens_have_series_of_their_own() -> None:
    """By the identity's name; where none is good, its end is missing. Of several processes the fetches are summed."""
    good, none = TokenReading("a", 3, 1, 1.8e9, None), TokenReading("b", 0, 2, None, "away")
    families = [Gauges({}, Health({}), Reloads(), tokens=lambda: [good, none]).families() for _ in range(2)]
    found = samples(exposition(families))
    fetches, ends = "passthrough_credentials_fetches_total", "passthrough_credentials_end_timestamp_seconds"
    assert (6, 2, 4) == (
        value(found, fetches, identity="a", result="good"),
        value(found, fetches, identity="a", result="failed"),
        value(found, fetches, identity="b"),
    )
    assert {"a": 1.8e9} == {dict(labels)["identity"]: end for (name, labels), end in found.items() if name == ends}


# ── the program ──

ROUTES = """\
pass_through_endpoints:
  - {path: /mistral, target: https://api.mistral.ai, include_subpath: true}
client_keys:
  - {name: invoices, key: canary-of-invoices-0123456789, budget: {pages: 100, per: day}}
"""


@pytest.mark.process
async def test_the_program_counts_what_it_serves(tmp_path: Path) -> None:
    """Requests through the proxy, a refusal and a reload that failed are in /metrics, as they are in ledger and log."""
    async with program(tmp_path, ROUTES, "--sandbox") as running, aiohttp.ClientSession() as session:
        form = aiohttp.FormData({"purpose": "ocr"})
        form.add_field("file", pdf(3), filename="three.pdf")
        key = {"Authorization": "Bearer canary-of-invoices-0123456789"}
        async with session.post(f"{running.url}/mistral/v1/files", data=form, headers=key) as answer:
            file = (await answer.json())["id"]
        asked = {"model": "mistral-ocr-latest", "document": {"type": "file", "file_id": file}}
        async with session.post(f"{running.url}/mistral/v1/ocr", json=asked, headers=key) as answer:
            assert 3 == (await answer.json())["usage_info"]["pages_processed"]
        async with session.post(f"{running.url}/mistral/v1/ocr", json=asked) as answer:
            assert 401 == answer.status
        await asyncio.to_thread((tmp_path / "routes.yaml").write_text, ROUTES + "nonsense: 1\n")

        async def exported() -> Samples:
            async with session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as answer:
                assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["Content-Type"]
                return samples(await answer.read())

        def settled(found: Samples) -> bool:
            pages = value(found, "passthrough_pages_total", client="invoices", route="/mistral", sandbox="true")
            spent = value(found, "passthrough_budget_spent", scope="client", name="invoices", unit="pages", per="day")
            return pages == spent == 3 and value(found, "passthrough_reloads_total", result="failed") == 1

        found = await eventually(exported, settled)
        assert 1 == value(found, "passthrough_refusals_total", code="invalid_key")
        assert 3 == value(found, "passthrough_requests_total")
        assert 2 == value(found, "passthrough_requests_total", status="2xx", client="invoices")
        assert 1 == value(found, "passthrough_degraded", part="reload")
        assert 0 == value(found, "passthrough_requests_in_flight")
        assert (100, 0.03) == (value(found, "passthrough_budget_limit"), value(found, "passthrough_budget_used_ratio"))
        assert value(found, "passthrough_connections") >= 1
        lines = await running.logs(3)
        cost = sum(line["cost_usd"] or 0 for line in lines)
        assert cost == pytest.approx(value(found, "passthrough_cost_usd_total"))
        assert 0 == await running.stop()
