"""What is read off a request's passing body: the model, and whether pages are to be annotated."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.meter import ResponseFacts, open_meter
from passthrough.meter.pipeline import MAX_QUEUED_BYTES
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.request import MAX_BYTES, BufferedRequestMeter, RequestMeter, open_request_meter
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from passthrough.proxy.routes import Retries
from tests.harness.client import asking, client
from tests.harness.metering import CODINGS, cuts, metered, pieces, read
from tests.harness.proxy import street
from tests.harness.upstream import answering, chunk, ok

OCR = ResponseFacts("POST", b"/v1/ocr", 200)
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"model": "no", "properties": {}}}}
DOCUMENT = {"type": "document_url", "document_url": "data:application/pdf;base64," + "QUJD" * 2000, "model": "no"}
TRAP = 'bbox_annotation_format": {"model": "no"}, \\"'

Wish = tuple[str | None, bool]

REQUESTS: dict[str, tuple[bytes, Wish]] = {
    "plain": (json.dumps({"model": "m", "document": DOCUMENT}).encode(), ("m", False)),
    "before the document": (
        json.dumps({"document_annotation_format": FORMAT, "model": "m", "document": DOCUMENT}).encode(),
        ("m", True),
    ),
    "behind the document": (
        json.dumps({"document": DOCUMENT, "bbox_annotation_format": FORMAT, "model": "m"}).encode(),
        ("m", True),
    ),
    "indented": (json.dumps({"document": DOCUMENT, "bbox_annotation_format": FORMAT}, indent=2).encode(), (None, True)),
    "null": (
        json.dumps({"document_annotation_format": None, "bbox_annotation_format": None, "model": "m"}).encode(),
        ("m", False),
    ),
    "one of two": (json.dumps({"document_annotation_format": None, "bbox_annotation_format": "x"}).encode(), (None, True)),
    "a text that looks like keys": (json.dumps({"model": "m", "document_annotation_prompt": TRAP}).encode(), ("m", False)),
    "keys further in": (json.dumps({"model": "m", "document": {"bbox_annotation_format": {}}}).encode(), ("m", False)),
    "the last of two": (b'{"bbox_annotation_format":{},"model":"a","model":"m","bbox_annotation_format":null}', ("m", False)),
    "escaped": (b'{"mod\\u0065l":"m","bbox_annotation\\u005fformat":{}}', ("m", True)),
    "line ends within a text": (b'{"document":"QUJD\nQUJD\r\n","model":"m","bbox_annotation_format":1}', ("m", True)),
    "a model that is no text": (b'{"model":{"model":"x"}}', (None, False)),
    "a model that is too long": (json.dumps({"model": "m" * 201}).encode(), (None, False)),
    "half a request": (b'{"model":"m","bbox_annotation_format":{"a":', ("m", True)),
    "not JSON any more": (b'{"model":"m",oops,"bbox_annotation_format":{}}', ("m", False)),
    "a form": (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n', (None, False)),
    "a list": (b'[{"model":"m"}]', (None, False)),
    "nothing": (b"", (None, False)),
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def looked(
    chunks: Iterable[bytes], decoders: ThreadPoolExecutor, coding: bytes | None = None, *, peeks: bool = False, **more: Any
) -> RequestMeter:
    """Feed as the proxy does; `peeks`: out of a buffer."""
    request_meter = open_request_meter(coding, decoders, **more)
    assert request_meter is not None
    for each in chunks:
        if not (peeks and each and request_meter.peek(bytearray(each + b'"'), len(each))) and not request_meter.feed(each):
            await request_meter.drained()
    await request_meter.rest()
    return request_meter


def wish(request_meter: RequestMeter) -> Wish:
    """What was asked for."""
    assert not request_meter.busy
    return request_meter.model, request_meter.annotated


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","stream":true}', True),
        (b'{ "stream" : true , "messages":[{"content":"x"}]', True),
        (b'{"str\\u0065am":true}', True),
        (b'{"stream":false,"stream":true}', True),
        (b'{"stream":true,"stream":false}', False),
        (b'{"stream":true,"stream":null}', False),
        (b'{"stream":"true"}', False),
        (b'{"stream":1}', False),
        (b'{"stream":[true]}', False),
        (b'{"messages":[{"stream":true}],"x":{"stream":true}}', False),
        (b'{"model":"m"}', False),
        (b"stream=true", False),
        (b"", False),
    ],
)
async def test_a_request_asks_for_a_stream(body: bytes, expected: bool, decoders: ThreadPoolExecutor) -> None:
    """Only `true` does, at the top; of two the last counts. No annotation is meant by it."""
    for chunks in cuts(body):
        request_meter = await looked(chunks, decoders)
        assert (expected, False) == (request_meter.stream, request_meter.annotated)
    buffered = BufferedRequestMeter(body)
    assert (expected, False) == (buffered.stream, buffered.annotated)


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_request_is_understood_however_it_is_cut(name: str, decoders: ThreadPoolExecutor) -> None:
    """The keys are found wherever they stand, and only at the top; what is no JSON asks for nothing."""
    body, expected = REQUESTS[name]
    for chunks in cuts(body):
        assert expected == wish(await looked(chunks, decoders))
        assert expected == wish(await looked(chunks, decoders, peeks=True))


@pytest.mark.parametrize(("coding", "code"), CODINGS)
async def test_each_request_is_understood_however_it_is_coded(
    coding: bytes | None, code: Callable[[bytes], bytes], decoders: ThreadPoolExecutor
) -> None:
    """A coded request asks for what the plain one asks for, in chunks of any size."""
    for name in ("before the document", "behind the document", "indented", "a form"):
        body, expected = REQUESTS[name]
        coded = code(body)
        for size in (len(coded), 5, 900):
            for peeks in (False, True):
                assert expected == wish(await looked(pieces(coded, size), decoders, coding, peeks=peeks))


ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
WIDE = ("before the document", "behind the document", "indented")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("coding", [None, b"gzip", b"UTF-16"])
async def test_each_request_is_understood_however_its_letters_are_written(
    encoding: str, coding: bytes | None, decoders: ThreadPoolExecutor
) -> None:
    """In UTF-16 and UTF-32, with and without a byte order mark: servers that go by RFC 4627 §3 read them, Python's json too."""
    for name, short in itertools.product(WIDE, (False, True)):
        body, expected = REQUESTS[name]
        body = body.replace(b"QUJD" * 1950, b"") if short else body
        written = body.decode().encode(encoding)
        assert json.loads(body) == json.loads(written)
        sent = gzip.compress(written) if coding == b"gzip" else written
        # Byte by byte, the inside of a long document is the same again and again: it is crossed in larger pieces.
        for size in (len(sent), 1, 2, 3, 5, 900) if short else (len(sent), 5, 900):
            for peeks in (False, True):
                assert expected == wish(await looked(pieces(sent, size), decoders, coding, peeks=peeks)), (name, size)
        usage_if_ready = BufferedRequestMeter(written)
        assert expected == (usage_if_ready.model, usage_if_ready.annotated)
        assert expected[1] == BufferedRequestMeter(written).annotated


