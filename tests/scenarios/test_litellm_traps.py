"""What LiteLLM's `/ocr` does to its users, a test for each: here the other thing happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.configs import loaded
from tests.harness.ocr_client import ask, request
from tests.harness.ocr_upstreams import UNAVAILABLE, Behaviour, OcrUpstream, always, data_uri, ocr_upstreams
from tests.harness.process import Program, command, program
from tests.harness.upstream import answering, ok, upstream

pytestmark = pytest.mark.process

INLINE = {"type": "document_url", "document_url": data_uri(b"%PDF-1.4\n")}


def entry(above: OcrUpstream, name: str = "mistral-ocr", *, info: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return an entry of model_list for a local provider."""
    model = more.pop("model", f"{above.provider}/mistral-ocr-2512")
    params = {"model": model, "api_key": above.key, "api_base": above.url, **more}
    return {"model_name": name, "litellm_params": params, "model_info": {"mode": "ocr", **(info or {})}}


@asynccontextmanager
async def serving(
    folder: Path, *entries: dict[str, Any], environment: Mapping[str, str] | None = None, **rest: Any
) -> AsyncIterator[Program]:
    """Run the program with these entries as its model_list."""
    async with program(folder, json.dumps({"model_list": entries, "ledger": "none", **rest}), env=environment) as running:
        yield running


async def post(running: Program, **body: Any) -> tuple[int, dict[str, str], bytes]:
    """Send one OCR request; return the response's status, fields and body."""
    sent = {"model": "mistral-ocr", "document": INLINE, **body}
    return await raw_post(running, json.dumps(sent).encode())


