"""The meter of OCR responses, from the bytes on the wire to the usage."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from passthrough.meter.bodies.document import JsonDocument
from passthrough.meter.decode import PIECE_BYTES, chain
from passthrough.meter.jsonscan.paths import Value, paths
from passthrough.meter.meter import Meter, ResponseFacts, open_meter
from passthrough.meter.pipeline import MAX_QUEUED_BYTES, MeterPipeline
from passthrough.meter.plan import MeterPlan, ResponseKind
from passthrough.meter.request import BufferedRequestMeter
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.metering import CODINGS, metered, pieces, read

POST = "POST"
PATH = b"/mistral/v1/ocr"

NO_USAGE, NOT_JSON, UNKNOWN_CODING = Unmetered.NO_USAGE, Unmetered.NOT_JSON, Unmetered.UNKNOWN_CODING


def page(**more: Any) -> dict[str, Any]:
    """A page as providers write it, with text that looks like keys."""
    markdown = '# Title\n\n"usage_info": {"pages_processed": 77} \\" ![img-0](img-0) {"model": "no"'
    return {"index": 0, "markdown": markdown, "images": [], "dimensions": {"dpi": 200, "height": 2200, "width": 1700}, **more}


def document(**more: Any) -> dict[str, Any]:
    """A response of two pages; `more` is added or put in the place of what is there."""
    usage_info = {"pages_processed": 2, "doc_size_bytes": 3002783}
    return {"pages": [page(), page()], "model": "mistral-ocr-2512", "document_annotation": None, "usage_info": usage_info, **more}


MISTRAL = Usage(pages=2, model="mistral-ocr-2512", doc_bytes=3002783)
ANNOTATED = Usage(pages=0, pages_annotated=2, model="mistral-ocr-2512", doc_bytes=3002783)
AZURE_USAGE = {"doc_size_bytes": 592042, "pages_processed": 0, "pages_processed_annotation": 1}


def image(annotation: Any) -> dict[str, Any]:
    """An image of a page."""
    return {
        "id": "img-0.jpeg",
        "top_left_x": 1,
        "image_base64": "data:image/jpeg;base64," + "A" * 3000,
        "image_annotation": annotation,
    }


def unmetered(why: Unmetered) -> Usage:
    """The usage of a response that says nothing at all."""
    return Usage(unmetered=why)


def counted(counters: str) -> bytes:
    """A response whose usage_info is spelt so."""
    return b'{"usage_info":' + counters.encode() + b"}"


DOCUMENTS: dict[str, tuple[bytes, Usage]] = {
    "mistral": (json.dumps(document()).encode(), MISTRAL),
    "mistral, minified": (json.dumps(document(), separators=(",", ":")).encode(), MISTRAL),
    "mistral, indented, with a byte order mark": (
        b"\xef\xbb\xbf" + json.dumps(document(), indent=4).encode() + b"\r\n\t ",
        MISTRAL,
    ),
    "an image without an annotation": (json.dumps(document(pages=[page(images=[image(None)])])).encode(), MISTRAL),
    "an image with an annotation": (
        json.dumps(document(pages=[page(images=[image(None), image('{"a":1}')])])).encode(),
        ANNOTATED,
    ),
    "an image with an annotation before others without": (
        json.dumps(document(pages=[page(images=[image('{"a":1}'), image(None)]), page(images=[image(None)])])).encode(),
        ANNOTATED,
    ),
    "an annotation that is an object": (json.dumps(document(pages=[page(images=[image({})])])).encode(), ANNOTATED),
    "a document annotation before": (json.dumps(document(document_annotation='{"a":"\\""}')).encode(), ANNOTATED),
    "a long document annotation behind": (
        json.dumps(
            {"usage_info": document()["usage_info"], "model": "m", "document_annotation": '{"usage_info":{}}' * 4000}
        ).encode(),
        Usage(pages=0, pages_annotated=2, model="m", doc_bytes=3002783),
    ),
    "a document annotation that is an object": (
        json.dumps(document(document_annotation={"model": "no", "b": [{}]})).encode(),
        ANNOTATED,
    ),
    "azure, annotated": (
        json.dumps(
            document(
                model="mistral-document-ai-2512",
                usage_info=AZURE_USAGE,
                document_annotation="{}",
                content_filter_results={"hate": {"model": 1}},
            )
        ).encode(),
        Usage(pages=0, pages_annotated=1, model="mistral-document-ai-2512", doc_bytes=592042),
    ),
    "azure, not annotated": (
        counted('{"pages_processed":3,"pages_processed_annotation":0}'),
        Usage(pages=3, pages_annotated=0),
    ),
    "no second counter, but null": (counted('{"pages_processed":3,"pages_processed_annotation":null}'), Usage(pages=3)),
    "a meta with a usage of its own": (
        json.dumps(
            document(meta={"usage_info": {"pages_processed": 9}, "model": "no", "usage": {"credits_used": 26000}})
        ).encode(),
        MISTRAL,
    ),
    "pages with a usage of their own": (
        json.dumps(document(pages=[page(usage_info={"pages_processed": 9}, model="no")])).encode(),
        MISTRAL,
    ),
    "zero pages are a count": (counted('{"pages_processed":0}'), Usage(pages=0)),
    "a count as a float": (counted('{"pages_processed":12.0}'), Usage(pages=12)),
    "a count with an exponent": (counted('{"pages_processed":1e3}'), Usage(pages=1000)),
    "a count with escapes in its name": (b'{"usage\\u005finfo":{"p\\u0061ges_processed":4}}', Usage(pages=4)),
    "the last of two": (
        b'{"usage_info":{"pages_processed":1,"pages_processed":2},"model":"a","model":"b"}',
        Usage(pages=2, model="b"),
    ),
    "the last of two usages": (
        b'{"usage_info":{"pages_processed":1,"doc_size_bytes":7},"usage_info":{"pages_processed":2}}',
        Usage(pages=2),
    ),
    "a last usage that is null": (b'{"usage_info":{"pages_processed":1},"usage_info":null}', unmetered(NO_USAGE)),
    "pages that come again": (
        b'{"pages":[{"images":[{"image_annotation":"x"}]}],"pages":[],"usage_info":{"pages_processed":1}}',
        Usage(pages=1),
    ),
    "a model that is no text": (b'{"model":{"model":"x"},"usage_info":{"pages_processed":1}}', Usage(pages=1)),
    "a model with half a character": (b'{"model":"a\\ud800","usage_info":{"pages_processed":1}}', Usage(pages=1, model="a?")),
    "a model that is too long": (b'{"model":"' + b"m" * 201 + b'","usage_info":{"pages_processed":1}}', Usage(pages=1)),
    "a size that is no number": (counted('{"doc_size_bytes":"7","pages_processed":1}'), Usage(pages=1)),
    "null": (b"null", unmetered(NO_USAGE)),
    "nothing": (b"", unmetered(NO_USAGE)),
    "blanks": (b" \r\n", unmetered(NO_USAGE)),
    "a number": (b"12", unmetered(NO_USAGE)),
    "a text": (b'"usage_info"', unmetered(NO_USAGE)),
    "an array": (b'[{"usage_info":{"pages_processed":1}}]', unmetered(NO_USAGE)),
    "no usage": (b'{"model":"m"}', Usage(model="m", unmetered=NO_USAGE)),
    "usage null": (b'{"usage_info":null,"model":"m"}', Usage(model="m", unmetered=NO_USAGE)),
    "usage an array": (counted('[{"pages_processed":1}]'), unmetered(NO_USAGE)),
    "usage a text": (counted('"pages_processed"'), unmetered(NO_USAGE)),
    **{
        f"a count that is {spelt}": (counted('{"pages_processed":' + spelt + "}"), unmetered(NO_USAGE))
        for spelt in ("null", "true", '"3"', "-1", "1.5", "1e400", "9" * 30, "9" * 2000, "[3]", "{}")
    },
    "no count": (counted('{"doc_size_bytes":8}'), Usage(doc_bytes=8, unmetered=NO_USAGE)),
    "a second counter that is no count": (counted('{"pages_processed":1,"pages_processed_annotation":"x"}'), unmetered(NO_USAGE)),
    "html": (b"<html><body>usage_info</body></html>", unmetered(NOT_JSON)),
    "text": (b"OK", unmetered(NOT_JSON)),
    "a count that is none": (counted('{"pages_processed":012}'), unmetered(NOT_JSON)),
    "half a response": (json.dumps(document()).encode()[:-40], Usage(model="mistral-ocr-2512", unmetered=NOT_JSON)),
    "a count in a usage that does not end": (b'{"usage_info":{"pages_processed":1', unmetered(NOT_JSON)),
    "utf-16": (json.dumps(document()).encode("utf-16"), unmetered(NOT_JSON)),
    "malformed before the count": (b'{"a" 1,"usage_info":{"pages_processed":1}}', unmetered(NOT_JSON)),
    "malformed behind the count": (b'{"usage_info":{"pages_processed":1}}}<html>', Usage(pages=1)),
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def refuse_lines(lines: tuple[Usage, ...]) -> None:
    """Take no lines of a batch: there are none."""
    raise AssertionError(lines)


def opened(decoders: ThreadPoolExecutor, coding: bytes | None = None, plan: MeterPlan = MeterPlan(), **more: Any) -> Meter:
    """A meter of a response with status 200."""
    meter = open_meter(plan, ResponseFacts(POST, PATH, 200, coding), decoders, passed=refuse_lines, **more)
    assert meter is not None
    return meter


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_each_answer_has_its_usage_however_it_is_cut(name: str, decoders: ThreadPoolExecutor) -> None:
    """The usage of a plain response does not depend on where the chunks' borders are."""
    body, expected = DOCUMENTS[name]
    for size in (len(body) or 1, 1, 2, 3, 7, 64, 1000):
        assert expected == await read(opened(decoders), pieces(body, size))


