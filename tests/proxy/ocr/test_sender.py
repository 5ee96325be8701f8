"""OCR requests over raw sockets: which deployment gets which bytes, and what comes back."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from passthrough.exchange import DeploymentPrice
from passthrough.proxy.auth import Authenticator
from passthrough.proxy.deployments.deployment import Provider, Routing
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.ocr.settings import OcrSettings
from passthrough.proxy.relay import Rules
from passthrough.proxy.routes import RouteTable, Timeouts
from tests.harness.ocr_client import DATA, ask, body_of, request, response, table
from tests.harness.ocr_upstreams import WELL, Behaviour, OcrUpstream, always, in_turn, ocr_upstreams, throttled
from tests.harness.proxy import OCR_ROUTES, Road, deployment_to, road

pytestmark = pytest.mark.wire


@asynccontextmanager
async def one(routing: Routing = Routing(), **settings: Any) -> AsyncIterator[tuple[Road, OcrUpstream]]:
    """Run a road with one deployment."""
    above = OcrUpstream()
    async with ocr_upstreams(above), road(models=table(deployment_to(above.port, **settings), routing=routing)) as house:
        yield house, above
        await house.quiet()
        assert 0 == house.relay.ocr.held.taken


async def test_the_model_is_replaced_and_nothing_else() -> None:
    """What comes back is the provider's; the log has the deployment, its target and the group."""
    async with one() as (house, above):
        odd = b' {"model" : "mistral-ocr", "x": [1.0e2,  {}],"document":{"document_url":"' + DATA.encode() + b'"} } \n'
        status, fields, body = await ask(house.port, request(odd))
        assert 200 == status, body
        assert odd.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"') == above.calls[0].received.body
        assert ["Bearer provider-key"] == [v.decode() for v in above.calls[0].received.values(b"authorization")]
        assert ("mistral/m", "mistral-ocr") == (fields["x-passthrough-deployment"], fields["x-litellm-model-group"])
        assert ("0", "0") == (fields["x-litellm-attempted-retries"], fields["x-litellm-attempted-fallbacks"])
        (exchange,) = await house.booked()
        assert ("mistral/m", "mistral-ocr", 1, None) == (
            exchange.deployment,
            exchange.model_group,
            exchange.attempts,
            exchange.why,
        )
        assert 1 == (await exchange.usage_source.usage()).pages


async def test_a_client_describes_its_own_body_only() -> None:
    """What goes up is JSON in no coding: whatever the client says of its body, `x-pass-` included, stays here."""
    said = ("Content-MD5: x", "x-pass-content-type: text/evil", "x-pass-Content_Type: text/evil", "x-pass-x-pass-content-md5: x")
    async with one() as (house, above):
        assert 200 == (await ask(house.port, request(body_of(), "/v1/ocr", *said, "x-pass-beta: 2")))[0]
        received = above.calls[0].received
        assert [b"application/json"] == received.values(b"content-type")
        names = {name.lower() for name, _ in received.fields}
        assert [b"content-length", b"content-type"] == sorted(name for name in names if b"content" in name)
        assert [b"2"] == received.values(b"beta")


async def test_each_model_of_a_wildcard_has_its_own_path() -> None:
    """Also on one connection, whose requests differ in nothing but their model; and so does each deployment of a pool."""
    above = OcrUpstream("vertex_ai")
    base = b"/v1/projects/p/locations/l/publishers/mistralai/models/*:rawPredict"
    wild = deployment_to(above.port, "wild", group="vertex/*", model="*", base=base, provider=Provider.VERTEX)
    models = [*"abcab", *"abcdefghijkl", "of another length", "x" * 240]  # more than are cached, and one too long for that
    async with ocr_upstreams(above), road(models=table(wild)) as house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        for model in models:
            writer.write(request(body_of(f"vertex/{model}")))
            assert 200 == (await response(reader))[0]
        writer.close()
        paths = [call.received.line.split()[1].partition(b"/models/")[2] for call in above.calls]
        assert [f"{quote(model)}:rawPredict".encode() for model in models] == paths


