"""Keys, documents and queries are searched for in everything that leaves the program: each is only where it must be."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.harness.client import client
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, ok, upstream

pytestmark = pytest.mark.process

CLIENT_KEY = "client-canary-3c1f0a77e2"
OTHER_KEY = "other-canary-90b1d2c4aa"
MASTER_KEY = "master-canary-5f5f1e0b63"
UPSTREAM_KEY = "upstream-canary-b81d6f20"
INLINE_KEY = "inline-canary-77aa02c9e1"
DOCUMENT = "document-canary-4d2c9b11"
QUERY = "query-canary-e09f31ab52"
ANSWER = "answer-canary-1b7734c0de"
PROXY_PASSWORD = "proxy-canary-6a0c2f9d18"
MODEL_KEY = "model-canary-c2b9e8a077"

KEYS = (CLIENT_KEY, OTHER_KEY, MASTER_KEY, UPSTREAM_KEY, INLINE_KEY, PROXY_PASSWORD, MODEL_KEY)
OUTGOING = (UPSTREAM_KEY, INLINE_KEY)

ENVIRONMENT = f"CLIENT_KEY={CLIENT_KEY}\nUPSTREAM_KEY={UPSTREAM_KEY}\nMODEL_KEY={MODEL_KEY}\n"
"""What `.env` holds."""

CONFIG = f"""\
master_key: {MASTER_KEY}
client_keys:
  - {{name: someone, key: os.environ/CLIENT_KEY}}
  - {{name: limited, key: {OTHER_KEY}, routes: [/dead]}}
pass_through_endpoints:
  - path: /mistral
    target: http://127.0.0.1:PORT
    include_subpath: true
    forward_headers: true
    headers: {{Authorization: Bearer os.environ/UPSTREAM_KEY, x-inline: {INLINE_KEY}}}
    timeouts: {{idle: 3s}}
    max_body: 1MB
  - path: /dead
    target: http://127.0.0.1:9
    headers: {{Authorization: Bearer os.environ/UPSTREAM_KEY}}
  - path: /proxied
    target: https://127.0.0.1:9
    headers: {{Authorization: Bearer os.environ/UPSTREAM_KEY}}
    proxy: "http://user:{PROXY_PASSWORD}@127.0.0.1:9"
model_list:
  - {{model_name: echo, litellm_params: {{model: mistral/m-ocr, api_key: os.environ/MODEL_KEY, api_base: "http://127.0.0.1:PORT/seen/ocr"}}}}
  - {{model_name: wrong, litellm_params: {{model: mistral/w-ocr, api_key: {MODEL_KEY}, api_base: "http://127.0.0.1:PORT/seen/ocr"}}}}
  - {{model_name: dead, litellm_params: {{model: azure_ai/d-ocr, api_key: {MODEL_KEY}, api_base: "http://127.0.0.1:9"}}}}
