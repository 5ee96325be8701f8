"""Configurations that load: LiteLLM's, the whole one, the one that ships; what every key becomes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from passthrough.accounting.budget import Budget, Calendar, Per, Scope, Unit
from passthrough.accounting.pricing.offers import NamedLists
from passthrough.accounting.pricing.prices import Price
from passthrough.cli import check
from passthrough.config import builtin, load
from passthrough.config.model import Config, Listen
from passthrough.exchange import RouteTerms
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.routes import LabelHeader, Retries, Route, Target, Timeouts
from passthrough.secret import Secret
from tests.harness.configs import KEYS, ROUTE, loaded, written

SHIPPED = str(builtin.location(builtin.NAME, Path()))

LITELLM = """\
general_settings:
  pass_through_endpoints:
    - path: "/mistral/v1/ocr"
      target: "https://api.mistral.ai/v1/ocr"
      headers:
        Authorization: "bearer os.environ/MISTRAL_API_KEY"
        content-type: application/json
        accept: application/json
      forward_headers: True
"""

WHOLE = """\
pass_through_endpoints:
  - path: /mistral
    target: https://api.mistral.ai
    include_subpath: true
    forward_headers: true
    headers: {Authorization: Bearer os.environ/MISTRAL_API_KEY}
    max_body: 1GB
    timeouts: {connect: 10s, header: 300s, idle: 60s}
    client_gone: settle
  - path: /azure/v1/ocr
    target: os.environ/AZURE_OCR_ENDPOINT/v1/ocr
    headers: {Authorization: os.environ/AZURE_API_KEY}
    meter: {shape: ocr, model: azure/mistral-document-ai-2512}
    upstream_tls: {ca_file: corporate.pem}
    proxy: os.environ/HTTPS_PROXY
