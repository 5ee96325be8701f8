"""What Prometheus and Grafana are given: expressions name what /metrics exports, and mean what Prometheus takes them for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from passthrough.meter.usage import DOUBTS
from tests.harness.expressions import DEPLOY, Expression, dashboard, expressions, rules
from tests.harness.figures import exported
from tests.harness.ports import free_port
from tests.harness.process import program

NOT_OURS = {"up"}
"""What Prometheus itself says of whom it asks."""
TARGETS = {"instance", "job"}
"""The labels that Prometheus adds by itself."""
EXPRESSIONS = list(expressions())
PAGE = (DEPLOY.parent / "docs/monitoring.md").read_text("utf-8")
UNSEEN: dict[str, str] = {}
"""Metrics that no panel shows, each with the reason."""
ROUTES = """\
pass_through_endpoints:
  - {path: /mistral, target: https://api.mistral.ai, include_subpath: true}
"""
each_expression = pytest.mark.parametrize("each", EXPRESSIONS, ids=lambda each: each.where)
with_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")


def base(name: str) -> str:
    """Return the metric that a series belongs to: a histogram has three."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def metrics(text: str) -> list[str]:
    """Return the metrics that an expression names."""
    return re.findall(r"\b(passthrough_\w+|up)\b(?=[{\[),\s]|$)", re.sub(r'"[^"]*"', '""', text))


def promtool(*arguments: str | Path) -> str:
    """Run Prometheus' own tool, which must be content; return what it says."""
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert 0 == run.returncode, run.stdout + run.stderr
    return run.stdout


# ── expressions ──


@each_expression
def test_expressions_name_metrics_and_labels_that_there_are(each: Expression) -> None:
    """A misspelt metric or label would draw nothing, and alert no one."""
    names, query = metrics(each.text), each.filled()
    assert [] != names
    known: set[str] = set(TARGETS)
    for name in names:
        if name not in NOT_OURS:
            assert base(name) in exported(), f"{each.where}: there is no {name}"
            known |= exported()[base(name)] | ({"le"} if name.endswith("_bucket") else set())
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        has = TARGETS if name in NOT_OURS else exported()[base(name)]
        assert set() == labels - has - TARGETS, each.where
    for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", query):
        assert set() == {label.strip() for label in grouped.split(",")} - known, each.where


@each_expression
def test_what_is_rated_counts(each: Expression) -> None:
    """A gauge that is rated says nonsense."""
    for name in re.findall(r"(?:rate|increase)\((\w+)", each.text):
        assert name.endswith(("_total", "_bucket", "_sum", "_count")), f"{each.where}: {name} does not count"


@with_promtool
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    """All of them as recording rules, which Prometheus' own tool reads."""
    recorded = [{"record": f"e{number}", "expr": each.filled()} for number, each in enumerate(EXPRESSIONS)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "expressions", "rules": recorded}]}))
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in promtool("check", "rules", tmp_path / "rules.yaml")


# ── metrics ──


@pytest.mark.process
async def test_a_running_program_exports_every_metric(tmp_path: Path) -> None:
    """What the shipped files name is exported by a program that has just started, where it has no value yet too.

    Figures of spans are there where tracing is on.
    """
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    async with program(tmp_path, ROUTES, "--sandbox", env=env) as running, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as response:
            text = await response.text()
        assert 0 == await running.stop()
    found = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert exported().keys() == found
    assert set() == {base(name) for each in EXPRESSIONS for name in metrics(each.text)} - found - NOT_OURS


def test_the_dashboard_shows_every_metric() -> None:
    """A metric that is worth exporting is worth seeing, or there is a reason."""
    titles = {panel["title"] for panel in dashboard()["panels"]}
    seen = {base(name) for each in EXPRESSIONS if each.where in titles for name in metrics(each.text)}
    assert exported().keys() - seen == UNSEEN.keys()


# ── alerts ──


def test_alerts_say_what_is_wrong() -> None:
    """Each rule has a severity and a sentence for who is woken up, with labels that the rule's result has."""
    for rule in rules():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        said = " ".join(rule["annotations"].values())
        grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
        first = metrics(rule["expr"])[0]
        own = set() if first in NOT_OURS else exported()[first]
        has = set(re.split(r",\s*", grouped[1])) if grouped else TARGETS | own
        assert set() == set(re.findall(r"\$labels\.(\w+)", said)) - has, rule["alert"]


def test_each_alert_was_seen_to_fire_and_to_be_quiet() -> None:
    """The rules' own tests, which Prometheus' promtool runs, have for each rule a moment with it and one without."""
    seen: dict[str, set[bool]] = {}
    for test in yaml.safe_load((DEPLOY / "alerts.test.yaml").read_text("utf-8"))["tests"]:
        for moment in test["alert_rule_test"]:
            seen.setdefault(moment["alertname"], set()).add(bool(moment["exp_alerts"]))
    assert {rule["alert"]: {False, True} for rule in rules()} == seen


def test_the_alert_of_missing_counts_leaves_out_doubts_of_a_price() -> None:
    """What has a count has its pages in the sums: a doubt about its price is no reason to say that they are missing."""
    texts = [each.text for each in EXPRESSIONS if each.where == "PassthroughUnmetered"]
    left_out = re.findall(r'reason!~"([a-z_|]+)"', "".join(texts))
    assert [{*map(str, DOUBTS)}] * 2 == [set(found.split("|")) for found in left_out]


@with_promtool
def test_alerts_fire_as_their_tests_say() -> None:
    """Prometheus' own tool evaluates the rules, and finds nothing to complain about in them."""
    promtool("test", "rules", DEPLOY / "alerts.test.yaml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", DEPLOY / "alerts.yaml")


# ── Prometheus' configuration ──


