"""What is said of routes that load, and will go wrong at their provider: each with its place, its words and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.configs import loaded
from tests.harness.process import command, program

MACHINE = "upstream_auth: {entra: {managed_identity: true}}"
ENVIRON = {"KEY": "key-canary-0123456789", "BEARER": "Bearer key-canary-0123456789", "QUOTED": '"key-canary-0123456789"'}
BEARER = "headers: {Authorization: Bearer os.environ/KEY}"
BELOW = f"include_subpath: true, {BEARER}"
AT = "pass_through_endpoints[0]"

Row = tuple[str, str, str, str]


def endpoint(text: str, more: str = "") -> str:
    """Return a file with one route."""
    return f"pass_through_endpoints:\n- {{{text}}}\n{more}"


def warned(folder: Path, text: str) -> list[tuple[str, str, str]]:
    """Return the warnings of a file as (key, what, hint). None of them, and nothing in the sandbox, shows a secret."""
    found = loaded(folder, text, ENVIRON).warnings
    assert "canary" not in "".join(map(str, found))
    assert all(each.line for each in found)
    assert () == loaded(folder, text, ENVIRON, sandbox=True).warnings
    return [(each.key, each.what, each.hint) for each in found]


CREDENTIALS: list[Row] = [
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true",
     AT, "No credentials go to Mistral", "Add 'headers: {Authorization: Bearer os.environ/MISTRAL_API_KEY}'."),
    ("path: /a, target: 'https://api.eu.mistral.ai', include_subpath: true, headers: {X-Team: a}",
     AT, "No credentials go to Mistral", "MISTRAL_API_KEY"),
    ("path: /a, target: 'https://r.services.ai.azure.com', include_subpath: true",
     AT, "No credentials go to Azure", "Add 'headers: {api-key: os.environ/AZURE_API_KEY}'."),
    ("path: /a, target: 'https://aiplatform.googleapis.com', include_subpath: true",
     AT, "No credentials go to Vertex", "Add 'upstream_auth: {google: {}}'."),
    ("path: /a, target: 'https://api.cohere.com', include_subpath: true, meter: none",
     AT, "No credentials go to api.cohere.com", "Add 'headers' with its key."),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: os.environ/KEY}",
     f"{AT}.headers.Authorization", "Mistral takes 'Bearer' and the key; 'Bearer' is missing.",
     "Write 'Authorization: Bearer os.environ/KEY'."),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {authorization: Basic abcdef}",
     f"{AT}.headers.authorization", "'Bearer' is missing", "Write 'authorization: Bearer <the key>'."),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {api-key: os.environ/KEY}",
     f"{AT}.headers.api-key", "Mistral does not read api-key", "Write 'headers: {Authorization: Bearer"),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: Bearer os.environ/BEARER}",
     f"{AT}.headers.Authorization", "'Bearer' stands before the key twice: here, or in what BEARER holds.", "the key alone"),
    ("path: /a, target: 'https://h.example/v1/ocr', headers: {Authorization: bearer Bearer abcdef}",
     f"{AT}.headers.Authorization", "'Bearer' stands before the key twice.", "Keep one of them."),
    ("path: /a, target: 'https://h.example/v1/ocr', headers: {Authorization: Bearer}",
     f"{AT}.headers.Authorization", "There is no key behind 'Bearer'.", "os.environ/NAME"),
    ("path: /a, target: 'https://r.services.ai.azure.com', include_subpath: true, headers: {api-key: os.environ/BEARER}",
     f"{AT}.headers.api-key", "'Bearer' belongs into Authorization; api-key takes the key alone.", "in what BEARER holds"),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: Bearer os.environ/QUOTED}",
     f"{AT}.headers.Authorization", "The key stands between quotation marks", "Remove them from QUOTED"),
    ("path: /a, target: 'http://api.mistral.ai', " + BELOW,
     f"{AT}.target", "http:// sends keys and documents to Mistral unencrypted.", "Write https://."),
    ("path: /a, target: 'https://api.mistral.ai', include_subpath: true, upstream_auth: {google: {}}",
     f"{AT}.upstream_auth", "Mistral takes no token of Google.", "MISTRAL_API_KEY"),
    ("path: /a, target: 'https://aiplatform.googleapis.com', include_subpath: true, " + MACHINE,
     f"{AT}.upstream_auth", "Vertex takes no token of Entra.", "google"),
    ("path: /a, include_subpath: true, headers: {Authorization: os.environ/KEY}, "
     "targets: [{target: 'https://api.mistral.ai'}, {target: 'https://api.us.mistral.ai'}]",
     f"{AT}.headers.Authorization", "'Bearer' is missing", "Bearer os.environ/KEY"),
    ("path: /a, include_subpath: true, headers: {Authorization: Bearer os.environ/KEY}, "
     "targets: [{target: 'https://api.mistral.ai'}, {target: 'https://api.us.mistral.ai', headers: {authorization: abcdef}}]",
     f"{AT}.targets[1].headers.authorization", "'Bearer' is missing", "Bearer <the key>"),
    ("path: /a, include_subpath: true, targets: [{target: 'https://api.mistral.ai', " + BEARER + "}, {target: 'https://api.us.mistral.ai'}]",
     f"{AT}.targets[1]", "No credentials go to Mistral", "MISTRAL_API_KEY"),
]  # fmt: skip

PATHS: list[Row] = [
    ("path: /a, target: 'https://api.mistral.ai', " + BEARER,
     AT, "Only /a itself is served, which goes to https://api.mistral.ai/: nothing is there.", "Add 'include_subpath: true'."),
    ("path: /a, target: 'https://api.mistral.ai/v1/', " + BEARER,
     AT, "Only /a itself is served, which goes to https://api.mistral.ai/v1: nothing is there.", "include_subpath"),
    ("path: /a, target: 'https://r.services.ai.azure.com/providers/mistral', " + BEARER,
     AT, "nothing is there", "include_subpath"),
    ("path: /a, target: 'https://aiplatform.googleapis.com/v1/projects/p/locations/l', " + BEARER,
     AT, "nothing is there", "include_subpath"),
    ("path: /a, target: 'http://litellm.internal:4000'", AT, "and nothing below it.", "Add 'include_subpath: true'."),
    ("path: /a, target: 'https://api.mistral.ai/v1', " + BELOW,
     f"{AT}.target", "'/v1' is doubled for clients that add it themselves, as Mistral's SDKs do: /a/v1/… goes to",
     "Write https://api.mistral.ai; then /a/v1/ocr is called."),
    ("path: /a/v1, target: 'https://api.mistral.ai', " + BELOW,
     f"{AT}.target", "'/v1' is lost: /a/v1/… goes to https://api.mistral.ai/…, where Mistral has nothing.",
     "Write https://api.mistral.ai/v1, or 'path: /a'."),
    ("path: /v1, target: 'https://api.mistral.ai', " + BELOW, f"{AT}.target", "'/v1' is lost", "or 'path: /'."),
    ("path: /a, target: 'https://h.example/v1/v1', " + BELOW, f"{AT}.target", "'/v1' stands in the target twice.", "Keep one"),
    ("path: /a/ocr, target: 'https://api.mistral.ai/v1/v1/ocr', " + BEARER,
     f"{AT}.target", "'/v1' stands in the target twice.", ""),
    ("path: /a/ocr, target: 'https://api.mistral.ai/ocr', " + BEARER,
     f"{AT}.target", "'/v1' is missing in the target: at Mistral all paths begin with it.", "Write https://api.mistral.ai/v1/ocr."),
    ("path: /a, target: 'https://api.mistral.ai/api', " + BELOW, f"{AT}.target", "'/v1' is missing", "Write https://api.mistral.ai."),
    ("path: /a/ocr, target: 'https://r.services.ai.azure.com/v1/ocr', " + BEARER,
     f"{AT}.target", "Azure has nothing at /v1/ocr: OCR is at /providers/mistral/azure/ocr.",
     "Write https://r.services.ai.azure.com/providers/mistral/azure/ocr."),
    ("path: /a/ocr, target: 'https://e.eastus2.models.ai.azure.com/ocr', " + BEARER,
     f"{AT}.target", "Azure has nothing at /ocr", "/v1/ocr"),
    ("path: /a, target: 'https://api.mistral.ai/v1/ocr', " + BELOW,
     f"{AT}.target", "The target is one call's whole path: /a/v1/ocr goes to /v1/ocr/v1/ocr.",
     "Write https://api.mistral.ai, or remove include_subpath."),
    ("path: /a, target: 'https://h.example/ocr', " + BELOW,
     f"{AT}.target", "one call's whole path: /a/ocr goes to /ocr/ocr.", ""),
]  # fmt: skip

PRICES: list[Row] = [
    (f"path: /a, target: 'https://api.aimlapi.com', {BELOW}",
     AT, "AI/ML API bills by prices of its own", "Add 'meter: {cost_header: x-aimlapi-usd-spent}'."),
    (f"path: /a, target: 'https://api.upstage.ai', {BELOW}", AT, "Upstage bills by prices of its own", "Add 'prices'"),
    (f"path: /a, target: 'https://r.services.ai.azure.com', {BELOW}, meter: {{model: our-deployment}}",
     f"{AT}.meter.model", "No price is known for our-deployment at Azure", "'passthrough prices'"),
    (f"path: /a, target: 'https://api.mistral.ai', {BELOW}, meter: {{price_list: vertex, model: nothing}}",
     f"{AT}.meter.model", "No price is known for nothing at Vertex", "'passthrough prices'"),
    (f"path: /a, {BELOW}, targets: [{{target: 'https://api.mistral.ai', meter: {{model: nothing}}}}, {{target: 'https://api.us.mistral.ai'}}]",
     f"{AT}.targets[0].meter.model", "No price is known for nothing at Mistral", ""),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("text", "key", "what", "hint"), [*CREDENTIALS, *PATHS, *PRICES])
def test_each_warning_has_its_place_and_cure(tmp_path: Path, text: str, key: str, what: str, hint: str) -> None:
    """One warning for one slip, at the key that is to be changed."""
    ((found_key, found_what, found_hint),) = warned(tmp_path, endpoint(text))
    assert (key, True, True) == (found_key, what in found_what, hint in found_hint), (found_what, found_hint)


@pytest.mark.fast
@pytest.mark.parametrize(
    "text",
    [
        f"path: /mistral, target: 'https://api.mistral.ai', {BELOW}",
        f"path: /mistral/v1, target: 'https://api.mistral.ai/v1', {BELOW}",
        f"path: /, target: 'https://api.mistral.ai', {BELOW}",
        f"path: /mistral/v1/ocr, target: 'https://api.mistral.ai/v1/ocr', {BEARER}",
        f"path: /mistral/v1/files, target: 'https://api.mistral.ai/v1/files', {BELOW}",
        f"path: /mistral/v1/ocr, target: 'https://api.mistral.ai/v1/ocr', {BELOW}",
        "path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: os.environ/BEARER}",
        "path: /a, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: 'bearer  os.environ/KEY'}",
        "path: /a, target: 'https://api.mistral.ai', include_subpath: true, auth: false, forward_credentials: true",
        "path: /a, target: 'https://r.services.ai.azure.com', include_subpath: true, headers: {api-key: os.environ/KEY}",
        "path: /a, target: 'https://r.services.ai.azure.com', include_subpath: true, headers: {Authorization: os.environ/KEY}",
        "path: /a, target: 'https://r.cognitiveservices.azure.com', include_subpath: true, " + MACHINE,
        "path: /a, target: 'https://r.cognitiveservices.azure.com', include_subpath: true, "
        "headers: {Ocp-Apim-Subscription-Key: os.environ/KEY}, meter: {shape: json, count: analyzeResult.pages}",
        "path: /a, target: 'https://e.eastus2.models.ai.azure.com/v1/ocr', headers: {Authorization: os.environ/KEY}",
        "path: /a, target: 'https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1', "
        "include_subpath: true, upstream_auth: {google: {}}",
        f"path: /a, target: 'https://api.aimlapi.com', {BELOW}, meter: {{cost_header: x-aimlapi-usd-spent}}",
        f"path: /a, target: 'https://api.aimlapi.com', {BELOW}, cost_per_request: 0.01",
        f"path: /a, target: 'https://api.aimlapi.com', {BELOW}, prices: [{{model: m, usd_per_1000_pages: 1}}]",
        f"path: /a, target: 'https://api.aimlapi.com', {BELOW}, meter: {{price_list: mistral}}",
        f"path: /a, target: 'https://api.aimlapi.com', {BELOW}, meter: none",
        f"path: /a, target: 'https://r.services.ai.azure.com', {BELOW}, meter: {{model: azure/mistral-document-ai-2512}}",
        f"path: /a, target: 'https://api.mistral.ai', {BELOW}, meter: {{shape: chat, model: mistral-small-latest}}",
        f"path: /a, target: 'https://platform.reducto.ai', {BELOW}, "
        "meter: {shape: json, credits: usage.credits, model: parse-v3}",
        "path: /a, target: 'https://generativelanguage.googleapis.com?key=os.environ/KEY', include_subpath: true, meter: none",
        "path: /ocr, target: 'http://ocr.internal:8000'",
        "path: /convert, target: 'http://ocr.internal:8000', meter: {shape: json, constant: 1}",
        "path: /hook, target: 'http://ocr.internal:8000', methods: [POST]",
        "path: /vllm, target: 'http://vllm.internal:8000/v1', include_subpath: true",
        "path: /textract, target: 'https://textract.us-east-1.amazonaws.com', include_subpath: true, meter: none",
    ],
)
def test_what_is_right_is_not_warned_of(tmp_path: Path, text: str) -> None:
    """What the documentation shows, and what may be meant as it stands."""
    assert [] == warned(tmp_path, endpoint(text))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("params", "more", "key", "what"),
    [
        ("model: mistral/mistral-ocr-latest, api_key: os.environ/BEARER", "", "litellm_params.api_key",
         "'Bearer' is put before the key, and what BEARER holds begins with it too."),
        ("model: mistral/mistral-ocr-latest, api_key: Bearer x", "", "litellm_params.api_key",
         "and this key begins with it too."),
        ("model: mistral/mistral-ocr-latest, api_key: os.environ/QUOTED", "", "litellm_params.api_key", "quotation marks"),
        ("model: mistral/mistral-ocr-latest, api_key: k, api_base: 'https://api.mistral.ai/v1/v1'", "", "litellm_params.api_base",
         "'/v1' stands in the target twice."),
        ("model: mistral/mistral-ocr-latest, api_key: k, api_base: 'https://api.mistral.ai/api'", "", "litellm_params.api_base",
         "The calls go to https://api.mistral.ai/api/v1/ocr: at Mistral OCR is at /v1/ocr."),
        ("model: azure_ai/mistral-ocr-2512, api_key: k, api_base: 'https://e.eastus2.models.ai.azure.com'", "",
         "litellm_params.api_base", "at Azure OCR is at /v1/ocr."),
        ("model: azure_ai/our-ocr, api_key: k, api_base: 'https://r.services.ai.azure.com'", "", "litellm_params.model",
         "No price is known for azure_ai/our-ocr"),
        ("model: azure_ai/our-ocr, api_key: k, api_base: 'https://r.services.ai.azure.com'",
         ", model_info: {base_model: azure_ai/mistral-document-ai-2512}", "", ""),
        ("model: azure_ai/our-ocr, api_key: k, api_base: 'https://r.services.ai.azure.com', ocr_cost_per_page: 0.002", "",
         "", ""),
        ("model: mistral/*, api_key: k", "", "", ""),
        ("model: vertex_ai/mistral-ocr-2505, vertex_project: p", "", "", ""),
        ("model: azure_ai/mistral-ocr-2512, api_base: 'https://r.services.ai.azure.com', extra_headers: {api-key: Bearer x}", "",
         "litellm_params.extra_headers.api-key", "api-key takes the key alone."),
    ],
)  # fmt: skip
def test_deployments(tmp_path: Path, params: str, more: str, key: str, what: str) -> None:
    """Entries of model_list are looked at as routes are, at LiteLLM's keys."""
    name = "'*'" if "*" in params else "ocr"
    text = f"model_list:\n- {{model_name: {name}, litellm_params: {{{params}}}{more or ', model_info: {mode: ocr}'}}}\n"
    if "base_model" in more:
        text = text.replace("base_model", "mode: ocr, base_model")
    found = warned(tmp_path, text)
    if not what:
        assert [] == found
    else:
        ((found_key, found_what, _),) = found
        assert (f"model_list[0].{key}", True) == (found_key, what in found_what), found_what