client_keys:
  - {name: invoices, key: os.environ/INVOICES_KEY, routes: [/mistral], budget: {pages: 5000, per: month}, rpm: 60, pages_per_minute: 300, max_parallel: 8}
  - {name: archive, key: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", budget: [{usd: 50, per: day}, {pages: 100000, per: month}]}
prices:
  - {model: my-azure-deployment, usd_per_1000_pages: 3, usd_per_1000_annotated_pages: 3, batch_factor: 0.5, effective_from: 2026-01-01}
  - {model: my-chat, usd_per_million_input_tokens: 0.5, usd_per_million_output_tokens: 1.5}
label_headers: [X-OpenWebUI-User-Email, {name: x-team, forward: false}]
ledger: sqlite:///passthrough.db
ledger_keep: 400d
"""  # noqa: E501 - as it stands in the plan

WHOLE_ENVIRON = {
    **KEYS,
    "AZURE_OCR_ENDPOINT": "https://res.eastus.models.ai.azure.com/",
    "AZURE_API_KEY": "azure-canary",
    "HTTPS_PROXY": "http://user:proxy-canary@proxy.example:3128",
    "INVOICES_KEY": "invoices-canary-0123",
}


def test_litellms_example_works_as_it_stands(tmp_path: Path) -> None:
    """The example of LiteLLM's documentation becomes one route, lower-case bearer and all."""
    found = loaded(tmp_path, LITELLM)

    expected = Route(
        path=b"/mistral/v1/ocr",
        targets=(Target(True, "api.mistral.ai", 443, b"/v1/ocr", name="api.mistral.ai"),),
        terms=RouteTerms("/mistral/v1/ocr"),
        headers=(
            (b"Authorization", Secret("bearer mistral-canary-0123456789")),
            (b"content-type", Secret("application/json")),
            (b"accept", Secret("application/json")),
        ),
        forward_headers=True,
    )
    assert (expected,) == found.routes
    assert () == found.warnings


def test_the_whole_example_loads(tmp_path: Path) -> None:
    """Every section at once: routes, keys, prices, labels, ledger."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "corporate.pem")

    found = loaded(tmp_path, WHOLE, WHOLE_ENVIRON)

    labels = (LabelHeader(b"x-openwebui-user-email"), LabelHeader(b"x-team", forward=False))
    expected_azure = Route(
        path=b"/azure/v1/ocr",
        targets=(
            Target(
                True,
                "res.eastus.models.ai.azure.com",
                443,
                b"/v1/ocr",
                ca_file=str(tmp_path / "corporate.pem"),
                proxy=Secret("http://user:proxy-canary@proxy.example:3128"),
                name="res.eastus.models.ai.azure.com",
            ),
        ),
        terms=RouteTerms("/azure/v1/ocr", MeterPlan("ocr", "azure/mistral-document-ai-2512")),
        headers=((b"Authorization", Secret("azure-canary")),),
        label_headers=labels,
    )
    assert expected_azure == found.routes[1]
    assert (True, Timeouts(), labels) == (found.routes[0].settles, found.routes[0].timeouts, found.routes[0].label_headers)
    assert (
        ClientKey("invoices", sha256(b"invoices-canary-0123").digest(), frozenset({"/mistral"}), 8),
        ClientKey("archive", sha256(b"test").digest()),
    ) == found.clients
    assert (
        Price("my-azure-deployment", Decimal(3), Decimal(3), batch_factor=Decimal("0.5"), effective_from=date(2026, 1, 1)),
        Price("my-chat", None, None, Decimal("0.5"), Decimal("1.5")),
    ) == found.prices
    assert ("sqlite:///passthrough.db", 400, None, Listen()) == (
        found.ledger,
        found.ledger_keep_days,
        found.admin_digest,
        found.listen,
    )
    invoices, archive = Scope("client", "invoices"), Scope("client", "archive")
    assert (
        Budget(invoices, Unit.PAGES, Per.MONTH, 5000, 0.8),
        Budget(invoices, Unit.REQUESTS, Per.MINUTE, 60),
        Budget(invoices, Unit.PAGES, Per.MINUTE, 300),
        Budget(archive, Unit.USD, Per.DAY, 50 * 10**9, 0.8),
        Budget(archive, Unit.PAGES, Per.MONTH, 100_000, 0.8),
    ) == found.budgets
    assert () == found.warnings


def test_the_shipped_file_needs_one_variable_and_none_with_the_sandbox(tmp_path: Path) -> None:
    """The built-in one loads with a Mistral key, and with nothing set where the sandbox takes the target's place."""
    found = load.load(SHIPPED, KEYS, cwd=tmp_path)
    assert (("/mistral/*", "all", "api.mistral.ai", "Authorization: MISTRAL_API_KEY", "auto", "page/token", ""),) == check.rows(
        found
    )

    (route,) = load.load(SHIPPED, {}, cwd=tmp_path, sandbox=True).routes
    assert (Target(False, "127.0.0.1", 0, b"", name="sandbox"),) == route.targets
    assert () == route.headers


def test_what_the_shipped_file_comments_out_works(tmp_path: Path) -> None:
    """Every stanza of the built-in one that is commented out is right once it is not."""
    text = re.sub(r"(?m)^( *)# (?=- |  |\w+:(?:$| [\[{]))", r"\1", Path(SHIPPED).read_text("utf-8"))
    environ = {
        **KEYS,
        "INVOICES_KEY": "invoices-canary-0123",
        "AZURE_ENDPOINT": "https://resource.services.ai.azure.com",
        "AZURE_API_KEY": "azure-canary",
        "AZURE_SERVERLESS": "https://endpoint.eastus2.models.ai.azure.com",
        "AZURE_SERVERLESS_KEY": "azure-canary-too",
    }
    found = loaded(tmp_path, text.replace("<64 hexadecimal digits>", "0" * 64), environ)
    assert [b"/mistral", b"/azure", b"/azure-serverless/v1/ocr"] == [route.path for route in found.routes]
    assert (["invoices", "archive"], 1, 2) == (
        [client.name for client in found.clients],
        len(found.prices),
        len(found.routes[0].label_headers),
    )
    assert ([5000, 60, 500 * 10**9], ()) == ([budget.limit for budget in found.budgets], found.warnings)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("os.environ/AZURE_OCR_ENDPOINT/v1/ocr", b"/v1/ocr"),
        ("https://os.environ/HOST/v1/ocr", b"/v1/ocr"),
        ("https://example.com/providers/mistral/azure/ocr", b"/providers/mistral/azure/ocr"),
        ("os.environ/WHOLE", b""),
    ],
)
def test_the_sandbox_keeps_a_targets_path(tmp_path: Path, target: str, expected: bytes) -> None:
    """A target whose host is not set keeps its path, for the sandbox serves Mistral's paths at its root."""
    text = f"""\
pass_through_endpoints:
  - path: /ocr
    target: {target}
    headers: {{Authorization: os.environ/UNSET, x-a: b}}
    proxy: os.environ/UNSET
    upstream_tls: {{ca_file: os.environ/UNSET}}
    default_query_params: {{key: os.environ/UNSET}}
"""
    (route,) = loaded(tmp_path, text, {}, sandbox=True).routes

    assert (Target(False, "127.0.0.1", 0, expected, name="sandbox"),) == route.targets
    assert ((b"x-a", Secret("b")),) == route.headers


ENDPOINT = """\
general_settings: {pass_through_request_timeout: 600}
pass_through_endpoints:
  - path: /a
    target: http://h.example:8080/base?api-version=1
    KEY
"""