"""


def spellings(canary: str) -> Iterator[bytes]:
    """Yield the canary as it stands, and in the codings in which it could slip out."""
    raw = canary.encode()
    yield raw
    yield raw.hex().encode()
    yield json.dumps(list(raw)).encode()
    for shift in range(3):  # The middle of its base64, wherever it begins in a longer text.
        yield base64.b64encode(b"\0" * shift + raw)[4:-4]


def found_in(place: bytes, *canaries: str) -> list[str]:
    """Return the canaries that are in some bytes."""
    return [canary for canary in canaries if any(spelling in place for spelling in spellings(canary))]


async def echoing(peer: Peer) -> None:
    """Answer as the path asks: with an echo of the request in fields and body, with an error, or with no HTTP at all."""
    while True:
        received = await peer.request()
        path = received.line.split(b" ")[1].partition(b"?")[0]
        lines = b"seen" if b"/seen/" in path else path.rpartition(b"/")[2]
        seen = b"; ".join(value for _, value in received.fields)
        canary = ANSWER.encode()
        answers = {
            b"echo": ok(received.body + canary, b"X-Seen: " + seen, b"X-Plain: 1", b"Content-Type: text/plain"),
            b"reason": ok(canary, b"X-Request-Id: " + seen, status=b"200 " + seen),
            b"wrong": ok(b'{"detail": "' + canary + received.body + b'"}', status=b"422 Unprocessable Entity"),
            b"garbage": canary + b" this is not HTTP " + seen + b"\r\n\r\n",
            b"header": b"HTTP/1.1 200 OK\r\n" + canary + b" " + seen + b"\r\n\r\n",
            b"short": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + canary,
            b"seen": ok(received.body, b"X-Seen: " + seen, b"X-Request-Id: " + seen),
            b"ocr": ok(
                b'{"model": "mistral-ocr-2512", "pages": [{"markdown": "'
                + canary
                + b'"}], "usage_info": {"pages_processed": "x"}}'
            ),
        }
        await peer.send(answers[lines])
        if lines in {b"garbage", b"header", b"short"}:
            return


def requests() -> Iterator[bytes]:
    """Yield requests in good order and in bad, each of which carries canaries."""
    query = f"?token={QUERY}".encode()
    body = DOCUMENT.encode() * 10

    def post(path: str, *fields: str, body: bytes = body, more: bytes = b"") -> bytes:
        lines = [b"POST " + path.encode() + query + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
        lines += [field.encode() for field in fields]
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + more + b"\r\n\r\n" + body

    bearer = f"Authorization: Bearer {CLIENT_KEY}"
    for path in ("echo", "reason", "wrong", "garbage", "header", "short", "ocr"):
        yield post(f"/mistral/{path}", bearer)
    for field in ("Authorization: ", "Authorization: Basic ", "api-key: ", "x-api-key: ", "Ocp-Apim-Subscription-Key: "):
        yield post("/mistral/echo", field + CLIENT_KEY, f"x-goog-api-key: {CLIENT_KEY}", f"Proxy-Authorization: {OTHER_KEY}")
    yield post("/mistral/echo", f"Authorization: Bearer {MASTER_KEY}", f"api-key: {CLIENT_KEY}", f"x-api-key: {OTHER_KEY}")
    yield post("/mistral/echo", bearer, f"Connection: authorization, x-inline, {CLIENT_KEY}")
    yield post("/mistral/echo", f"Authorization: Bearer {OTHER_KEY}")  # 403
    yield post("/mistral/echo", f"Authorization: Bearer {CLIENT_KEY}x")  # 401
    yield post("/dead", bearer)  # 502
    for model in ("echo", "dead", "unknown", f"{CLIENT_KEY}-unknown"):
        yield post("/v1/ocr", bearer, body=f'{{"model": "{model}", "document": {{"document_url": "{DOCUMENT}"}}}}'.encode())
    yield post("/v1/ocr", bearer, body=f'{{"model": "echo", "api_key": "{OTHER_KEY}"}}'.encode())  # 400
    url = f"http://user:{OTHER_KEY}@127.0.0.1/{DOCUMENT}?{QUERY}"
    yield post("/v1/ocr", bearer, body=f'{{"model": "dead", "document": {{"document_url": "{url}"}}}}'.encode())  # 400
    yield post("/v1/ocr", bearer, body=b"{" + DOCUMENT.encode())  # 400
    yield post("/proxied", bearer)  # 502
    yield post("/nowhere", bearer)  # 404
    yield post("/mistral/../echo", bearer)  # 400
    yield post("/mistral/echo", bearer, body=body * 10_000)  # 413
    yield post("/mistral/echo", bearer, "Transfer-Encoding: chunked")  # 400
    yield post("/mistral/echo", bearer, f"Bad Name {CLIENT_KEY}: {DOCUMENT}")  # 400 of the parser
    yield post("/mistral/echo", bearer, f"no-colon {CLIENT_KEY}")
    yield post("/mistral/echo", bearer, f"long: {CLIENT_KEY}{'x' * 40_000}")  # 431
    yield post("/mistral/echo", bearer, *(f"many-{index}: {CLIENT_KEY}" for index in range(300)))  # 431
    yield post("/mistral/echo", bearer, f"Expect: {CLIENT_KEY}")  # 417
    yield post("/mistral/echo", f"{bearer}\x01")  # a control byte
    yield post("/mistral/echo", f"{bearer}é")
    yield post("/mistral/echo", bearer).replace(b"HTTP/1.1", b"HTTP/2.0")  # 505
    yield post("/mistral/echo", bearer).replace(b"POST ", CLIENT_KEY.upper().encode() + b" ")
    yield f"{CLIENT_KEY} {DOCUMENT}\r\n\r\n".encode()
    chunked = f"POST /mistral/echo?{QUERY} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield f"{chunked}5;{CLIENT_KEY}\r\nhello\r\n{DOCUMENT}\r\n".encode()  # broken chunks
    yield f"{chunked}10000\r\n{DOCUMENT}".encode()  # 408


async def answer_to(port: int, request: bytes) -> bytes:
    """Send a request and return what comes back until the connection ends, or stays open for the rest of a body."""
    answer = b""
    async with client(port) as one:
        with contextlib.suppress(ConnectionError):
            await one.send(request)
            while b"slow_request" not in answer and (piece := await one.reader.read(1 << 20)):
                answer += piece
    return answer


async def exchanged(running: Program) -> list[bytes]:
    """Send all requests, and the beginning of one whose client then leaves; return all that came back."""
    answers = await asyncio.gather(*(answer_to(running.port, request) for request in requests()))
    async with client(running.port) as leaving:
        await leaving.send(next(requests())[:-100])
    return answers


@pytest.mark.wire
async def test_keys_and_contents_stay_where_they_belong(tmp_path: Path) -> None:
    """Upstream sees its own keys and no client's; clients see no key; log, messages and ledger see nothing of either."""
    (tmp_path / ".env").write_text(ENVIRONMENT)
    async with upstream(echoing) as raw:
        config = CONFIG.replace("PORT", str(raw.port))
        async with program(tmp_path, config, "--log-level", "debug") as running:
            answers = await exchanged(running)
            count = len(list(requests()))
            await running.logs(count)
            assert 0 == await running.stop()
    statuses = {line["status"] for line in running.log}
    assert {200, 400, 401, 403, 404, 408, 413, 417, 422, 431, 502, 505} <= statuses

    sent = [received.raw_head + received.body for received in raw.received]
    assert sent
    for each in sent:
        is_model = b"m-ocr" in each
        assert ([MODEL_KEY] if is_model else list(OUTGOING)) == found_in(each, *KEYS)
    assert any(b"m-ocr" in each for each in sent)
    assert all(bool(found_in(received.line, QUERY)) != (b"m-ocr" in received.body) for received in raw.received)

    for answer in answers:
        assert [] == found_in(answer, *KEYS, QUERY)
        if b"X-Passthrough-Error" in answer:
            assert [] == found_in(answer, DOCUMENT, ANSWER)
    assert any(found_in(answer, DOCUMENT) and b"X-Plain: 1" in answer for answer in answers)

    said = "".join(running.said).encode()
    for place in (b"".join(running.raw_log), said, *(file.read_bytes() for file in ledger_of(tmp_path))):
        assert [] == found_in(place, *KEYS, DOCUMENT, QUERY, ANSWER)
    assert b"Traceback" not in said

    for command in (("check",), ("usage", "--format", "json"), ("usage", "--by", "client,status"), ("prices",)):
        code, out, err = await running.command(*command)
        assert 0 == code, err
        assert [] == found_in((out + err).encode(), *KEYS, DOCUMENT, QUERY)


