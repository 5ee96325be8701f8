"""What /metrics can export: every metric with its labels, made once with all kinds of entries."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from prometheus_client.parser import text_string_to_metric_families

from passthrough.accounting.budget import Budget, Per, Scope, Unit
from passthrough.accounting.entry import Charge
from passthrough.admin.budget_status import BudgetStatus
from passthrough.admin.deployment_status import DeploymentStatus
from passthrough.admin.exposition import exposition
from passthrough.admin.gauges import READINGS, Gauges, Reloads
from passthrough.admin.health import Health
from passthrough.admin.metrics import Metrics
from passthrough.credentials.token_source import TokenReading
from passthrough.exchange import Outcome
from tests.harness.entries import booked


@cache
def exported() -> dict[str, set[str]]:
    """Return every metric that there can be, by the name of its series, with its labels."""
    metrics = Metrics()
    used = Charge("m", 1, 1, tokens_in=1, tokens_out=1, tokens_cached=1)
    failed = replace(booked(), charges=(used,), error="upstream_broke", unmetered="no_usage", overhead_s=0.1, estimated_pages=1)
    failed = replace(failed, deployment="d", model_group="m")
    entries = [failed, replace(booked(), error="invalid_key", outcome=str(Outcome.REFUSED))]
    for each in entries:
        metrics.ended(each)
    metrics.booked(entries)
    standing = BudgetStatus(Budget(Scope("all"), Unit.PAGES, Per.DAY, 1), 0, 0, 0.0)
    readings = dict.fromkeys(READINGS, lambda: 1.0)
    deployment = DeploymentStatus("m", "d", "mistral", "h", 1, 1.0, 0, {"answered": 1}, {"429": 1})
    reading = TokenReading("Google", 1, 1, 1.0, None)
    gauges = Gauges(
        readings,
        Health({"ledger": lambda: None}),
        Reloads(),
        lambda: [standing],
        lambda: [deployment],
        lambda: {"ok": 1},
        lambda: [reading],
    )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition([[*metrics.families(), *gauges.families()]]).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found