@pytest.mark.fast
def test_the_operators_prices_are_prices(tmp_path: Path) -> None:
    """A model of the file's own list, or of the price map, has one."""
    text = endpoint(f"path: /a, target: 'https://r.services.ai.azure.com', {BELOW}, meter: {{model: ours}}")
    assert ["No price is known for ours at Azure: its use is booked without a cost."] == [
        what for _, what, _ in warned(tmp_path, text)
    ]
    assert [] == warned(tmp_path, text + "prices: [{model: ours, usd_per_1000_pages: 1}]\n")
    (tmp_path / "map.json").write_text('{"aiml/x": {"litellm_provider": "aiml", "mode": "ocr", "ocr_cost_per_page": 0.1}}')
    mapped = endpoint(f"path: /a, target: 'https://api.aimlapi.com', {BELOW}", "price_map: map.json\n")
    assert [] == [what for _, what, _ in warned(tmp_path, mapped) if "bills" in what]


@pytest.mark.fast
def test_two_targets_without_credentials_are_said_to_have_none(tmp_path: Path) -> None:
    """They are the same target twice, and share no account."""
    target = "{target: 'https://h.example/ocr'}"
    ((key, what, hint),) = warned(tmp_path, f"pass_through_endpoints:\n- {{path: /ocr, targets: [{target}, {target}]}}\n")
    assert f"{AT}.targets[1]" == key
    assert "The target on line 2 is the same, and neither has credentials." == what
    assert "Give each a key of its own, or remove it." == hint


@pytest.mark.process
async def test_check_and_serve_say_it_and_work(tmp_path: Path) -> None:
    """`check` exits with 0; `serve` logs the warnings once at its start, and serves."""
    text = endpoint("path: /a, target: 'https://api.mistral.ai'", "ledger: none\n")
    (tmp_path / "routes.yaml").write_text(text)
    code, _, err = await command(tmp_path, "check")
    assert (0, 2) == (code, err.count("warning: routes.yaml:2 pass_through_endpoints[0]: "))
    async with program(tmp_path, text) as running:
        assert 0 == await running.stop()
    assert 1 == "".join(running.said).count("No credentials go to Mistral")
