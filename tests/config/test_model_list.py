"""What a valid model_list becomes: deployments, their URLs and credentials, shares, routing, bounds; and the sandbox."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from passthrough.config import announce
from passthrough.config.model import Config
from passthrough.credentials.identity import EntraIdentity, GoogleIdentity
from passthrough.exchange import DeploymentPrice
from passthrough.proxy.deployments.deployment import Deployment, Provider, Routing, Strategy
from passthrough.proxy.deployments.model_table import ModelTable
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.ocr.settings import OcrSettings
from passthrough.proxy.routes import Serves
from passthrough.secret import Secret
from passthrough.server import first_messages
from tests.harness.configs import ROUTE, loaded, problems
from tests.harness.google_files import service_account
from tests.harness.token_servers import ACCOUNT

ENVIRON = {
    "MISTRAL_API_KEY": "mistral-canary-0123456789",
    "AZURE_AI_API_KEY": "azure-canary-0123456789",
    "AZURE_AI_API_BASE": "https://r.services.ai.azure.com/",
}
FILE = """\
model_list:
  - model_name: mistral-ocr
    litellm_params:
      model: mistral/mistral-ocr-latest
      api_key: os.environ/MISTRAL_API_KEY
    model_info: {mode: ocr}
  - model_name: mistral-ocr
    litellm_params:
      model: azure_ai/mistral-document-ai-2512
      api_key: os.environ/AZURE_AI_API_KEY
      api_base: os.environ/AZURE_AI_API_BASE
      weight: 2
  - model_name: vertex-ocr
    litellm_params: {model: vertex_ai/mistral-ocr-2505, vertex_project: p, vertex_location: us-central1, api_key: token}
router_settings:
  {num_retries: 2, cooldown_time: 5, fallbacks: [{mistral-ocr: [vertex-ocr]}], model_group_alias: {ocr: mistral-ocr}}
"""


def models(config: Config) -> ModelTable:
    """Return the table of a configuration that has one."""
    assert config.models is not None
    return config.models


def one(folder: Path, params: str, info: str = "mode: ocr", environ: dict[str, str] | None = None) -> Deployment:
    """Return the deployment of a file with one entry."""
    text = f"model_list: [{{model_name: a, litellm_params: {{{params}}}, model_info: {{{info}}}}}]\n"
    (found,) = models(loaded(folder, text, environ or {})).deployments
    return found


def credential(deployment: Deployment) -> dict[bytes, tuple[str, str]]:
    """Return the fields that are set on each request, with what is shown of each and its value."""
    return {name: (value.shown, value.reveal()) for name, value in deployment.route.headers}


@pytest.mark.fast
def test_a_file_of_litellm_becomes_a_table(tmp_path: Path) -> None:
    """Deployments in the file's order, an alias, a fallback; the routes have no target, and all are one."""
    config = loaded(tmp_path, FILE, ENVIRON)
    table = models(config)
    first, second, third = table.deployments
    assert ("mistral-ocr", "vertex-ocr", "ocr") == table.names()
    assert ["mistral/mistral-ocr-latest", "azure_ai/mistral-document-ai-2512", "vertex_ai/mistral-ocr-2505"] == [
        each.id for each in table.deployments
    ]
    assert (first, second) == table.group("ocr").deployments
    assert [third] == [each for group in table.fallbacks(table.group("mistral-ocr")) for each in group.deployments]
    assert (1.0, 2.0) == (first.weight, second.weight)
    assert (False, True, True) == tuple(each.inlines_documents for each in table.deployments)
    assert {b"Authorization": ("MISTRAL_API_KEY", f"Bearer {ENVIRON['MISTRAL_API_KEY']}")} == credential(first)
    assert {b"Authorization": ("AZURE_AI_API_KEY", f"Bearer {ENVIRON['AZURE_AI_API_KEY']}")} == credential(second)
    assert {b"Authorization": ("***", "Bearer token")} == credential(third)
    assert Routing(num_retries=2, fallbacks={"mistral-ocr": ("vertex-ocr",)}) == table.routing
    assert {"/v1/ocr"} == {route.terms.route for route in config.ocr_routes}
    assert [(b"/v1/ocr", Serves.OCR), (b"/ocr", Serves.OCR), (b"/providers/mistral/azure/ocr", Serves.OCR),
            (b"/v1/projects", Serves.PREDICTION), (b"/v1/models", Serves.MODELS), (b"/models", Serves.MODELS),
    ] == [(route.path, route.serves) for route in config.ocr_routes]  # fmt: skip
    assert {()} == {route.targets for route in config.ocr_routes}
    assert {Serves.OCR: {"POST"}, Serves.PREDICTION: {"POST"}, Serves.MODELS: {"GET", "HEAD"}} == {
        route.serves: route.methods for route in config.ocr_routes
    }
    assert "canary" not in repr(config)


