"""The list of models has what a key may call, and nothing else; and what it does not list, the key may not call."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.deployments.deployment import ModelGroup
from passthrough.proxy.deployments.model_table import ModelTable
from tests.harness.client import client
from tests.harness.ocr_upstreams import OcrUpstream, ocr_upstreams
from tests.harness.proxy import deployment_to, road

pytestmark = pytest.mark.wire

KEYS = (
    ClientKey("ann", sha256(b"key-of-ann").digest()),
    ClientKey("bob", sha256(b"key-of-bob").digest(), models=frozenset({"scans"})),
)


def groups(port: int) -> ModelTable:
    """Return two groups with an alias each, one of them hidden."""
    names = ("mistral-ocr", "scans")
    found = [ModelGroup(name, (deployment_to(port, f"mistral/{name}", name),)) for name in names]
    return ModelTable(found, aliases={"ocr": "mistral-ocr", "old": "scans"}, hidden=frozenset({"old"}))


async def ask(port: int, line: str, key: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
    """Send a request; return the status, the head and the body of the response."""
    head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with client(port) as raw:
        await raw.send(head.encode() + body)
        got, answer = await raw.answer(line.split(maxsplit=1)[0])
        return int(got[9:12]), got, answer


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
@pytest.mark.parametrize(("key", "names"), [("key-of-ann", ["mistral-ocr", "scans", "ocr"]), ("key-of-bob", ["scans"])])
async def test_what_a_key_may_call(path: str, key: str, names: list[str]) -> None:
    """In OpenAI's shape; no address is in it. HEAD has the same head. Neither is in the ledger."""
    async with road(models=groups(9), clients=KEYS) as house:
        status, head, body = await ask(house.port, f"GET {path}", key)
        models = json.loads(body)
        assert (200, "list") == (status, models["object"])
        assert names == [model["id"] for model in models["data"]]
        assert {("model", "ocr")} == {(model["object"], model["mode"]) for model in models["data"]}
        assert {int} == {type(model["created"]) for model in models["data"]}
        assert b"127.0.0.1" not in head + body
        assert b"Content-Type: application/json" in head
        status, head_alone, nothing = await ask(house.port, f"HEAD {path}", key)
        assert (200, b"") == (status, nothing)
        lines = [[line for line in each.splitlines() if not line.startswith(b"Date")] for each in (head, head_alone)]
        assert lines[0] == lines[1]
        name = key.removeprefix("key-of-")
        assert [(name, 200, Outcome.COMPLETED, False)] * 2 == [
            (each.client, each.status, each.outcome, each.admitted) for each in await house.booked(2)
        ]


async def test_a_list_needs_a_key() -> None:
    """As every other path; and it takes GET and HEAD alone."""
    async with road(models=groups(9), clients=KEYS) as house:
        assert 401 == (await ask(house.port, "GET /v1/models", "other"))[0]
        status, head, _ = await ask(house.port, "POST /v1/models", "key-of-ann")
        assert (405, True) == (status, b"Allow: GET, HEAD" in head)
        assert 404 == (await ask(house.port, "GET /v1/models/scans", "key-of-ann"))[0]


CALLS = [
    ("key-of-ann", "mistral-ocr", 200, None),
    ("key-of-ann", "old", 200, None),
    ("key-of-bob", "scans", 200, None),
    ("key-of-bob", "mistral-ocr", 403, "model_forbidden"),
    ("key-of-bob", "scan", 400, "unknown_model"),
    ("key-of-ann", "scan", 400, "unknown_model"),
]


@pytest.mark.parametrize(("key", "model", "status", "code"), CALLS)
@pytest.mark.parametrize("as_form", [False, True])
async def test_what_a_key_may_not_call(key: str, model: str, status: int, code: str | None, as_form: bool) -> None:
    """Nothing goes to a provider, whichever way the model is named; the error names only what the key may call."""
    body = json.dumps(
        {"model": model, "document": {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0="}}
    ).encode()
    line = "POST /v1/ocr"
    if as_form:
        line += " HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nX: "
        disposition = "--b\r\nContent-Disposition: form-data; name="
        body = f'{disposition}model\r\n\r\n{model}\r\n{disposition}file; filename="a.pdf"\r\n\r\n%PDF-\r\n--b--\r\n'.encode()
    above = OcrUpstream()
    async with ocr_upstreams(above), road(models=groups(above.port), clients=KEYS) as house:
        got, _, answer = await ask(house.port, line, key, body)
        assert (status, code) == (got, json.loads(answer).get("code"))
        assert (1 if status == 200 else 0) == len(above.calls)
        if code is not None:
            assert (b"mistral-ocr" in answer) <= (key == "key-of-ann")
        await house.quiet()
        assert [(key.removeprefix("key-of-"), code)] == [(each.client, each.error) for each in await house.booked()]