@pytest.mark.parametrize(("coding", "code"), CODINGS)
@pytest.mark.parametrize(
    "name", ["mistral", "a long document annotation behind", "azure, annotated", "null", "html", "half a response"]
)
async def test_each_answer_has_its_usage_however_it_is_coded(
    name: str, coding: bytes | None, code: Callable[[bytes], bytes], decoders: ThreadPoolExecutor
) -> None:
    """The usage of a coded response is that of the plain one, in chunks of any size."""
    body, expected = DOCUMENTS[name]
    coded = code(body)
    for size in (len(coded), 1, 5, 900):
        assert expected == await read(opened(decoders, coding), pieces(coded, size))


@pytest.mark.parametrize(("coding", "code"), CODINGS)
@pytest.mark.parametrize("cut", [Unmetered.BROKEN, Unmetered.CANCELLED, None])
async def test_an_answer_cut_anywhere_has_its_pages_only_once_usage_info_ended(
    coding: bytes | None, code: Callable[[bytes], bytes], cut: Unmetered | None, decoders: ThreadPoolExecutor
) -> None:
    """A count that was complete holds; else the cut is why there is none, or what is wrong with the bytes."""
    plain = json.dumps({"usage_info": {"pages_processed": 2}, "meta": ["x"]}).encode()
    body = code(plain)
    for length in range(len(body) + 1):
        usage = await read(opened(decoders, coding), [body[:length]], cut)
        whole = len(body) == length
        if usage.pages is None:
            assert not whole
            allowed = {cut} if cut else {NOT_JSON, UNKNOWN_CODING, NO_USAGE if not length else NOT_JSON}
            assert usage.unmetered in allowed
        else:
            assert Usage(pages=2) == usage
            assert whole or length > len(body) // 4
    if coding in (None, b"identity"):
        seen = plain.index(b"}") + 1
        assert Usage(pages=2) == await read(opened(decoders, coding), [body[:seen]], cut)
        assert unmetered(cut or NOT_JSON) == await read(opened(decoders, coding), [body[: seen - 1]], cut)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"compress", b"x"),
        (b"gzip, snappy", b"x"),
        (b"gzip,gzip,gzip,gzip,gzip", b"x"),
        (b"gzip", b'\x1f\x8b{"usage_info":{"pages_processed":2}}'),
        (b"none", b"<usage_info/>"),
        (b"deflate", b"\x07<html>"),
        (b"br", b"\xff\xff{}"),
        (b"zstd", b"<html></html>"),
        (b"gzip", gzip.compress(b'{"model":"m"}', mtime=0)[:-1]),
        (b"gzip", gzip.compress(b"{" + bytes(9000) + b"}", mtime=0)[:-8] + bytes(8)),
    ],
)
async def test_a_coding_that_does_not_decode_is_reported(coding: bytes, body: bytes, decoders: ThreadPoolExecutor) -> None:
    """A coding that is not known, and bytes that are not of their coding, are `unknown_coding`, whatever follows."""
    for chunks in ([body, b"more"], pieces(body, 1), [body + bytes(10_000)]):
        assert UNKNOWN_CODING == (await read(opened(decoders, coding), chunks if body[:1] != b"\x1f" else [body])).unmetered


