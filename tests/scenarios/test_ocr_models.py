"""LiteLLM's clients and its file, unchanged: what they send to `/ocr` reaches Mistral, Azure and Vertex as each wants it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import once
from tests.harness.documents import pdf
from tests.harness.ocr_upstreams import AZURE, MISTRAL, VERTEX, Behaviour, OcrUpstream, always, data_uri, ocr_upstreams
from tests.harness.process import Program, program
from tests.harness.recorded_ocr_clients import KEY, MODEL, RECORDED, RecordedRequest
from tests.harness.upstream import RawUpstream, answering, ok, upstream

pytestmark = pytest.mark.process

FILE = """\
model_list:
  - model_name: mistral-ocr
    litellm_params:
      model: mistral/mistral-ocr-latest
      api_key: os.environ/MISTRAL_API_KEY
      api_base: os.environ/MISTRAL_API_BASE
      order: 1
    model_info: {mode: ocr}
  - model_name: mistral-ocr
    litellm_params:
      model: azure_ai/mistral-document-ai-2512
      api_key: os.environ/AZURE_AI_API_KEY
      api_base: os.environ/AZURE_AI_API_BASE
      weight: 2
      order: 2
  - model_name: vertex-ocr
    litellm_params: {model: vertex_ai/mistral-ocr-2505, vertex_project: p, vertex_location: us-central1,
                     api_key: os.environ/VERTEX_TOKEN, api_base: os.environ/VERTEX_API_BASE}
router_settings: {num_retries: 2, cooldown_time: 5, fallbacks: [{mistral-ocr: [vertex-ocr]}],
                  model_group_alias: {ocr: mistral-ocr}}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"""
"""LiteLLM's file of the documentation; local providers in the place of the three, and Mistral first."""

LOCAL = "litellm_settings: {user_url_allowed_hosts: ['127.0.0.1:%d']}\nledger: sqlite:///books.db\n"
MODELS = {MISTRAL: b"mistral-ocr-latest", AZURE: b"mistral-document-ai-2512", VERTEX: b"mistral-ocr-2505"}
PATHS = {
    MISTRAL: b"/v1/ocr",
    AZURE: b"/providers/mistral/azure/ocr",
    VERTEX: b"/v1/projects/p/locations/us-central1/publishers/mistralai/models/mistral-ocr-2505:rawPredict",
}


@dataclass(slots=True)
class Served:
    """The program on FILE, with the three providers behind it and a host of documents."""

    running: Program
    host: RawUpstream
    above: dict[str, OcrUpstream] = field(default_factory=dict)

    @property
    def url(self) -> bytes:
        """A document at the host."""
        return b"http://127.0.0.1:%d/2201.04234" % self.host.port

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], Any]:
        """Send one request; return the response's status, fields and JSON."""
        head, _, body = request.partition(b"\r\n\r\n")
        answer = await once(self.running.port, head + b"\r\nConnection: close\r\n\r\n" + body)
        line, *fields = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        named = dict(each.split(": ", 1) for each in fields)
        return int(line.split(" ")[1]), {name.lower(): value for name, value in named.items()}, json.loads(_body(answer))

    def only(self, provider: str) -> None:
        """Let all other providers be out of order."""
        for name, each in self.above.items():
            each.mood = always(Behaviour() if name == provider else Behaviour(503))


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@asynccontextmanager
async def served(folder: Path, document: bytes = b"%PDF-1.4\n") -> AsyncIterator[Served]:
    """Run the program on FILE, and all that it speaks with."""
    above = {name: OcrUpstream(name, key=f"the-key-of-{name}-0123456789") for name in MODELS}
    variables = {
        "MISTRAL_API_KEY": above[MISTRAL].key,
        "MISTRAL_API_BASE": above[MISTRAL].url,
        "AZURE_AI_API_KEY": above[AZURE].key,
        "AZURE_AI_API_BASE": above[AZURE].url,
        "VERTEX_TOKEN": above[VERTEX].key,
        "VERTEX_API_BASE": above[VERTEX].url,
        "LITELLM_MASTER_KEY": KEY,
    }
    script = answering(ok(document, b"Content-Type: application/pdf"))
    async with (
        ocr_upstreams(*above.values()),
        upstream(script) as host,
        program(folder, FILE + LOCAL % host.port, env=variables) as running,
    ):
        yield Served(running, host, above)


def expected_body(recorded: RecordedRequest, provider: str, url: bytes) -> bytes:
    """Return the body that a provider gets: the client's bytes, but for the model, and the URL where it cannot fetch."""
    body = recorded.with_url(url).partition(b"\r\n\r\n")[2]
    if provider != MISTRAL:
        body = body.replace(url, b"data:application/pdf;base64,JVBERi0xLjQK")
    return body.replace(b'"' + MODEL + b'"', b'"' + MODELS[provider] + b'"', 1)


