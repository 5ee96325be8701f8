"""Endpoints with several targets: what each becomes, what it inherits, and every rule with its line and its words."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from passthrough.accounting.pricing.offers import NamedLists
from passthrough.config import load
from passthrough.config.announce import price_lists
from passthrough.config.reload import named_files
from passthrough.credentials.identity import EntraIdentity
from passthrough.exchange import RouteTerms
from passthrough.meter.plan import MeterPlan
from passthrough.proxy.deployments.deployment import Deployment, Routing
from passthrough.proxy.deployments.pool import Pool
from passthrough.proxy.routes import Retries, Route, Serves, Target, Timeouts
from passthrough.secret import Secret
from tests.harness.configs import loaded, problems, written

WHOLE = """\
pass_through_endpoints:
- path: /ocr
  target: https://alone.example
- path: /mistral
  include_subpath: true
  headers: {Authorization: Bearer os.environ/KEY_A, X-Team: a, litellm_user_api_key: x-key}
  timeouts: {connect: 1s}
  cost_per_request: 1
  rpm: 5
  meter: {shape: ocr, account: one}
  retries: {attempts: 2, statuses: [429, 503], max_wait: 9s}
  upstream_tls: {ca_file: corporate.pem}
  proxy: http://proxy.internal:3128
  default_query_params: {lang: en}
  targets:
  - target: https://api.mistral.ai/
    weight: 2.5
  - target: os.environ/EAST/v1?key=a
    id: east
    headers: {authorization: Bearer os.environ/KEY_B, X-Region: east}
    order: 2
    meter: chat
client_keys: [{name: x, key: 0123456789abcdef, routes: [/mistral]}]
"""
VARIABLES = {"KEY_A": "canary-a", "KEY_B": "canary-b", "EAST": "https://east.example/"}


def test_each_target_has_what_it_says_and_what_it_inherits(tmp_path: Path) -> None:
    """The endpoint's route has no target, and admits; each target is a route of its own, with headers merged by name."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "corporate.pem"))
    found = loaded(tmp_path, WHOLE, VARIABLES)
    (pool,) = found.pools
    assert [None, Serves.POOL] == [route.serves for route in found.routes]
    assert pool.route is found.routes[1]
    shared = {
        "path": b"/mistral",
        "include_subpath": True,
        "key_header": b"x-key",
        "timeouts": Timeouts(connect_s=1.0),
        "retries": Retries(2, frozenset({429, 503}), max_wait_s=9.0),
        "default_query": (b"lang=en",),
    }
    ocr = RouteTerms("/mistral", MeterPlan("ocr"), cost_per_request_nano=10**9, account="one")
    chat = RouteTerms("/mistral", MeterPlan("chat"), cost_per_request_nano=10**9)
    assert Route(targets=(), terms=ocr, serves=Serves.POOL, **shared) == pool.route
    reached = (str(tmp_path / "corporate.pem"), Secret("http://proxy.internal:3128"))
    first = Target(True, "api.mistral.ai", 443, b"", b"", *reached, "api.mistral.ai")
    second = Target(True, "east.example", 443, b"/v1", b"key=a", *reached, "east.example")
    set_first = ((b"Authorization", Secret("Bearer canary-a")), (b"X-Team", Secret("a")))
    set_second = ((b"X-Team", Secret("a")), (b"authorization", Secret("Bearer canary-b")), (b"X-Region", Secret("east")))
    assert (
        Deployment(
            "/mistral#1", "/mistral", None, "", first, Route(targets=(first,), terms=ocr, headers=set_first, **shared), weight=2.5
        ),
        Deployment(
            "east", "/mistral", None, "", second, Route(targets=(second,), terms=chat, headers=set_second, **shared), order=2
        ),
    ) == pool.deployments
    assert ("/mistral", None, "/mistral", pool.deployments) == (pool.name, pool.sticky, pool.group.name, pool.group.deployments)
    assert (
        Routing(num_retries=2, statuses=frozenset({401, 403, 429, 503}), max_wait_s=9.0, takes_cooling=True) == pool.table.routing
    )
    assert [tmp_path / "corporate.pem"] == list(named_files(found))
    assert "canary" not in repr(found)