def ledger_of(folder: Path) -> list[Path]:
    """Return the ledger's files."""
    found = list(folder.glob("passthrough.db*"))
    assert found
    return found


BROKEN = {
    "a line that is no YAML": (f"x-inline: {INLINE_KEY}}}", f"x-inline: {INLINE_KEY}"),
    "a quote that is not closed": (f"key: {OTHER_KEY}", f'key: "{OTHER_KEY}'),
    "a tab": ("    headers", "\theaders"),
    "a key that is a list": (f"key: {OTHER_KEY}", f"key: [{OTHER_KEY}]"),
    "a key that is a map": (f"master_key: {MASTER_KEY}", f"master_key: {{{MASTER_KEY}: 1}}"),
    "a header with a line end": (INLINE_KEY, f'"{INLINE_KEY}\\n"'),
    "a header beyond ASCII": (INLINE_KEY, f'"{INLINE_KEY}\\0"'),
    "a key where a name is wanted": ("name: limited", f"name: [{OTHER_KEY}]"),
    "the same key twice": ("os.environ/CLIENT_KEY", OTHER_KEY),
    "a reference that is no reference": ("Bearer os.environ/UPSTREAM_KEY", "os.environ/"),
    "headers as text": ("{Authorization: Bearer os.environ/UPSTREAM_KEY, x-inline: " + INLINE_KEY + "}", INLINE_KEY),
    "a header as a list": (f"x-inline: {INLINE_KEY}", f"x-inline: [{INLINE_KEY}]"),
    "a wrong hash": (OTHER_KEY, f"sha256:{OTHER_KEY}"),
    "a proxy that is no URL": ("http://user:", "socks9://user:"),
    "a proxy without a port": (f"{PROXY_PASSWORD}@127.0.0.1:9", f"{PROXY_PASSWORD}@[x"),
    "a target with a password": ("http://127.0.0.1:9\n", f"http://user:{PROXY_PASSWORD}@127.0.0.1:9\n"),
    "a variable with a line end": ("Bearer os.environ/UPSTREAM_KEY, ", "os.environ/WITH_LINE_END, "),
}
"""What is wrong → a piece of the configuration, and what stands in its place."""


