"""README says what is: every command, flag, setting, variable, log field and error code stands in it, and its examples run."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from figures import exported

from passthrough.accounting.access_log import Lines
from passthrough.accounting.entry import entry
from passthrough.cli.main import main
from passthrough.config.environment import environment
from passthrough.config.load import load
from passthrough.config.schema import schema
from passthrough.errors import KINDS
from passthrough.exchange import Outcome, began
from passthrough.meter.usage import NOTHING, Unmetered

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TICKED = set(re.findall(r"`([^`\n]+)`", README))


def _properties(node: Any) -> set[str]:
    """Return every property's name in a JSON Schema but LiteLLM's, which do nothing here."""
    names: set[str] = set()
    if isinstance(node, dict):
        for name, what in node.get("properties", {}).items():
            if "LiteLLM's; does nothing here" not in str(what.get("description", "")):
                names.add(name)
        for value in node.values():
            names |= _properties(value)
    elif isinstance(node, list):
        for value in node:
            names |= _properties(value)
    return names


def _named() -> list[str]:
    """Return all that README must name."""
    commands = list(main.commands)
    flags = [
        option
        for command in main.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    ]
    variables = re.findall(r"PASSTHROUGH_[A-Z_]+", (ROOT / "passthrough/config/listen.py").read_text())
    return sorted({*commands, *flags, *variables, *KINDS, *_properties(schema()), *Outcome, *Unmetered})


@pytest.mark.parametrize("name", _named())
def test_readme_names_it(name: str) -> None:
    """A command, flag, variable, setting, code or reason that README does not name is not there for its user."""
    assert any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", ticked) for ticked in TICKED)


def test_readme_table_of_answers_is_the_table_of_errors() -> None:
    """README's statuses and codes are exactly those that the program answers with."""
    table = README[README.index("| status | code |") :].split("\n\n")[0]
    said = {}
    for row in table.splitlines()[2:]:
        statuses, codes = (cell.strip() for cell in row.strip("|").split("|"))
        numbers = [int(number) for number in statuses.split(",")]
        names = re.findall(r"`(\w+)`", codes)
        said |= {name: numbers[min(place, len(numbers) - 1)] for place, name in enumerate(names)}
    assert {code: kind.status for code, kind in KINDS.items()} == said


def test_readme_log_fields_are_the_logs() -> None:
    """README's log fields are those of a line."""
    stdout = StringIO()
    lines = Lines(stdout)
    lines.put(entry(began("GET", "/"), NOTHING, ()))
    lines.close(5.0)
    fields = list(json.loads(stdout.getvalue()))
    section = README[README.index("## The log") : README.index("## The admin port")]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert sorted(fields) == sorted(name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1]))


def test_readme_metrics_are_those_exported() -> None:
    """README's table of metrics has every metric, with its labels, and no other."""
    section = README[README.index("### Metrics") : README.index("## Our own answers")]
    said: dict[str, set[str]] = {}
    before: set[str] = set()
    for row in section.splitlines():
        if row.startswith("| `passthrough_"):
            names, labels, _ = (cell.strip() for cell in row.strip("|").split("|"))
            named = set(re.findall(r"`(\w+)`", labels))
            before = named | (before if labels.startswith("the same") else set())
            said |= dict.fromkeys(re.findall(r"`(\w+)`", names), before)
    assert exported() == said


def test_readme_configuration_loads(tmp_path: Path) -> None:
    """The Azure routes of README are a configuration without a problem."""
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert 1 == len(blocks)
    (tmp_path / "routes.yaml").write_text(blocks[0])
    variables = {
        "AZURE_ENDPOINT": "https://resource.services.ai.azure.com",
        "AZURE_API_KEY": "azure-key-of-the-operator",
        "AZURE_SERVERLESS": "https://endpoint.eastus2.models.ai.azure.com",
        "AZURE_SERVERLESS_KEY": "another-key-of-the-operator",
    }
    file = str(tmp_path / "routes.yaml")
    config = load(file, environment(file, variables, tmp_path), cwd=tmp_path)
    assert [b"/azure", b"/azure-serverless/v1/ocr"] == [route.path for route in config.routes]
    assert [b"", b"/v1/ocr"] == [route.targets[0].base_path for route in config.routes]


def test_shipped_files_of_deploy_load(tmp_path: Path) -> None:
    """The configurations that are shipped for containers are without a problem."""
    manifests = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))
    (tmp_path / "kubernetes.yaml").write_text(manifests[0]["data"]["routes.yaml"])
    (tmp_path / "compose.yaml").write_text((ROOT / "deploy/etc/routes.yaml").read_text())
    for name in ("kubernetes.yaml", "compose.yaml"):
        file = str(tmp_path / name)
        variables = {"MISTRAL_API_KEY": "key-of-the-operator-0", "CLIENT_KEY": "key-of-a-client-000000"}
        assert load(file, environment(file, variables, tmp_path), cwd=tmp_path).routes


def test_schema_file_is_the_schema() -> None:
    """The schema that editors read is the one that the program checks by."""
    assert schema() == json.loads((ROOT / "routes.schema.json").read_text())