@pytest.mark.parametrize("path", ["/v1/ocr", "/ocr", "/providers/mistral/azure/ocr"])
@pytest.mark.parametrize("last", [False, True])
async def test_a_large_body_crosses_wherever_its_model_stands(path: str, last: bool) -> None:
    """In front it streams; behind it is held. Each byte but the model's arrives as it was sent."""
    long = "A" * 3_000_000
    document = {"type": "document_url", "document_url": "data:application/pdf;base64," + long}
    order = {"document": document, "model": "mistral-ocr"} if last else {"model": "mistral-ocr", "document": document}
    body = json.dumps(order).encode()
    async with one() as (house, above):
        status, _, answer = await ask(house.port, request(body, path))
        assert 200 == status, answer
        assert body.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"') == above.calls[0].received.body


async def test_with_the_model_in_front_the_first_byte_goes_up_before_the_last_has_come() -> None:
    """And a request that breaks off is never ended at the provider."""
    body = body_of(filler="A" * 1_500_000)
    async with one() as (house, above):
        began = asyncio.Event()

        def on_head() -> Behaviour:
            began.set()
            return WELL

        above.mood = on_head
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(request(body)[:900_000])
        async with asyncio.timeout(20):
            await began.wait()
        writer.write(request(body)[900_000:])
        assert 200 == (await response(reader))[0]
        writer.write(request(body)[:900_000])
        await writer.drain()
        writer.close()
        await house.booked(2)
        assert 1 == len(above.calls)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_chunks_become_a_length(size: int) -> None:
    """Providers take no chunked uploads."""
    body = body_of(filler="A" * size)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    async with one() as (house, above):
        data = request(b"", "/v1/ocr", "Transfer-Encoding: chunked", length=False) + chunks
        status, _, answer = await ask(house.port, data)
        assert 200 == status, answer
        assert body.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"') == above.calls[0].received.body


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (body_of("unknown"), 400, "unknown_model"),
        (b"", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b'{"document": {}}', 400, "bad_request"),
        (b'{"model": "mistral-ocr", "model": "mistral-ocr"}', 400, "bad_request"),
        (b'{"model": "mistral-ocr", "x": "' + b"A" * 2_000_000 + b'", "model": "mistral-ocr"}', 400, "bad_request"),
        (b'{"model": "mistral-ocr", "api_key": "mine"}', 400, "bad_request"),
    ],
)
async def test_what_is_refused(body: bytes, status: int, code: str) -> None:
    """Nothing of it reaches the provider as a whole request."""
    async with one() as (house, above):
        got, fields, _ = await ask(house.port, request(body))
        assert (status, code) == (got, fields["x-passthrough-error"])
        assert [] == above.calls


async def test_the_next_one_answers() -> None:
    """A deployment that is throttled is left alone until its Retry-After has passed."""
    bad, good = OcrUpstream(), OcrUpstream()
    async with ocr_upstreams(bad, good):
        bad.mood = always(throttled("30"))
        pool = [deployment_to(bad.port, "bad", order=1), deployment_to(good.port, "good", order=2)]
        async with road(models=table(*pool)) as house:
            for retries in ("1", "0", "0"):
                status, fields, _ = await ask(house.port, request(body_of()))
                assert (200, "good", retries) == (
                    status,
                    fields["x-passthrough-deployment"],
                    fields["x-litellm-attempted-retries"],
                )
            assert (1, 3) == (len(bad.calls), len(good.calls))
            exchanges = await house.booked(3)
            assert [("bad: 429", 2), (None, 1), (None, 1)] == [(each.why, each.attempts) for each in exchanges]
            assert 3 == sum([(await each.usage_source.usage()).pages or 0 for each in exchanges])


async def test_a_refused_connection_goes_on_and_cools() -> None:
    """Nothing was sent, so that it is always safe."""
    good = OcrUpstream()
    async with ocr_upstreams(good):
        closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = closed.sockets[0].getsockname()[1]
        closed.close()
        await closed.wait_closed()
        pool = [deployment_to(port, "closed", order=1), deployment_to(good.port, "good", order=2)]
        async with road(models=table(*pool)) as house:
            for _ in range(2):
                assert 200 == (await ask(house.port, request(body_of())))[0]
            exchanges = await house.booked(2)
            assert ["closed: connection refused", None] == [each.why for each in exchanges]


