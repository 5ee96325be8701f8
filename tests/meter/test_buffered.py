"""Small plain responses, held and read at once: what is found is what the meter of a response of unknown length finds."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from passthrough.meter.buffered import SMALL_BYTES, BufferedMeter
from passthrough.meter.meter import Meter, ResponseFacts, open_meter
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.request import BufferedRequestMeter, open_request_meter
from passthrough.meter.usage import Unmetered, Usage

OCR = ResponseFacts("POST", b"/v1/ocr", 200)
CHAT = ResponseFacts("POST", b"/v1/chat/completions", 200)
JSON = MeterPlan("json", counted=JsonCounts(pages=("n",)))

PAGES = b'{"pages":[{"images":[{"image_annotation":null}]}],"model":"m","usage_info":{"pages_processed":3,"doc_size_bytes":9}}'
TOKENS = b'{"model":"m","usage":{"prompt_tokens":7,"completion_tokens":null}}'
BODIES = (
    PAGES,
    b"\n" + PAGES + b"\r\n",
    PAGES.replace(b":", b" : "),
    PAGES.replace(b'"m"', b"null"),
    PAGES[:-1],
    PAGES + PAGES,
    TOKENS,
    b'{"n":12.0,"model":"m"}',
    b'{"n":1,"n":2}',
    b"{}",
    b"[]",
    b"",
    b" \n",
    b"\xef\xbb\xbf" + PAGES,
    b"data: x\n\n",
)


@pytest.fixture(scope="module")
def decoders() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread to decode on."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def opened(
    plan: MeterPlan, facts: ResponseFacts, decoders: ThreadPoolExecutor, *, request: bytes | None = None
) -> Meter | BufferedMeter:
    """Return the meter of a response to this request."""
    request_meter = None if request is None else BufferedRequestMeter(request)
    meter = open_meter(plan, facts, decoders, request_meter=request_meter, passed=print)
    assert meter is not None
    return meter


@pytest.mark.parametrize("request_", [None, b'{"model":"asked"}', b'{"model":"asked","document_annotation_format":{}}'])
@pytest.mark.parametrize("cut", [None, Unmetered.BROKEN, Unmetered.CANCELLED])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("plan", "facts"),
    [
        (MeterPlan(), OCR),
        (MeterPlan(), replace(OCR, path=b"/m:rawPredict")),
        (MeterPlan(), CHAT),
        (MeterPlan(model="alias"), OCR),
        (MeterPlan("chat"), CHAT),
        (MeterPlan(), replace(OCR, path=b"/v1/audio/speech")),
        (JSON, OCR),
    ],
)
async def test_what_is_found_does_not_depend_on_a_known_length(
    plan: MeterPlan,
    facts: ResponseFacts,
    body: bytes,
    cut: Unmetered | None,
    request_: bytes | None,
    decoders: ThreadPoolExecutor,
) -> None:
    """In one piece, in two and in many, whole or cut off, with what the request says; as often as it is read."""
    other = opened(plan, facts, decoders, request=request_)
    other.feed(body)
    other.end(cut)
    expected = await other.usage()
    for size in (1, max(1, len(body) // 2), SMALL_BYTES):
        meter = opened(plan, replace(facts, length=len(body)), decoders, request=request_)
        assert isinstance(meter, BufferedMeter)
        for at in range(0, len(body), size):
            assert meter.feed(body[at : at + size])
            await meter.drained()
        meter.end(cut)
        meter.end(Unmetered.TOO_LARGE)
        assert meter.feed(b"}")
        assert [expected] * 3 == [meter.usage_if_ready(), await meter.usage(), meter.usage_if_ready()]


@pytest.mark.parametrize("body", [b"", b" \n", b"null", b"{}", b'{"model":null,"usage":null}'])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/embeddings", b"/v1/conversations", b"/v1/responses"])
async def test_a_chat_without_usage_is_reported(path: bytes, body: bytes, decoders: ThreadPoolExecutor) -> None:
    """Whatever `auto` recognises should have a count: a whole document without one has a reason, and the request's model."""
    for status in (200, 201, 204):
        facts = ResponseFacts("POST", path, status, length=len(body))
        meter = opened(MeterPlan(), facts, decoders, request=b'{"model":"asked"}')
        meter.feed(body)
        meter.end()
        assert Usage(model="asked", unmetered=Unmetered.NO_USAGE) == meter.usage_if_ready()


async def test_an_answer_that_does_not_end_is_broken(decoders: ThreadPoolExecutor) -> None:
    """Nothing is read of it, of pages or of tokens."""
    for facts in (OCR, CHAT):
        meter = opened(MeterPlan(), replace(facts, length=len(PAGES)), decoders)
        meter.feed(PAGES)
        assert Usage(unmetered=Unmetered.BROKEN) == meter.usage_if_ready()


async def test_more_than_is_held_is_not_read(decoders: ThreadPoolExecutor) -> None:
    """Whatever the head says: a response of more bytes is not held."""
    meter = opened(MeterPlan(), replace(OCR, length=len(PAGES)), decoders)
    for piece in (PAGES, b" " * SMALL_BYTES, PAGES):
        assert meter.feed(piece)
    meter.end()
    assert Usage(unmetered=Unmetered.TOO_LARGE) == meter.usage_if_ready()


@pytest.mark.parametrize(
    "facts",
    [
        replace(OCR, length=SMALL_BYTES + 1),
        replace(OCR, length=9, content_encoding=b"gzip"),
        replace(OCR, length=9, content_encoding=b"who-knows"),
        replace(CHAT, length=9, content_type=b"text/event-stream"),
        replace(OCR, method="GET", path=b"/v1/files/f/content", length=9),
    ],
)
async def test_what_is_large_coded_or_of_many_is_read_as_it_passes(facts: ResponseFacts, decoders: ThreadPoolExecutor) -> None:
    """Only a plain document with one usage is held."""
    assert isinstance(opened(MeterPlan(), facts, decoders), Meter)


async def test_the_largest_response_that_is_held(decoders: ThreadPoolExecutor) -> None:
    """A response of the bound is held; one of a byte more is read as it passes."""
    assert isinstance(opened(MeterPlan(), replace(OCR, length=SMALL_BYTES), decoders), BufferedMeter)
    assert isinstance(opened(MeterPlan(), replace(OCR, length=SMALL_BYTES + 1), decoders), Meter)


async def test_a_request_that_is_still_decoded_is_awaited() -> None:
    """What it asked for may be missing in the response."""
    with ThreadPoolExecutor(1) as busy:
        gate, loop = asyncio.Event(), asyncio.get_running_loop()
        request_meter = open_request_meter(b"gzip", busy)
        assert request_meter is not None
        busy.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        request_meter.feed(gzip.compress(b'{"model":"m","x":"' + bytes(range(35, 91)) * 1000 + b'"}', compresslevel=0))
        meter = open_meter(MeterPlan(), replace(OCR, length=44), busy, request_meter=request_meter, passed=print)
        assert isinstance(meter, BufferedMeter)
        meter.feed(b'{"usage_info":{"pages_processed":1},"p":"  "}')
        meter.end()
        assert request_meter.busy
        assert meter.usage_if_ready() is None
        gate.set()
        assert Usage(pages=1, model="m") == await meter.usage() == meter.usage_if_ready()
