"""What `check` says of models: their deployments, without a secret, other names, fallbacks and who may call."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from passthrough.accounting.reports.table import Column, Table
from passthrough.cli.check import COLUMNS, rows
from passthrough.cli.pools import POOL_COLUMNS, TARGET_COLUMNS, pool_notes, pool_rows, target_rows
from passthrough.cli.terminal import show
from passthrough.config.model import Config
from tests.harness.configs import ROUTE, loaded, written
from tests.harness.google_files import service_account
from tests.harness.process import command
from tests.harness.token_servers import ACCOUNT

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
    """A file without a route is fine; whose token is fetched is named by what proves it, and no secret is shown."""
    written(tmp_path, FILE + "ledger: none\n")
    code, out, err = await command(tmp_path, "check", KEY_A="canary-a")
    assert 0 == code
    assert "routes.yaml: fine, 3 models, 3 deployments" in out
    assert "invoices: only models scan." in out
    assert "canary" not in out + err
    written(tmp_path, ROUTE + FILE + "ledger: none\n")
    code, out, _ = await command(tmp_path, "check", KEY_A="canary-a")
    assert (0, True, True) == (code, "fine, 1 route" in out, "3 models, 3 deployments" in out)
    (tmp_path / "account.json").write_text(service_account(private_key_id="canary-c"))
    written(tmp_path, FILE.replace("api_key: canary-c", "vertex_credentials: account.json"))
    code, out, err = await command(tmp_path, "check", KEY_A="canary-a")
    assert (0, True, True) == (code, "3 models, 3 deployments" in out, f"google: account.json ({ACCOUNT})" in out)
    assert ("canary-c" in out + err, "PRIVATE" in out + err) == (False, False)


TARGETS = """\
pass_through_endpoints:
- path: /mistral
  include_subpath: true
  headers: {Authorization: Bearer os.environ/KEY_A}
  targets:
  - {target: 'https://api.mistral.ai', weight: 2.5}
  - {target: 'https://api.mistral.ai', id: team-b, headers: {authorization: Bearer canary-b}}
- path: /scan/ocr
  methods: [POST]
  targets:
  - {target: 'https://west.services.ai.azure.com/providers/mistral/azure/ocr', headers: {api-key: os.environ/KEY_A},
     meter: {shape: ocr, model: m}}
  - {target: 'https://api.mistral.ai/v1/ocr', order: 2, meter: {shape: json, credits: usage.credits}}
- {path: /plain, target: 'https://api.mistral.ai'}
ledger: none
"""


def test_a_row_for_each_target(tmp_path: Path) -> None:
    """The route's own row says how many there are; meter and price stand there where all have the same, else at each target."""
    found = loaded(tmp_path, TARGETS, {"KEY_A": "canary-a"})
    shown = [dict(zip(COLUMNS, row, strict=True)) for row in rows(found)]
    assert [
        ("/mistral/*", "2 targets", "see below", "auto", "page/token"),
        ("/scan/ocr", "2 targets", "see below", "see below", "see below"),
        ("/plain", "api.mistral.ai", "none", "auto", "not metered"),
    ] == [tuple(row[name] for name in ("path", "target", "credentials", "meter", "price")) for row in shown]
    assert (
        ("/mistral#1", "/mistral", "1", "2.5", "api.mistral.ai", "Authorization: KEY_A", "", ""),
        ("team-b", "/mistral", "1", "1", "api.mistral.ai", "authorization: ***", "", ""),
        ("/scan/ocr#1", "/scan/ocr", "1", "1", "west.services.ai.azure.com", "api-key: KEY_A", "ocr (m)", "per page"),
        ("/scan/ocr#2", "/scan/ocr", "2", "1", "api.mistral.ai", "none", "json: usage.credits", "per credit"),
    ) == target_rows(found)


ANY = "/a: each request goes to any of its 2 targets."
KEPT = "/a: a client key stays with one of its 2 targets"
ALL_BUT_OCR = f"{KEPT}; POST …/ocr goes to any, unless its client uses files there ('sticky: false' lifts it)."
ALL = f"{KEPT} ('sticky: false' lifts it)."
ONE_CLIENT = " Calls without a key count as one client."


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("include_subpath: true", ALL_BUT_OCR),
        ("include_subpath: true, auth: false", ALL_BUT_OCR + ONE_CLIENT),
        ("sticky: true", ALL),
        ("sticky: true, auth: false", ALL + ONE_CLIENT),
        ("rpm: 1", ANY),
        ("rpm: 1, auth: false", ANY),
        ("include_subpath: true, sticky: false",
         f"{ANY} Files and batches are one account's: 'sticky: true' keeps a client key with one."),
    ],
)  # fmt: skip
def test_which_target_a_request_goes_to(tmp_path: Path, keys: str, expected: str) -> None:
    """One sentence for each endpoint with several targets; where a key is asked for, nothing is said of calls without one."""
    targets = "{target: 'http://one.example'}, {target: 'http://two.example'}"
    text = f"pass_through_endpoints: [{{path: /a, targets: [{targets}], {keys}}}]\n"
    clients = "client_keys: [{name: x, key: 0123456789abcdef}]\n"
    assert (expected,) == pool_notes(loaded(tmp_path, text + clients))
    keyless = expected if ANY in expected else expected.removesuffix(ONE_CLIENT) + ONE_CLIENT
    assert (keyless,) == pool_notes(loaded(tmp_path, text))
    ordered = loaded(tmp_path, text.replace("two.example'", "two.example', order: 2") + clients)
    assert (expected.replace("any of its 2 targets.", "one of its 2 targets, of the lowest order that is free."),) == pool_notes(
        ordered
    )
    assert () == pool_notes(loaded(tmp_path, text.replace(", {target: 'http://two.example'}", "")))


async def test_check_of_targets_fits_eighty_columns(tmp_path: Path) -> None:
    """With a table of its own between the routes and the models; no secret is shown."""
    written(tmp_path, TARGETS + FILE.partition("client_keys")[0])
    code, out, err = await command(tmp_path, "check", KEY_A="canary-a")
    assert (0, True, False) == (code, err.startswith("warning: "), "canary" in err)
    heads = (
        "fine, 3 routes",
        "2 pools, 4 targets",
        "3 models, 3 deployments",
        "Models are served at",
        "/mistral: a client key stays",
    )
    assert sorted(out.index(head) for head in heads) == [out.index(head) for head in heads]
    found = loaded(tmp_path, TARGETS, {"KEY_A": "canary-a"})
    columns = zip(TARGET_COLUMNS, zip(*target_rows(found), strict=True), strict=True)
    shown = StringIO()
    show(Table("", tuple(Column(head, cells) for head, cells in columns)), file=shown, width=80)
    assert [] == [line for line in shown.getvalue().splitlines() if len(line) > 80]
    assert "canary" not in out + shown.getvalue()
