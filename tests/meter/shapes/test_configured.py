"""The meter of responses whose counts stand where the configuration says."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.bodies.document import StrictDocument
from passthrough.meter.bodies.lines import JsonLines
from passthrough.meter.meter import ResponseFacts
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.shapes.configured import ConfiguredShape, Documents
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.metering import CODINGS, cuts, metered, pieces

POST = ResponseFacts("POST", b"/parse", 200, None, b"application/json")
NO_USAGE, NOT_JSON = Unmetered.NO_USAGE, Unmetered.NOT_JSON

REDUCTO = JsonCounts(pages=("usage.num_pages",), credits=("usage.credits",))
RESULTS = JsonCounts(pages=("results[].pages",))
GOOGLE = JsonCounts(count=("document.pages",))
AZURE = JsonCounts(count=("analyzeResult.pages",), when=(("status", ("succeeded",)),), model="analyzeResult.modelId")
ONE = JsonCounts(constant=1)
ELEMENTS = JsonCounts(highest=("[].metadata.page_number",))
SPANS = JsonCounts(highest=("document.chunks[].end", "document.layout[].end"))
DIFFERENT = JsonCounts(distinct=("items[].page",))
ARRAY = JsonCounts(count=("[]",))
PARTS = JsonCounts(pages=("n",), when=(("s", ("ok",)),), unless=("more",))
GEMINI = JsonCounts(tokens_in=("u.prompt",), tokens_out=("u.answer", "u.thoughts"), tokens_cached=("u.cached",))
WHEN = JsonCounts(constant=1, when=(("done", ("true",)), ("n", ("3", "4"))))

PAGE = {"pages": [{"pages": [1, 2]}], "text": "]}"}
UNMETERED = Usage(unmetered=NO_USAGE)

DOCUMENTS: list[tuple[JsonCounts, Any, Usage]] = [
    (
        REDUCTO,
        {"usage": {"num_pages": 3, "credits": 1.5}, "model": "r"},
        Usage(pages=3, credits_micro=1_500_000, credits="1.5", model="r"),
    ),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": None}}, Usage(pages=3)),
    (REDUCTO, {"usage": {"num_pages": None, "credits": 2}}, Usage(credits_micro=2_000_000, credits="2")),
    (REDUCTO, {"usage": {"num_pages": 3.0}}, Usage(pages=3)),
    (REDUCTO, {"usage": {"num_pages": 0, "credits": 0}}, Usage(pages=0, credits_micro=0, credits="0")),
    (REDUCTO, {"usage": {"num_pages": "3", "credits": " 0.50 "}}, Usage(pages=3, credits_micro=500_000, credits="0.5")),
    (REDUCTO, {"usage": {"num_pages": "12.0"}}, Usage(pages=12)),
    (REDUCTO, {"usage": {"num_pages": "3", "credits": ""}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "03"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "true"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "null"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "3" * 70}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "٣"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "x" * 2000}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": -1}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": True}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": 1e13}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 1.5}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": True}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": [3]}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": -1}}, UNMETERED),
    (REDUCTO, {"usage": [{"num_pages": 3}]}, UNMETERED),
    (REDUCTO, {"model": "r"}, Usage(model="r", unmetered=NO_USAGE)),
    (REDUCTO, None, UNMETERED),
    (RESULTS, {"results": [{"pages": 1}, {"pages": 2}, {}, {"pages": None}, 7]}, Usage(pages=3)),
    (RESULTS, {"results": [{"pages": 1}, {"pages": "2"}]}, Usage(pages=3)),
    (RESULTS, {"results": [{"pages": 1}, {"pages": "two"}]}, UNMETERED),
    (RESULTS, {"results": []}, UNMETERED),
    (JsonCounts(pages=("a", "b.c")), {"b": {"c": 2}, "a": 1}, Usage(pages=3)),
    (JsonCounts(pages=("a", "b.c")), {"b": {}, "a": 1}, Usage(pages=1)),
    (JsonCounts(pages=("[].n",)), [{"n": 1}, {"n": 4}], Usage(pages=5)),
    (GOOGLE, {"document": {"pages": [PAGE, PAGE, PAGE]}}, Usage(pages=3)),
    (GOOGLE, {"document": {"pages": [1, None, "x", [1, 2], {}]}}, Usage(pages=5)),
    (GOOGLE, {"document": {"pages": []}}, Usage(pages=0)),
    (GOOGLE, {"document": {"pages": None}}, UNMETERED),
    (GOOGLE, {"document": {"pages": {"0": 1}}}, UNMETERED),
    (GOOGLE, {"document": {"pages": 3}}, UNMETERED),
    (GOOGLE, {"document": {}}, UNMETERED),
    (JsonCounts(count=("a[].p", "b")), {"a": [{"p": [1, 2]}, {"p": [3]}, {}], "b": [4]}, Usage(pages=4)),
    (AZURE, {"status": "succeeded", "analyzeResult": {"modelId": "layout", "pages": [1, 2]}}, Usage(pages=2, model="layout")),
    (AZURE, {"analyzeResult": {"pages": [1, 2]}, "status": "succeeded"}, Usage(pages=2)),
    (AZURE, {"status": "running"}, NOTHING),
    (AZURE, {"status": None, "analyzeResult": {"pages": [1]}}, NOTHING),
    (AZURE, {"status": "succeeded"}, UNMETERED),
    (AZURE, None, NOTHING),
    (ONE, {"model": "c"}, Usage(pages=1, model="c")),
    (ONE, None, Usage(pages=1)),
    (WHEN, {"done": True, "n": 3}, Usage(pages=1)),
    (WHEN, {"done": False, "n": 3}, NOTHING),
    (WHEN, {"done": True, "n": 4}, Usage(pages=1)),
    (WHEN, {"done": True, "n": "4"}, Usage(pages=1)),
    (WHEN, {"done": True, "n": 5}, NOTHING),
    (WHEN, {"done": True, "n": [3]}, NOTHING),
    (JsonCounts(pages=("p",), model=None), {"p": 1, "model": "m"}, Usage(pages=1)),
    (JsonCounts(), {"p": 1}, UNMETERED),
    (ELEMENTS, [{"metadata": {"page_number": 1}}, {"metadata": {"page_number": 4}}, {"metadata": {}}, {}], Usage(pages=4)),
    (ELEMENTS, [{"metadata": {"page_number": "2"}}, {"metadata": {"page_number": None}}], Usage(pages=2)),
    (ELEMENTS, [{"metadata": {"page_number": 2}}, {"metadata": {"page_number": "two"}}], UNMETERED),
    (ELEMENTS, [{"metadata": {"page_number": 2}}, {"metadata": {"page_number": -2}}], UNMETERED),
    (ELEMENTS, [], UNMETERED),
    (ELEMENTS, {"metadata": {"page_number": 2}}, UNMETERED),
    (SPANS, {"document": {"layout": [{"end": 3}, {"end": 2}], "chunks": [{"end": 5}]}}, Usage(pages=5)),
    (SPANS, {"document": {"layout": [], "chunks": []}}, UNMETERED),
    (DIFFERENT, {"items": [{"page": 3}, {"page": "3"}, {"page": 0}, {"page": 999_999}, {}], "n": None}, Usage(pages=3)),
    (DIFFERENT, {"items": [{"page": 1_000_001}]}, UNMETERED),
    (DIFFERENT, {"items": [{"page": 1}, {"page": 1.5}, {"page": 1}]}, UNMETERED),
    (ARRAY, [1, None, [], {"a": []}], Usage(pages=4)),
    (ARRAY, [], Usage(pages=0)),
    (ARRAY, {"a": [1]}, UNMETERED),
    (ARRAY, 3, UNMETERED),
    (GEMINI, {"u": {"prompt": 7, "answer": 5, "thoughts": 2, "cached": 4}}, Usage(tokens_in=7, tokens_out=7, tokens_cached=4)),
    (GEMINI, {"u": {"prompt": "7"}}, Usage(tokens_in=7)),
    (GEMINI, {"u": {"cached": 4}}, UNMETERED),
    (GEMINI, {"u": {"prompt": 7, "answer": None, "cached": "?"}}, UNMETERED),
    (PARTS, {"n": 2, "s": "ok"}, Usage(pages=2)),
    (PARTS, {"n": 2, "s": "ok", "more": None}, Usage(pages=2)),
    (PARTS, {"n": 2, "s": "ok", "more": "abc"}, NOTHING),
    (PARTS, {"n": 2, "s": "ok", "more": ""}, NOTHING),
    (PARTS, {"n": 2, "s": "ok", "more": {}}, NOTHING),
    (PARTS, {"n": 2, "s": "ok", "more": "x" * 2000}, NOTHING),
    (PARTS, {"n": 2, "s": "no"}, NOTHING),
    (JsonCounts(pages=("n",), tokens_in=("t",)), {"n": 2, "t": 9}, Usage(pages=2, tokens_in=9)),
]


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def plan(counted: JsonCounts, model: str | None = None) -> MeterPlan:
    """A plan with this configuration."""
    return MeterPlan(shape="json", model=model, counted=counted)


@pytest.mark.parametrize(("counted", "document", "expected"), DOCUMENTS)
async def test_counts_stand_where_the_configuration_says(
    counted: JsonCounts, document: Any, expected: Usage, decoders: ThreadPoolExecutor
) -> None:
    """Numbers, sums, lengths and constants; what is missing, or is no number, gives a reason; however the response is cut."""
    for body in (json.dumps(document).encode(), json.dumps(document, indent=1).encode() + b" \n"):
        for chunks in cuts(body):
            assert expected == (await metered(POST, chunks, decoders, plan(counted))).usage


@pytest.mark.parametrize(
    ("spelt", "micro", "exact"),
    [
        ("1.5", 1_500_000, "1.5"),
        ("0.1", 100_000, "0.1"),
        ("1e-6", 1, "0.000001"),
        ("0.00000164", 2, "0.00000164"),
        ("1.64e-06", 2, "0.00000164"),
        ("0.0000005", 0, "0.0000005"),
        ("0.0000015", 2, "0.0000015"),
        ("0.00000250000000000000000000000000000000000001", 3, "0.00000250000000000000000000000000000000000001"),
        ("0." + "0" * 61 + "1", 0, "0." + "0" * 61 + "1"),
        ("123456789.123456", 123_456_789_123_456, "123456789.123456"),
        ("1000000000000", 10**18, "1000000000000"),
        ("1E3", 10**9, "1000"),
        ("-0.0", 0, "0"),
        ("0.000", 0, "0"),
        ("1e-999999999", 0, "0"),
        ("0e-999999999", 0, "0"),
        ("1e-70", 0, "0." + "0" * 69 + "1"),
        ("1e-71", 0, "0"),
        ("1000000000000.1", None, None),
        ("1e999999999", None, None),
        ("1e99999999999999999999", None, None),
        ("NaN", None, None),
    ],
)
async def test_credits_are_exact_decimals(spelt: str, micro: int | None, exact: str | None, decoders: ThreadPoolExecutor) -> None:
    """No float is between the response and its digits; its millionths are rounded, halves to the even one."""
    for value in (spelt, f'"{spelt}"'):
        for chunks in cuts(b'{"usage":{"credits":' + value.encode() + b"}}"):
            usage = (await metered(POST, chunks, decoders, plan(REDUCTO))).usage
            assert usage is not None
            assert (micro, exact, micro is None) == (usage.credits_micro, usage.credits, usage.unmetered is not None)


async def test_several_credits_are_summed_to_the_last_digit(decoders: ThreadPoolExecutor) -> None:
    """However far apart they are: the sum is not rounded."""
    body = b'{"a":[{"c":0.00000164},{"c":"1000000"},{"c":1e-20}]}'
    usage = (await metered(POST, [body], decoders, plan(JsonCounts(credits=("a[].c",))))).usage
    assert Usage(credits_micro=1_000_000_000_002, credits="1000000.00000164000000000001") == usage


@given(st.lists(st.decimals(0, 10**6, places=6), min_size=1, max_size=20), st.integers(1, 40))
async def test_credits_are_summed_exactly(amounts: list[Decimal], size: int) -> None:
    """Any sum of credits is that of their spellings."""
    body = b'{"a":[' + b",".join(b'{"c":%s}' % str(each).encode() for each in amounts) + b"]}"
    with ThreadPoolExecutor(1) as decoders:
        usage = (await metered(POST, pieces(body, size), decoders, plan(JsonCounts(credits=("a[].c",))))).usage
    assert usage is not None
    assert (int(sum(amounts) * 10**6), sum(amounts)) == (usage.credits_micro, Decimal(usage.credits or ""))


@pytest.mark.parametrize("cut", [None, Unmetered.BROKEN, Unmetered.CANCELLED])
async def test_a_count_holds_once_the_document_has_ended(cut: Unmetered | None, decoders: ThreadPoolExecutor) -> None:
    """A sum is not known before; only blanks may come behind; a constant holds at once."""
    body = b'{"results":[{"pages":1},{"pages":2}]}'
    for length in range(len(body)):
        found = await metered(POST, [body[:length]], decoders, plan(RESULTS), cut=cut)
        assert (Usage(unmetered=cut or NOT_JSON) if length or cut else NOTHING) == found.usage
        assert Usage(pages=1) == (await metered(POST, [body[:length]], decoders, plan(ONE), cut=cut)).usage
    for more in (b"", b" ", b"\r\n\t"):
        assert Usage(pages=3) == (await metered(POST, [body, more], decoders, plan(RESULTS), cut=cut)).usage


@pytest.mark.parametrize("more", [b"}", b"\n" + b'{"results":[{"pages":4}]}', b"null", b"\0", b"<p>"])
@pytest.mark.parametrize("cut", [None, Unmetered.BROKEN])
async def test_what_follows_the_document_voids_it(cut: Unmetered | None, more: bytes, decoders: ThreadPoolExecutor) -> None:
    """It is not JSON then, and nothing is booked: which of several counts is the bill is not known."""
    body = b'{"results":[{"pages":1},{"pages":2}]}' + more
    expected = Usage(unmetered=cut or NOT_JSON)
    for facts in (POST, replace(POST, length=len(body))):
        for chunks in cuts(body):
            assert expected == (await metered(facts, chunks, decoders, plan(RESULTS), cut=cut)).usage


async def test_what_follows_voids_the_document_of_a_response_that_is_too_large(decoders: ThreadPoolExecutor) -> None:
    """That the rest was not read changes nothing about what was."""
    body = b'{"results":[{"pages":1},{"pages":2}]}'
    for more, expected in ((b" ", Usage(pages=3)), (b"x", Usage(unmetered=Unmetered.TOO_LARGE))):
        found = await metered(POST, [body + more, b"  "], decoders, plan(RESULTS), max_bytes=len(body) + 1)
        assert expected == found.usage


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", NOTHING), (b"<html>", Usage(unmetered=NOT_JSON)), (b'{"status":"succ', Usage(unmetered=NOT_JSON))],
)
async def test_a_condition_that_cannot_be_read_is_reported(body: bytes, expected: Usage, decoders: ThreadPoolExecutor) -> None:
    """An empty response (202) says nothing yet; what is not JSON should have."""
    assert expected == (await metered(POST, [body], decoders, plan(AZURE))).usage


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (b"application/json", b"", None),
        (b"application/json; charset=utf-8", b" \n", None),
        (b"application/json", b"%PDF-1.7", NOT_JSON),
        (b" Application/Problem+JSON ;a=b", b"no", NOT_JSON),
        (b"application/json", b"null", NO_USAGE),
        (b"application/json", b"[1]", NO_USAGE),
        (b"text/json", b"x", NOT_JSON),
        (None, b"%PDF-1.7", None),
        (None, b"", None),
        (None, b"null", None),
        (b"application/pdf", b"%PDF-1.7", None),
        (b"text/markdown", b"# 1", None),
        (b"text/html", b"<html>", None),
        (b"application/jsonp", b"f()", None),
        (b"application/x-json-like", b"f()", None),
        (b"application/octet-stream", b" \r\n{", NOT_JSON),
        (b"text/plain", b"\xef\xbb\xbf[", NOT_JSON),
        (b"application/x-amz-json-1.1", b"{}", NO_USAGE),
    ],
)
async def test_what_is_no_json_is_no_usage(
    content_type: bytes | None, body: bytes, expected: Unmetered | None, decoders: ThreadPoolExecutor
) -> None:
    """A picture, a page, an empty response: only what says that it is JSON, or begins so, should have a count."""
    for length in (None, len(body)):
        facts = replace(POST, content_type=content_type, length=length)
        for chunks in cuts(body):
            assert Usage(unmetered=expected) == (await metered(facts, chunks, decoders, plan(RESULTS))).usage


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
async def test_the_encoding_does_not_matter(encoding: str, decoders: ThreadPoolExecutor) -> None:
    """As RFC 4627 allowed: the first bytes show it."""
    body = '{"results":[{"pages":1},{"pages":"2"}],"ä":"€"} '.encode(encoding)
    for facts in (POST, replace(POST, content_type=None), replace(POST, length=len(body))):
        for chunks in cuts(body):
            assert Usage(pages=3) == (await metered(facts, chunks, decoders, plan(RESULTS))).usage
        for more in (b"}", b"x\0\0"):
            assert Usage(unmetered=NOT_JSON) == (await metered(facts, [body + more], decoders, plan(RESULTS))).usage
    assert Usage(unmetered=NO_USAGE) == (await metered(POST, [b"3"], decoders, plan(RESULTS))).usage


@pytest.mark.parametrize(("coding", "encode"), CODINGS)
@pytest.mark.parametrize("lines", [False, True])
async def test_the_coding_does_not_matter(
    coding: bytes | None, encode: Callable[[bytes], bytes], lines: bool, decoders: ThreadPoolExecutor
) -> None:
    """A coded response has the counts of the plain one."""
    body = b'{"results":[{"pages":1},{"pages":2}],"id":"j"}' + b"\n" * 2000
    counted = replace(RESULTS, lines=lines, once=("id",))
    for chunks in cuts(encode(body)):
        found = await metered(replace(POST, content_encoding=coding), chunks, decoders, plan(counted))
        assert Usage(pages=3, line="once/j") == found.usage


async def test_an_unknown_coding_is_said_where_json_was_to_be(decoders: ThreadPoolExecutor) -> None:
    """Of a response that says nothing it is not known."""
    for content_type, expected in ((b"application/json", Unmetered.UNKNOWN_CODING), (b"image/png", None)):
        facts = replace(POST, content_encoding=b"compress", content_type=content_type)
        assert Usage(unmetered=expected) == (await metered(facts, [b"\x1f\x9d\x90"], decoders, plan(RESULTS))).usage


@pytest.mark.parametrize("body", [b"", b"{", b'{"status":', b'{"status":"succeeded"'])
async def test_a_condition_that_was_cut_off_is_reported(body: bytes, decoders: ThreadPoolExecutor) -> None:
    """Whether it would have held is not known: the call may be billed."""
    for length in (None, 100):
        found = await metered(replace(POST, length=length), [body], decoders, plan(AZURE), cut=Unmetered.BROKEN)
        assert Usage(unmetered=Unmetered.BROKEN) == found.usage


def test_memory_does_not_grow_with_the_document() -> None:
    """Of 20,000 elements with as many page numbers only a bit each is kept."""
    piece = b",".join(b'{"page":%d,"id":"%d","text":"%b"}' for _ in range(500))
    shape = ConfiguredShape(JsonCounts(distinct=("[].page",), once=("id",)))
    reader = StrictDocument(shape)
    tracemalloc.start()
    try:
        reader.feed(b"[")
        for first in range(0, 20_000, 500):
            chunk = piece % tuple(value for page in range(first, first + 500) for value in (page, page, b"x" * 50))
            at = 0
            chunk = chunk if first == 19_500 else chunk + b","
            while at < len(chunk):
                at = reader.feed(chunk, at)
        reader.feed(b"]")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Usage(pages=20_000) == reader.usage(reader.end())
    assert peak < 300_000


LINES = JsonCounts(count=("result.pages",), when=(("code", ("0",)),), lines=True, once=("id",))


@pytest.mark.parametrize(
    ("counted", "body", "expected"),
    [
        (LINES, b'{"code":0,"result":{"pages":[1,2]}}\n{"code":0,"result":{"pages":[3]}}', Usage(pages=3)),
        (LINES, b'\r\n{"code":0,"result":{"pages":[1,2]}}\r\n \n{"code":0,"result":{"pages":[]}}\r\n', Usage(pages=2)),
        (LINES, b'{"code":0,"result":{"pages":[1,2]}}\n{"code":500}\n', Usage(pages=2)),
        (LINES, b'{"code":500}\n{"code":1}\n', NOTHING),
        (LINES, b'{"code":0}\n', UNMETERED),
        (LINES, b'{"code":0,"result":{"pages":[1,2]}}\n{"code":0,\n', Usage(pages=2, unmetered=NOT_JSON)),
        (LINES, b'{"code":0,"result":{"pages":[1,2]}} {}\n', Usage(pages=2, unmetered=NOT_JSON)),
        (LINES, b'x\n{"code":0,"result":{"pages":[1,2]}}\n', Usage(pages=2, unmetered=NOT_JSON)),
        (LINES, b'<html>\n{"code"\n', Usage(unmetered=NOT_JSON)),
        (LINES, b'{"code":1}\nx', Usage(unmetered=NOT_JSON)),
        (LINES, b"\n\n \r\n", NOTHING),
        (
            LINES,
            b'{"id":"a","code":0,"result":{"pages":[1]}}\n{"id":"b","code":0,"result":{"pages":[1]}}',
            Usage(pages=2, line="once/a"),
        ),
        (JsonCounts(pages=("n",), lines=True), b'{"n":1}\n{"n":"x"}\n', UNMETERED),
        (JsonCounts(pages=("n",), lines=True), b'{"n":1}\n{}\n7\n', Usage(pages=1)),
        (JsonCounts(highest=("[].p",), lines=True), b'[{"p":2},{"p":3}]\n[{"p":4}]\n', Usage(pages=7)),
        (JsonCounts(credits=("c",), lines=True), b'{"c":0.1}\n{"c":0.2}\n', Usage(credits_micro=300_000, credits="0.3")),
    ],
)
async def test_each_line_is_a_document(counted: JsonCounts, body: bytes, expected: Usage, decoders: ThreadPoolExecutor) -> None:
    """Their counts are summed; a line that is not JSON gives the reason, beside what the others say."""
    for facts in (POST, replace(POST, length=len(body))):
        for chunks in cuts(body):
            assert expected == (await metered(facts, chunks, decoders, plan(counted))).usage


async def test_lines_that_did_not_all_come_are_not_counted(decoders: ThreadPoolExecutor) -> None:
    """Their sum is not known."""
    found = await metered(
        POST, [b'{"n":1}\n{"n":2}\n'], decoders, plan(JsonCounts(pages=("n",), lines=True)), cut=Unmetered.BROKEN
    )
    assert Usage(unmetered=Unmetered.BROKEN) == found.usage


async def test_many_short_lines_are_read_a_piece_at_a_time(decoders: ThreadPoolExecutor) -> None:
    """A megabyte of them does not hold up the event loop: a feed ends early, with the rest left."""
    reader = JsonLines(ConfiguredShape(JsonCounts(pages=("n",), lines=True), documents=Documents.LINES))
    body = b'{"n":1}\n' * 1000
    feeds, at = 0, 0
    while at < len(body):
        at = reader.feed(body, at, 1000)
        feeds += 1
    assert (Usage(pages=1000), feeds > 5) == (reader.usage(reader.end()), True)


STREAM = replace(POST, content_type=b"text/event-stream; charset=utf-8")
ROUTER = JsonCounts(credits=("usage.cost",), tokens_in=("usage.in",), tokens_out=("usage.out",), once=("id",))


@pytest.mark.parametrize(
    ("counted", "body", "expected"),
    [
        (
            ROUTER,
            b': working\n\ndata: {"id":"g","model":"m"}\n\n'
            b'data: {"id":"g","model":"m","usage":{"cost":1.64e-6,"in":3,"out":1}}\n\ndata: [DONE]\n\n',
            Usage(model="m", tokens_in=3, tokens_out=1, credits_micro=2, credits="0.00000164", line="once/g"),
        ),
        (ROUTER, b'data: {"usage":{"in":3}}\n\ndata: {"usage":{"in":5,"out":2}}\n\n', Usage(tokens_in=5, tokens_out=2)),
        (
            ROUTER,
            b'data: {"usage":{"in":3,"out":2}}\n\ndata: {"usage":{"in":5,"out":null}}\n\n',
            Usage(tokens_in=5, tokens_out=2),
        ),
        (ROUTER, b'data: {"usage":{"in":"?"}}\n\ndata: {"usage":{"in":5}}\n\n', Usage(tokens_in=5)),
        (ROUTER, b'data: {"usage":{"in":5}}\n\ndata: {"usage":{"in":\n\n', Usage(tokens_in=5)),
        (ROUTER, b'data: {"id":"g"}\n\n', UNMETERED),
        (ROUTER, b"data: [DONE]\n\n", UNMETERED),
        (ROUTER, b": nothing\n\n", NOTHING),
        (ROUTER, b"", NOTHING),
        (WHEN, b'data: {"done":false,"n":3}\n\ndata: {"done":true}\n\n', Usage(pages=1)),
        (WHEN, b'data: {"done":false,"n":3}\n\n', NOTHING),
        (ELEMENTS, b'data: [{"metadata":{"page_number":3}}]\n\ndata: [{"metadata":{"page_number":2}}]\n\n', Usage(pages=2)),
        (ONE, b"data: x\n\n", Usage(pages=1)),
    ],
)
async def test_the_last_event_that_has_the_path_counts(
    counted: JsonCounts, body: bytes, expected: Usage, decoders: ThreadPoolExecutor
) -> None:
    """Each event tells what it is up to then: they are not summed."""
    for facts in (STREAM, replace(STREAM, length=len(body))):
        for chunks in cuts(body):
            assert expected == (await metered(facts, chunks, decoders, plan(counted))).usage


async def test_a_stream_that_was_cut_has_what_it_told(decoders: ThreadPoolExecutor) -> None:
    """The reason stands beside the last count; without any, alone."""
    for body, expected in (
        (b'data: {"usage":{"in":3}}\n\ndata: {"usage":{"in"', Usage(tokens_in=3, unmetered=Unmetered.CANCELLED)),
        (b'data: {"id":3}\n\n', Usage(unmetered=Unmetered.CANCELLED)),
        (b'data: {"id"', Usage(unmetered=Unmetered.CANCELLED)),
        (b": working\n\n", Usage(unmetered=Unmetered.CANCELLED)),
        (b"", Usage(unmetered=Unmetered.CANCELLED)),
    ):
        counted = replace(ROUTER, once=())
        assert expected == (await metered(STREAM, [body], decoders, plan(counted), cut=Unmetered.CANCELLED)).usage


async def test_a_stream_that_was_cut_before_its_condition_held_is_reported(decoders: ThreadPoolExecutor) -> None:
    """A later event might have fulfilled it: the call may be billed."""
    counted = replace(ROUTER, once=(), when=(("done", ("true",)),))
    for body, expected in (
        (b'data: {"done":false,"usage":{"in":3}}\n\n', Usage(unmetered=Unmetered.CANCELLED)),
        (b'data: {"done":false,"usage":{"in":3}}\n\ndata: [DONE]\n\n', NOTHING),
    ):
        assert expected == (await metered(STREAM, [body], decoders, plan(counted), cut=Unmetered.CANCELLED)).usage


async def test_cached_tokens_are_never_more_than_the_tokens_in(decoders: ThreadPoolExecutor) -> None:
    """They are a part of them: what is cached beyond that, or of no known number, is not a count."""
    for tokens, expected in (
        ({"prompt": 5, "cached": 9}, Usage(tokens_in=5, tokens_cached=5)),
        ({"prompt": 5, "cached": 0}, Usage(tokens_in=5, tokens_cached=0)),
        ({"answer": 5, "cached": 9}, Usage(tokens_out=5)),
    ):
        body = json.dumps({"u": tokens}).encode()
        assert expected == (await metered(POST, [body], decoders, plan(GEMINI))).usage


async def test_a_response_of_json_lines_says_that_it_is_json(decoders: ThreadPoolExecutor) -> None:
    """Cut off before its first line, it is reported; what is no JSON in it, too."""
    counted = replace(RESULTS, lines=True)
    for content_type in (
        b"application/x-ndjson",
        b"application/jsonl; charset=utf-8",
        b"application/x-jsonlines",
        b"text/ndjson",
    ):
        facts = replace(POST, content_type=content_type)
        found = await metered(facts, [], decoders, plan(counted), cut=Unmetered.BROKEN)
        assert Usage(unmetered=Unmetered.BROKEN) == found.usage
        assert Usage(unmetered=NOT_JSON) == (await metered(facts, [b"busy\n"], decoders, plan(counted))).usage


async def test_a_part_of_a_jobs_stream_is_not_booked_for_the_whole(decoders: ThreadPoolExecutor) -> None:
    """What is booked once must be all of it: a stream that was cut leaves the job to its next read."""
    body = b'data: {"id":"j","usage":{"in":3}}\n\n'
    for cut, expected in ((Unmetered.BROKEN, Usage(unmetered=Unmetered.BROKEN)), (None, Usage(tokens_in=3, line="once/j"))):
        assert expected == (await metered(STREAM, [body], decoders, plan(ROUTER), cut=cut)).usage


JOBS = JsonCounts(pages=("n",), once=("job.id", "id", "/job/{}/"))


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        ({"n": 1, "job": {"id": "a-1"}}, b"/", "once/a-1"),
        ({"job": {"id": "a-1"}, "id": "b", "n": 1}, b"/job/c/", "once/a-1"),
        ({"n": 1, "id": 17}, b"/job/c/", "once/17"),
        ({"n": 1, "id": 17.5}, b"/", "once/17.5"),
        ({"n": 1, "id": None}, b"/v1/job/c/result/json", "once/c"),
        ({"n": 1, "id": ""}, b"/v1/job/c%2Fd/result", "once/c%2Fd"),
        ({"n": 1, "id": True}, b"/job/c", ""),
        ({"n": 1, "id": {"a": 1}}, b"/jobs/c/", ""),
        ({"n": 1}, b"/ajob/c/", ""),
        ({"n": 1}, b"/job//", ""),
        ({"n": 0, "id": "a"}, b"/job/c/", ""),
        ({"n": 1, "id": "x" * 200}, b"/", "once/" + "x" * 200),
        ({"n": 1, "id": "x" * 201}, b"/", f"once/sha256:{sha256(b'x' * 201).hexdigest()}"),
        ({"n": 1, "id": "a\nb"}, b"/", f"once/sha256:{sha256(b'a' + bytes([10]) + b'b').hexdigest()}"),
        ({"n": 1, "id": "é"}, b"/", "once/é"),
        ({"n": 1, "id": "x" * 2000}, b"/", ""),
    ],
)
async def test_a_jobs_id_is_the_line(document: Any, path: bytes, line: str, decoders: ThreadPoolExecutor) -> None:
    """It stands in the document, or in the URL; bounded and printable; without it, and of nothing, there is none."""
    facts = replace(POST, path=path)
    for chunks in cuts(json.dumps(document).encode()):
        assert Usage(pages=document["n"], line=line) == (await metered(facts, chunks, decoders, plan(JOBS))).usage


@pytest.mark.parametrize(
    ("template", "path", "line"),
    [
        ("/job/{}", b"/v1/job/c", "once/c"),
        ("/job/{}", b"/v1/job/c/", "once/c"),
        ("/job/{}/result", b"/job/c/results", ""),
        ("/job/{}/result", b"/job/b/x/job/c/result", "once/c"),
        ("/models/{}/results/{}", b"/models/m/results/r", "once/m/r"),
        ("/v1.0/{}", b"/v1x0/r", ""),
    ],
)
async def test_a_part_of_the_url_names_the_job(template: str, path: bytes, line: str, decoders: ThreadPoolExecutor) -> None:
    """`{}` is one whole segment, and the rest is as it is spelt."""
    found = await metered(replace(POST, path=path), [b'{"n":1}'], decoders, plan(JsonCounts(pages=("n",), once=(template,))))
    assert Usage(pages=1, line=line) == found.usage


async def test_a_constant_has_a_jobs_id_too(decoders: ThreadPoolExecutor) -> None:
    """Where it stands in the document, this must be whole."""
    counted = JsonCounts(constant=2, once=("id",))
    for body, expected in (
        (b'{"id":"a"}', Usage(pages=2, line="once/a")),
        (b"{}", Usage(pages=2)),
        (b'{"id":', Usage(unmetered=NOT_JSON)),
    ):
        assert expected == (await metered(POST, [body], decoders, plan(counted))).usage
    url = replace(POST, path=b"/job/j", content_type=b"application/pdf")
    assert (
        Usage(pages=2, line="once/j")
        == (await metered(url, [b"%PDF"], decoders, plan(JsonCounts(constant=2, once=("/job/{}",))))).usage
    )


HEADER = JsonCounts(header=b"x-pages")
CREDITS = JsonCounts(credits_header=b"x-credits")


@pytest.mark.parametrize(
    ("counted", "fields", "body", "expected"),
    [
        (HEADER, {b"x-pages": (b" 7 ",)}, b"%PDF", Usage(pages=7)),
        (HEADER, {b"x-pages": (b"0",)}, b"", Usage(pages=0)),
        (HEADER, {b"x-pages": (b"7", b"8")}, b"{}", Usage(pages=7)),
        (HEADER, {b"x-pages": (b"-7",)}, b"{}", UNMETERED),
        (HEADER, {b"x-pages": (b"7.0",)}, b"{}", UNMETERED),
        (HEADER, {b"x-pages": (b"9" * 17,)}, b"{}", UNMETERED),
        (HEADER, {b"x-pages": ("٧".encode(),)}, b"{}", UNMETERED),
        (HEADER, {b"x-pages": (b"",)}, b"{}", UNMETERED),
        (HEADER, {}, b"{}", UNMETERED),
        (HEADER, {}, b"%PDF", Usage(unmetered=NOT_JSON)),
        (CREDITS, {b"x-credits": (b" 1.50 ",)}, b"%PDF", Usage(credits_micro=1_500_000, credits="1.5")),
        (CREDITS, {b"x-credits": (b"0",)}, b"", Usage(credits_micro=0, credits="0")),
        (CREDITS, {b"x-credits": (b"-1",)}, b"{}", UNMETERED),
        (CREDITS, {b"x-credits": (b"free",)}, b"{}", UNMETERED),
        (CREDITS, {}, b"{}", UNMETERED),
        (
            replace(CREDITS, header=b"x-pages"),
            {b"x-pages": (b"2",), b"x-credits": (b"1",)},
            b"",
            Usage(2, credits_micro=10**6, credits="1"),
        ),
        (replace(CREDITS, header=b"x-pages"), {b"x-credits": (b"1",)}, b"", Usage(credits_micro=10**6, credits="1")),
        (replace(CREDITS, pages=("n",)), {b"x-credits": (b"1",)}, b'{"n":3}', Usage(3, credits_micro=10**6, credits="1")),
        (replace(HEADER, credits=("c",)), {b"x-pages": (b"7",)}, b'{"c":1}', Usage(pages=7, credits_micro=10**6, credits="1")),
        (replace(HEADER, when=(("s", ("ok",)),)), {b"x-pages": (b"7",)}, b'{"s":"ok"}', Usage(pages=7)),
        (replace(HEADER, when=(("s", ("ok",)),)), {b"x-pages": (b"7",)}, b'{"s":"no"}', NOTHING),
    ],
)
async def test_a_response_header_holds_the_pages(
    counted: JsonCounts, fields: dict[bytes, tuple[bytes, ...]], body: bytes, expected: Usage, decoders: ThreadPoolExecutor
) -> None:
    """The body need not be JSON then, as long as nothing else is read in it."""
    for length in (None, len(body)):
        found = await metered(replace(POST, fields=fields, length=length), [body], decoders, plan(counted))
        assert expected == found.usage


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    ("counted", "counting"),
    [
        (RESULTS, {"POST", "GET", "PUT"}),
        (ONE, {"POST"}),
        (replace(ONE, constant_methods=frozenset({"GET", "PUT"})), {"GET", "PUT"}),
        (replace(ONE, methods=frozenset({"GET"}), constant_methods=frozenset({"GET"})), {"GET"}),
        (replace(RESULTS, methods=frozenset({"POST"})), {"POST"}),
    ],
)
async def test_methods_say_what_counts(
    counted: JsonCounts, counting: set[str], method: str, decoders: ThreadPoolExecutor
) -> None:
    """A result may be fetched by GET; a constant is for what was asked for; HEAD and OPTIONS have none."""
    found = await metered(replace(POST, method=method), [b'{"results":[{"pages":1}]}'], decoders, plan(counted))
    assert (Usage(pages=1) if method in counting else None) == found.usage
    assert (method in counting) == (plan(counted).reads(method, b"/x") is not None)


async def test_a_constant_beside_credits_is_for_its_methods(decoders: ThreadPoolExecutor) -> None:
    """The credits count wherever they stand."""
    counted = JsonCounts(constant=1, credits=("c",))
    for method, pages in (("POST", 1), ("GET", None)):
        found = await metered(replace(POST, method=method), [b'{"c":2}'], decoders, plan(counted))
        assert Usage(pages=pages, credits_micro=2_000_000, credits="2") == found.usage


async def test_a_plan_without_counts_reads_nothing(decoders: ThreadPoolExecutor) -> None:
    """A shape that is not described cannot be found."""
    assert (await metered(POST, [b"{}"], decoders, MeterPlan(shape="json"))).usage is None


async def test_the_configured_model_wins(decoders: ThreadPoolExecutor) -> None:
    """The plan's model stands in the usage, whatever the response names."""
    usage = (await metered(POST, [b'{"model":"m"}'], decoders, plan(ONE, "mine"))).usage
    assert Usage(pages=1, model="mine") == usage