async def test_a_large_document_in_utf_16_is_crossed(decoders: ThreadPoolExecutor) -> None:
    """Letters of every length, and a document that crosses many slices."""
    document = "☃é😀 base64" * 40_000
    request = json.dumps({"document": document, "model": "m", "bbox_annotation_format": {}}, ensure_ascii=False)
    for encoding in ("utf-16-le", "utf-32"):
        for size in (100_000, 65_537, 4095):
            assert ("m", True) == wish(await looked(pieces(request.encode(encoding), size), decoders))


@pytest.mark.parametrize("coding", [b"UTF-8", b"secret", b"none", b"identity, x", b"gzip", b"zstd", b"br", b"deflate"])
async def test_a_coding_that_is_not_true_hides_nothing(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """A client may write anything there, and the provider may never look at it."""
    for name in WIDE:
        body, expected = REQUESTS[name]
        for size in (len(body), 1, 7):
            for peeks in (False, True):
                assert expected == wish(await looked(pieces(body, size), decoders, coding, peeks=peeks))


async def test_what_cannot_be_decoded_asks_for_nothing(decoders: ThreadPoolExecutor) -> None:
    """A coding that is not known, bytes that are not of theirs, and a bomb; the road does not notice."""
    assert open_request_meter(b"gzip,gzip,gzip,gzip,gzip", decoders) is None
    assert (None, False) == wish(await looked([b"\x1f\x9d" + b'{"model":"m"}' * 1000], decoders, b"compress"))
    assert (None, False) == wish(await looked([b'\x1f\x8b{"model":"m"}' * 1000], decoders, b"gzip"))
    bomb = gzip.compress(b'{"model":"m","x":"' + bytes(50_000_000) + b'","bbox_annotation_format":{}}')
    assert ("m", False) == wish(await looked(pieces(bomb, 5000), decoders, b"gzip", max_bytes=1_000_000))
    form = gzip.compress(b"--form" + bytes(50_000_000))
    assert (None, False) == wish(await looked(pieces(form, 5000), decoders, b"gzip"))


async def test_a_large_document_between_the_keys_is_crossed(decoders: ThreadPoolExecutor) -> None:
    """67 MB of base64 stand between the model and the format."""
    document = b'{"model":"m","document":{"document_url":"data:application/pdf;base64,' + b"QUJD" * (67 << 18)
    chunks = [*pieces(document, 65536), b'"},"document_annotation_format":{"type":"json_schema"}}']
    for peeks in (False, True):
        assert ("m", True) == wish(await looked(chunks, decoders, peeks=peeks))
        assert ("m", False) == wish(await looked(chunks, decoders, peeks=peeks, max_bytes=60_000_000))


async def test_a_full_backlog_asks_for_a_pause(decoders: ThreadPoolExecutor) -> None:
    """A coded upload is held back where it comes faster than it is decoded; nothing is dropped."""
    body = gzip.compress(b'{"x":"' + bytes(range(35, 91)) * 100_000 + b'","model":"m"}', compresslevel=0)
    chunks = pieces(body, 65536)
    with ThreadPoolExecutor(1) as busy:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        busy.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        request_meter = open_request_meter(b"gzip", busy)
        assert request_meter is not None
        roomy = [request_meter.feed(each) for each in chunks[:20]]
        assert [True] * (MAX_QUEUED_BYTES // 65536 - 1) + [False] * (21 - MAX_QUEUED_BYTES // 65536) == roomy
        assert request_meter.busy
        gate.set()
        await request_meter.drained()
        for each in chunks[20:]:
            request_meter.feed(each)
        await request_meter.rest()
        assert ("m", False) == wish(request_meter)


RESPONSES: list[tuple[bytes, Wish, Usage]] = [
    (b'{"usage_info":{"pages_processed":2}}', ("m", True), Usage(pages=0, pages_annotated=2, model="m")),
    (b'{"usage_info":{"pages_processed":2}}', ("m", False), Usage(pages=2, model="m")),
    (b'{"model":"a","usage_info":{"pages_processed":2}}', ("m", False), Usage(pages=2, model="a")),
    (b'{"usage_info":{"pages_processed":2}}', (None, False), Usage(pages=2)),
    (
        b'{"usage_info":{"pages_processed":2,"pages_processed_annotation":0}}',
        ("m", True),
        Usage(pages=2, pages_annotated=0, model="m"),
    ),
    (
        b'{"usage_info":{"pages_processed":0,"pages_processed_annotation":1}}',
        ("m", False),
        Usage(pages=0, pages_annotated=1, model="m"),
    ),
    (
        b'{"document_annotation":"{}","usage_info":{"pages_processed":2}}',
        ("m", False),
        Usage(pages=0, pages_annotated=2, model="m"),
    ),
    (b"{}", ("m", True), Usage(model="m", unmetered=Unmetered.NO_USAGE)),
]


@pytest.mark.parametrize(("response", "asks", "expected"), RESPONSES)
async def test_the_request_tells_what_the_answer_does_not(
    response: bytes, asks: Wish, expected: Usage, decoders: ThreadPoolExecutor
) -> None:
    """Annotated pages: the response's counter, its annotations, else the request. The model: its own, else the request's."""
    request = {"model": asks[0], "bbox_annotation_format": {} if asks[1] else None}
    request_meter = await looked([json.dumps(request).encode()], decoders)
    assert expected == (await metered(OCR, [response], decoders, request_meter=request_meter)).usage


async def test_the_request_does_not_touch_other_counts(decoders: ThreadPoolExecutor) -> None:
    """Configured counts are at one price; the configured model stands before the request's; what is not counted has no model."""
    request_meter = await looked([b'{"model":"m","bbox_annotation_format":{}}'], decoders)
    plan = MeterPlan(shape="json", counted=JsonCounts(pages=("n",)))
    assert Usage(pages=3, model="m") == (await metered(OCR, [b'{"n":3}'], decoders, plan, request_meter=request_meter)).usage
    when = MeterPlan(shape="json", counted=JsonCounts(pages=("n",), when=(("a", ("b",)),)))
    assert NOTHING == (await metered(OCR, [b'{"n":3}'], decoders, when, request_meter=request_meter)).usage
    mine = MeterPlan(model="mine")
    response = b'{"usage_info":{"pages_processed":2}}'
    assert (
        Usage(pages=0, pages_annotated=2, model="mine")
        == (await metered(OCR, [response], decoders, mine, request_meter=request_meter)).usage
    )


async def test_a_meter_waits_for_what_the_request_tells() -> None:
    """A response that comes while the request is still being decoded is not counted at once."""
    with ThreadPoolExecutor(1) as busy:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        request_meter = open_request_meter(b"gzip", busy)
        assert request_meter is not None
        busy.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        request_meter.feed(gzip.compress(b'{"model":"m","x":"' + bytes(range(35, 91)) * 1000 + b'"}', compresslevel=0))
        meter = open_meter(MeterPlan(), OCR, busy, request_meter=request_meter, passed=print)
        assert meter is not None
        reading = asyncio.ensure_future(read(meter, [b'{"usage_info":{"pages_processed":1}}']))
        done, _ = await asyncio.wait((reading,), timeout=0)
        assert (set(), None) == (done, meter.usage_if_ready())
        gate.set()
        assert Usage(pages=1, model="m") == await reading
        assert Usage(pages=1, model="m") == meter.usage_if_ready()


@given(
    st.dictionaries(
        st.sampled_from(["model", "document", "bbox_annotation_format", "document_annotation_format", "x"]),
        st.none() | st.text(max_size=9) | st.dictionaries(st.just("model"), st.text(max_size=5)) | st.lists(st.integers()),
    ),
    st.integers(1, 50),
)
async def test_random_requests_cut_anywhere_say_what_json_loads_says(request: dict[str, Any], size: int) -> None:
    """For any request and any chunk borders the wish is what a reader of the whole finds."""
    model = request.get("model")
    formats = (request.get("bbox_annotation_format"), request.get("document_annotation_format"))
    body = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
    with ThreadPoolExecutor(1) as decoders:
        request_meter = await looked(pieces(body, size), decoders)
    expected = json.loads(body).get("model") if isinstance(model, str) and model else None
    assert (expected, any(each is not None for each in formats)) == wish(request_meter)


PLAIN = ok(b'{"usage_info":{"pages_processed":2}}')


@pytest.mark.wire
@pytest.mark.parametrize(
    ("framing", "send"),
    [
        (b"Content-Length: %d", lambda body: [body]),
        (b"Content-Length: %d", lambda body: pieces(body, 9)),
        (b"Transfer-Encoding: chunked", lambda body: [*(chunk(each) for each in pieces(body, 9)), b"0\r\n\r\n"]),
    ],
)
async def test_the_upload_is_looked_at_on_the_road(framing: bytes, send: Callable[[bytes], list[bytes]]) -> None:
    """What a request asks for is read while it passes, whole or in pieces, and reaches the target untouched."""
    body = json.dumps({"document": DOCUMENT, "bbox_annotation_format": FORMAT, "model": "m"}).encode()
    field = framing % len(body) if b"%d" in framing else framing
    async with street(answering(PLAIN)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", field), *send(body))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert body == above.received[0].body


@pytest.mark.wire
async def test_a_coded_upload_is_looked_at_on_the_road() -> None:
    """The request's Content-Encoding is undone, for the looking only."""
    body = gzip.compress(json.dumps({"document": DOCUMENT, "bbox_annotation_format": FORMAT, "model": "m"}).encode())
    async with street(answering(PLAIN)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Encoding: gzip", body=body))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert body == above.received[0].body


@pytest.mark.wire
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("coding", [b"", b"secret", b"gzip"])
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_no_spelling_of_an_annotated_request_is_cheaper(encoding: str, coding: bytes, size: int) -> None:
    """Whatever the letters are written in, and whatever coding is claimed, it is priced as annotated, and crosses as it came."""
    request = {"document": "x" * size, "bbox_annotation_format": FORMAT, "model": "m"}
    body = json.dumps(request).encode(encoding)
    fields = [b"Content-Encoding: " + coding] if coding else []
    async with street(answering(PLAIN)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", *fields, body=body))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert body == above.received[0].body


@pytest.mark.wire
async def test_a_bomb_passes_untouched() -> None:
    """A coded upload that stands for more than is read reaches the target as it is; what stood before is known."""
    head = b'{"model":"m","bbox_annotation_format":{},"x":"'
    body = gzip.compress(head) + gzip.compress(bytes(16 << 20)) * (1 + (MAX_BYTES >> 24))
    async with street(answering(PLAIN)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Encoding: gzip", body=body))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert body == above.received[0].body


async def test_an_upload_is_not_held(decoders: ThreadPoolExecutor) -> None:
    """Whatever passes, what is kept of it is small."""
    piece = b"QUJD" * 16384
    request_meter = await looked([b'{"document":"', piece], decoders)
    tracemalloc.start()
    try:
        for _ in range(1000):
            request_meter.feed(piece)
        request_meter.feed(b'","model":"m"}')
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    await request_meter.rest()
    assert ("m", False) == wish(request_meter)


@pytest.mark.wire
async def test_a_request_that_is_sent_again_is_looked_at_once() -> None:
    """The second try sends what was held; the keys of the first are known."""
    responses = iter([ok(b"", status=b"503 No"), PLAIN])

    async def script(peer: Any) -> None:
        while True:
            await peer.request()
            await peer.send(next(responses))

    body = b'{"model":"m","bbox_annotation_format":{}}'
    retries = Retries(attempts=1, statuses=frozenset({503}))
    async with street(script, retries=retries) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=body))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert [body, body] == [each.body for each in above.received]
