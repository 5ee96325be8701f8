"""What `check` says of models: their deployments, without a secret, other names, fallbacks and who may call."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from passthrough.accounting.reports.table import Column, Table
from passthrough.cli.pools import POOL_COLUMNS, pool_notes, pool_rows
from passthrough.cli.terminal import show
from passthrough.config.model import Config
from tests.harness.configs import ROUTE, loaded, written
from tests.harness.process import command

FILE = """\
model_list:
- {model_name: scan, litellm_params: {model: mistral/mistral-ocr-latest, api_key: os.environ/KEY_A}, model_info: {id: eu-1}}
- model_name: scan
  litellm_params:
    {model: azure_ai/mistral-document-ai-2512, api_base: 'https://r.services.ai.azure.com', api_key: canary-b, order: 2}
  model_info: {base_model: mistral/mistral-ocr-2512}
- {model_name: rest, litellm_params: {model: vertex_ai/mistral-ocr-2505, vertex_project: p, api_key: canary-c, weight: 2.5,
   ocr_cost_per_page: 0.0020}}
router_settings:
  {model_group_alias: {ocr: scan, old: {model: scan, hidden: true}}, fallbacks: [{scan: rest}], default_fallbacks: scan}
client_keys: [{name: invoices, key: 0123456789abcdef, models: [scan]}, {name: all, key: fedcba9876543210}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with three deployments."""
    return loaded(tmp_path, FILE, {"KEY_A": "canary-a"})


def test_a_row_for_each_deployment(config: Config) -> None:
    """Host, credential by the variable's name, and whose price; in the order of the file."""
    assert config.models is not None
    assert (
        ("scan", "eu-1", "1", "1", "api.mistral.ai", "KEY_A", "per page"),
        ("scan", "azure_ai/mistral-document-ai-2512", "2", "1", "r.services.ai.azure.com", "***", "as mistral/mistral-ocr-2512"),
        ("rest", "vertex_ai/mistral-ocr-2505", "1", "2.5", "us-central1-aiplatform.googleapis.com", "***", "$0.002 per page"),
    ) == pool_rows(config.models)


def test_names_fallbacks_and_callers(config: Config, tmp_path: Path) -> None:
    """What the table has no place for stands below it."""
    assert (
        "Models are served at /v1/ocr and /ocr.",
        "Aliases: ocr is scan, old is scan (not listed).",
        "Fallbacks: scan to rest; any other to scan.",
        "invoices: only models scan.",
    ) == pool_notes(config)
    assert () == pool_notes(loaded(tmp_path, ROUTE))


def test_it_fits_eighty_columns_without_a_secret(config: Config) -> None:
    """Long names are folded."""
    assert config.models is not None
    columns = zip(POOL_COLUMNS, zip(*pool_rows(config.models), strict=True), strict=True)
    out = StringIO()
    show(Table("", tuple(Column(head, cells) for head, cells in columns)), "\n".join(pool_notes(config)), file=out, width=80)
    assert [] == [line for line in out.getvalue().splitlines() if len(line) > 80]
    assert "canary" not in out.getvalue()


async def test_check_of_models_alone(tmp_path: Path) -> None:
    """A file without a route is fine; a deployment whose token would have to be fetched is left out, and no secret is shown."""
    written(tmp_path, FILE + "ledger: none\n")
    code, out, err = await command(tmp_path, "check", KEY_A="canary-a")
    assert 0 == code
    assert "routes.yaml: fine, 3 models, 3 deployments" in out
    assert "invoices: only models scan." in out
    assert "canary" not in out + err
    written(tmp_path, ROUTE + FILE + "ledger: none\n")
    code, out, _ = await command(tmp_path, "check", KEY_A="canary-a")
    assert (0, True, True) == (code, "fine, 1 route" in out, "3 models, 3 deployments" in out)
    written(tmp_path, FILE.replace("api_key: canary-c", "vertex_credentials: canary-c.json"))
    code, out, err = await command(tmp_path, "check", KEY_A="canary-a")
    assert (0, True) == (code, "2 models, 2 deployments" in out)
    assert "model_list[2].litellm_params.vertex_credentials: A token for this deployment would have to be fetched" in err
    assert "canary" not in err