async def raw_post(running: Program, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send one OCR request with this body."""
    return await ask(running.port, request(body).replace(b"Host: x", b"Host: localhost", 1))


@pytest.mark.parametrize(
    "rest",
    [
        f'"document":{json.dumps(INLINE)},"unheard_of":{{"a":[1.0e2,null]}},"id":"mine"',
        '"document":{"image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"high"},"type":"image_url"}',
        '"document":{"document_url":"https://example.org/a.pdf"}',
        '"document":{"type":"file","file_id":"00edaf84-95b0-45db-8f83-f71138491f23"}',
    ],
    ids=["keys", "image", "no type", "file"],
)
async def test_a_body_is_not_rebuilt(tmp_path: Path, rest: str) -> None:
    """There unknown keys vanish, and the long form of an image, a missing type and a file's id are 400."""
    above = OcrUpstream()
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running:
        status, _, _ = await raw_post(running, ('{"model": "mistral-ocr", ' + rest + " }").encode())
        assert 200 == status
    assert [('{"model": "mistral-ocr-2512", ' + rest + " }").encode()] == [call.received.body for call in above.calls]


@pytest.mark.parametrize("key", ["api_key", "api_base"])
async def test_a_body_cannot_replace_the_key(tmp_path: Path, key: str) -> None:
    """There `api_key` in a body replaces the deployment's own."""
    above = OcrUpstream()
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running:
        status, fields, _ = await post(running, **{key: "http://127.0.0.1:9"})
    assert (400, "bad_request", []) == (status, fields["x-passthrough-error"], above.calls)


async def test_an_answer_is_the_providers(tmp_path: Path) -> None:
    """There `model` becomes the alias, nulls are added, and 201 becomes 200."""
    said = b'{"pages":[],  "model":"mistral-ocr-2512","usage_info":{"pages_processed":3}}\n'
    above = OcrUpstream(mood=always(Behaviour(201, body=said)))
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running:
        status, _, body = await post(running)
        assert (201, said) == (status, body)
        assert 3 == (await running.logs(1))[0]["pages"]


async def test_a_variable_that_is_not_set_is_refused(tmp_path: Path) -> None:
    """There it is None, and the key goes to api.mistral.ai."""
    text = "model_list:\n  - model_name: m\n    litellm_params:\n      model: mistral/mistral-ocr-latest\n"
    (tmp_path / "routes.yaml").write_text(
        text + "      api_key: a-key-0123456789\n      api_base: os.environ/OCR_BASE_OF_A_TEST\n"
    )
    code, _, err = await command(tmp_path, "check")
    assert 2 == code
    assert "routes.yaml:6 model_list[0].litellm_params.api_base: OCR_BASE_OF_A_TEST is not set.\n" in err


async def test_a_clients_error_cools_no_deployment(tmp_path: Path) -> None:
    """There a dead document's 404 cools the deployment for everybody."""
    azure, other = OcrUpstream("azure_ai"), OcrUpstream("azure_ai")
    async with upstream(answering(ok(b"gone", status=b"404 Not Found"))) as host, ocr_upstreams(azure, other):
        allowed = {"user_url_allowed_hosts": [f"127.0.0.1:{host.port}"]}
        entries = (entry(azure, order=1), entry(other, order=2))
        async with serving(tmp_path, *entries, litellm_settings=allowed) as running:
            for _ in range(6):
                status, fields, _ = await post(running, document={"document_url": f"http://127.0.0.1:{host.port}/a"})
                assert (400, "document_unreachable") == (status, fields["x-passthrough-error"])
            azure.mood = always(Behaviour(404))
            assert {404} == {(await post(running))[0] for _ in range(6)}
            azure.mood = always(Behaviour())
            assert 200 == (await post(running))[0]
    assert [404] * 6 + [200] == [call.status for call in azure.calls]
    assert [] == other.calls


async def test_a_try_never_hits_the_one_that_failed(tmp_path: Path) -> None:
    """There it may, until its tries are used up."""
    bad, good = OcrUpstream(mood=always(UNAVAILABLE)), OcrUpstream()
    async with ocr_upstreams(bad, good), serving(tmp_path, entry(bad), entry(good)) as running:
        for number in range(20):
            assert 200 == (await post(running, id=str(number)))[0]
    tried = [call.body["id"] for call in bad.calls]
    assert len(tried) == len(set(tried))
    assert [str(number) for number in range(20)] == [call.body["id"] for call in good.calls]


async def test_a_refused_port_cools(tmp_path: Path) -> None:
    """There it is tried again and again: here it is left alone until its time is over, although it is back."""
    down, good = OcrUpstream(), OcrUpstream()
    settings = {"cooldown_time": 600}
    async with ocr_upstreams(down, good):
        down.refuse()
        async with serving(tmp_path, entry(down, order=1), entry(good, order=2), router_settings=settings) as running:
            _, fields, _ = await post(running)
            assert "1" == fields["x-litellm-attempted-retries"]
            await down.open()
            assert {200} == {(await post(running))[0] for _ in range(5)}
    assert (0, 6) == (len(down.calls), len(good.calls))


@pytest.mark.parametrize(("status", "expected"), [(400, [1, 0, 0]), (413, [1, 0, 0]), (422, [1, 0, 0]), (503, [1, 1, 1])])
async def test_only_a_deployments_error_goes_on(tmp_path: Path, status: int, expected: list[int]) -> None:
    """There `order` and fallbacks advance after every error, 400 too."""
    above = [OcrUpstream(mood=always(Behaviour(status))) for _ in range(3)]
    first, second, other = above
    other.mood = always(Behaviour())
    entries = (entry(first, order=1), entry(second, order=2), entry(other, "other"))
    fallbacks = {"num_retries": 1, "fallbacks": [{"mistral-ocr": ["other"]}]}
    async with ocr_upstreams(*above), serving(tmp_path, *entries, router_settings=fallbacks) as running:
        assert (200 if status == 503 else status) == (await post(running))[0]
    assert expected == [len(each.calls) for each in above]


async def test_one_without_a_weight_is_chosen_too(tmp_path: Path) -> None:
    """There the other of two is never picked."""
    heavy, other = OcrUpstream(), OcrUpstream()
    async with ocr_upstreams(heavy, other), serving(tmp_path, entry(heavy, weight=2), entry(other)) as running:
        for _ in range(80):  # that all of them go one way has a chance of 1e-14
            assert 200 == (await post(running))[0]
    assert (80, True) == (len(heavy.calls) + len(other.calls), min(len(heavy.calls), len(other.calls)) > 0)


async def test_an_rpm_is_a_limit(tmp_path: Path) -> None:
    """There it is only a share: here one at its limit is left alone while another is free, and serves where none is."""
    small, other = OcrUpstream(), OcrUpstream()
    entries = (entry(small, order=1, rpm=2), entry(other, order=2, rpm=1000))
    async with ocr_upstreams(small, other), serving(tmp_path, *entries) as running:
        assert {200} == {(await post(running))[0] for _ in range(12)}
    assert 2 <= len(small.calls) <= 4  # a minute may end meanwhile
    assert 12 == len(small.calls) + len(other.calls)


async def test_a_2xx_is_never_sent_again(tmp_path: Path) -> None:
    """There 200 with `null` is retried, and billed again."""
    above, other = OcrUpstream(mood=always(Behaviour(200, body=b"null"))), OcrUpstream()
    entries = (entry(above, order=1), entry(other, order=2))
    async with ocr_upstreams(above, other), serving(tmp_path, *entries, router_settings={"num_retries": 3}) as running:
        status, _, body = await post(running)
    assert (200, b"null") == (status, body)
    assert (1, 0) == (len(above.calls), len(other.calls))


async def test_an_answer_may_have_any_size(tmp_path: Path) -> None:
    """There one over 64 MiB fails."""
    said = b'{"pages":[{"markdown":"' + b"x" * (65 << 20) + b'"}],"usage_info":{"pages_processed":9}}'
    above = OcrUpstream(mood=always(Behaviour(200, body=said)))
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running:
        status, _, body = await post(running)
        assert (200, True) == (status, said == body)
        assert 9 == (await running.logs(1))[0]["pages"]


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("settings", [{}, {"num_retries": 1}])
async def test_what_may_have_been_billed_is_sent_once(tmp_path: Path, status: int, settings: dict[str, int]) -> None:
    """There it is sent three times by default; here again only where the file says `num_retries`."""
    above, other = OcrUpstream(mood=always(Behaviour(status))), OcrUpstream()
    entries = (entry(above, order=1), entry(other, order=2))
    async with ocr_upstreams(above, other), serving(tmp_path, *entries, router_settings=settings) as running:
        assert (200 if settings else status) == (await post(running))[0]
    assert (1, len(settings)) == (len(above.calls), len(other.calls))


async def test_no_field_of_an_answer_names_the_providers_address(tmp_path: Path) -> None:
    """There `x-litellm-model-api-base` does."""
    above = OcrUpstream()
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running:
        _, fields, _ = await post(running)
        assert [] == [name for name, value in fields.items() if "api-base" in name or str(above.port) in value]


async def test_health_never_spends(tmp_path: Path) -> None:
    """There `/health` makes a paid call to every deployment."""
    above = OcrUpstream()
    async with ocr_upstreams(above), serving(tmp_path, entry(above)) as running, aiohttp.ClientSession() as session:
        for path in ("/healthz", "/readyz", "/health/liveliness", "/health/readiness", "/metrics", "/"):
            async with session.get(f"http://127.0.0.1:{running.admin_port}{path}") as answer:
                assert 200 == answer.status, path
        assert 404 == (await ask(running.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0]
    assert (0, []) == (above.connections, above.calls)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_hosts_of_vertex(tmp_path: Path, location: str, host: str) -> None:
    """There those of `global`, `us` and `eu` are wrong."""
    params = {
        "model": "vertex_ai/mistral-ocr-2505",
        "vertex_project": "p",
        "vertex_location": location,
        "api_key": "token-0123456789",
    }
    config = loaded(tmp_path, json.dumps({"model_list": [{"model_name": "m", "litellm_params": params}]}))
    assert config.models is not None
    (deployment,) = config.models.deployments
    assert (True, host) == (deployment.target.tls, deployment.target.host)
    path = f"/v1/projects/p/locations/{location}/publishers/mistralai/models/mistral-ocr-2505:rawPredict"
    assert path.encode() == deployment.target.base_path


@pytest.mark.parametrize(
    ("answered", "model", "info", "usd"),
    [
        ("mistral-ocr-2505-completion", "mistral/mistral-ocr-2512", {}, 0.01),
        ("my-own-name", "azure_ai/mistral-document-ai-2512", {}, 0.03),
        ("my-own-name", "azure_ai/ocr-of-ours", {"base_model": "azure_ai/mistral-document-ai-2512"}, 0.03),
        ("mistral-ocr-2512", "mistral/mistral-ocr-2512", {"ocr_cost_per_page": 0.5}, 5.0),
        ("my-own-name", "azure_ai/ocr-of-ours", {}, None),
    ],
)
async def test_a_price_is_found_or_missed(
    tmp_path: Path, answered: str, model: str, info: dict[str, Any], usd: float | None
) -> None:
    """There a name with `-completion` costs nothing, and so does any name that is not known."""
    said = json.dumps({"pages": [], "model": answered, "usage_info": {"pages_processed": 10}}).encode()
    above = OcrUpstream(mood=always(Behaviour(200, body=said)))
    async with ocr_upstreams(above), serving(tmp_path, entry(above, model=model, info=info)) as running:
        assert 200 == (await post(running))[0]
        (line,) = await running.logs(1)
        assert (10, usd, None if usd else "unpriced") == (line["pages"], line["cost_usd"], line["unmetered"])