AZURE = "azure_ai/mistral-document-ai-2512"
VERTEX_PATH = "/v1/projects/p/locations/{}/publishers/mistralai/models/mistral-ocr-2505:rawPredict"
VERTEX = "model: vertex_ai/mistral-ocr-2505, vertex_project: p, api_key: k"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("params", "url"),
    [
        ("model: mistral/m-ocr, api_key: k", "https://api.mistral.ai/v1/ocr"),
        ("model: m-ocr, custom_llm_provider: mistral, api_key: k", "https://api.mistral.ai/v1/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'https://h.example'", "https://h.example/v1/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'https://h.example/'", "https://h.example/v1/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'https://h.example/v1'", "https://h.example/v1/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'https://h.example/v1/'", "https://h.example/v1/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'https://h.example/x/ocr'", "https://h.example/x/ocr"),
        ("model: mistral/m-ocr, api_key: k, api_base: 'http://h.example:8000/p?a=b'", "http://h.example:8000/p/v1/ocr?a=b"),
        (f"model: {AZURE}, api_key: k, api_base: 'https://h.example'", "https://h.example/providers/mistral/azure/ocr"),
        (f"model: {AZURE}, api_key: k, api_base: 'https://h.example/', api_version: v1",
         "https://h.example/providers/mistral/azure/ocr?api-version=v1"),
        (f"model: {AZURE}, api_key: k, api_base: 'https://h.example?api-version=v2', api_version: v1",
         "https://h.example/providers/mistral/azure/ocr?api-version=v2"),
        (f"model: {AZURE}, api_key: k, api_base: 'https://h.example/p/providers/mistral/azure/ocr'",
         "https://h.example/p/providers/mistral/azure/ocr"),
        (VERTEX, "https://us-central1-aiplatform.googleapis.com" + VERTEX_PATH.format("us-central1")),
        (VERTEX + ", vertex_location: global", "https://aiplatform.googleapis.com" + VERTEX_PATH.format("global")),
        (VERTEX + ", vertex_location: us", "https://aiplatform.us.rep.googleapis.com" + VERTEX_PATH.format("us")),
        (VERTEX + ", vertex_location: eu", "https://aiplatform.eu.rep.googleapis.com" + VERTEX_PATH.format("eu")),
        (VERTEX + ", vertex_location: europe-west4",
         "https://europe-west4-aiplatform.googleapis.com" + VERTEX_PATH.format("europe-west4")),
        (VERTEX + ", api_base: 'https://h.example/g'", "https://h.example/g" + VERTEX_PATH.format("us-central1")),
        (VERTEX.replace("vertex_ai/", "vertex_ai/mistralai/"),
         "https://us-central1-aiplatform.googleapis.com" + VERTEX_PATH.format("us-central1")),
    ],
)  # fmt: skip
def test_urls(tmp_path: Path, params: str, url: str) -> None:
    """A deployment's URL is what LiteLLM makes of base, project, location and model."""
    target = one(tmp_path, params).target
    scheme, query = "https" if target.tls else "http", f"?{target.query.decode()}" if target.query else ""
    assert url == f"{scheme}://{target.authority.decode()}{target.base_path.decode()}{query}"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("params", "environ", "shown", "host"),
    [
        ("model: mistral/m", {"MISTRAL_API_KEY": "x"}, "MISTRAL_API_KEY", "api.mistral.ai"),
        ("model: mistral/m, api_key: null", {"MISTRAL_API_KEY": "x", "MISTRAL_API_BASE": "https://b.example"},
         "MISTRAL_API_KEY", "b.example"),
        ("model: mistral/m, api_key: x", {"MISTRAL_API_KEY": "y"}, "***", "api.mistral.ai"),
        ("model: azure_ai/m", {"AZURE_AI_API_KEY": "x", "AZURE_AI_API_BASE": "https://b.example"}, "AZURE_AI_API_KEY",
         "b.example"),
        ("model: azure_ai/m, azure_ad_token: os.environ/T, api_base: 'https://c.example'", {"T": "x", "AZURE_AI_API_KEY": "y"},
         "T", "c.example"),
        ("model: vertex_ai/mistral-m, api_key: os.environ/T", {"T": "x", "VERTEXAI_PROJECT": "p", "VERTEXAI_LOCATION": "global"},
         "T", "aiplatform.googleapis.com"),
    ],
)  # fmt: skip
def test_credentials(tmp_path: Path, params: str, environ: dict[str, str], shown: str, host: str) -> None:
    """The key is the entry's, else the variable's that LiteLLM reads, and is named by its variable only."""
    found = one(tmp_path, params, environ=environ)
    assert {b"Authorization": (shown, "Bearer x")} == credential(found)
    assert host == found.target.host