SPENT = MeterPlan(cost_headers=(b"x-aimlapi-usd-spent",))


@pytest.mark.parametrize(
    ("key", "field", "expected"),
    [
        ("auth: off", "auth", False),
        ("{auth: false, forward_credentials: true}", "forward_credentials", True),
        ("methods: [get, Post]", "methods", frozenset({"GET", "POST"})),
        ("max_body: 1GiB", "max_body_bytes", 2**30),
        ("min_upload_rate: 1KB", "min_upload_rate", 1000),
        ("min_upload_rate: none", "min_upload_rate", None),
        ("min_upload_rate: 0", "min_upload_rate", None),
        ("cost_per_request: 0.002", "terms", RouteTerms("/a", cost_per_request_nano=2_000_000)),
        ("meter: none", "terms", RouteTerms("/a", MeterPlan("none"))),
        ("meter: {model: m}", "terms", RouteTerms("/a", MeterPlan("auto", "m"))),
        ("meter: chat", "terms", RouteTerms("/a", MeterPlan("chat"))),
        ("meter: {shape: batch, account: ours}", "terms", RouteTerms("/a", MeterPlan("batch"), account="ours")),
        ("meter: {cost_header: X-AIMLAPI-USD-Spent}", "terms", RouteTerms("/a", SPENT)),
        ("meter: {cost_header: [x-a, x-b]}", "terms", RouteTerms("/a", MeterPlan(cost_headers=(b"x-a", b"x-b")))),
        ("meter: {shape: json, constant: 1}", "terms", RouteTerms("/a", MeterPlan("json", counted=JsonCounts(constant=1)))),
        ("max_parallel: 3", "max_parallel", 3),
        ("client_gone: cancel", "settles", False),
        ("merge_query_params: yes", "merge_query_params", True),
        ("default_query_params: {api version: 2024-10-21, k: 'ä&='}", "default_query",
         (b"api%20version=2024-10-21", b"k=%C3%A4%26%3D")),
        ("headers: {anthropic-version: 2023-06-01}", "headers", ((b"anthropic-version", Secret("2023-06-01")),)),
        ("headers: {x-n: 010, x-b: True}", "headers", ((b"x-n", Secret("010")), (b"x-b", Secret("True")))),
        ("headers: {litellm_user_api_key: X-My-Key}", "key_header", b"x-my-key"),
        ("headers: {litellm_user_api_key: X-My-Key}", "headers", ()),
        ("timeout: 5", "timeouts", Timeouts(total_s=5.0)),
        ("timeout: none", "timeouts", Timeouts()),
        ("timeouts: {total: none}", "timeouts", Timeouts()),
        ("timeouts: {connect: 300ms, header: 5m, idle: 1h, total: 1d}", "timeouts", Timeouts(0.3, 300.0, 3600.0, 86400.0)),
        ("{}", "timeouts", Timeouts(total_s=600.0)),
        ("retries: 0", "retries", Retries()),
        ("retries: 2", "retries", Retries(2)),
        ("retries: {attempts: 1, statuses: []}", "retries", Retries(1, frozenset())),
        ("retries: os.environ/TRIES", "retries", Retries(3)),
        ("retries: {attempts: 10, statuses: [408, 425, 429, 599, 429], held_body: 1KiB, spool: true, max_wait: 500ms}",
         "retries", Retries(10, frozenset({408, 425, 429, 599}), 1024, True, 0.5)),
        ("{}", "retries", Retries(0, frozenset({429, 500, 502, 503, 504}), 1_000_000, False, 60.0)),
        ("label_headers: [x-user]", "label_headers", (LabelHeader(b"x-user"),)),
        ("label_headers: [{name: X-Team, as: team}, {name: X-User, as: user, forward: false}, {name: X-All, as: label}]",
         "label_headers", (LabelHeader(b"x-team", fills="team"), LabelHeader(b"x-user", False, "user"), LabelHeader(b"x-all"))),
        (f"label_headers: [{{name: X-Team, as: {'a-_0' * 10}}}]", "label_headers", (LabelHeader(b"x-team", fills="a-_0" * 10),)),
        ("{}", "targets", (Target(False, "h.example", 8080, b"/base", b"api-version=1", name="h.example:8080"),)),
    ],
)  # fmt: skip
def test_each_key_of_an_endpoint(tmp_path: Path, key: str, field: str, expected: object) -> None:
    """What is written under a key is what the route has."""
    inner = key.removeprefix("{").removesuffix("}") if key.startswith("{") else key
    lines = "\n    ".join(inner.split(", ")) if key.startswith("{") else inner
    (route,) = loaded(tmp_path, ENDPOINT.replace("KEY", lines), {"TRIES": "3"}).routes
    assert expected == getattr(route, field)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("HTTPS://API.Mistral.AI", Target(True, "api.mistral.ai", 443, b"", name="api.mistral.ai")),
        ("https://api.mistral.ai/", Target(True, "api.mistral.ai", 443, b"", name="api.mistral.ai")),
        ("https://[2001:DB8::1]:8443/v1/", Target(True, "2001:db8::1", 8443, b"/v1/", name="[2001:db8::1]:8443")),
        ("http://mistral_ocr/v1%2Focr", Target(False, "mistral_ocr", 80, b"/v1%2Focr", name="mistral_ocr")),
        ("https://bücher.example", Target(True, "xn--bcher-kva.example", 443, b"", name="xn--bcher-kva.example")),
        ("http://https/v1", Target(False, "https", 80, b"/v1", name="https")),  # containers may be called so
        ("http://https:8080", Target(False, "https", 8080, b"", name="https:8080")),
        ("https://a.example/https://b.example", Target(True, "a.example", 443, b"/https://b.example", name="a.example")),
        ("https://a.example/v1/m:rawPredict?a=b&c",
         Target(True, "a.example", 443, b"/v1/m:rawPredict", b"a=b&c", name="a.example")),
    ],
)  # fmt: skip
def test_targets(tmp_path: Path, target: str, expected: Target) -> None:
    """A target is taken apart; its path and query stay as they are written."""
    (route,) = loaded(tmp_path, f"pass_through_endpoints: [{{path: /a, target: '{target}'}}]\n").routes
    assert (expected,) == route.targets


