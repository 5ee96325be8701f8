"""What operators are given: queries name what /metrics exports, and the files of a deployment fit each other."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from passthrough.config.environment import environment
from passthrough.config.load import load
from passthrough.meter.usage import DOUBTS
from passthrough.server.instance import CLOSE_ACCOUNTING_S
from tests.harness.figures import exported
from tests.harness.process import program

DEPLOY = Path(__file__).parents[2] / "deploy"
NOT_OURS = {"up"}
"""What Prometheus itself says of whom it asks."""
TARGETS = {"instance", "job"}
"""The labels that Prometheus adds by itself."""


def queries() -> Iterator[tuple[str, str]]:
    """Yield every expression of the shipped files, with where it stands."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", variable["query"])
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])


QUERIES = list(queries())
ROUTES = """\
pass_through_endpoints:
  - {path: /mistral, target: https://api.mistral.ai, include_subpath: true}
"""


def base(name: str) -> str:
    """Return the metric that a series belongs to: a histogram has three."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize(("where", "query"), QUERIES)
def test_queries_name_metrics_and_labels_that_there_are(where: str, query: str) -> None:
    """A misspelt metric or label would draw nothing, and alert nobody."""
    names = re.findall(r"\b(passthrough_\w+|up)\b(?=[{\[)\s]|$)", re.sub(r'"[^"]*"', '""', query))
    assert [] != names
    known: set[str] = set(TARGETS)
    for name in names:
        if name not in NOT_OURS:
            assert base(name) in exported(), f"{where}: there is no {name}"
            known |= exported()[base(name)] | ({"le"} if name.endswith("_bucket") else set())
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        has = TARGETS if name in NOT_OURS else exported()[base(name)]
        assert set() == labels - has - TARGETS, where
    for grouped in re.findall(r"by \(([^)]*)\)", query):
        assert set() == {label.strip() for label in grouped.split(",")} - known, where


@pytest.mark.parametrize(("where", "query"), QUERIES)
def test_queries_are_balanced_and_rate_counters_only(where: str, query: str) -> None:
    """What is rated counts; a gauge that is rated says nonsense."""
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing), where
    for name in re.findall(r"(?:rate|increase)\((\w+)", query):
        assert name.endswith(("_total", "_bucket", "_sum", "_count")), f"{where}: {name} does not count"


@pytest.mark.process
async def test_a_running_program_exports_every_metric(tmp_path: Path) -> None:
    """What the shipped files name is told by a program that has just started, where it has no value yet too."""
    async with program(tmp_path, ROUTES, "--sandbox") as running, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as answer:
            text = await answer.text()
        assert 0 == await running.stop()
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert exported().keys() == told
    named = {base(name) for _, query in QUERIES for name in re.findall(r"\bpassthrough_\w+", query)}
    assert set() == named - told


def test_alerts_say_what_is_wrong() -> None:
    """Each rule has a severity and a sentence for who is woken up, with labels that the rule's answer has."""
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        said = " ".join(rule["annotations"].values())
        grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
        has = set(re.split(r",\s*", grouped[1])) if grouped else TARGETS
        assert set() == set(re.findall(r"\$labels\.(\w+)", said)) - has, rule["alert"]


def test_each_alert_was_seen_to_fire_and_to_be_quiet() -> None:
    """The rules' own tests, which Prometheus' promtool runs, have for each rule a moment with it and one without."""
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    seen: dict[str, set[bool]] = {}
    for test in yaml.safe_load((DEPLOY / "alerts.test.yaml").read_text("utf-8"))["tests"]:
        for moment in test["alert_rule_test"]:
            seen.setdefault(moment["alertname"], set()).add(bool(moment["exp_alerts"]))
    assert {rule["alert"]: {False, True} for rule in group["rules"]} == seen


@pytest.mark.process
def test_the_alert_of_missing_counts_leaves_out_doubts_of_a_price() -> None:
    """What has a count has its pages in the sums: a doubt about its price is no reason to say that they are missing."""
    expressions = [query for where, query in QUERIES if where == "PassthroughUnmetered"]
    left_out = re.findall(r'reason!~"([a-z_|]+)"', "".join(expressions))
    assert [{*map(str, DOUBTS)}] * 2 == [set(found.split("|")) for found in left_out]


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")
def test_alerts_fire_as_their_tests_say() -> None:
    """Prometheus' own tool evaluates the rules."""
    told = subprocess.run(["promtool", "test", "rules", DEPLOY / "alerts.test.yaml"], capture_output=True, text=True, check=False)
    assert 0 == told.returncode, told.stdout + told.stderr


def test_dashboard_panels_fit() -> None:
    """No two panels of Grafana's dashboard lie over each other, and each has an id of its own."""
    panels = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert set() == cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len(panels) == len({panel["id"] for panel in panels})


def replicas() -> dict[str, Any]:
    """Return the composition of two replicas."""
    composition: dict[str, Any] = yaml.safe_load((DEPLOY / "compose-replicas.yaml").read_text("utf-8"))
    return composition


async def test_replicas_are_served(tmp_path: Path) -> None:
    """With what the composition sets, its configuration is without a problem: a PostgreSQL ledger, a budget, an admin key."""
    service = replicas()["services"]["passthrough"]
    variables = {name.partition("=")[0]: f"canary-{name.lower()}-0123456789" for name in service["environment"]}
    url = next(each.partition("=")[2] for each in service["environment"] if each.startswith("LEDGER_URL="))
    variables["LEDGER_URL"] = re.sub(r"\$\{[^}]*\}", "secret", url)
    variables |= {"PASSTHROUGH_LISTEN_HOST": "0.0.0.0", "PASSTHROUGH_ADMIN_HOST": "0.0.0.0"}
    file = str(DEPLOY / "replicas/routes.yaml")
    config = await asyncio.to_thread(lambda: load(file, environment(file, variables, tmp_path), cwd=tmp_path))
    assert () == config.warnings
    assert "postgresql://passthrough:secret@database/passthrough" == config.ledger
    assert config.admin_digest is not None
    assert 1 == len(config.budgets)
    assert config.listen.drain_timeout_s + CLOSE_ACCOUNTING_S <= float(service["stop_grace_period"].removesuffix("s"))


def test_replicas_files_name_each_other() -> None:
    """What is mounted is shipped, and what nginx and Prometheus ask is the replicas' service."""
    services = replicas()["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in replicas()["volumes"]
    nginx = (DEPLOY / "replicas/nginx.conf").read_text("utf-8")
    assert "set $replicas passthrough;" in nginx
    for setting in ("proxy_request_buffering off", "proxy_buffering off", "proxy_next_upstream off", "client_max_body_size 0"):
        assert f"{setting};" in nginx
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text("utf-8"))
    assert ["alerts.yaml"] == prometheus["rule_files"]
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "passthrough" == job["dns_sd_configs"][0]["names"][0]
    (secret,) = services["prometheus"]["secrets"]
    assert f"/run/secrets/{secret}" == job["authorization"]["credentials_file"]