def pool_of(folder: Path, keys: str, *targets: str, more: str = "", sandbox: bool = False, **environ: str) -> Pool:
    """Return the pool of an endpoint with these keys and targets, each written in one line."""
    items = "".join(f"  - {{{target}}}\n" for target in targets)
    text = f"pass_through_endpoints:\n- path: /a\n  {keys}\n  targets:\n{items}{more}"
    (pool,) = loaded(folder, text, environ, sandbox=sandbox).pools
    return pool


ONE = "target: 'http://one.example'"
MACHINE = "upstream_auth: {entra: {managed_identity: true}}"
OTHER = "upstream_auth: {entra: {managed_identity: true, client_id: 0a1b2c3d-0000-0000-0000-000000000000}}"


@pytest.mark.parametrize(
    ("keys", "target", "sent", "is_own"),
    [
        (MACHINE, "", {b"X-A"}, False),
        (MACHINE, "headers: {X-B: b}", {b"X-A", b"X-B"}, False),
        (MACHINE, "headers: {authorization: key}", {b"X-A", b"authorization"}, None),
        (MACHINE, "headers: {API-Key: key}", {b"X-A", b"API-Key"}, None),
        (MACHINE, "headers: {x-api-key: key}", {b"X-A", b"x-api-key"}, None),
        (MACHINE, "headers: {x-goog-api-key: key}", {b"X-A", b"x-goog-api-key"}, None),
        (MACHINE, OTHER, {b"X-A"}, True),
        ("headers: {X-A: a, Ocp-Apim-Subscription-Key: key}", "headers: {authorization: k}", {b"X-A", b"authorization"}, None),
        ("headers: {X-A: a, Authorization: key}", OTHER, {b"X-A"}, True),
        ("headers: {X-A: a, api-key: key, X-API-Key: key}", f"{OTHER}, headers: {{x-a: b}}", {b"x-a"}, True),
        ("headers: {X-A: a, Authorization: key}", "", {b"X-A", b"Authorization"}, None),
        ("headers: {X-A: a, Authorization: key}", "headers: {API-Key: key}", {b"X-A", b"API-Key"}, None),
        ("headers: {X-A: a, api-key: key, X-API-Key: key}", "headers: {authorization: key}", {b"X-A", b"authorization"}, None),
    ],
)
def test_a_target_that_says_who_it_is_has_no_other_credential(
    tmp_path: Path, keys: str, target: str, sent: set[bytes], is_own: bool | None
) -> None:
    """A key or an identity of its own replaces the endpoint's, of whatever name and kind; the sandbox has no identity."""
    keys = keys if "headers" in keys else f"{keys}\n  headers: {{X-A: a}}"
    pool = pool_of(tmp_path, keys, f"{ONE}, {target}")
    (found,) = pool.deployments
    assert sent == {name for name, _ in found.route.headers}
    client = {None: [], False: [None], True: ["0a1b2c3d-0000-0000-0000-000000000000"]}[is_own]
    assert client == [auth.client_id for auth in [found.route.upstream_auth] if isinstance(auth, EntraIdentity)]
    assert pool.route.upstream_auth is None
    assert pool_of(tmp_path, keys, f"{ONE}, {target}", sandbox=True).deployments[0].route.upstream_auth is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("include_subpath: true", None),
        ("include_subpath: false", False),
        ("sticky: true", True),
        ("include_subpath: true\n  sticky: false", False),
        ("include_subpath: true\n  sticky: true", True),
    ],
)
def test_who_stays_with_a_target(tmp_path: Path, keys: str, expected: bool | None) -> None:
    """What the file says; else all but OCR where there are paths below, and none where there is one path."""
    assert expected is pool_of(tmp_path, keys, ONE).sticky


def test_without_retries_only_what_was_never_sent_is_tried_again(tmp_path: Path) -> None:
    """No status leads to another try: no body is held for one."""
    assert Routing(statuses=frozenset(), takes_cooling=True) == pool_of(tmp_path, "rpm: 1", ONE).table.routing


def test_a_target_may_have_no_share(tmp_path: Path) -> None:
    """While another of its order has one."""
    assert [1, 0] == [
        each.weight for each in pool_of(tmp_path, "rpm: 1", ONE, "target: 'http://two.example', weight: 0").deployments
    ]