def test_a_slash_at_a_joint_is_not_doubled(tmp_path: Path) -> None:
    """A route for everything below has no slash at its end, nor has its target: what follows begins with one."""
    text = "pass_through_endpoints: [{path: /m/, target: 'https://h.example/v1/', include_subpath: true}]"
    (route,) = loaded(tmp_path, text).routes
    assert (b"/m", b"/v1", "/m/") == (route.path, route.targets[0].base_path, route.terms.route)


def test_endpoints_of_both_places_are_joined(tmp_path: Path) -> None:
    """Routes at the top come first, those under general_settings after them."""
    text = ROUTE + "general_settings:\n  pass_through_endpoints:\n    - {path: /b, target: 'http://b.example'}\n"
    assert [b"/mistral", b"/b"] == [route.path for route in loaded(tmp_path, text).routes]


def test_one_path_with_disjoint_methods_is_two_routes(tmp_path: Path) -> None:
    """Methods tell routes of one path apart."""
    text = "pass_through_endpoints: [{path: /a, target: 'http://a.example', methods: [GET]}, {path: /a, target: 'http://b.example', methods: [POST]}]"  # noqa: E501
    assert 2 == len(loaded(tmp_path, text).routes)


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    """What files share by anchors is read as if it was written out; own keys win over merged ones."""
    text = """\
pass_through_endpoints:
  - &base
    path: /a
    target: https://a.example
    headers: &h {x-a: "1"}
  - {<<: *base, path: /b, auth: false}
  - {<<: [*base], path: /c, headers: {<<: *h, x-b: "2"}}
"""
    found = loaded(tmp_path, text).routes
    assert [(b"/a", True), (b"/b", False), (b"/c", True)] == [(route.path, route.auth) for route in found]
    assert {b"x-a", b"x-b"} == {name for name, _ in found[2].headers}


def test_keys_in_general_settings(tmp_path: Path) -> None:
    """The master key is a client that may do everything, and opens the admin port where no other key is given."""
    general = "general_settings: {master_key: sk-master-0123456789, litellm_key_header_name: X-Litellm-Key}\n"
    found = loaded(tmp_path, ROUTE + general)
    assert (ClientKey("master", sha256(b"sk-master-0123456789").digest()),) == found.clients
    assert (b"x-litellm-key", sha256(b"sk-master-0123456789").digest()) == (found.key_header, found.admin_digest)

    own = loaded(tmp_path, ROUTE + general + "admin_key: os.environ/ADMIN\n", {"ADMIN": "admin-0123456789"})
    assert sha256(b"admin-0123456789").digest() == own.admin_digest


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("litellm_settings: {drop_params: true}\nrouter_settings:\n", 6, "litellm_settings, router_settings"),
        ("model_list: [{model_name: os.environ/UNSET}]\n", 6, "model_list"),
        ("general_settings:\n  master_kye: x\n", 7, "master_kye: this key does nothing here"),
        ("general_settings: {database_url: os.environ/UNSET}\n", 6, "database_url: this key does nothing here"),
        ("    id: x\n    guardrails: {a: os.environ/UNSET}\n", 6, "'id' does nothing"),
        ("    custom_auth_parser: x\n", 6, "'custom_auth_parser' does nothing"),
        ("client_keys: [{name: a, key: short}]\n", 6, "shorter than 16"),
        ("master_key: short\n", 6, "shorter than 16"),
    ],
)
def test_warnings(tmp_path: Path, text: str, line: int, words: str) -> None:
    """What does nothing here, or is weak, is a warning with its line."""
    warning = loaded(tmp_path, ROUTE + text).warnings[0]
    assert line == warning.line
    assert words in warning.what
    assert warning.hint