@pytest.mark.fast
def test_a_credential_is_shared_and_the_entry_wins(tmp_path: Path) -> None:
    """litellm_credential_name brings in what the entry does not say itself; those that no entry names need no variables."""
    text = """\
model_list:
- {model_name: a, litellm_params: {model: azure_ai/x-ocr, litellm_credential_name: main}}
- {model_name: a, litellm_params: {model: azure_ai/x-ocr, litellm_credential_name: main, api_base: 'https://own.example'}}
credential_list:
- {credential_name: other, credential_values: {api_key: os.environ/UNSET}}
- credential_name: main
  credential_info: {description: ours}
  credential_values: {api_key: os.environ/AZURE_AI_API_KEY, api_base: 'https://shared.example'}
"""
    config = loaded(tmp_path, text, {"AZURE_AI_API_KEY": "k"})
    assert ["shared.example", "own.example"] == [each.target.host for each in models(config).deployments]
    assert ["azure_ai/x-ocr", "azure_ai/x-ocr#2"] == [each.id for each in models(config).deployments]
    assert [("AZURE_AI_API_KEY", "Bearer k")] * 2 == [credential(each)[b"Authorization"] for each in models(config).deployments]
    assert ["No price"] * 2 == [each.what[:8] for each in config.warnings]


AZURE = "model: azure_ai/m-ocr, api_base: 'https://r.example'"
APPLICATION = ", tenant_id: t, client_id: c, client_secret: os.environ/S"
BY_MACHINE = "litellm_settings: {enable_azure_ad_token_refresh: true}\n"
VARIABLES = {"AZURE_TENANT_ID": "vt", "AZURE_CLIENT_ID": "vc", "AZURE_CLIENT_SECRET": "vs", "AZURE_SCOPE": "api://v/.default"}
FEDERATED = {"AZURE_TENANT_ID": "vt", "AZURE_CLIENT_ID": "vc", "AZURE_FEDERATED_TOKEN_FILE": "token.jwt"}
KEY = {"AZURE_AI_API_KEY": "k"}
WRITTEN = EntraIdentity("t", "c", Secret("s"))
SET = EntraIdentity("vt", "vc", Secret("vs"), scope="api://v/.default")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("params", "environ", "expected", "shown"),
    [
        (APPLICATION, {}, WRITTEN, "S (c)"),
        (APPLICATION, KEY | VARIABLES, replace(WRITTEN, scope="api://v/.default"), "S (c)"),
        (APPLICATION + ", azure_scope: 'https://ai.azure.com/.default'", {},
         replace(WRITTEN, scope="https://ai.azure.com/.default"), "S (c)"),
        (APPLICATION + ", azure_ad_token: token", {}, WRITTEN, "S (c)"),
        (APPLICATION + ", azure_ad_token: oidc/env/X", {}, WRITTEN, "S (c)"),
        (", tenant_id: t", VARIABLES, replace(SET, tenant_id="t"), "AZURE_CLIENT_SECRET (vc)"),
        (", tenant_id: t", KEY | VARIABLES, replace(SET, tenant_id="t"), "AZURE_CLIENT_SECRET (vc)"),
        ("", VARIABLES, SET, "AZURE_CLIENT_SECRET (vc)"),
        ("", {**VARIABLES, "AZURE_AUTHORITY_HOST": "login.microsoftonline.us"},
         replace(SET, authority="https://login.microsoftonline.us"), "AZURE_CLIENT_SECRET (vc)"),
        ("", FEDERATED, EntraIdentity("vt", "vc", None, "{}/token.jwt"), "AZURE_FEDERATED_TOKEN_FILE (vc)"),
        (", client_id: c", FEDERATED, EntraIdentity("vt", "c", None, "{}/token.jwt"), "AZURE_FEDERATED_TOKEN_FILE (c)"),
        ("", KEY | VARIABLES, "AZURE_AI_API_KEY", ""),
        (", tenant_id: t", KEY, "AZURE_AI_API_KEY", ""),
        (", azure_ad_token: oidc/env/X", KEY, "AZURE_AI_API_KEY", ""),
        (", azure_ad_token: os.environ/T", {**KEY, **VARIABLES, "T": "x"}, "T", ""),
        (APPLICATION + ", api_key: os.environ/T", {"T": "x"}, "T", ""),
        (APPLICATION + ", extra_headers: {api-key: os.environ/T}", {"T": "x"}, "T", ""),
    ],
)  # fmt: skip
def test_whose_token_is_fetched_at_azure(
    tmp_path: Path, params: str, environ: dict[str, str], expected: EntraIdentity | str, shown: str
) -> None:
    """A credential in the file is preferred to variables, a token that is renewed to one that is not, and a key to no token."""
    (tmp_path / "token.jwt").touch()
    found = one(tmp_path, AZURE + params, environ={"S": "s", **environ})
    if isinstance(expected, str):
        assert (None, [expected]) == (found.route.upstream_auth, [value.shown for _, value in found.route.headers])
        return
    if expected.federated_token_file is not None:
        expected = replace(expected, federated_token_file=expected.federated_token_file.format(tmp_path))
    assert (expected, ()) == (found.route.upstream_auth, found.route.headers)
    assert shown == found.route.upstream_auth.name


