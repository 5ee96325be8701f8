"""Every PromQL expression that is shipped or shown: Grafana's dashboard, the rules of alerts, the pages of docs/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_SPAN = re.compile(r"\$__(?:rate_interval|interval|range)\b")
_LISTED = re.compile(r"label_values\((\w+), (\w+)\)")


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression as it is written, and where; `is_alert` tells one of a rule."""

    where: str
    text: str
    is_alert: bool = False

    def filled(self, span: str = "5m") -> str:
        """Return it as Grafana sends it, with all values of each variable, and each of its stretches of time as `span`."""
        return re.sub(r"\$\w+", ".*", _SPAN.sub(span, _LISTED.sub(r"count by (\2) (\1)", self.text)))


def dashboard() -> dict[str, Any]:
    """Return Grafana's dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    """Return the rules of alerts."""
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[Expression]:
    """Yield them all."""
    for panel in dashboard()["panels"]:
        yield from (Expression(panel["title"], target["expr"]) for target in panel.get("targets", ()))
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield Expression(f"the variable {variable['name']}", variable["query"])
    yield from (Expression(rule["alert"], rule["expr"], is_alert=True) for rule in rules())
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield from (Expression(page.name, text) for text in re.split(r"\n\n+", block.strip()))