@pytest.mark.parametrize("coding", [b"UTF-8", b"none", b"", b"gzip", b"zstd", b"br", b"deflate", b"gzip, UTF-8", b"x-unknown"])
async def test_an_answer_that_is_not_coded_as_it_says_is_read_as_it_is(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """Middleware inflates a body and keeps the field; some servers name the charset there."""
    body = b'{"pages":[],"usage_info":{"pages_processed":2}}'
    for size in (len(body), 1, 5):
        assert Usage(pages=2) == await read(opened(decoders, coding), pieces(body, size))
    assert Unmetered.BROKEN == (await read(opened(decoders, coding), [body[:20]], Unmetered.BROKEN)).unmetered


@pytest.mark.parametrize(("coding", "code"), CODINGS)
async def test_an_answer_beyond_the_bound_is_too_large(
    coding: bytes | None, code: Callable[[bytes], bytes], decoders: ThreadPoolExecutor
) -> None:
    """Beyond the bound the rest is ignored; a count that was complete before holds."""
    bound = 4 * PIECE_BYTES
    blanks = code(b" " * (8 * bound) + b"null")
    meter = opened(decoders, coding, max_bytes=bound)
    assert unmetered(Unmetered.TOO_LARGE) == await read(meter, pieces(blanks, PIECE_BYTES))
    assert meter.feed(b"more")
    early = code(b'{"usage_info":{"pages_processed":1}}' + b" " * (8 * bound))
    assert Usage(pages=1) == await read(opened(decoders, coding, max_bytes=bound), pieces(early, PIECE_BYTES))


async def test_dense_bytes_leave_the_loop_and_keep_their_order(decoders: ThreadPoolExecutor) -> None:
    """What takes long to scan is scanned by the executor, and chunks that come meanwhile wait their turn."""
    dense = b'{"pages":[' + b"{}," * 200_000 + b'{}],"usage_info":{"pages_processed":5}}'
    for size in (len(dense), 100_000, 4096):
        assert Usage(pages=5) == await read(opened(decoders), pieces(dense, size))


async def test_a_plain_body_in_the_backlog_has_the_same_bound(decoders: ThreadPoolExecutor) -> None:
    """Chunks that wait behind dense ones count towards the bound like any other."""
    dense = b'{"pages":[' + b"{}," * 50_000
    meter = opened(decoders, max_bytes=len(dense) + 10)
    assert unmetered(Unmetered.TOO_LARGE) == await read(meter, [dense, b"{}" * 6])


class Faulty:
    """A shape with a defect."""

    wanted = paths(("a",))

    def take(self, path: str, value: Value) -> None:
        """Fail at the first value."""
        raise LookupError(path)

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the reason."""
        return Usage(unmetered=otherwise)


async def test_a_defect_in_a_slice_is_reported_and_ends_the_wait(decoders: ThreadPoolExecutor) -> None:
    """An unexpected error off the loop reaches the loop's exception handler; reading the meter does not hang."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    body = JsonDocument(Faulty())
    pipeline = MeterPipeline(body, chain(b"gzip", 10**9), decoders, 10**9, lambda: True)
    meter = Meter(body, pipeline, ResponseKind.OCR, expected=True, request_meter=None)
    usage = await read(meter, [gzip.compress(b'{"a":1,"b":"' + random.Random(1).randbytes(9000).hex().encode() + b'"}')])
    assert unmetered(UNKNOWN_CODING) == usage
    assert ["The meter failed."] == [context["message"] for context in reported]


async def test_a_full_backlog_asks_for_a_pause_and_drops_nothing() -> None:
    """`feed` is False from the bound on; `drained` waits until there is space; everything fed is read."""
    body = gzip.compress(b'{"x":"' + bytes(range(35, 91)) * 100_000 + b'","usage_info":{"pages_processed":5}}', compresslevel=0)
    chunks = pieces(body, 65536)
    with ThreadPoolExecutor(1) as decoders:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        decoders.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        meter = opened(decoders, b"gzip")
        roomy = [meter.feed(chunk) for chunk in chunks[:20]]
        assert [True] * (MAX_QUEUED_BYTES // 65536 - 1) + [False] * (21 - MAX_QUEUED_BYTES // 65536) == roomy
        assert meter.usage_if_ready() is None
        waiting = asyncio.ensure_future(meter.drained())
        done, _ = await asyncio.wait((waiting,), timeout=0)
        assert set() == done
        gate.set()
        await waiting
        assert meter.feed(chunks[20])
        assert Usage(pages=5) == await read(meter, chunks[21:])


async def test_one_who_gives_up_waiting_leaves_the_others_waiting() -> None:
    """Each waiter waits alone, for space or for the end: one that is cancelled does not affect the others."""
    body = gzip.compress(b'{"x":"' + bytes(range(35, 91)) * 100_000 + b'","usage_info":{"pages_processed":5}}', compresslevel=0)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as decoders:
        decoders.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        meter = opened(decoders, b"gzip")
        for chunk in pieces(body, 65536):
            meter.feed(chunk)
        meter.end()
        waits = [asyncio.ensure_future(meter.drained()) for _ in range(2)]
        counts = [asyncio.ensure_future(meter.usage()) for _ in range(2)]
        done, _ = await asyncio.wait([*waits, *counts], timeout=0)
        assert set() == done
        waits[0].cancel()
        counts[0].cancel()
        gate.set()
        await waits[1]
        assert Usage(pages=5) == await counts[1]
        assert [True, True] == [waits[0].cancelled(), counts[0].cancelled()]


async def test_an_executor_that_is_shut_down_cancels_the_meter() -> None:
    """A meter whose executor is shut down says so, and the exchange goes on."""
    decoders = ThreadPoolExecutor(1)
    decoders.shutdown()
    meter = opened(decoders, b"gzip")
    assert unmetered(Unmetered.CANCELLED) == await read(meter, [bytes(10_000), b"more"])


async def test_a_slice_that_is_cancelled_cancels_the_meter() -> None:
    """Shutting the executor down with work in its queue ends the wait for it."""
    decoders = ThreadPoolExecutor(1)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    decoders.submit(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
    meter = opened(decoders, b"gzip")
    meter.feed(gzip.compress(bytes(10_000_000)))
    decoders.shutdown(wait=False, cancel_futures=True)
    gate.set()
    meter.end()
    assert unmetered(Unmetered.CANCELLED) == await meter.usage()


@pytest.mark.parametrize(("codings", "at_once"), [(1, True), (2, False), (3, False)])
async def test_of_several_codings_none_is_undone_on_the_loop(codings: int, at_once: bool) -> None:
    """A few bytes that are inflated twice may stand for megabytes, of which the next coding makes nothing."""
    body = b'{"usage_info":{"pages_processed":5}}'
    for _ in range(codings):
        body = gzip.compress(body)
    gate = threading.Event()
    with ThreadPoolExecutor(1) as decoders:
        decoders.submit(gate.wait)
        meter = opened(decoders, b",".join([b"gzip"] * codings))
        meter.feed(body)
        meter.end()
        read_by_then = meter.usage_if_ready()
        gate.set()
        assert (at_once, Usage(pages=5)) == (read_by_then is not None, await meter.usage())


async def test_end_is_idempotent_and_a_meter_without_it_is_broken(decoders: ThreadPoolExecutor) -> None:
    """The first `end` counts; bytes behind it are ignored; without one the response did not arrive whole."""
    meter = opened(decoders)
    assert unmetered(Unmetered.BROKEN) == await meter.usage()
    meter.end(Unmetered.CANCELLED)
    meter.end()
    assert meter.feed(b'{"usage_info":{"pages_processed":1}}')
    assert unmetered(Unmetered.CANCELLED) == await meter.usage()


async def test_the_configured_model_wins(decoders: ThreadPoolExecutor) -> None:
    """The plan's model stands in the usage, whatever the response names, and where it names none."""
    plan = MeterPlan(model="azure/mistral-document-ai-2512")
    for body in (b'{"model":"my-deployment","usage_info":{"pages_processed":1}}', b'{"usage_info":{"pages_processed":1}}'):
        assert Usage(pages=1, model=plan.model) == await read(opened(decoders, plan=plan), [body])


@pytest.mark.parametrize(
    ("plan", "method", "path", "status", "expected"),
    [
        (MeterPlan(), "POST", PATH, 200, True),
        (MeterPlan(), "POST", PATH, 201, True),
        (MeterPlan(), "POST", PATH, 199, False),
        (MeterPlan(), "POST", PATH, 300, False),
        (MeterPlan(), "POST", PATH, 429, False),
        (MeterPlan(), "GET", PATH, 200, False),
        (MeterPlan(), "POST", b"/mistral/v1/%6Fcr", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1/%256Fcr", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1/ocr/", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1/ocr//", 200, True),
        (MeterPlan(), "POST", b"/providers/Mistral/Azure/OCR", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1/ocr;x=1", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1\\ocr%20", 200, True),
        (MeterPlan(), "POST", b"/mistral/v1%5Cocr%2F.", 200, True),
        (MeterPlan(), "POST", b"/models/m%3ArawPredict", 200, True),
        (MeterPlan(), "POST", b"/ocr/files", 200, False),
        (MeterPlan(), "POST", b"/v1/myocr", 200, False),
        (MeterPlan(), "POST", b"/v1/files", 200, False),
        (MeterPlan(shape="ocr"), "POST", b"/v1/files", 200, True),
        (MeterPlan(shape="none"), "POST", PATH, 200, False),
    ],
)
def test_a_meter_is_opened_where_a_count_is_expected(
    plan: MeterPlan, method: str, path: bytes, status: int, expected: bool, decoders: ThreadPoolExecutor
) -> None:
    """A count is expected in 2xx responses to what the plan names."""
    assert expected == (open_meter(plan, ResponseFacts(method, path, status), decoders, passed=refuse_lines) is not None)


TOLD = {b"x-pages-processed": (b"5",), b"x-own": (b"6",)}


@pytest.mark.parametrize(
    ("body", "plan", "expected"),
    [
        (b"null", MeterPlan(), Usage(5)),
        (b"", MeterPlan(), Usage(5)),
        (b'{"model":"m"}', MeterPlan("ocr"), Usage(5, model="m")),
        (b'{"usage_info":{"pages_processed":null,"doc_size_bytes":9}}', MeterPlan(), Usage(5, doc_bytes=9)),
        (b'{"usage_info":null}', MeterPlan(model="mine"), Usage(5, model="mine")),
        (b'{"model":"m","document_annotation":"{}"}', MeterPlan(), Usage(0, 5, model="m")),
        (b'{"pages":[{"images":[{"image_annotation":"{}"}]}]}', MeterPlan(), Usage(0, 5)),
        (b"<html>", MeterPlan(), Usage(5)),
        (b'{"usage_info":{"pages_pro', MeterPlan(), Usage(5)),
        (b"null", MeterPlan(pages_header=b"x-own"), Usage(6)),
        (b"null", MeterPlan(pages_header=b"x-none"), Usage(unmetered=NO_USAGE)),
        (counted('{"pages_processed":2}'), MeterPlan(), Usage(2)),
        (counted('{"pages_processed":0}'), MeterPlan(), Usage(0)),
        (counted('{"pages_processed":0,"pages_processed_annotation":1}'), MeterPlan(), Usage(0, 1)),
    ],
)
async def test_the_head_has_the_pages_where_the_body_has_none(
    body: bytes, plan: MeterPlan, expected: Usage, decoders: ThreadPoolExecutor
) -> None:
    """Azure and Vertex send x-pages-processed: a body that has a count, be it 0, is the bill."""
    for length in (None, len(body)):
        for path in (b"/v1/ocr", b"/models/m:rawPredict"):
            facts = ResponseFacts(POST, path, 200, length=length, fields=TOLD)
            if plan.shape == "auto" or path == b"/v1/ocr":
                found = await metered(facts, [body], decoders, plan)
                assert expected == found.usage
                assert expected == (await metered(facts, pieces(body, 1), decoders, plan)).usage


@pytest.mark.parametrize("spelt", [b"", b"-1", b"5.0", b"5, 5", b"x", "٥".encode(), b"9" * 17])
async def test_a_head_that_has_no_number_has_no_pages(spelt: bytes, decoders: ThreadPoolExecutor) -> None:
    """Then the reason stands."""
    facts = ResponseFacts(POST, PATH, 200, fields={b"x-pages-processed": (spelt,)})
    assert Usage(unmetered=NO_USAGE) == (await metered(facts, [b"null"], decoders)).usage


async def test_the_heads_pages_hold_where_the_body_breaks_off(decoders: ThreadPoolExecutor) -> None:
    """The provider has said what it bills; a chat's tokens come first, and a request for annotations counts as always."""
    facts = ResponseFacts(POST, PATH, 200, fields=TOLD)
    assert Usage(5) == (await metered(facts, [b'{"pages":'], decoders, cut=Unmetered.BROKEN)).usage
    prediction = ResponseFacts(POST, b"/m:rawPredict", 200, fields=TOLD)
    tokens = b'{"usage":{"prompt_tokens":3}}'
    assert Usage(tokens_in=3) == (await metered(prediction, [tokens], decoders)).usage
    chat = ResponseFacts(POST, b"/v1/chat/completions", 200, fields=TOLD)
    assert Usage(unmetered=NO_USAGE) == (await metered(chat, [b"{}"], decoders)).usage
    request = BufferedRequestMeter(b'{"document_annotation_format":{}}')
    meter = open_meter(MeterPlan(), facts, decoders, request_meter=request, passed=refuse_lines)
    assert meter is not None
    assert Usage(0, 5) == await read(meter, [b"null"])