@pytest.mark.fast
def test_the_machines_own_identity_at_azure(tmp_path: Path) -> None:
    """enable_azure_ad_token_refresh lets deployments without any credential go by it; AZURE_CLIENT_ID names one of several."""
    text = "model_list: [{model_name: a, litellm_params: {model: azure_ai/m-ocr, api_base: 'https://r.example'}}]\n"
    for environ, client in (({}, None), ({"AZURE_CLIENT_ID": "c"}, "c")):
        (found,) = models(loaded(tmp_path, text + BY_MACHINE, environ)).deployments
        assert EntraIdentity(client_id=client, managed_identity=True) == found.route.upstream_auth
    (found,) = models(loaded(tmp_path, text + BY_MACHINE, KEY)).deployments
    assert None is found.route.upstream_auth


@pytest.mark.fast
@pytest.mark.parametrize(
    ("params", "environ", "name"),
    [
        (", vertex_credentials: key.json", {}, f"key.json ({ACCOUNT})"),
        (", vertex_ai_credentials: key.json", {}, f"key.json ({ACCOUNT})"),
        (", vertex_credentials: os.environ/FILE", {"FILE": "key.json"}, f"FILE ({ACCOUNT})"),
        (", vertex_credentials: os.environ/KEY", {"KEY": service_account()}, f"KEY ({ACCOUNT})"),
        (f", vertex_credentials: {service_account()}", {}, f"JSON ({ACCOUNT})"),
        ("", {"VERTEXAI_CREDENTIALS": "key.json", "GOOGLE_APPLICATION_CREDENTIALS": "none.json"},
         f"VERTEXAI_CREDENTIALS ({ACCOUNT})"),
        ("", {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"},
         f"GOOGLE_APPLICATION_CREDENTIALS ({ACCOUNT})"),
    ],
)  # fmt: skip
def test_whose_token_is_fetched_at_vertex(tmp_path: Path, params: str, environ: dict[str, str], name: str) -> None:
    """The account is that of the entry's credentials, else of a variable's: a file's name or what stands in one."""
    (tmp_path / "key.json").write_text(service_account())
    found = one(tmp_path, VERTEX.replace(", api_key: k", params), environ=environ)
    identity = GoogleIdentity(Secret(json.dumps(json.loads(service_account()), separators=(",", ":"), sort_keys=True)))
    assert (identity, ()) == (found.route.upstream_auth, found.route.headers)
    assert name == found.route.upstream_auth.name


@pytest.mark.fast
def test_a_vertex_deployment_without_credentials_goes_by_the_machines_own(tmp_path: Path) -> None:
    """As in LiteLLM: what google-auth finds on the machine; also where another deployment's key is there."""
    text = FILE.replace("api_key: token", "").replace("us-central1, }", "us-central1}")
    *_, found = models(loaded(tmp_path, text, ENVIRON)).deployments
    assert (GoogleIdentity(), "the machine's own") == (found.route.upstream_auth, found.route.upstream_auth.name)


@pytest.mark.fast
def test_deployments_of_one_account_share_its_token(tmp_path: Path) -> None:
    """Credentials of a credential_list and those of an entry are one identity where they are the same."""
    (tmp_path / "key.json").write_text(service_account())
    text = f"""\
model_list:
- {{model_name: a, litellm_params: {{{VERTEX.replace(", api_key: k", "")}, litellm_credential_name: shared}}}}
- {{model_name: b, litellm_params: {{{VERTEX.replace(", api_key: k", "")}, vertex_credentials: os.environ/KEY}}}}
credential_list:
- {{credential_name: shared, credential_values: {{vertex_ai_credentials: key.json}}}}
pass_through_endpoints:
- {{path: /v, target: 'https://v.example', upstream_auth: {{google: {{credentials: key.json}}}}}}
"""
    config = loaded(tmp_path, text, {"KEY": service_account()})
    assert (1, (str(tmp_path / "key.json"),)) == (len(config.identities), config.credential_files)
    assert {config.routes[0].upstream_auth} == {each.route.upstream_auth for each in models(config).deployments}


@pytest.mark.fast
def test_an_extra_header_may_be_the_credential(tmp_path: Path) -> None:
    """`api-key` among extra_headers replaces the one that is made of api_key, which need not be there."""
    found = one(tmp_path, "model: azure_ai/m, api_base: 'https://h.example', extra_headers: {api-key: k, X-A: b}")
    assert {b"api-key": ("***", "k"), b"X-A": ("***", "b")} == credential(found)


@pytest.mark.fast
def test_defaults_are_json(tmp_path: Path) -> None:
    """OCR parameters of litellm_params are kept as the JSON that a request gets."""
    params = (
        "model: mistral/m, api_key: k, include_image_base64: true, image_limit: 0, pages: [0, 2], table_format: html, "
        "document_annotation_format: {type: json_schema, json_schema: {name: '7a', strict: true, schema: {maxItems: 3}}}"
    )
    found = {name: json.loads(text) for name, text in one(tmp_path, params).defaults}
    assert {
        "pages": [0, 2],
        "include_image_base64": True,
        "image_limit": 0,
        "table_format": "html",
        "document_annotation_format": {
            "type": "json_schema",
            "json_schema": {"name": "7a", "strict": True, "schema": {"maxItems": 3}},
        },
    } == found


@pytest.mark.fast
def test_what_an_entry_says_of_itself(tmp_path: Path) -> None:
    """Id, order, limits, time-out and prices, in model_info or beside the model."""
    params = (
        "model: mistral/m, api_key: k, order: 2, rpm: 60, tpm: 1000, max_parallel_requests: 4, num_retries: 0, timeout: '30', "
        "annotation_cost_per_page: 0.003"
    )
    found = one(tmp_path, params, "mode: ocr, id: eu-1, base_model: mistral/mistral-ocr-2505, ocr_cost_per_page: 0.002")
    assert ("eu-1", Provider.MISTRAL, "m", 2, 60, 1000, 4, 0) == (
        found.id, found.provider, found.model, found.order, found.rpm, found.tpm, found.max_parallel, found.num_retries
    )  # fmt: skip
    assert 30.0 == found.route.timeouts.total_s
    price = DeploymentPrice("mistral/mistral-ocr-2505", Decimal("0.002"), Decimal("0.003"))
    assert price == found.route.terms.deployment_price
    assert DeploymentPrice("mistral/m") == one(tmp_path, "model: mistral/m, api_key: k").route.terms.deployment_price


@pytest.mark.fast
@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [
        ("order: 1", "order: 2", (1.0, 1.0)),
        ("weight: 3", "weight: 1.5", (3.0, 1.5)),
        ("weight: 3", "order: 1", (3.0, 1.0)),
        ("weight: 3, rpm: 9", "rpm: 8", (3.0, 1.0)),
        ("rpm: 60", "rpm: 20", (60.0, 20.0)),
        ("rpm: 60, tpm: 5", "tpm: 20", (60.0, 1.0)),
        ("tpm: 60", "tpm: 20", (60.0, 20.0)),
        ("weight: 0", "weight: 1", (0.0, 1.0)),
    ],
)
def test_shares(tmp_path: Path, first: str, second: str, weights: tuple[float, float]) -> None:
    """`weight` is the share, else rpm, else tpm; a deployment without one has 1."""
    line = "- {{model_name: a, litellm_params: {{model: mistral/m-ocr, api_key: k, {}}}}}\n"
    found = models(loaded(tmp_path, "model_list:\n" + line.format(first) + line.format(second), {})).deployments
    assert weights == tuple(each.weight for each in found)


