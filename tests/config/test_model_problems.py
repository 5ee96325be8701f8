"""Files whose model_list, or what belongs to it, cannot be used: each rule with its line, its key and its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.configs import loaded, problems

M = "model: mistral/mistral-ocr-latest\n    api_key: k1\n    "
AZURE = "model: azure_ai/mistral-document-ai-2512\n    "
APPLICATION = AZURE + "api_base: https://r\n    tenant_id: t\n    client_id: c\n    client_secret: s\n    "
VERTEX = "model: vertex_ai/mistral-ocr-2505\n    "
A = "model_list:\n- model_name: a\n  litellm_params: {model: mistral/mistral-ocr-latest, api_key: k1}\n"
KEY = "client_keys: [{name: x, key: 0123456789abcdef0, models: "
P, L = "model_list[0].litellm_params", "model_list[0].model_info"


def entry(params: str, info: str = "") -> str:
    """Return a file with one entry; its parameters begin on line 4."""
    return f"model_list:\n- model_name: a\n  litellm_params:\n    {params}\n" + (f"  model_info: {{{info}}}\n" if info else "")


def route(keys: str) -> str:
    """Return a file with one route, on line 2, and one model."""
    return f"pass_through_endpoints:\n- {{{keys}, target: 'http://h.example'}}\n" + A


NO_KEY = "There is no key for this deployment: no api_key, and MISTRAL_API_KEY is not set."
NO_AZURE_KEY = "There is no key for this deployment: no api_key, and AZURE_AI_API_KEY is not set."
OIDC = "A token that is exchanged for another (oidc/…) is not served here."
PERSON = "A person's name and password are not served here."
NO_KEY_HERE = "There is no such key here."
NO_MODEL = "There is no such model in model_list."
COUNT = "This must be a positive whole number."

Row = tuple[str, int, str, str, str]

ENTRIES: list[Row] = [
    ("model_list: text\n", 1, "model_list", "A list is expected here.", "begin each item with '- '"),
    ("model_list: [text]\n", 1, "model_list[0]", "A mapping (key: value) is expected here.", "Write {key: value}"),
    (A.replace("model_name", "model_nam"), 2, "model_list[0].model_nam", NO_KEY_HERE, "'model_name'"),
    ("model_list:\n- model_name: a\n  model_info: {mode: ocr}\n", 2, P, "This key is missing.", "Add it"),
    ("model_list:\n- model_name: a\n  litellm_params: {api_key: k}\n  model_info: {mode: ocr}\n", 3, f"{P}.model",
     "This key is missing.", "mistral/"),
    (entry("model: mistral-ocr-latest\n    api_key: k1"), 4, f"{P}.model", "The provider is missing.", "vertex_ai/"),
    (entry("model: azure/mistral-document-ai\n    api_key: k1"), 4, f"{P}.model", "There is no such provider for OCR.",
     "'azure_ai/'"),
    (entry(M, "mode: orc"), 7, f"{L}.mode", "There is no such mode.", "'ocr'"),
    (entry("model: mistral/mistral-ocr-latest"), 3, f"{P}.api_key", NO_KEY, "set MISTRAL_API_KEY"),
    (entry("model: mistral/mistral-ocr-latest\n    api_key:"), 5, f"{P}.api_key", NO_KEY, "os.environ/NAME"),
    (entry("model: mistral/mistral-ocr-latest\n    api_key: os.environ/NOT_SET"), 5, f"{P}.api_key", "NOT_SET is not set.",
     "remove this entry"),
    (entry("model: mistral/mistral-ocr-latest\n    api_key: ${KEY}"), 5, f"{P}.api_key",
     "This is no reference to a variable: it would be taken as it stands.", "os.environ/KEY"),
    (entry(M + "order: first"), 6, f"{P}.order", "This must be a whole number, 0 or more.", "1"),
    (entry(M + "rpm: -1"), 6, f"{P}.rpm", COUNT, "8"),
    (entry(M + "tpm: many"), 6, f"{P}.tpm", COUNT, "8"),
    (entry(M + "max_parallel_requests: 0"), 6, f"{P}.max_parallel_requests", COUNT, "8"),
    (entry(M + "weight: 0"), 6, f"{P}.weight",
     "All deployments of this name and order have the weight 0: none is ever chosen.", "above 0"),
    (entry(M + "weight: -2"), 6, f"{P}.weight", "This must be a number, 0 or more.", "2"),
    (entry(M + "num_retries: 99"), 6, f"{P}.num_retries", "This must be a whole number from 0 to 10.", "0 to try once"),
    (entry(M + "timeout: soon"), 6, f"{P}.timeout", "This is not a duration.", "10s"),
    (entry(M + "api_base: mistral"), 6, f"{P}.api_base", "The base URL is not a URL.", "https://"),
    (entry(M + "api_base: http://127.0.0.1:4000"), 6, f"{P}.api_base", "The target is this proxy itself (port 4000).", "host"),
    (entry(M + "api_bse: https://h"), 6, f"{P}.api_bse", NO_KEY_HERE, "'api_base'"),
    (entry(M + "base_url: https://h.example"), 6, f"{P}.base_url", NO_KEY_HERE, "'api_base'"),
    (entry("model: mistral/mistral-ocr-latest\n    api_kye: k"), 5, f"{P}.api_kye", NO_KEY_HERE, "'api_key'"),
    (entry(M + "max_paralel_requests: 3"), 6, f"{P}.max_paralel_requests", NO_KEY_HERE, "'max_parallel_requests'"),
    (entry(M + "extra_headers: {Host: x}"), 6, f"{P}.extra_headers.Host", "The proxy sets this header by itself.", "Remove"),
    (entry(M + "extra_headers: {A: x, a: y}"), 6, f"{P}.extra_headers.a",
     "This header is given twice: case does not matter.", "Keep one"),
    (entry(M + "image_limit: many"), 6, f"{P}.image_limit", COUNT, "8"),
    (entry(M + "pages: {a: b}"), 6, f"{P}.pages", "A single value is expected here, not a list or a mapping.", "text"),
    (entry(M + "include_image_base64: maybe"), 6, f"{P}.include_image_base64", "true or false is expected here.", "true"),
    (entry(M + "document_annotation_format: text"), 6, f"{P}.document_annotation_format",
     "A mapping (key: value) is expected here.", "{key: value}"),
    (entry(M, "idd: x"), 7, f"{L}.idd", NO_KEY_HERE, "'id'"),
    (entry(M, "ocr_cost_per_page: cheap"), 7, f"{L}.ocr_cost_per_page", "This is not an amount of US dollars.", "0.002"),
    (entry(M, "ocr_cost_per_pages: 1"), 7, f"{L}.ocr_cost_per_pages", NO_KEY_HERE, "'ocr_cost_per_page'"),
    (A + "  model_info: {id: x}\n- model_name: b\n  litellm_params: {model: mistral/mistral-ocr-latest, api_key: k1}\n"
     "  model_info: {id: x}\n", 7, "model_list[1].model_info.id", "This is the id of the entry on line 2 too.", "its own"),
    (entry("model: mistral/*\n    api_key: k1", "mode: ocr"), 4, f"{P}.model",
     "Nothing replaces the '*': the entry's model_name has none.", "model_name too"),
    (A.replace("name: a", "name: 'a*b*'"), 2, "model_list[0].model_name", "Only one '*' can stand in a name.", "Keep one"),
    (entry(AZURE + "api_key: k1"), 3, f"{P}.api_base",
     "A deployment at Azure has an address of its own, which is missing.", "AZURE_AI_API_BASE"),
    (entry(AZURE + "api_base: https://r.example"), 3, f"{P}.api_key", NO_AZURE_KEY, "AZURE_AI_API_KEY"),
    (entry(AZURE + "api_base: https://r.example\n    api_key: k\n    api_version: a&b"), 7, f"{P}.api_version",
     "This is not the version of an API.", "2024-05-01-preview"),
    (entry(AZURE + "api_base: https://r.example\n    tenant_id: t\n    client_id: c\n    client_secret: os.environ/X"), 8,
     f"{P}.client_secret", "X is not set.", "remove this entry"),
    (entry(AZURE + "api_base: https://r.example\n    tenant_id: t\n    client_id: c"), 3, P,
     "Nothing proves this identity: no client_secret, and neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is set.",
     "'client_secret'"),
    (entry(AZURE + "api_base: https://r.example\n    client_id: c\n    client_secret: s"), 3, P,
     "The identity has no tenant_id, and AZURE_TENANT_ID is not set.", "'tenant_id'"),
    (entry(APPLICATION.replace(": t", ": a b")), 6, f"{P}.tenant_id", "This is not a tenant.", "portal"),
    (entry(APPLICATION + "azure_scope: https://ai"), 9, f"{P}.azure_scope",
     "This is not a scope of Entra: a program asks for one that ends in '/.default'.", "/.default"),
    (entry(AZURE + "api_base: https://r.example\n    azure_ad_token: oidc/file/t"), 6, f"{P}.azure_ad_token", OIDC,
     "AZURE_FEDERATED_TOKEN_FILE"),
    (entry(AZURE + "api_base: https://r.example\n    client_id: c\n    azure_username: u\n    azure_password: p"), 7,
     f"{P}.azure_username", PERSON, "'client_secret'"),
    (entry(VERTEX + "api_key: k"), 3, f"{P}.vertex_project",
     "A deployment at Vertex belongs to a project, which is missing.", "VERTEXAI_PROJECT"),
    (entry(VERTEX + "api_key: k\n    vertex_project: a/b"), 6, f"{P}.vertex_project", "This is not the id of a project.", "'-'"),
    (entry(VERTEX + "api_key: k\n    vertex_project: p\n    vertex_location: evil.example/"), 7, f"{P}.vertex_location",
     "This is not a location: only a-z, 0-9 and '-' stand in one.", "us-central1"),
    (entry(VERTEX + "vertex_project: p\n    vertex_credentials: os.environ/X"), 6, f"{P}.vertex_credentials", "X is not set.",
     "remove this entry"),
    (entry(VERTEX + "vertex_project: p\n    vertex_credentials: none.json"), 6, f"{P}.vertex_credentials none.json",
     "There is no such file.", "configuration's folder"),
]  # fmt: skip

NAMED = entry("model: mistral/mistral-ocr-latest\n    litellm_credential_name: main") + "credential_list:\n"
SHARED = "- {credential_name: main, credential_values: {api_key: k}}\n"
CREDENTIALS: list[Row] = [
    (NAMED + SHARED.replace("main", "man"), 5, f"{P}.litellm_credential_name",
     "There is no such credential in credential_list.", "'man'"),
    (NAMED + SHARED.replace(" k}", " os.environ/NOT_SET}"), 7, "credential_list[0].credential_values.api_key",
     "NOT_SET is not set.", "remove this credential"),
    (NAMED + SHARED + SHARED, 8, "credential_list[1].credential_name", "Another credential has this name.", "its own"),
    (NAMED.removesuffix("credential_list:\n"), 5, f"{P}.litellm_credential_name",
     "There is no such credential in credential_list.", "Add it"),
]  # fmt: skip

ROUTER = A + "router_settings: "
SETTINGS: list[Row] = [
    (ROUTER + "text\n", 4, "router_settings", "A mapping (key: value) is expected here.", "{key: value}"),
    (ROUTER + "{num_retris: 2}\n", 4, "router_settings.num_retris", NO_KEY_HERE, "'num_retries'"),
    (ROUTER + "{num_retries: -1}\n", 4, "router_settings.num_retries", "This must be a whole number from 0 to 10.", "once"),
    (ROUTER + "{cooldown_time: soon}\n", 4, "router_settings.cooldown_time", "This is not a duration.", "10s"),
    (ROUTER + "{allowed_fails: x}\n", 4, "router_settings.allowed_fails", "This must be a whole number, 0 or more.", "1"),
    (ROUTER + "{routing_strategy: simple-shufle}\n", 4, "router_settings.routing_strategy", "There is no such strategy.",
     "'simple-shuffle'"),
    (ROUTER + "{optional_pre_call_checks: [enforce_model_rate_limit]}\n", 4, "router_settings.optional_pre_call_checks[0]",
     "There is no such check.", "'enforce_model_rate_limits'"),
    (ROUTER + "{fallbacks: [{b: [a]}]}\n", 4, "router_settings.fallbacks[0].b", NO_MODEL, "Write one of a."),
    (ROUTER + "{fallbacks: [{a: [b]}]}\n", 4, "router_settings.fallbacks[0].a[0]", NO_MODEL, "Write one of a."),
    (ROUTER + "{fallbacks: [{a: [a]}]}\n", 4, "router_settings.fallbacks[0].a", "A model cannot be its own fallback.",
     "Remove it"),
    (ROUTER + "{fallbacks: [{a: []}]}\n", 4, "router_settings.fallbacks[0].a", "No model stands here to fall back on.", "Name"),
    (ROUTER + "{fallbacks: {a: [b]}}\n", 4, "router_settings.fallbacks", "A list is expected here.", "[a, b]"),
    (ROUTER + "{default_fallbacks: [b]}\n", 4, "router_settings.default_fallbacks[0]", NO_MODEL, "Write one of a."),
    (A + "litellm_settings: {default_fallbacks: [b]}\n", 4, "litellm_settings.default_fallbacks[0]", NO_MODEL, "of a."),
    (ROUTER + "{model_group_alias: {b: c}}\n", 4, "router_settings.model_group_alias.b", NO_MODEL, "Write one of a."),
    (ROUTER + "{model_group_alias: {a: a}}\n", 4, "router_settings.model_group_alias.a",
     "A model of model_list has this name: its entries could not be called any more.", "another name"),
    (ROUTER + "{model_group_alias: {b: c, c: b}}\n", 4, "router_settings.model_group_alias.b", "'c' is an alias itself.",
     "Name a model"),
    (ROUTER + "{model_group_alias: {b: {model: a, hiden: true}}}\n", 4, "router_settings.model_group_alias.b.hiden",
     NO_KEY_HERE, "'hidden'"),
    (A + "litellm_settings: {request_timeot: 2}\n", 4, "litellm_settings.request_timeot", NO_KEY_HERE, "'request_timeout'"),
    (A + "ocr: {held_body: 300MB}\n", 4, "ocr.held_body",
     "One body may be larger than all together: held_bodies is less.", "Raise held_bodies"),
    (A + "ocr: {held_bodies: 20MB}\n", 4, "ocr.held_bodies",
     "One body may be larger than all together: held_bodies is less.", "lower held_body"),
    (A + "ocr: {hold_body: 20MB}\n", 4, "ocr.hold_body", NO_KEY_HERE, "'held_body'"),
    (A + "ocr: {max_document: 0}\n", 4, "ocr.max_document", "A size must be a whole, positive number of bytes.", "1GB"),
]  # fmt: skip

CLASH = "model_list has OCR models, which are served under "
OTHERS: list[Row] = [
    *((route(f"path: {path}"), 2, "pass_through_endpoints[0].path", f"{CLASH}{path} ({method}).", "Change the path")
      for path, method in [("/v1/ocr", "POST"), ("/ocr", "POST"), ("/providers/mistral/azure/ocr", "POST"),
                           ("/v1/projects", "POST"), ("/v1/models", "GET"), ("/models", "GET")]),
    (A + KEY + "[b]}]\n", 4, "client_keys[0].models[0]", NO_MODEL, "model_name"),
    (A + KEY + "[ab]}]\n", 4, "client_keys[0].models[0]", NO_MODEL, "'a'"),
    (A + KEY + "['b*']}]\n", 4, "client_keys[0].models[0]", NO_MODEL, "model_name"),
    (A + KEY + "[]}]\n", 4, "client_keys[0].models", "A key without any model may call none.", "all"),
    (route("path: /m").removesuffix(A) + KEY + "[b]}]\n", 3, "client_keys[0].models[0]",
     "There are no models: model_list has no entry for OCR.", "Remove 'models'."),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("text", "line", "key", "what", "hint"), ENTRIES + CREDENTIALS + SETTINGS + OTHERS)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, line: int, key: str, what: str, hint: str) -> None:
    """A mistake is reported at its line and key, with a hint; what follows from it alone is not."""
    first, *rest = sorted(problems(tmp_path, text, {}), key=lambda problem: (problem.line, problem.key))
    assert (line, key, what) == (first.line, first.key, first.what)
    assert hint in first.hint
    assert {"model_list[0].model_name", "router_settings.model_group_alias.c"} >= {problem.key for problem in rest}


@pytest.mark.fast
def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """Entries, settings and bounds are checked beside each other."""
    text = entry(M + "rpm: -1\n    order: x") + "router_settings: {cooldown_time: x}\nocr: {held_body: x}\n"
    found = {(problem.line, problem.key) for problem in problems(tmp_path, text, {})}
    assert {(6, f"{P}.rpm"), (7, f"{P}.order"), (8, "router_settings.cooldown_time"), (9, "ocr.held_body")} == found


WARNINGS: list[tuple[str, int, str, str]] = [
    (entry(M + "stream_timeout: 3\n    max_retries: 2\n    foo: 1"), 6, f"{P}.stream_timeout",
     "stream_timeout, max_retries, foo: these keys do nothing for OCR here."),
    (ROUTER + "{routing_strategy: latency-based-routing}\n", 4, "router_settings.routing_strategy",
     "latency-based-routing is not served: simple-shuffle is used."),
    (ROUTER + "{redis_host: os.environ/UNSET, redis_port: 1}\n", 4, "router_settings.redis_host",
     "redis_host, redis_port: these keys do nothing for OCR here."),
    (ROUTER + "{optional_pre_call_checks: [prompt_caching]}\n", 4, "router_settings.optional_pre_call_checks",
     "prompt_caching: nothing is done for it here."),
    (A + "litellm_settings: {drop_params: true, callbacks: [x]}\n", 4, "litellm_settings.drop_params",
     "drop_params, callbacks: these keys do nothing for OCR here."),
    (A + "litellm_settings: {num_retries: 1}\nrouter_settings: {num_retries: 2}\n", 5, "router_settings.num_retries",
     "litellm_settings has it too; this one counts."),
    (route("path: /v1, include_subpath: true"), 2, "pass_through_endpoints[0].path",
     "/v1/ocr below it: the models of model_list are served there, not this route."),
    (A + "- model_name: gpt\n  litellm_params: {model: openai/gpt-4o, api_key: os.environ/UNSET}\n", 1, "model_list",
     "gpt: not for OCR, and not served here."),
    (A + "- model_name: a\n  litellm_params: {model: openai/gpt-4o}\n", 1, "model_list",
     "an entry of a: not for OCR, and not served here."),
    (A + "- model_name: layout\n  litellm_params: {model: azure_ai/doc-intelligence/prebuilt-layout}\n"
     "  model_info: {mode: ocr}\n", 1, "model_list",
     "layout (azure_ai/doc-intelligence/prebuilt-layout): of providers that are not served under /ocr."),
    (A + "- model_name: a\n  litellm_params: {model: azure_ai/m-ocr, api_base: 'https://r', azure_ad_token: oidc/env/T}\n", 5,
     "model_list[1].litellm_params.azure_ad_token", f"{OIDC} The deployment is left out; the others of a are served."),
    (A + "- model_name: b\n  litellm_params: {model: azure_ai/m-ocr, api_base: 'https://r', azure_password: x}\n", 5,
     "model_list[1].litellm_params.azure_password", f"{PERSON} So b is left out: clients that send this name get 400."),
    (entry(M + "vertex_credentials: os.environ/UNSET\n    tenant_id: t"), 6, f"{P}.vertex_credentials",
     "vertex_credentials, tenant_id: these keys do nothing for OCR here."),
    (entry(VERTEX + "vertex_project: p\n    api_key: k\n    vertex_credentials: os.environ/UNSET"), 7, f"{P}.vertex_credentials",
     "vertex_credentials: this key does nothing for OCR here."),
    (entry(APPLICATION + "azure_ad_token: os.environ/U"), 9, f"{P}.azure_ad_token",
     "azure_ad_token: this key does nothing for OCR here."),
    (A + "- model_name: a\n  litellm_params: {model: mistral/mistral-ocr-latest, api_key: k, rpm: 60}\n", 3, P,
     "Others of a have 'rpm', which is their share; this one's is 1."),
    (A + "- model_name: gpt\n  litellm_params: {model: openai/gpt-4o}\nrouter_settings: {fallbacks: [{gpt: [x]}]}\n", 1,
     "model_list", "gpt: not for OCR, and not served here."),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("text", "line", "key", "what"), WARNINGS)
def test_what_does_nothing_is_one_warning(tmp_path: Path, text: str, line: int, key: str, what: str) -> None:
    """LiteLLM's keys and entries without a meaning here are named once, and the file is served."""
    config = loaded(tmp_path, text, {})
    assert config.models is not None
    assert [(line, key, what)] == [(warning.line, warning.key, warning.what) for warning in config.warnings]
    assert all(warning.hint for warning in config.warnings)