def test_unknown_general_settings_are_one_warning(tmp_path: Path) -> None:
    """All keys of general_settings that do nothing here are named at once, with those that were probably meant."""
    section = "general_settings:\n  database_url: x\n  master_kye: x\n  alerting: [slack]\n"
    (warning,) = loaded(tmp_path, ROUTE + section).warnings
    assert (
        7,
        "database_url, master_kye, alerting: these keys do nothing here.",
        "Did you mean 'master_key' by 'master_kye'?",
    ) == (
        warning.line,
        warning.what,
        warning.hint,
    )


def test_sections_that_are_commented_out(tmp_path: Path) -> None:
    """A section without any line left is as if it was not there."""
    text = ROUTE + "client_keys:\nprices: ~\nlabel_headers: null\ngeneral_settings:\n"
    assert () == loaded(tmp_path, text).clients


def test_ledger_and_prices_alone(tmp_path: Path) -> None:
    """`usage` and `prices` read only what they need: neither keys nor routes have to make sense where they run."""
    file = written(
        tmp_path, "ledger: os.environ/LEDGER\nprices: [{model: m, usd_per_1000_pages: 2}]\nclient_keys: [os.environ/UNSET]\n"
    )
    assert "sqlite:///x.db" == load.load_ledger_url(file, {"LEDGER": "sqlite:///x.db"}, cwd=tmp_path)
    assert (Price("m", Decimal(2)),) == load.load_prices(file, {}, cwd=tmp_path)

    empty = written(tmp_path, "ledger: none\n")
    assert None is load.load_ledger_url(empty, {}, cwd=tmp_path)
    assert () == load.load_prices(empty, {}, cwd=tmp_path)


def test_listen_settings_by_precedence(tmp_path: Path) -> None:
    """A flag wins over a variable, a variable over the file, the file over the default."""
    text = ROUTE + "port: 5000\nadmin_port: 5001\nlisten_host: '::1'\nlog_level: DEBUG\nmax_connections: 500\n"
    text += "client_keep_alive: 10m\nupstream_keep_alive: 4s\n"
    environ = {"PASSTHROUGH_LISTEN_PORT": "6000", "PASSTHROUGH_ADMIN_PORT": "6001", "PASSTHROUGH_LOG_FORMAT": ""}
    environ["PASSTHROUGH_UPSTREAM_KEEP_ALIVE"] = "5s"
    found = loaded(tmp_path, text, environ, listen={"port": 7000, "drain_timeout": 3.5, "host": None}).listen
    expected = Listen(host="::1", port=7000, admin_port=6001, drain_timeout_s=3.5, log_level="debug", max_connections=500)
    assert replace(expected, client_keep_alive_s=600.0, upstream_keep_alive_s=5.0) == found


def test_tls_files_are_relative_to_where_they_are_named(tmp_path: Path) -> None:
    """In the file they are relative to its folder, on the command line to the working directory."""
    (tmp_path / "etc").mkdir()
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "etc" / "c.pem")
    issued.private_key_pem.write_to_path(tmp_path / "k.pem")
    written(tmp_path / "etc", ROUTE + "tls_cert: c.pem\n")
    found = load.load("etc/routes.yaml", {}, cwd=tmp_path, listen={"tls_key": "k.pem"}).listen
    assert (str(tmp_path / "etc" / "c.pem"), str(tmp_path / "k.pem")) == (found.tls_cert, found.tls_key)


@pytest.mark.parametrize("text", ["allow_anonymous: true\n", "master_key: 0123456789abcdef\n"])
def test_other_hosts_with_keys_or_on_purpose(tmp_path: Path, text: str) -> None:
    """With a key, or with allow_anonymous, it may listen for other machines."""
    assert "0.0.0.0" == loaded(tmp_path, ROUTE + text + "host: 0.0.0.0\n").listen.host


