"""Prometheus beside the container: compose-prometheus.yaml on top of a composition, as its first lines say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.containers.client import Client, get
from tests.containers.podman import Podman, until
from tests.containers.report import Report
from tests.containers.single import Keys
from tests.harness.expressions import expressions, rules

PROMETHEUS: Final = "http://127.0.0.1:9090"
_COMPOSE: Final = "docker compose -f deploy/compose.yaml -f deploy/compose-prometheus.yaml"
_REPLICAS: Final = "docker compose -f deploy/compose-replicas.yaml -f deploy/compose-prometheus.yaml"


def asked(path: str) -> Any:
    """Return what Prometheus' API answers."""
    status, text = get(f"{PROMETHEUS}/api/v1/{path}")
    assert status == 200, text[:300]
    return json.loads(text)["data"]


def series(expression: str) -> list[Any]:
    """Return the series of an expression, now."""
    found: list[Any] = asked(f"query?query={quote(expression)}")["result"]
    return found


def targets() -> list[tuple[str, str, str]]:
    """Return each target's instance, health and last error."""
    try:
        active = asked("targets?state=active")["activeTargets"]
    except OSError:  # it has not started yet
        return []
    return [(each["labels"]["instance"], each["health"], each["lastError"]) for each in active]


def states() -> set[tuple[str, str]]:
    """Return how the rules are: whether they could be evaluated, and whether they fire."""
    (group,) = asked("rules")["groups"]
    return {(rule["health"], rule["state"]) for rule in group["rules"]}


def prometheus(podman: Podman, report: Report, checkout: Path) -> None:
    """Start the two, let it ask with the admin key, see the dashboard's figures and the rules; another key; stop."""
    keys = Keys.new()
    client = Client("http://127.0.0.1:4000", keys.client)
    file = checkout / "deploy/prometheus.yaml"
    file.write_text(file.read_text("utf-8").replace("scrape_interval: 15s", "scrape_interval: 1s"), "utf-8")
    with report.step("docker compose up --build -d, asking each second") as step:
        podman.command(f"{_COMPOSE} up --build -d", cwd=checkout, more=keys.variables)
        (name,) = until(lambda: podman.names("name=prometheus"), what="Prometheus")
        ((instance, health, trouble),) = until(lambda: [one for one in targets() if one[1] != "unknown"], what="a first scrape")
        assert health == "up", trouble
        version = asked("status/buildinfo")["version"]
        step.result = f"Prometheus {version} found {instance} by its name, and got in with the key"
    with report.step("look from inside") as step:
        state = podman.inspect(name)
        assert state["HostConfig"]["ReadonlyRootfs"]
        assert podman.output("exec", name, "stat", "-c", "%a %U", "/tmp/admin_key") == "600 nobody"  # in its tmpfs
        caps = podman.output("exec", name, "grep", "-E", "CapEff|NoNewPrivs", "/proc/1/status").split()
        assert caps == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"], caps
        step.result = "read-only root, no capabilities, no new privileges, the key's file is its own"
    with report.step("OCR, and ask for the dashboard's figures") as step:
        client.ocr(pages=3)
        pages = 'sum(passthrough_pages_total{sandbox="true"})'
        until(lambda: [one for one in series(pages) if one["value"][1] == "3"], what="three pages")
        client.ocr(pages=2)
        until(lambda: [one for one in series(f"{pages[:-1]})") if one["value"][1] == "5"], what="five pages")
        shown = [each for each in expressions() if not each.is_alert]
        drawn = [each for each in shown if series(each.filled())]
        step.result = f"5 pages; {len(drawn)} of {len(shown)} expressions have series: there are no pools and no budgets"
    with report.step("look at the rules") as step:
        until(lambda: states() == {("ok", "inactive")}, what="rules that are evaluated, and quiet")
        step.result = f"{len(rules())} rules, all evaluated, none fires"
    with report.step("docker compose stop") as step:
        podman.command(f"{_COMPOSE} stop", cwd=checkout, more=keys.variables)
        codes = {
            each: podman.inspect(each)["State"]["ExitCode"]
            for each in podman.output("ps", "-a", "--format", "{{.Names}}").split()
        }
        assert set(codes.values()) == {0}, codes
        step.result = "exit code 0, both"


def prometheus_beside_replicas(podman: Podman, report: Report, checkout: Path) -> None:
    """Start it with the replicas: it finds both by their one name, and what both say of a budget is one budget."""
    keys = Keys.new()
    more = keys.variables | {"POSTGRES_PASSWORD": "of-letters-and-digits-0123456789"}
    client = Client("http://127.0.0.1:4000", keys.client)
    file = checkout / "deploy/prometheus.yaml"
    file.write_text(file.read_text("utf-8").replace("scrape_interval: 15s", "scrape_interval: 1s"), "utf-8")
    with report.step("docker compose up --build -d, asking each second") as step:
        podman.command(f"{_REPLICAS} up --build -d", cwd=checkout, more=more)
        until(lambda: [each[1] for each in targets()] == ["up", "up"], what="two targets that are up", within=120)
        step.result = f"found both replicas by their one name: {', '.join(each[0] for each in targets())}"
    with report.step("OCR through nginx, and ask for the sums") as step:
        until(client.accepted, what="nginx lets the key through")
        for _ in range(4):
            client.ocr(pages=2)
        until(lambda: [one["value"][1] for one in series("sum(passthrough_pages_total)")] == ["8"], what="eight pages")
        spent = "max by (name, unit, per) (passthrough_budget_spent)"
        until(lambda: [one["value"][1] for one in series(spent)] == ["8"], what="eight pages of one budget")
        step.result = "8 pages in all; 8 of the budget, by either replica"
    with report.step("look at the rules") as step:
        until(lambda: states() == {("ok", "inactive")}, what="rules that are evaluated, and quiet")
        step.result = f"{len(rules())} rules, all evaluated, none fires"