A = "model_list: [{model_name: a, litellm_params: {model: mistral/m-ocr, api_key: k}}, "
A += "{model_name: b, litellm_params: {model: mistral/m-ocr, api_key: k}}]\n"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "routing"),
    [
        ("", Routing()),
        ("router_settings: {routing_strategy: least-busy, retry_after: 1, allowed_fails: 3}\n",
         Routing(Strategy.LEAST_BUSY, retry_after_s=1.0, allowed_fails=3)),
        ("router_settings: {cooldown_time: 0}\n", Routing(cooldown_s=0.0, cools=False)),
        ("router_settings: {disable_cooldowns: true}\n", Routing(cools=False)),
        ("router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}\n", Routing(enforces_limits=True)),
        ("litellm_settings: {num_retries: 0, request_timeout: 90, allowed_fails: 1, cooldown_time: 30}\n",
         Routing(num_retries=0, request_timeout_s=90.0, allowed_fails=1, cooldown_s=30.0)),
        ("litellm_settings: {num_retries: 3, fallbacks: [{a: b}]}\nrouter_settings: {num_retries: 1}\n",
         Routing(num_retries=1, fallbacks={"a": ("b",)})),
        ("router_settings: {fallbacks: [{'*': [b]}, {a: [b]}], default_fallbacks: [a]}\n",
         Routing(fallbacks={"*": ("b",), "a": ("b",)}, default_fallbacks=("a",))),
        ("router_settings: {fallbacks: [{a: [b]}, {b: [a]}]}\n", Routing(fallbacks={"a": ("b",), "b": ("a",)})),
    ],
)  # fmt: skip
def test_routing(tmp_path: Path, text: str, routing: Routing) -> None:
    """router_settings and litellm_settings; where both have a setting, the router's counts. Two may fall back on each other."""
    assert routing == models(loaded(tmp_path, A + text, {})).routing