def test_rows_show_no_secret(tmp_path: Path) -> None:
    """`check` names variables; a key that stands in the file is ***; what is no credential is left out."""
    text = """\
pass_through_endpoints:
  - path: /a
    target: https://os.environ/HOST/v1
    methods: [POST, GET]
    headers: {Authorization: canary, x-api-key: os.environ/KEY, accept: a/b}
    cost_per_request: 0.0500
    meter: {shape: none, model: m}
"""
    found = loaded(tmp_path, text, {"HOST": "h.example", "KEY": "canary"})
    expected = ("/a", "GET, POST", "h.example", "Authorization: ***, x-api-key: KEY", "none (m)", "$0.05 per request", "")
    assert (expected,) == check.rows(found)
    assert len(check.COLUMNS) == len(expected)


def test_callers_name_the_pages_that_may_call(tmp_path: Path) -> None:
    """`check` says whose web pages may call, with keys and without."""
    said = "Web pages of https://app.example, http://localhost:3000 may call, and read what comes back."
    cors = "cors: [https://app.example, 'http://localhost:3000']\n"
    for keys in ("", "master_key: 0123456789abcdef\n"):
        assert said in check.callers(loaded(tmp_path, ROUTE + cors + keys))
        assert said not in check.callers(loaded(tmp_path, ROUTE + keys))


BUDGETS = """\
pass_through_endpoints:
  - path: /a
    target: http://h.example/ocr
    budget: {usd: 0.5, per: week, warn_at: none, unpriced: refuse}
    rpm: 10
  - {path: /b, target: 'http://h.example/ocr', budget: [{pages: 9, per: day, warn_at: 50%}]}
client_keys: [{name: a, key: 0123456789abcdef, budget: {pages: 1, per: day, warn_at: 1}}]
budget: [{usd: 100, per: month, warn_at: 0.925, unpriced: allow}, {pages: 7, per: month}]
rpm: 600
pages_per_minute: 5
max_parallel: 64
"""


def test_budgets_of_every_scope(tmp_path: Path) -> None:
    """A client, a route and the whole may each have budgets and limits; dollars become nano-dollars, a share a number."""
    found = loaded(tmp_path, BUDGETS)
    whole, route = Scope("all"), Scope("route", "/a")
    assert (
        Budget(route, Unit.USD, Per.WEEK, 500_000_000, None, refuses_unpriced=True),
        Budget(route, Unit.REQUESTS, Per.MINUTE, 10),
        Budget(Scope("route", "/b"), Unit.PAGES, Per.DAY, 9, 0.5),
        Budget(Scope("client", "a"), Unit.PAGES, Per.DAY, 1, 1.0),
        Budget(whole, Unit.USD, Per.MONTH, 100 * 10**9, 0.925),
        Budget(whole, Unit.PAGES, Per.MONTH, 7, 0.8),
        Budget(whole, Unit.REQUESTS, Per.MINUTE, 600),
        Budget(whole, Unit.PAGES, Per.MINUTE, 5),
    ) == found.budgets
    assert (64, ()) == (found.max_parallel, found.warnings)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("", "calendar", Calendar()),
        ("budget_periods: {time_zone: Europe/Berlin, day_starts: 06:30, week_starts: Sunday, month_starts: 31}\n", "calendar",
         Calendar("Europe/Berlin", 390, 6, 31)),
        ("budget_periods: {day_starts: '0:00'}\n", "calendar", Calendar()),
        ("on_ledger_down: refuse\n", "refuse_unlent", True),
        ("on_ledger_down: allow\n", "refuse_unlent", False),
        ("budget_webhook: os.environ/HOOK\n", "budget_webhook", "https://hooks.example/T0/secret?x=y"),
        ("", "budget_webhook", None),
        ("ledger_keep: forever\n", "ledger_keep_days", None),
        ("ledger_keep: none\n", "ledger_keep_days", None),
        ("ledger_keep: 30d\n", "ledger_keep_days", 30),
        ("ledger: none\n", "ledger", None),
        ("", "journal", None),
        ("", "cors", ()),
        ("cors: []\n", "cors", ()),
        ("cors: https://app.example\n", "cors", (b"https://app.example",)),
        ("cors: [HTTPS://App.Example:443, 'http://localhost:3000', 'https://bücher.example:8443']\n", "cors",
         (b"https://app.example", b"http://localhost:3000", b"https://xn--bcher-kva.example:8443")),
        ("cors: ['http://[0:0::1]:80', 'http://a.example:443', chrome-extension://abcd]\n", "cors",
         (b"http://[::1]", b"http://a.example:443", b"chrome-extension://abcd")),
        ("cors: os.environ/ORIGIN\n", "cors", (b"https://from.env.example",)),
    ],
)  # fmt: skip
def test_each_key_of_the_books(tmp_path: Path, text: str, field: str, expected: object) -> None:
    """What is written of periods, warnings, ledger, journal and web pages is what the configuration has."""
    environ = {"HOOK": "https://hooks.example/T0/secret?x=y", "ORIGIN": "https://from.env.example"}
    assert expected == getattr(loaded(tmp_path, ROUTE + text, environ), field)