async def test_a_failure_names_the_deployment_and_no_address() -> None:
    """Where it is is the operator's affair."""
    for mood, code in ((Behaviour(reset=True), "upstream_broke"), (None, "upstream_unreachable")):
        above = OcrUpstream()
        async with ocr_upstreams(above), road(models=table(deployment_to(above.port, "eu"))) as house:
            if mood is None:
                above.refuse()
            else:
                above.mood = always(mood)
            status, fields, body = await ask(house.port, request(body_of()))
            assert (502, code) == (status, fields["x-passthrough-error"])
            assert b"deployment eu" in body
            assert b"127.0.0.1" not in body
            assert str(above.port).encode() not in body


async def test_all_cool_down() -> None:
    """Then the client learns when to come again."""
    bad, worse = OcrUpstream(), OcrUpstream()
    async with ocr_upstreams(bad, worse):
        bad.mood = worse.mood = always(throttled("30"))
        async with road(models=table(deployment_to(bad.port, "bad"), deployment_to(worse.port, "worse"))) as house:
            assert 429 == (await ask(house.port, request(body_of())))[0]
            status, fields, _ = await ask(house.port, request(body_of()))
            assert (429, "no_deployment") == (status, fields["x-passthrough-error"])
            assert 1 <= int(fields["retry-after"]) <= 30


@pytest.mark.parametrize(("routing", "expected"), [(Routing(), 500), (Routing(num_retries=1), 200)])
async def test_what_may_have_been_billed_is_sent_once(routing: Routing, expected: int) -> None:
    """500 is relayed, unless the file says `num_retries`."""
    bad, good = OcrUpstream(), OcrUpstream()
    async with ocr_upstreams(bad, good):
        bad.mood = in_turn(Behaviour(500))
        pool = [deployment_to(bad.port, "bad", order=1), deployment_to(good.port, "good", order=2)]
        async with road(models=table(*pool, routing=routing)) as house:
            assert expected == (await ask(house.port, request(body_of())))[0]


async def test_a_wildcard_is_booked_by_its_name_in_the_file_and_priced_by_its_model() -> None:
    """What clients send in its place is not what sums are kept by."""
    async with ocr_upstreams(above := OcrUpstream()):
        wild = deployment_to(above.port, "wild", "scan/*", model="*")
        terms = replace(wild.route.terms, deployment_price=DeploymentPrice("mistral/*"))
        wild = replace(wild, route=replace(wild.route, terms=terms))
        async with road(models=table(wild)) as house:
            assert 200 == (await ask(house.port, request(body_of("scan/mistral-ocr-2512"))))[0]
            assert "mistral-ocr-2512" == above.calls[0].body["model"]
            (exchange,) = await house.booked()
            assert "scan/*" == exchange.model_group
            assert exchange.terms is not None
            assert DeploymentPrice("mistral/mistral-ocr-2512") == exchange.terms.deployment_price


async def test_a_prediction_names_its_model_in_the_path() -> None:
    """As Vertex has it; the body may have none."""
    async with one() as (house, above):
        path = "/v1/projects/p/locations/us-central1/publishers/mistralai/models/mistral-ocr:rawPredict"
        status, _, answer = await ask(house.port, request(b'{"document": {"document_url": "' + DATA.encode() + b'"}}', path))
        assert 200 == status, answer
        assert "mistral-ocr-latest" == above.calls[0].body["model"]
        assert 404 == (await ask(house.port, request(b"{}", "/v1/projects/p/x")))[0]