@with_promtool
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """As it is shipped, with the rules beside it, once the key's file is where the file says."""
    promtool("check", "config", "--syntax-only", DEPLOY / "prometheus.yaml")
    text = (DEPLOY / "prometheus.yaml").read_text("utf-8")
    (key,) = re.findall(r"credentials_file: (\S+)", text)
    (tmp_path / "admin_key").write_text("admin-canary-0123456789")
    (tmp_path / "prometheus.yaml").write_text(text.replace(key, str(tmp_path / "admin_key")))
    shutil.copy(DEPLOY / "alerts.yaml", tmp_path)
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "config", "--lint=all", tmp_path / "prometheus.yaml")


def test_prometheus_beside_the_replicas_fits_them() -> None:
    """What is mounted is shipped; it asks the replicas' service, with the key that they have."""
    composed = yaml.safe_load((DEPLOY / "compose-prometheus.yaml").read_text("utf-8"))
    replicas = yaml.safe_load((DEPLOY / "compose-replicas.yaml").read_text("utf-8"))["services"]["passthrough"]
    service = composed["services"]["prometheus"]
    for source, _, place in (volume.partition(":") for volume in service["volumes"]):
        assert (DEPLOY / source).exists() if source.startswith(".") else source in composed["volumes"]
        assert place.startswith(("/etc/prometheus/", "/prometheus"))
    shipped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text("utf-8"))
    assert ["alerts.yaml"] == shipped["rule_files"]
    (job,) = shipped["scrape_configs"]
    assert {"names": ["passthrough"], "type": "A", "port": 4001} == job["dns_sd_configs"][0]
    assert "passthrough" == job["job_name"]
    assert set(service["environment"]) <= set(replicas["environment"])
    assert f"> {job['authorization']['credentials_file']} " in service["entrypoint"][2]


# ── Grafana's dashboard ──


def lost(written: Any, read: Any, place: str = "") -> list[str]:
    """Return what of a JSON value is not in the other, or another there, by its place."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [one for key, value in written.items() for one in lost(value, read.get(key, KeyError), f"{place}/{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [one for number, value in enumerate(written) for one in lost(value, read[number], f"{place}/{number}")]
    return [] if written == read else [f"{place}: {written!r}"]


def test_dashboard_is_of_grafanas_schema() -> None:
    """Grafana's own types read the dashboard and write it again: what they do not know would be lost."""
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard())))
    assert [] == lost(dashboard(), read)
    misspelt = dashboard()
    misspelt["panels"][1]["options"]["colourMode"] = "value"
    assert ["/panels/1/options/colourMode: 'value'"] == lost(
        misspelt, json.loads(JSONEncoder().encode(Dashboard.from_json(misspelt)))
    )


def test_dashboard_panels_fit() -> None:
    """No two panels of Grafana's dashboard lie over each other, and each has an id and a title of its own."""
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert set() == cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len(panels) == len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels})


def test_panels_use_the_dashboards_variables() -> None:
    """Every choice narrows what has that label; a variable that there is not would be sent as it is written."""
    variables = {each["name"]: each["type"] for each in dashboard()["templating"]["list"]}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            named = set(re.findall(r"\$(?!__)(\w+)", target["expr"]))
            assert set() == named - set(variables), panel["title"]
            for name, labels in re.findall(r"\b(passthrough_\w+)\{([^}]*)\}", target["expr"]):
                narrows = {one for one in ("route", "client", "sandbox") if one in exported()[base(name)]} | {"instance"}
                assert {f'{one}=~"${one}"' for one in narrows} <= set(labels.split(", ")), panel["title"]
    assert {"instance", "client", "route", "sandbox", "datasource"} == variables.keys()


def test_legends_name_labels_that_the_result_has() -> None:
    """`{{label}}` of a label that was summed away is empty."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            has = {label for grouped in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in grouped.split(", ")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))) <= has, panel["title"]


def test_each_bar_of_a_panel_spans_several_scrapes() -> None:
    """`$__interval` shrinks to one scrape where the dashboard shows an hour: `increase` would find one sample, and nothing."""
    for panel in dashboard()["panels"]:
        spans = Counter(re.findall(r"\$__\w+", "".join(target["expr"] for target in panel.get("targets", ()))))
        assert ("1m" if spans["$__interval"] else None) == panel.get("interval"), panel["title"]


# ── docs/monitoring.md ──


def fenced(language: str, containing: str) -> str:
    """Return the one block of the page that has this in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return str(found)


def test_the_page_has_a_row_for_each_alert() -> None:
    """With its severity, in the order of the rules."""
    rows = re.findall(r"^\| `(Passthrough\w+)` \| (\w+) \| \w.* \| \S.* \|$", PAGE, re.MULTILINE)
    assert [(rule["alert"], rule["labels"]["severity"]) for rule in rules()] == rows


@with_promtool
def test_the_pages_configuration_is_one(tmp_path: Path) -> None:
    """As the page says: in a folder of its own, with a copy of the rules."""
    (tmp_path / "prometheus.yaml").write_text(fenced("yaml", "scrape_configs"))
    shutil.copy(DEPLOY / "alerts.yaml", tmp_path)
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "config", "--lint=all", tmp_path / "prometheus.yaml")


# ── tables ──


def test_tables_are_joined_by_labels_that_each_row_has() -> None:
    """Grafana joins by the labels that all queries have; one that is empty in all rows of a query is no label there."""
    for panel in dashboard()["panels"]:
        if panel["type"] == "table":
            grouped = [re.findall(r"by \(([^)]*)\)", target["expr"])[0] for target in panel["targets"]]
            shared = set.intersection(*(set(each.split(", ")) for each in grouped))
            assert shared, panel["title"]
            if "client" in shared:
                assert all(target["expr"].startswith("label_replace(") for target in panel["targets"])