def test_the_journal_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    """As the ledger is: not to the configuration's folder."""
    (tmp_path / "etc").mkdir()
    written(tmp_path / "etc", ROUTE + "journal: spool/journal\n")
    assert str(tmp_path / "spool/journal") == load.load("etc/routes.yaml", {}, cwd=tmp_path).journal


GET, GET_POST = frozenset({"GET"}), frozenset({"GET", "POST"})


def test_a_meter_for_any_answer(tmp_path: Path) -> None:
    """Paths, one or many, conditions and the provider's own units become the meter's plan."""
    text = """\
pass_through_endpoints:
- path: /reducto
  target: https://api.reducto.example
  meter:
    shape: json
    pages: [usage.num_pages, "parts[].num pages"]
    credits: usage.credits
    when: {status: Completed, result.ok: true}
    model_path: meta.engine
- {path: /documentai, target: 'https://d.example', meter: {shape: json, count: document.pages, model: documentai}}
"""
    found = [route.terms.plan for route in loaded(tmp_path, text).routes]
    counted = JsonCounts(
        pages=("usage.num_pages", "parts[].num pages"),
        credits=("usage.credits",),
        when=(("status", ("Completed",)), ("result.ok", ("true",))),
        model="meta.engine",
    )
    assert [MeterPlan("json", counted=counted), MeterPlan("json", "documentai", JsonCounts(count=("document.pages",)))] == found


METER = "pass_through_endpoints: [{{path: /a, target: 'https://h.example', {} meter: {{shape: json, {}}}}}]\n"


@pytest.mark.parametrize(
    ("route", "meter", "expected"),
    [
        ("", "max: '[].metadata.page_number'", JsonCounts(highest=("[].metadata.page_number",))),
        ("", "distinct: [a.page, 'b[].page']", JsonCounts(distinct=("a.page", "b[].page"))),
        ("", "count: '[]'", JsonCounts(count=("[]",))),
        ("", "header: X-Pages-Processed", JsonCounts(header=b"x-pages-processed")),
        ("", "pages: n, lines: true", JsonCounts(pages=("n",), lines=True)),
        ("", "pages: n, once: job.id", JsonCounts(pages=("n",), once=("job.id",))),
        ("", "pages: n, once: [job.id, '/job/{}/']", JsonCounts(pages=("n",), once=("job.id", "/job/{}/"))),
        ("", "pages: n, once: '/a:b/{}/r%20s/{}'", JsonCounts(pages=("n",), once=("/a:b/{}/r%20s/{}",))),
        ("", "pages: n, when: {s: [A, B], t: 3}", JsonCounts(pages=("n",), when=(("s", ("A", "B")), ("t", ("3",))))),
        ("", "pages: n, unless: [more, 'a[].b']", JsonCounts(pages=("n",), unless=("more", "a[].b"))),
        ("", "credits_header: X-Credits", JsonCounts(credits_header=b"x-credits")),
        (
            "",
            "tokens_in: u.in, tokens_out: [u.out, u.more], tokens_cached: u.old",
            JsonCounts(tokens_in=("u.in",), tokens_out=("u.out", "u.more"), tokens_cached=("u.old",)),
        ),
        ("", "pages: n, credits: c, tokens_out: t", JsonCounts(pages=("n",), credits=("c",), tokens_out=("t",))),
        ("", "pages: n, methods: [get, POST]", JsonCounts(pages=("n",), methods=GET_POST, constant_methods=GET_POST)),
        ("", "constant: 1", JsonCounts(constant=1)),
        ("", "constant: 1, methods: GET", JsonCounts(constant=1, methods=GET, constant_methods=GET)),
        ("methods: [GET, HEAD],", "constant: 1", JsonCounts(constant=1, constant_methods=GET)),
        ("methods: [GET, POST],", "constant: 1", JsonCounts(constant=1)),
        ("methods: [GET, POST],", "constant: 1, methods: GET", JsonCounts(constant=1, methods=GET, constant_methods=GET)),
    ],
)
def test_what_counts_in_any_json(tmp_path: Path, route: str, meter: str, expected: JsonCounts) -> None:
    """Each key of shape json; a fixed number of pages is for POST, or for the methods of a route without it."""
    (found,) = loaded(tmp_path, METER.format(route, meter)).routes
    assert expected == found.terms.plan.counted