@pytest.mark.fast
def test_the_routers_timeout_is_that_of_entries_without_one(tmp_path: Path) -> None:
    """`timeout` is for one try; `stream_timeout` has no effect."""
    found = models(
        loaded(tmp_path, A.replace("api_key: k}", "api_key: k, timeout: 5}", 1) + "router_settings: {timeout: 60}\n", {})
    )
    assert [5.0, 60.0] == [each.route.timeouts.total_s for each in found.deployments]


@pytest.mark.fast
def test_aliases_and_wildcards(tmp_path: Path) -> None:
    """A hidden alias is not listed; a wildcard stands for any name, in fallbacks and client keys too."""
    text = (
        "model_list: [{model_name: 'mistral/*', litellm_params: {model: 'mistral/*', api_key: k}, model_info: {mode: ocr}}]\n"
        "router_settings: {model_group_alias: {x: {model: mistral/m, hidden: true}, y: mistral/m}, "
        "fallbacks: [{mistral/a: [mistral/b]}]}\n"
        "client_keys: [{name: c, key: 0123456789abcdef0, models: [mistral/m, 'mistral/*', x], routes: [/ocr]}]\n"
    )
    config = loaded(tmp_path, text, {})
    assert ("mistral/*", "y") == models(config).names()
    assert "m" == models(config).group("x").deployments[0].model
    assert frozenset({"mistral/m", "mistral/*", "x"}) == config.clients[0].models
    assert frozenset({"/ocr", "/v1/ocr"}) == config.clients[0].routes


@pytest.mark.fast
def test_bounds_and_rules_of_documents(tmp_path: Path) -> None:
    """The section ocr, and LiteLLM's user_url_… settings."""
    text = "ocr: {held_body: 8MB, held_bodies: 20MB, max_document: 5MB}\n"
    text += "litellm_settings: {user_url_validation: false, user_url_allowed_hosts: [Files.internal, 'b.internal:8080']}\n"
    rules = UrlRules(5_000_000, False, frozenset({"files.internal", "b.internal:8080"}))
    assert OcrSettings(8_000_000, 20_000_000, rules) == loaded(tmp_path, A + text, {}).ocr
    assert OcrSettings() == loaded(tmp_path, A, {}).ocr