def test_ids_are_unique_over_endpoints_of_one_path(tmp_path: Path) -> None:
    """The number counts by position, also behind targets with an id, and goes on where another endpoint has the path."""
    text = """\
pass_through_endpoints:
- {path: /a, methods: [GET], targets: [{target: 'http://h/1', id: x}, {target: 'http://h/2'}]}
- {path: /b, methods: [GET], targets: [{target: 'http://h/3'}]}
- {path: /a, methods: [POST], targets: [{target: 'http://h/4'}, {target: 'http://h/5', meter: {price_list: azure}}]}
general_settings:
  pass_through_endpoints:
  - {path: /c, target: 'http://h/6'}
  - {path: /a, methods: [PUT], targets: [{target: 'http://h/7', meter: ocr}]}
"""
    found = loaded(tmp_path, text)
    assert [["x", "/a#2"], ["/b#1"], ["/a#3", "/a#4"], ["/a#5"]] == [
        [each.id for each in pool.deployments] for pool in found.pools
    ]
    assert NamedLists({}, {"/a#4": "azure", "/a#5": None}) == load.load_price_lists(written(tmp_path, text), {}, cwd=tmp_path)


def test_the_sandbox_takes_the_place_of_each(tmp_path: Path) -> None:
    """What is not set does no harm: such headers are left out, and a target keeps its path."""
    pool = pool_of(
        tmp_path, "headers: {X-A: os.environ/UNSET, X-B: b}",
        "target: os.environ/UNSET/v1, headers: {api-key: os.environ/UNSET, X-C: c}",
        "target: os.environ/SLASHED/v2, upstream_auth: {entra: {client_secret: os.environ/UNSET, tenant_id: os.environ/UNSET}}",
        sandbox=True, SLASHED="http://h.example/",
    )  # fmt: skip
    assert [b"/v1", b"/v2"] == [each.target.base_path for each in pool.deployments]
    assert {("sandbox", "127.0.0.1", 0)} == {(each.target.name, each.target.host, each.target.port) for each in pool.deployments}
    assert [((b"X-B", Secret("b")), (b"X-C", Secret("c"))), ((b"X-B", Secret("b")),)] == [
        each.route.headers for each in pool.deployments
    ]
    assert {(pool.deployments[0].target.base_path, 4010)} < {
        (each.target.base_path, each.target.port) for each in pool.at_port(4010).deployments
    }
    assert pool.route is pool.at_port(4010).route


def test_a_proxy_that_is_not_used_is_said_of_targets_too(tmp_path: Path) -> None:
    """As of a route's only target."""
    (warning,) = loaded(
        tmp_path, f"pass_through_endpoints: [{{path: /ocr, targets: [{{{ONE}}}]}}]\n", {"HTTP_PROXY": "http://p"}
    ).warnings
    assert ("HTTP_PROXY", "route /ocr connects directly" in warning.what) == (warning.key, True)


HEAD = "pass_through_endpoints:\n- path: /a\n"  # what follows is on line 3
T = "pass_through_endpoints[0].targets"
TWO = "  targets:\n  - target: http://one.example\n  - target: http://two.example\n    "  # goes on on line 5

Row = tuple[str, int, str, str, str]