@pytest.mark.parametrize("shape", ["auto", "ocr"])
def test_a_header_with_the_pages_may_have_another_name(tmp_path: Path, shape: str) -> None:
    """It is x-pages-processed where nothing is said."""
    text = "pass_through_endpoints: [{path: /a, target: 'https://h.example', meter: {shape: %s%s}}]\n"
    for more, expected in (("", b"x-pages-processed"), (", header: X-Pages", b"x-pages")):
        (found,) = loaded(tmp_path, text % (shape, more)).routes
        assert MeterPlan(shape, pages_header=expected) == found.terms.plan


OWN_PRICES = """\
prices: [{model: m, usd_per_1000_pages: 2}]
pass_through_endpoints:
- {path: /a, target: os.environ/UNSET, headers: {x-a: os.environ/UNSET}}
- {path: /b, target: 'http://h.example', prices: [{model: m, usd_per_1000_pages: 3}, {model: n, usd_per_credit: 0.015}]}
general_settings:
  pass_through_endpoints: [{path: os.environ/THERE, target: 'http://h.example', prices: [{model: m, usd_per_1000_pages: 4}]}]
"""


PRICED = """\
pass_through_endpoints:
- {path: /a, target: os.environ/UNSET, meter: {price_list: none, shape: os.environ/UNSET}}
- {path: /b, target: os.environ/UNSET, meter: ocr, cost_per_request: 1}
- {path: /c, target: os.environ/UNSET, meter: {shape: ocr}}
- {path: /d, target: os.environ/UNSET, meter: {price_list: azure}, prices: [{model: m, usd_per_credit: 1}]}
price_map: maps/map.json
prices:
- {model: m, usd_per_million_input_tokens: 2, usd_per_million_cached_input_tokens: 0.2}
- {model: m, service_tier: priority, usd_per_million_input_tokens: 3}
"""


def test_prices_of_tiers_and_of_a_price_map(tmp_path: Path) -> None:
    """Rows for a tier stand beside the standard one; a price map is found beside the file; both are read alone, too."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "maps").mkdir(parents=True)
    written(elsewhere / "maps", '{"gpt": {"litellm_provider": "openai", "input_cost_per_token": 1e-06}}', "map.json")
    file = written(elsewhere, PRICED)
    own = (
        Price("m", usd_per_million_input_tokens=Decimal(2), usd_per_million_cached_input_tokens=Decimal("0.2")),
        Price("m", usd_per_million_input_tokens=Decimal(3), service_tier="priority"),
        Price("m", usd_per_credit=Decimal(1), route="/d"),
    )
    mapped = (Price("openai/gpt", usd_per_million_input_tokens=Decimal(1), source="map.json"),)
    assert own == load.load_prices(file, {}, cwd=tmp_path)
    assert mapped == load.load_price_map(file, {}, cwd=tmp_path)
    assert NamedLists({"/a": "none", "/d": "azure"}) == load.load_price_lists(file, {}, cwd=tmp_path)
    assert {"/b": 10**9} == load.load_costs_per_request(file, {}, cwd=tmp_path)
    assert () == load.load_price_map(written(tmp_path, "ledger: none\n"), {}, cwd=tmp_path)
    text = PRICED.replace(", shape: os.environ/UNSET", "")
    whole = load.load(written(elsewhere, text), {"UNSET": "http://h.example"}, cwd=tmp_path)
    assert (own, mapped, str(elsewhere / "maps/map.json")) == (whole.prices, whole.price_map, whole.price_map_file)
    assert ["none", None, None, "azure"] == [route.terms.price_list for route in whole.routes]


def test_prices_of_routes(tmp_path: Path) -> None:
    """A route's own prices carry its path; alone they are read without the rest of the file."""
    expected = (
        Price("m", Decimal(2)),
        Price("m", Decimal(3), route="/b"),
        Price("n", usd_per_credit=Decimal("0.015"), route="/b"),
        Price("m", Decimal(4), route="/c"),
    )
    file = written(tmp_path, OWN_PRICES)
    assert expected == load.load_prices(file, {"THERE": "/c"}, cwd=tmp_path)
    assert expected == loaded(tmp_path, OWN_PRICES, {"THERE": "/c", "UNSET": "http://x.example"}).prices


def _limited(found: Config) -> list[str]:
    return [row[check.COLUMNS.index("limits")] for row in check.rows(found)]


def test_rows_show_what_may_be_spent(tmp_path: Path) -> None:
    """`check` shows each route's budgets and limits with the route."""
    assert ["$0.5 per week (unpriced: refuse), 10 requests per minute", "9 pages per day"] == _limited(loaded(tmp_path, BUDGETS))