async def test_the_list_of_models() -> None:
    """Names alone, in OpenAI's shape."""
    async with one() as (house, _):
        for path in ("/v1/models", "/models"):
            status, _, body = await ask(house.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert 200 == status
            assert [("mistral-ocr", "ocr")] == [(each["id"], each["mode"]) for each in json.loads(body)["data"]]


@pytest.mark.parametrize("size", [10, 500_000])
async def test_a_coded_body_goes_up_plain(size: int) -> None:
    """Inflated, within room that is reserved before."""
    body = body_of(filler="A" * size)
    async with one() as (house, above):
        data = request(gzip.compress(body), "/v1/ocr", "Content-Encoding: gzip")
        status, _, answer = await ask(house.port, data)
        assert 200 == status, answer
        assert body.replace(b'"mistral-ocr"', b'"mistral-ocr-latest"') == above.calls[0].received.body
        assert [] == above.calls[0].received.values(b"content-encoding")


async def test_a_bomb_is_refused() -> None:
    """At the bound of a held body."""
    async with ocr_upstreams(above := OcrUpstream()):
        tight = OcrSettings(held_body_bytes=300_000, held_bodies_bytes=300_000)
        async with road(models=table(deployment_to(above.port)), settings=tight) as house:
            data = request(gzip.compress(body_of(filler="A" * 5_000_000)), "/v1/ocr", "Content-Encoding: gzip")
            status, fields, _ = await ask(house.port, data)
            assert (413, "body_too_large") == (status, fields["x-passthrough-error"])
            await house.booked()
            assert 0 == house.relay.ocr.held.taken


async def test_who_waits_for_room_gets_it_in_turn() -> None:
    """Bodies whose model comes last are held one after the other; each is answered."""
    document = {"document_url": "data:application/pdf;base64," + "A" * 400_000}
    body = json.dumps({"document": document, "model": "mistral-ocr"}).encode()
    async with ocr_upstreams(above := OcrUpstream()):
        tight = OcrSettings(held_body_bytes=500_000, held_bodies_bytes=500_000)
        async with road(models=table(deployment_to(above.port)), settings=tight) as house:
            answers = await asyncio.gather(*(ask(house.port, request(body)) for _ in range(8)))
            assert [200] * 8 == [status for status, _, _ in answers]
            too_large = request(body.replace(b"AAAA", b"AAAAAAAA"))
            assert (413, "body_too_large") == ((got := await ask(house.port, too_large))[0], got[1]["x-passthrough-error"])
            in_front = json.dumps({"model": "mistral-ocr", "document": document, "x": "A" * 400_000}).encode()
            assert 200 == (await ask(house.port, request(in_front)))[0]
            await house.booked(10)
            assert 0 == house.relay.ocr.held.taken


async def test_who_waits_too_long_for_room_is_told_to_come_again() -> None:
    """After the idle time-out: 503, and the connection closes, for the rest of the body is not read."""
    body = json.dumps({"document": {"document_url": "data:;base64," + "A" * 400_000}, "model": "mistral-ocr"}).encode()
    async with ocr_upstreams(above := OcrUpstream()):
        models = table(deployment_to(above.port))
        async with road(models=models, settings=OcrSettings(held_bodies_bytes=500_000)) as house:
            impatient = [replace(route, timeouts=Timeouts(idle_s=0.05)) for route in OCR_ROUTES]
            house.relay.rules = Rules(RouteTable(impatient), Authenticator(()), models=models)
            room = house.relay.ocr.held.take_at_once(500_000)
            assert room is not None
            status, fields, _ = await ask(house.port, request(body))
            assert (503, "overloaded", "1", "close") == (
                status,
                fields["x-passthrough-error"],
                fields["retry-after"],
                fields["connection"],
            )
            room.release()
            await house.booked()
            assert 0 == house.relay.ocr.held.taken
            assert [] == above.calls


# ── forms ──

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 3 + b"\r\n--boundary is no delimiter\r\n"


def form(*parts: tuple[str, bytes], closing: bytes = b"--boundary--\r\n") -> bytes:
    """Return a form; each part is what follows `form-data; ` in its head, and its content."""
    lines = [
        f"--boundary\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    ]
    return b"".join(lines) + closing


FILE = ('name="file"; filename="invoice.pdf"\r\nContent-Type: application/pdf', PDF)
MODEL = ('name="model"', b"mistral-ocr")


async def ask_form(port: int, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a form."""
    head = "POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=boundary\r\n"
    return await ask(port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize("filler", [0, 1_000_000])
async def test_a_form_becomes_json(filler: int) -> None:
    """With the file as a data URI, and each field as JSON where its text is."""
    content = PDF + b"x" * filler
    parts = [(FILE[0], content), MODEL, ('name="pages"', b"[0, 1]"), ('name="id"', b"a b"), ('name="x"', b"true")]
    async with one() as (house, above):
        status, _, answer = await ask_form(house.port, form(*parts))
        assert 200 == status, answer
        url = "data:application/pdf;base64," + base64.b64encode(content).decode()
        document = {"type": "document_url", "document_url": url}
        expected = {"model": "mistral-ocr-latest", "pages": [0, 1], "id": "a b", "x": True, "document": document}
        assert expected == above.calls[0].body
        assert [b"application/json"] == above.calls[0].received.values(b"content-type")


@pytest.mark.parametrize(
    ("head", "kind", "media_type"),
    [
        ('name="file"; filename="a.png"', "image_url", "image/png"),
        ('name="file"; filename="a"\r\nContent-Type: image/webp', "image_url", "image/webp"),
        ('name="file"; filename="a"\r\nContent-Type: application/octet-stream', "document_url", "application/pdf"),
        ('name="file"; filename="a"', "document_url", "application/pdf"),
    ],
)
async def test_the_media_type_of_a_file(head: str, kind: str, media_type: str) -> None:
    """As its part says, else by its name, else by its first bytes."""
    async with one() as (house, above):
        status, _, answer = await ask_form(house.port, form((head, PDF), MODEL))
        assert 200 == status, answer
        assert above.calls[0].body["document"][kind].startswith(f"data:{media_type};base64,")


@pytest.mark.parametrize(
    "body",
    [
        form(FILE),
        form(MODEL),
        form(FILE, FILE, MODEL),
        form(FILE, MODEL, MODEL),
        form(FILE, MODEL, ('name="api_key"', b"mine")),
        form(('name="file"; filename="a.pdf"', b""), MODEL),
        form(('name="scan"; filename="a.pdf"', PDF), MODEL),
        form(FILE, MODEL, ('name="document"', b"{}")),
        form(FILE, MODEL, closing=b""),
        b"no form",
    ],
)
async def test_forms_that_are_refused(body: bytes) -> None:
    """With what is wrong, and how it is done."""
    async with one() as (house, above):
        status, fields, _ = await ask_form(house.port, body)
        assert (400, "bad_request") == (status, fields["x-passthrough-error"])
        assert [] == above.calls


async def test_a_form_of_unknown_length_takes_the_room_that_it_needs() -> None:
    """What was reserved for the largest one is given back when its end has come, not when its response has."""
    body = form((FILE[0], PDF + b"x" * 200_000), MODEL)
    taken: list[int] = []
    async with one() as (house, above):

        def on_head() -> Behaviour:
            taken.append(house.relay.ocr.held.taken)
            return WELL

        above.mood = on_head
        head = b"POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=boundary\r\n"
        data = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        assert 200 == (await ask(house.port, data))[0]
        assert [len(body)] == taken


async def test_a_form_is_tried_again() -> None:
    """Its file is held."""
    bad, good = OcrUpstream(), OcrUpstream()
    async with ocr_upstreams(bad, good):
        bad.mood = always(throttled("30"))
        pool = [deployment_to(bad.port, "bad", order=1), deployment_to(good.port, "good", order=2, model="other")]
        async with road(models=table(*pool)) as house:
            assert 200 == (await ask_form(house.port, form(FILE, MODEL)))[0]
            assert "other" == good.calls[0].body["model"]
            assert bad.calls[0].body["document"] == good.calls[0].body["document"]


# ── documents by URL ──


@asynccontextmanager
async def origin(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a host of documents that answers each request so; yield its URL, and the heads that came."""
    heads: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.pdf", heads
    finally:
        server.close()


def by_url(url: str) -> bytes:
    """Return the body of a request whose document is at a URL."""
    return json.dumps({"document": {"type": "document_url", "document_url": url}, "model": "mistral-ocr"}).encode()


ANY = OcrSettings(urls=UrlRules(max_bytes=3_000_000, validated=False))
AZURE_PATH = {"base": b"/providers/mistral/azure/ocr", "provider": Provider.AZURE, "inlines_documents": True}


@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("size", [10, 2_000_000])
async def test_a_document_is_fetched_once_for_all_tries(has_length: bool, size: int) -> None:
    """And becomes a data URI, whether its host says its length or not. Nothing of the client goes to that host."""
    document = PDF + b"x" * size
    length = f"Content-Length: {len(document)}\r\n" if has_length else ""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/pdf; x=y\r\n{length}Connection: close\r\n\r\n".encode() + document
    bad, good = OcrUpstream("azure_ai"), OcrUpstream("azure_ai")
    async with ocr_upstreams(bad, good), origin(answer) as (url, heads):
        bad.mood = always(throttled("30"))
        pool = [
            deployment_to(bad.port, "bad", order=1, **AZURE_PATH),
            deployment_to(good.port, "good", order=2, **AZURE_PATH),
        ]
        async with road(models=table(*pool), settings=ANY) as house:
            status, _, body = await ask(house.port, request(by_url(url), "/v1/ocr", "Authorization: Bearer secret"))
            assert 200 == status, body
            expected = "data:application/pdf;base64," + base64.b64encode(document).decode()
            assert [expected] == [call.body["document"]["document_url"] for call in good.calls]
            assert 1 == len(bad.calls)
            assert 1 == len(heads)
            assert b"secret" not in heads[0]
            await house.booked()
            assert 0 == house.relay.ocr.held.taken


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 400, "document_unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000001\r\n\r\n%PDF-", 413, "document_too_large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n%PDF-1.4", 400, "document_unreachable"),
    ],
)
async def test_a_document_that_cannot_be_had_blames_no_deployment(answer: bytes, status: int, code: str) -> None:
    """It is the client's: whatever became of the upload, the deployment does not cool down."""
    async with ocr_upstreams(above := OcrUpstream("azure_ai")), origin(answer, answer) as (url, _):
        other = deployment_to(above.port, "other", **AZURE_PATH)
        async with road(models=table(deployment_to(above.port, **AZURE_PATH), other), settings=ANY) as house:
            got, fields, _ = await ask(house.port, request(by_url(url)))
            assert (status, code) == (got, fields["x-passthrough-error"])
            assert [] == above.calls
            assert [] == house.relay.ocr.balancer.cooling()
            await house.booked()
            assert 0 == house.relay.ocr.held.taken


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://169.254.169.254/latest", "gs://bucket/a.pdf", "JVBERi0x"])
async def test_what_is_not_public_is_refused(url: str) -> None:
    """And so is what is no URL of the web."""
    async with road(models=table(deployment_to(1, **AZURE_PATH))) as house:
        status, fields, _ = await ask(house.port, request(by_url(url)))
        assert (400, "document_refused") == (status, fields["x-passthrough-error"])


