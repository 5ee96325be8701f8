"""OCR requests that attack: paths and fields that mislead, bodies that come at bad moments, forms that crash what reads them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from passthrough.proxy.deployments.deployment import Deployment, Provider, Routing
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.ocr.settings import OcrSettings
from passthrough.proxy.routes import Timeouts
from tests.harness.ocr_client import ask, body_of, response, table
from tests.harness.ocr_upstreams import Behaviour, OcrUpstream, always, ocr_upstreams
from tests.harness.proxy import Road, deployment_to, road
from tests.harness.upstream import Peer, ok, upstream

pytestmark = pytest.mark.wire

LATE = Timeouts(total_s=0.2)


def post(body: bytes, path: bytes = b"/v1/ocr", *fields: bytes, length: int | None = None) -> bytes:
    """Return one POST."""
    lines = (b"POST %b HTTP/1.1" % path, b"Host: x", *fields, b"Content-Length: %d" % (length or len(body)))
    return b"\r\n".join((*lines, b"", body))


def assert_nothing_is_left(house: Road, *deployments: Deployment) -> None:
    """No room is taken, and no call is counted as under way."""
    assert 0 == house.relay.ocr.held.taken
    assert [0] * len(deployments) == [house.relay.ocr.balancer.under_way(each) for each in deployments]


@pytest.mark.parametrize(
    "path", [b"/v1/projects/p/locations/l/publishers/mistralai/models/\xe9:rawPredict", b"/v1/projects/\xff"]
)
async def test_a_path_that_is_not_ascii(path: bytes) -> None:
    """It is a name as any other, or no route."""
    async with road(models=table(deployment_to(1))) as house:
        status, fields, _ = await ask(house.port, post(b'{"document": {}}', path))
        assert status in {400, 404}
        assert "x-passthrough-error" in fields


async def test_fields_that_a_provider_sends_itself() -> None:
    """Ours stand alone, and an address of the provider's own deployments is not passed on: it may be a LiteLLM, too."""
    theirs = (b"x-litellm-model-id: theirs", b"X-Litellm-Model-Api-Base: http://10.0.0.1", b"x-passthrough-deployment: theirs")
    async with ocr_upstreams(above := OcrUpstream(answer_fields=theirs)), road(models=table(deployment_to(above.port))) as house:
        _, fields, _ = await ask(house.port, post(body_of()))
        assert "mistral/m" == fields["x-litellm-model-id"]
        assert "mistral/m" == fields["x-passthrough-deployment"]
        assert "x-litellm-model-api-base" not in fields


async def test_fields_that_describe_another_body() -> None:
    """The body that goes up is JSON without a coding, whatever the client nominates; a digest of its own bytes is not sent."""
    async with ocr_upstreams(above := OcrUpstream()), road(models=table(deployment_to(above.port))) as house:
        fields = (b"Connection: content-type", b"Content-MD5: x", b"Content-Digest: sha-256=:x:")
        assert 200 == (await ask(house.port, post(body_of(), b"/v1/ocr", *fields)))[0]
        received = above.calls[0].received
        assert [b"application/json"] == received.values(b"content-type")
        assert [] == [*received.values(b"content-md5"), *received.values(b"content-digest")]