@pytest.mark.fast
@pytest.mark.parametrize(
    ("entry", "is_served"),
    [
        ("litellm_params: {model: mistral/m, api_key: k}, model_info: {mode: ocr}", True),
        ("litellm_params: {model: mistral/m, api_key: k}, model_info: {mode: OCR}", True),
        ("litellm_params: {model: mistral/m, api_key: k}", False),
        ("litellm_params: {model: mistral/m-ocr, api_key: k}", True),
        ("litellm_params: {model: mistral/m-ocr, api_key: k}, model_info: {mode: chat}", False),
        ("litellm_params: {model: azure_ai/mistral-document-ai-2512, api_key: k, api_base: 'http://h.example'}", True),
        ("litellm_params: {model: os.environ/OCR_MODEL, api_key: k}", True),
        ("litellm_params: {model: vertex_ai/deepseek-ocr, api_key: k}", False),
        ("litellm_params: {model: gemini/ocr, api_key: k}", False),
    ],
)
def test_which_entries_are_for_ocr(tmp_path: Path, entry: str, is_served: bool) -> None:
    """Those of mode ocr, and those without a mode whose model's name says so; if Mistral's API is spoken there."""
    config = loaded(tmp_path, f"{ROUTE}model_list: [{{model_name: a, {entry}}}]\n", {"OCR_MODEL": "mistral/x-ocr"})
    assert is_served == (config.models is not None)
    assert is_served == bool(config.ocr_routes)
    assert is_served != any(warning.key.endswith("model_list") for warning in config.warnings)


@pytest.mark.fast
def test_without_models_for_ocr_a_key_names_routes_as_they_are(tmp_path: Path) -> None:
    """`/ocr` is then the path of a route of the file, and nothing else."""
    text = "pass_through_endpoints: [{path: /ocr, target: 'http://h.example'}]\n"
    config = loaded(tmp_path, text + "client_keys: [{name: c, key: 0123456789abcdef0, routes: [/ocr]}]\n", {})
    assert frozenset({"/ocr"}) == config.clients[0].routes
    named = text + "client_keys: [{name: c, key: 0123456789abcdef0, routes: [/v1/ocr]}]\n"
    assert ["There is no route with this path."] == [problem.what for problem in problems(tmp_path, named, {})]


@pytest.mark.fast
def test_in_the_sandbox_no_variable_is_needed(tmp_path: Path) -> None:
    """Every deployment's target is the sandbox, with the path that the provider has; prices stay those of the provider."""
    text = FILE.replace("api_key: token", "vertex_credentials: os.environ/GOOGLE_FILE")
    found = models(loaded(tmp_path, text, {}, sandbox=True)).deployments
    assert {"sandbox"} == {each.target.name for each in found}
    assert [b"/v1/ocr", b"/providers/mistral/azure/ocr", VERTEX_PATH.format("us-central1").encode()] == [
        each.target.base_path for each in found
    ]
    assert ["mistral", "azure", "vertex"] == [each.route.terms.price_list for each in found]
    assert [{}, {}, {}] == [credential(each) for each in found]
    assert {None} == {each.route.upstream_auth for each in found}


@pytest.mark.fast
def test_models_are_announced(tmp_path: Path) -> None:
    """At the start and at a reload the models are counted; deployments are named with the list that prices them."""
    config = loaded(tmp_path, FILE, ENVIRON)
    said = [
        text
        for level, text in first_messages.started(config, "http://127.0.0.1:4000", "http://127.0.0.1:4001", sandbox=False)
        if level == logging.INFO
    ]
    assert "3 models with 3 deployments under /v1/ocr." in said
    lists = (
        "Prices: Mistral's list for mistral/mistral-ocr-latest; Azure's list for azure_ai/mistral-document-ai-2512; "
        "Vertex's list for vertex_ai/mistral-ocr-2505."
    )
    assert lists in said
    assert (logging.INFO, f"Reloaded {config.file}: 0 routes, 3 models with 3 deployments, 0 client keys.") in list(
        announce.reloaded(config, config)
    )