async def test_mistral_fetches_documents_itself() -> None:
    """The URL passes as it came."""
    async with one() as (house, above):
        assert 200 == (await ask(house.port, request(by_url("https://example.com/a.pdf"))))[0]
        assert "https://example.com/a.pdf" == above.calls[0].body["document"]["document_url"]


async def test_the_document_of_a_form_at_a_url_is_fetched_too() -> None:
    """A field `document` is what it would be in JSON, for a provider that cannot fetch."""
    above = OcrUpstream("azure_ai")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PDF) + PDF
    async with ocr_upstreams(above), origin(answer) as (url, _):
        models = table(deployment_to(above.port, **AZURE_PATH))
        async with road(models=models, settings=ANY) as house:
            document = json.dumps({"type": "document_url", "document_url": url}).encode()
            status, _, body = await ask_form(house.port, form(MODEL, ('name="document"', document)))
            assert 200 == status, body
            expected = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
            assert [expected] == [call.body["document"]["document_url"] for call in above.calls]


@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_an_upload_that_trickles_ends(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A byte now and then is too slow, in a body that is kept and in one that passes the parser."""
    monkeypatch.setattr("passthrough.proxy.upload_rate.WINDOW_S", 0.3)
    data = request(body_of(filler="A" * size))
    async with one() as (house, above):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        begun = len(data) // 2
        writer.write(data[:begun])
        answer = asyncio.ensure_future(response(reader))
        for at in range(begun, len(data)):
            await asyncio.wait({answer}, timeout=0.02)
            if answer.done():
                break
            writer.write(data[at : at + 1])
        status, _, body = await answer
        writer.close()
        assert (408, "slow_request") == (status, json.loads(body)["code"])
        (exchange,) = await house.booked()
        assert "slow_request" == exchange.error
        assert [] == above.calls