async def test_a_broken_file_is_told_without_its_keys(tmp_path: Path) -> None:
    """Whatever is wrong with a file that holds keys: stderr, /readyz and `check` name the place and never a key."""
    (tmp_path / ".env").write_text(ENVIRONMENT + f'WITH_LINE_END="{UPSTREAM_KEY}\\n"\n')
    config = CONFIG.replace("PORT", "9")
    shown: dict[str, list[str]] = {}
    async with program(tmp_path, config, "--log-level", "debug") as running, aiohttp.ClientSession() as session:
        for turn, (name, (whole, broken)) in enumerate(BROKEN.items()):
            assert whole in config, name
            (tmp_path / "routes.yaml").write_text(config.replace(whole, broken))
            running.signal(signal.SIGHUP)
            await running.says(f"(?s)(not reloaded.*){{{turn + 1}}}")
            async with session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
                trouble = (await answer.json())["degraded"]["reload"]
            code, out, err = await running.command("check")
            assert (2, True) == (code, "routes.yaml:" in err), name
            shown[name] = found_in((trouble + out + err).encode(), *KEYS)
        assert 0 == await running.stop()
    assert {name: [] for name in BROKEN} == shown
    assert [] == found_in("".join(running.said).encode(), *KEYS)


async def test_the_environment_of_the_process_stays_its_own(tmp_path: Path) -> None:
    """What .env holds never enters the process's environment, where children and crash reports would find it."""
    (tmp_path / ".env").write_text(ENVIRONMENT)
    async with program(tmp_path, CONFIG.replace("PORT", "9")) as running:
        for place in ("environ", "cmdline"):
            path = Path(f"/proc/{running.process.pid}/{place}")
            if await asyncio.to_thread(path.exists):
                assert [] == found_in(await asyncio.to_thread(path.read_bytes), *KEYS)


SPOILT = (
    b"GET /usage?by=%(query)b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %(key)b\x01\r\n\r\n",
    b"GET /usage?by=%(query)b HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer %(key)b\r\n\r\n",
    b"GET /usage?by=%(query)b HTTP/9.1\r\nHost: localhost\r\nAuthorization: Bearer %(key)b\r\n\r\n",
    b"Authorization: Bearer %(key)b\r\n\r\n",
)
"""Requests that no parser takes."""


@pytest.mark.wire
async def test_a_spoilt_request_to_the_admin_port_is_not_logged(tmp_path: Path) -> None:
    """What a parser cannot read may hold the admin key: it is in no message, and whoever reaches the port cannot fill stderr."""
    values = {b"query": QUERY.encode(), b"key": MASTER_KEY.encode()}
    async with program(
        tmp_path,
        CONFIG.replace("PORT", "9"),
        "--log-level",
        "debug",
        env={"CLIENT_KEY": CLIENT_KEY, "UPSTREAM_KEY": UPSTREAM_KEY, "MODEL_KEY": MODEL_KEY},
    ) as running:
        for request in SPOILT:
            assert (await answer_to(running.admin_port, request % values)).startswith(b"HTTP/1.0 400")
        assert 0 == await running.stop()
    assert [] == found_in("".join(running.said).encode(), MASTER_KEY, QUERY)
    assert "Traceback" not in "".join(running.said)