# ── forms ──


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form with a file and a model; each further part is what follows `form-data; ` in its head, and its content."""
    whole = (*parts, ('name="model"', b"mistral-ocr"), ('name="file"; filename="a.pdf"', b"%PDF-1.4"))
    lines = [f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n" for head, content in whole]
    return b"".join(lines) + b"--b--\r\n"


CODED = 'name="id"\r\nContent-Type: text/plain; charset='


@pytest.mark.parametrize(
    ("part", "status"),
    [
        (('name="x"', b"[" * 100_000), 400),
        (('name="x"', b"1e999"), 200),
        (('name="x"', b"NaN"), 200),
        (('name="x"', b"[-Infinity]"), 200),
        ((CODED + "idna", b"xn--\xff"), 400),
        ((CODED + "undefined", b"x"), 400),
        ((CODED + "punycode", b"a-" + b"b" * 100), 400),
        ((CODED + '"utf-8"', b"x"), 200),
        ((CODED + "ISO-8859-1", b"\xe9"), 200),
    ],
)
async def test_fields_of_a_form_that_are_no_json(part: tuple[str, bytes], status: int) -> None:
    """They are texts, or refused; what goes up is JSON that a strict parser takes, and nothing costs more than it should."""
    async with ocr_upstreams(above := OcrUpstream()), road(models=table(deployment_to(above.port))) as house:
        data = post(form(part), b"/v1/ocr", b"Content-Type: multipart/form-data; boundary=b")
        got, fields, answer = await ask(house.port, data)
        assert status == got, answer
        assert (status == 400) == (fields.get("x-passthrough-error") == "bad_request")
        assert 200 == (await ask(house.port, post(body_of())))[0]


# ── what blames a deployment ──


@pytest.mark.parametrize("model_first", [True, False])
async def test_a_client_that_sends_slowly_blames_no_deployment(model_first: bool) -> None:
    """Else one client could cool them all down for everybody."""
    whole = body_of(filler="A" * 200_000)
    if not model_first:
        whole = json.dumps({"filler": "A" * 200_000, **json.loads(body_of()), "model": "mistral-ocr"}).encode()
    async with ocr_upstreams(one := OcrUpstream(), two := OcrUpstream()):
        pool = [deployment_to(each.port, name, timeouts=LATE) for each, name in ((one, "one"), (two, "two"))]
        routing = Routing(allowed_fails=0, request_timeout_s=None if model_first else 0.2)
        async with road(models=table(*pool, routing=routing)) as house:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            data = post(whole)
            writer.write(data[:100_000])
            if not model_first:
                await asyncio.sleep(0.3)
                writer.write(data[100_000:])
            status, fields, _ = await response(reader)
            assert (408, "slow_request") == (status, fields["x-passthrough-error"]) if model_first else 200 == status
            writer.close()
            assert [] == house.relay.ocr.balancer.cooling()
            await house.booked()
            await house.quiet()
            assert_nothing_is_left(house, *pool)


async def test_a_document_that_comes_slowly_blames_no_deployment() -> None:
    """Its host is the one to blame."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: 100000\r\n\r\n%PDF-1.4")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.pdf"
    async with ocr_upstreams(one := OcrUpstream(), two := OcrUpstream()):
        azure: dict[str, Any] = {"provider": Provider.AZURE, "inlines_documents": True, "timeouts": LATE}
        pool = [deployment_to(each.port, name, **azure) for each, name in ((one, "one"), (two, "two"))]
        settings = OcrSettings(urls=UrlRules(validated=False))
        async with road(models=table(*pool, routing=Routing(allowed_fails=0)), settings=settings) as house:
            status, fields, _ = await ask(house.port, post(body_of(url=url)))
            assert (400, "document_unreachable") == (status, fields["x-passthrough-error"])
            assert [] == house.relay.ocr.balancer.cooling()
            await house.booked()
            assert_nothing_is_left(house, *pool)
    server.close()


async def test_a_deployment_is_taken_before_the_document_has_come() -> None:
    """Its limits hold for all who download at the same time."""
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await goes_on.wait()
        writer.write(ok(b"%PDF-1.4", b"Content-Type: application/pdf", b"Connection: close"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.pdf"
    async with ocr_upstreams(above := OcrUpstream(provider="azure_ai")):
        base = b"/providers/mistral/azure/ocr"
        only = deployment_to(above.port, provider=Provider.AZURE, inlines_documents=True, max_parallel=1, base=base)
        other = deployment_to(above.port, "other", order=2, provider=Provider.AZURE, inlines_documents=True, base=base)
        settings = OcrSettings(urls=UrlRules(validated=False))
        async with road(models=table(only, other), settings=settings) as house:
            first = asyncio.ensure_future(ask(house.port, post(body_of(url=url))))
            async with asyncio.timeout(10):
                await asked.wait()
            _, fields, _ = await ask(house.port, post(body_of()))
            assert "other" == fields["x-passthrough-deployment"]
            goes_on.set()
            assert 200 == (await first)[0]
            await house.booked(2)
            assert_nothing_is_left(house, only, other)
    server.close()


# ── bad moments ──


async def test_annotations_asked_for_behind_an_early_response() -> None:
    """The format stands at the end of a body whose response has begun before."""
    answer = b'{"model": "m", "pages": [], "usage_info": {"pages_processed": 3}}'
    begun, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        _, fields, _ = await peer.head()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
        await peer.send(head)
        begun.set()
        length = int({name.lower(): value for name, value in fields}[b"content-length"])
        await peer.reader.readexactly(length)
        await peer.send(answer)
        ended.set()

    async with upstream(script) as above, road(models=table(deployment_to(above.port))) as house:
        data = post(body_of(filler="A" * 1_500_000, document_annotation_format={"type": "json_schema"}))
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(data[:200_000])
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        writer.write(data[200_000:])
        assert answer == await reader.readexactly(len(answer))
        writer.close()
        (exchange,) = await house.booked()
        usage = await exchange.usage_source.usage()
        assert (0, 3) == (usage.pages, usage.pages_annotated)


async def test_a_file_stays_at_its_account_however_late_it_is_named() -> None:
    """In a pool the first byte goes up once it is known what the document is: an early 429 must not send it elsewhere."""
    early, other = OcrUpstream(), OcrUpstream()
    body = (
        b'{"model": "mistral-ocr", "x": "'
        + b"A" * 200_000
        + b'", "document": {"file_id": "f-1"}, "y": "'
        + b"B" * 200_000
        + b'"}'
    )
    async with ocr_upstreams(early, other):
        early.mood = always(Behaviour(429, (b"Retry-After: 120",), early=True))
        pool = [deployment_to(early.port, "early", order=1), deployment_to(other.port, "other", order=2)]
        async with road(models=table(*pool)) as house:
            assert 429 == (await ask(house.port, post(body)))[0]
            assert [] == other.calls