async def test_every_client_reaches_every_provider(tmp_path: Path) -> None:
    """Each recorded request is answered by each provider: by its path, with its key, with no byte changed that need not be."""
    asked = 0
    async with served(tmp_path) as each:
        for provider in (MISTRAL, AZURE, VERTEX):
            each.only(provider)
            for recorded in RECORDED:
                status, fields, answer = await each.ask(recorded.with_url(each.url))
                asked += 1
                assert (200, MODELS[provider].decode()) == (status, answer["model"]), (provider, recorded.name, answer)
                call = each.above[provider].calls[-1]
                assert (b"POST " + PATHS[provider] + b" HTTP/1.1") == call.received.line
                assert [b"Bearer " + each.above[provider].key.encode()] == call.received.values(b"authorization")
                assert KEY.encode() not in call.received.raw_head + call.received.body
                if recorded.is_form:
                    document = {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0xLjQK"}
                    more = {"pages": [0], "include_image_base64": True} if "fields" in recorded.name else {}
                    assert {"model": MODELS[provider].decode(), "document": document, **more} == call.body
                else:
                    assert expected_body(recorded, provider, each.url) == call.received.body, (provider, recorded.name)
                group = "vertex-ocr" if provider == VERTEX else "mistral-ocr"
                assert group == fields["x-litellm-model-group"]
        log = await each.running.logs(asked)
        pages = sum(one.pages_answered for one in each.above.values())
        assert (asked, asked) == (pages, sum(line["pages"] for line in log))
        assert {"/v1/ocr"} == {line["route"] for line in log}
        assert 0 == await each.running.stop()
        code, out, err = await each.running.command("usage", "--format", "json")
        assert (0, "") == (code, err)
        assert asked == json.loads(out)["total"]["pages"]
        code, out, err = await each.running.command("usage", "--by", "deployment", "--format", "json")
        assert [len(RECORDED)] * 3 == [row["pages"] for row in json.loads(out)["groups"]]


async def test_real_pages_are_counted(tmp_path: Path) -> None:
    """A PDF of twelve pages by its URL becomes a data URI at Azure, whose count is booked."""
    document = pdf(12)
    async with served(tmp_path, document) as each:
        each.only(AZURE)
        recorded = next(one for one in RECORDED if one.name == "curl")
        status, _, answer = await each.ask(recorded.with_url(each.url))
        assert (200, 12) == (status, answer["usage_info"]["pages_processed"])
        (call,) = each.above[AZURE].calls
        assert data_uri(document) == call.body["document"]["document_url"]
        (line,) = await each.running.logs(1)
        assert (12, len(document)) == (line["pages"], line["doc_bytes"])


async def test_names_and_models(tmp_path: Path) -> None:
    """An alias leads to its pool, the list has every name, and an unknown one is a 400 with the nearest."""
    async with served(tmp_path) as each:
        alias = RECORDED[0].body.replace(MODEL, b"ocr", 1)
        head = RECORDED[0].head.replace(b"content-length: %d" % len(RECORDED[0].body), b"content-length: %d" % len(alias))
        assert 200 == (await each.ask(head + alias))[0]
        unknown = RECORDED[0].body.replace(MODEL, b"mistral-ocx", 1)
        status, _, answer = await each.ask(RECORDED[0].head + unknown)
        assert (400, "unknown_model") == (status, answer["code"])
        assert "mistral-ocr" in answer["hint"]
        for path in (b"/v1/models", b"/models"):
            listed = await each.ask(
                b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
            )
            assert (200, {"ocr"}) == (listed[0], {model["mode"] for model in listed[2]["data"]})
            assert {"mistral-ocr", "vertex-ocr", "ocr"} == {model["id"] for model in listed[2]["data"]}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_as_documented(tmp_path: Path) -> None:
    """The two calls of the documentation, with a real PDF in the form."""
    document = pdf(3)
    (tmp_path / "invoice.pdf").write_bytes(document)
    async with served(tmp_path, document) as each:
        url = each.running.url + "/v1/ocr"
        body = json.dumps({"model": "mistral-ocr", "document": {"type": "document_url", "document_url": each.url.decode()}})
        for arguments in (
            ("-H", "Content-Type: application/json", "-d", body),
            ("-F", "model=vertex-ocr", "-F", "file=@invoice.pdf"),
        ):
            process = await asyncio.create_subprocess_exec(
                *("curl", "-sS", "--noproxy", "*", "--max-time", "30", url, "-H", f"Authorization: Bearer {KEY}", *arguments),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert (0, "pages") == (process.returncode, next(iter(json.loads(out))))
        assert [data_uri(document)] == [call.body["document"]["document_url"] for call in each.above[VERTEX].calls]
        assert [1, 3] == [line["pages"] for line in await each.running.logs(2)]