@pytest.mark.fast
def test_a_fallback_that_is_not_for_ocr_is_left_out(tmp_path: Path) -> None:
    """It is said where it stands; the others stay."""
    text = A + "- model_name: gpt\n  litellm_params: {model: openai/gpt-4o}\n" + "- model_name: b\n  litellm_params: "
    text += "{model: mistral/mistral-ocr-2505, api_key: k}\nrouter_settings: {fallbacks: [{a: [gpt, b]}]}\n"
    config = loaded(tmp_path, text, {})
    assert config.models is not None
    assert {"a": ("b",)} == dict(config.models.routing.fallbacks)
    assert ["'gpt' is not served: it is left out."] == [each.what for each in config.warnings if "fallbacks" in each.key]


@pytest.mark.fast
@pytest.mark.parametrize("left_out", ["azure_ai/m-ocr, api_base: 'https://r', azure_password: p", "openai/gpt-4o"])
def test_a_model_keeps_its_fallbacks_where_one_of_its_entries_is_left_out(tmp_path: Path, left_out: str) -> None:
    """The name is that of a model of OCR all the same, for fallbacks and aliases."""
    text = (
        A + f"- model_name: a\n  litellm_params: {{model: {left_out}}}\n" + A.removeprefix("model_list:\n").replace(": a", ": b")
    )
    config = loaded(tmp_path, text + "router_settings: {fallbacks: [{a: [b]}], model_group_alias: {c: a}}\n", {})
    assert config.models is not None
    assert ({"a": ("b",)}, {"c": "a"}) == (dict(config.models.routing.fallbacks), config.models.aliases)