PROBLEMS: list[Row] = [
    (HEAD + "  rpm: 1\n", 2, "pass_through_endpoints[0].target", "This key is missing.", "'targets' for several"),
    (HEAD + "  target: http://h\n" + TWO + "\n", 4, T, "'target', on line 3, says where this goes already.", "Move it"),
    (HEAD + "  targets: []\n", 3, T, "There is no target in this list.", "Name at least one"),
    (HEAD + "  targets:\n", 3, T, "There is no value here.", "Give it one"),
    (HEAD + "  targets: {target: http://h}\n", 3, T, "A list is expected here.", "- "),
    (HEAD + "  targets: [http://h]\n", 3, f"{T}[0]", "A mapping (key: value) is expected here.", "Write"),
    (HEAD + "  targets: [{id: x}]\n", 3, f"{T}[0].target", "This key is missing.", "http(s)://"),
    (HEAD + "  target: http://h\n  sticky: true\n", 4, "pass_through_endpoints[0].sticky",
     "There is one target only: all requests go there.", "'targets'"),
    (HEAD + "  sticky: maybe\n" + TWO + "\n", 3, "pass_through_endpoints[0].sticky", "true or false is expected here.", "true"),
    (HEAD + TWO + "retries: 1\n", 6, f"{T}[1].retries", "There is no such key here.", "one level up, beside 'targets'"),
    (HEAD + TWO + "proxy: http://p\n", 6, f"{T}[1].proxy", "There is no such key here.", "one level up, beside 'targets'"),
    (HEAD + TWO + "wieght: 1\n", 6, f"{T}[1].wieght", "There is no such key here.", "Did you mean 'weight'?"),
    (HEAD + TWO + "zzz: 1\n", 6, f"{T}[1].zzz", "There is no such key here.", "headers, id, meter, order, target"),
    (HEAD + TWO + "cost_header: x\n", 6, f"{T}[1].cost_header", "There is no such key here.", "Move it into 'meter'."),
    (HEAD + TWO + "wieght: 1\n", 6, f"{T}[1].wieght", "There is no such key here.", "Did you mean 'weight'?"),
    (HEAD + TWO + "weight: -1\n", 6, f"{T}[1].weight", "This must be a number, 0 or more.", "2"),
    (HEAD + TWO + "order: first\n", 6, f"{T}[1].order", "This must be a whole number, 0 or more.", "1"),
    (HEAD + TWO + "weight: 0\n    order: 2\n", 6, f"{T}[1].weight",
     "All targets of this order have the weight 0: none is ever chosen.", "above 0"),
    (HEAD + "  targets: [{target: http://h, weight: 0},\n    {target: http://i, weight: 0}]\n", 3, f"{T}[0].weight",
     "All targets of this order have the weight 0: none is ever chosen.", "above 0"),
    (HEAD + TWO + "id: ' x'\n", 6, f"{T}[1].id", "This is not a name", "invoices"),
    (HEAD + TWO + "id: /a#1\n", 6, f"{T}[1].id", "'/a#1' is the id of what is on line 4 too.", "Give each its own"),
    (HEAD + "  targets:\n  - {target: http://h, id: /a#2}\n  - target: http://i\n", 4, f"{T}[0].id",
     "'/a#2' is the id of what is on line 5 too.", "Give each its own"),
    (HEAD + "  targets: [{target: http://h, id: x}, {target: http://i, id: x}]\n", 3, f"{T}[1].id",
     "'x' is the id of what is on line 3 too.", "Give each its own"),
    (HEAD + TWO + "\nmodel_list:\n- {model_name: m, litellm_params: {model: mistral/mistral-ocr-latest, api_key: k},\n"
     "   model_info: {id: /a#2}}\n", 5, f"{T}[1]", "'/a#2' is the id of what is on line 8 too.", "Give each its own"),
    (HEAD + TWO + "id: mistral/mistral-ocr-latest\nmodel_list:\n"
     "- {model_name: m, litellm_params: {model: mistral/mistral-ocr-latest, api_key: k}}\n", 6, f"{T}[1].id",
     "'mistral/mistral-ocr-latest' is the id of what is on line 8 too.", "Give each its own"),
    (HEAD + TWO + "headers: {A: x, a: y}\n", 6, f"{T}[1].headers.a", "This header is given twice, as 'A' too", "Keep one"),
    (HEAD + TWO + "headers: {Host: x}\n", 6, f"{T}[1].headers.Host", "The proxy sets this header by itself.", "Remove"),
    (HEAD + TWO + "headers: {litellm_user_api_key: x}\n", 6, f"{T}[1].headers.litellm_user_api_key",
     "Where a client's key stands is for the whole endpoint", "endpoint's own headers"),
    (HEAD + TWO + "headers: {A: os.environ/NO}\n", 6, f"{T}[1].headers.A", "NO is not set.", "remove this header."),
    (HEAD + "  targets: [{target: os.environ/NO}]\n", 3, f"{T}[0].target", "NO is not set.", "remove this target."),
    (HEAD + "  targets: [{target: '${NO}'}]\n", 3, f"{T}[0].target", "This is no reference", "os.environ/NO"),
    (HEAD + TWO + "upstream_auth: {}\n", 6, f"{T}[1].upstream_auth", "There is no identity here.", "exactly one"),
    (HEAD + TWO + "upstream_auth: {entra: {managed_identity: true}}\n    headers: {api-key: k}\n", 7, f"{T}[1].headers.api-key",
     "There are two credentials", "Remove this header"),
    (HEAD + "  upstream_auth: {google: {}, entra: {}}\n" + TWO + "\n", 3, "pass_through_endpoints[0].upstream_auth",
     "There are two identities here.", "exactly one"),
    (HEAD + TWO + "meter: {pages: a}\n", 6, f"{T}[1].meter.pages", "'pages' says where a count stands", "shape: json"),
    (HEAD + TWO + "meter: {shape: ocr, pirce_list: none}\n", 6, f"{T}[1].meter.pirce_list", "no such key", "price_list"),
    (HEAD + "  auth: false\n  forward_credentials: true\n" + TWO + "\n", 4, "pass_through_endpoints[0].forward_credentials",
     "The client's own credentials are for one account", "Name one 'target'"),
    (HEAD + TWO + "\n- {path: /b, targets: [{target: 'http://127.0.0.1:4001/x'}]}\n", 7,
     "pass_through_endpoints[1].targets[0].target", "The target is this proxy itself (port 4001).", "provider's host"),
    (HEAD + TWO + "\n- {path: /a, target: http://h}\n", 7, "pass_through_endpoints[1].path", "Another route, on line 2", "path"),
    (HEAD + "  upstream_tls: {ca_file: gone.pem}\n" + TWO + "\n", 3, "pass_through_endpoints[0].upstream_tls.ca_file gone.pem",
     "There is no such file.", "PEM"),
    ("targets: []\n" + HEAD + "  target: http://h\n", 1, "targets", "This key belongs to a route.", "Move it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "what", "hint"), PROBLEMS)
def test_each_problem_has_its_line_and_hint(tmp_path: Path, text: str, line: int, key: str, what: str, hint: str) -> None:
    """One problem each, at its own place."""
    (found,) = problems(tmp_path, text, {})
    assert (line, key) == (found.line, found.key)
    assert what in found.what
    assert hint in found.hint


@pytest.mark.parametrize(
    ("second", "warned"),
    [
        ("target: 'http://one.example'", True),
        ("target: 'HTTP://ONE.example:80/', headers: {authorization: one}", True),
        ("target: 'http://one.example', headers: {Authorization: two}", False),
        ("target: 'http://one.example', headers: {X-Region: west}", False),
        ("target: 'http://one.example/west'", False),
        ("target: 'https://one.example'", False),
    ],
)
def test_the_same_target_with_the_same_credentials_is_one_account(tmp_path: Path, second: str, warned: bool) -> None:
    """A warning names the other one; in the sandbox, where all are one, there is none."""
    text = (
        f"pass_through_endpoints:\n- path: /ocr\n  headers: {{Authorization: one}}\n  targets:\n  - {{{ONE}}}\n  - {{{second}}}\n"
    )
    found = loaded(tmp_path, text).warnings
    expected = [(6, f"{T}[1]", "The target on line 5 is the same, with the same credentials.")] if warned else []
    assert expected == [(warning.line, warning.key, warning.what) for warning in found]
    assert () == loaded(tmp_path, text, sandbox=True).warnings


def test_whose_lists_price_targets(tmp_path: Path) -> None:
    """A pool goes by its path where one list is for all of it, else its targets do by their ids."""
    text = """\
pass_through_endpoints:
- {path: /keys, include_subpath: true, headers: {A: b}, targets: [{target: 'https://api.mistral.ai'}, {target: 'https://api.mistral.ai', headers: {A: c}}]}
- {path: /mixed, targets: [{target: 'https://api.mistral.ai', id: eu}, {target: 'https://r.services.ai.azure.com'}, {target: 'https://h.internal', meter: none}]}
- {path: /flat, cost_per_request: 1, targets: [{target: 'https://api.mistral.ai'}]}
"""  # noqa: E501 - a line for each
    expected = "Prices: Mistral's list for /keys/*, eu; Azure's list for /mixed#2."
    assert expected == price_lists(loaded(tmp_path, text))
