"""The meter of a batch's results: a usage for each line of a file, and for each output of a job."""

from __future__ import annotations

import gc
import gzip
import json
import tracemalloc
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.bodies.batch import MAX_FOREIGN_LINES
from passthrough.meter.meter import MAX_LINES_AT_ONCE, ResponseFacts, open_meter
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.client import asking, client
from tests.harness.metering import CODINGS, Read, cuts, metered, pieces, read
from tests.harness.proxy import street
from tests.harness.upstream import answering, ok
from tests.harness.waiting import until

FILE = ResponseFacts("GET", b"/mistral/v1/files/f-1/content", 200)
JOB = ResponseFacts("GET", b"/mistral/v1/batch/jobs/j-1", 200)
NAMED = MeterPlan(shape="batch")

NO_USAGE, NOT_JSON = Unmetered.NO_USAGE, Unmetered.NOT_JSON


def body(processed: int, /, **more: Any) -> dict[str, Any]:
    """An OCR response as it stands in a result, with text that looks like keys and like line ends."""
    usage_info = {"pages_processed": processed, "doc_size_bytes": 7}
    page = {"index": 0, "markdown": '# \\n\n{"id":"x"}\r\n"response"', "images": [], "usage_info": {"pages_processed": 99}}
    return {
        "pages": [page],
        "model": "mistral-ocr-2505-completion",
        "usage_info": usage_info,
        "document_annotation": None,
        **more,
    }


def result(number: int, answer: Any = None, *, status: int = 200, **more: Any) -> dict[str, Any]:
    """A result as Mistral writes it."""
    response = {"status_code": status, "body": body(number) if answer is None else answer}
    return {"id": f"batch-{number}", "custom_id": str(number), "response": response, "error": None, **more}


def line(number: int, **more: Any) -> Usage:
    """The usage of a result that says nothing special."""
    usage = Usage(pages=number, model="mistral-ocr-2505-completion", doc_bytes=7, line=f"batch-{number}", in_batch=True)
    return replace(usage, custom_id=str(number), **more)


def file(*results: Any, end: str = "\n") -> bytes:
    """A file of results."""
    return "".join(json.dumps(each) + end for each in results).encode()


def summed(why: Unmetered | None = None, model: str | None = "mistral-ocr-2505-completion") -> Usage:
    """The usage of a batch itself: no counters."""
    return Usage(model=model, unmetered=why)


CHAT = {"model": "mistral-small", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
BILLED_APART = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "connector_tokens": 9,
    "connectors": {"web_search": 1},
    "num_cached_tokens": 2,
    "service_tier": "Priority",
}
OWN: dict[str, Any] = {"response": {"status_code": 200, "body": body(5)}, "error": None}
FAILED = {"id": "batch-9", "custom_id": "9", "response": None, "error": {"message": "no"}}
TWO = [line(1), line(2)]

RESULTS: dict[str, tuple[Any, list[Usage], Usage]] = {
    "two": ((result(1), result(2)), TWO, summed()),
    "the keys in another order": ((dict(reversed(result(1).items())),), [line(1)], summed()),
    "annotated": ((result(1, body(3, document_annotation="{}")),), [line(1, pages=0, pages_annotated=3)], summed()),
    "an image annotated": (
        (result(1, body(3, pages=[{"images": [{"image_annotation": "{}"}]}])),),
        [line(1, pages=0, pages_annotated=3)],
        summed(),
    ),
    "chat": (
        (result(1, CHAT),),
        [Usage(tokens_in=3, tokens_out=4, model="mistral-small", line="batch-1", in_batch=True, custom_id="1")],
        summed(model="mistral-small"),
    ),
    "a chat with all that is billed apart": (
        (result(1, {**CHAT, "service_tier": "default", "usage": BILLED_APART}), result(2)),
        [
            Usage(
                tokens_in=12,
                tokens_out=4,
                model="mistral-small",
                unmetered=Unmetered.UNKNOWN_UNIT,
                line="batch-1",
                in_batch=True,
                tokens_cached=2,
                service_tier="priority",
                custom_id="1",
            ),
            line(2),
        ],
        summed(),
    ),
    "one that failed, with a status": ((result(1), result(2, {"message": "no"}, status=422), result(2)), TWO, summed()),
    "one that failed, with an error": ((result(1), FAILED, result(2)), TWO, summed()),
    "all failed": ((FAILED, FAILED), [], summed(model=None)),
    "one without a usage": ((result(1), result(7, {"pages": []}), result(2)), TWO, summed(NO_USAGE)),
    "one without a body": ((result(1), {**FAILED, "response": {"status_code": 200}}, result(2)), TWO, summed(NO_USAGE)),
    "one whose body is null": (
        (result(1), {**FAILED, "response": {"status_code": 200, "body": None}}, result(2)),
        TWO,
        summed(NO_USAGE),
    ),
    "a document that is no result": ((result(1), {"a": 1}, result(2)), TWO, summed(NO_USAGE)),
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def seen(found: Read) -> tuple[list[Usage], Usage | None]:
    """The lines that passed, and the usage of the whole."""
    return found.lines, found.usage


@pytest.mark.parametrize("plan", [MeterPlan(), NAMED])
@pytest.mark.parametrize("name", RESULTS)
async def test_each_line_has_its_usage_however_the_file_is_cut(name: str, plan: MeterPlan, decoders: ThreadPoolExecutor) -> None:
    """Every result's usage passes, with its id and at a batch's price; the file itself has no counters, only the reason."""
    results, lines, usage = RESULTS[name]
    for end in ("\n", "\r\n", "\n\r\n \n\n"):
        for chunks in cuts(file(*results, end=end)):
            assert (lines, usage) == seen(await metered(FILE, chunks, decoders, plan))
    whole = b"\xef\xbb\xbf" + file(*results).rstrip(b"\n")
    for chunks in cuts(whole):
        assert (lines, usage) == seen(await metered(FILE, chunks, decoders, plan))


@pytest.mark.parametrize("plan", [MeterPlan(), NAMED])
@pytest.mark.parametrize("name", [name for name in RESULTS if name != "a document that is no result"])
async def test_each_output_of_a_job_has_its_usage(name: str, plan: MeterPlan, decoders: ThreadPoolExecutor) -> None:
    """Results that stand in the response that describes the job are read like a file's, whatever stands around them."""
    results, lines, usage = RESULTS[name]
    around = {"id": "j-1", "model": "no", "response": {"status_code": 200}, "outputs": results, "error": None, "custom_id": "no"}
    for indent in (None, 2):
        for chunks in cuts(json.dumps(around, indent=indent).encode()):
            assert (lines, usage) == seen(await metered(JOB, chunks, decoders, plan))


@pytest.mark.parametrize(("coding", "code"), CODINGS)
async def test_a_coded_download_is_read(
    coding: bytes | None, code: Callable[[bytes], bytes], decoders: ThreadPoolExecutor
) -> None:
    """A file that comes coded has the lines of the plain one, in chunks of any size."""
    results = [result(number) for number in range(1, 40)]
    expected = ([line(number) for number in range(1, 40)], summed())
    coded = code(file(*results))
    for size in (len(coded), 5, 900):
        facts = replace(FILE, content_encoding=coding)
        assert expected == seen(await metered(facts, pieces(coded, size), decoders))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"id": "batch-1", "custom_id": "1"}, "batch-1"),
        ({"id": "batch-1"}, "batch-1"),
        ({"id": "17", "custom_id": "7"}, "f-1:17"),
        ({"id": "0"}, "f-1:0"),
        ({"id": "-1", "custom_id": "7"}, "-1"),
        ({"custom_id": "scan 7"}, "f-1/scan 7"),
        ({"id": None, "custom_id": "7"}, "f-1/7"),
        ({"id": "", "custom_id": "7"}, "f-1/7"),
        ({"id": 3, "custom_id": "7"}, "f-1/7"),
        ({"id": "a\x00b", "custom_id": "7"}, "f-1/7"),
        ({"id": "i" * 301, "custom_id": "7"}, "f-1/7"),
        ({"id": "i" * 3000, "custom_id": ""}, "f-1#2"),
        ({"id": "\n", "custom_id": "c" * 301}, "f-1#2"),
    ],
)
async def test_a_line_is_named_by_its_own_id(names: dict[str, Any], expected: str, decoders: ThreadPoolExecutor) -> None:
    """Its id, else its custom id within the file, else its number within the file; an id of digits counts within the file."""
    found = await metered(FILE, [file(result(1), {**names, **OWN})], decoders, NAMED)
    assert ["batch-1", expected] == [each.line for each in found.lines]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"id": "batch-1", "custom_id": "scan 7"}, "scan 7"),
        ({"id": "0", "custom_id": "scan 7"}, "scan 7"),
        ({"custom_id": "scan 7"}, "scan 7"),
        ({"id": "batch-1"}, ""),
        ({"id": "batch-1", "custom_id": "c" * 301}, ""),
        ({"id": "batch-1", "custom_id": 7}, ""),
    ],
)
async def test_a_line_has_its_clients_name_beside_it(names: dict[str, Any], expected: str, decoders: ThreadPoolExecutor) -> None:
    """Whatever the line is known by, its custom id is kept, if it has one."""
    found = await metered(FILE, [file({**names, **OWN})], decoders, NAMED)
    assert [expected] == [each.custom_id for each in found.lines]


@pytest.mark.parametrize("bad", [b"<html>", b'{"id": "x", "response"', b"\xff", b"1 2 3 4 5 6 7 8 9 " * 9])
async def test_a_line_that_is_not_json_has_its_number(bad: bytes, decoders: ThreadPoolExecutor) -> None:
    """What comes behind it is numbered as if it were a result: the same file has the same lines whenever it is mended."""
    content = file(OWN | {"custom_id": ""}, result(1)) + bad + b"\n\n" + bad + b"\n" + file(OWN | {"id": "", "custom_id": "\n"})
    for chunks in cuts(content):
        found = await metered(FILE, chunks, decoders, NAMED)
        assert ["f-1#1", "batch-1", "f-1#5"] == [each.line for each in found.lines]
        assert NOT_JSON == (found.usage or NOTHING).unmetered


async def test_a_jobs_output_without_an_id_is_named_within_the_job(decoders: ThreadPoolExecutor) -> None:
    """The job's id stands for the file's."""
    found = await metered(JOB, [json.dumps({"outputs": [{"custom_id": "7", **OWN}]}).encode()], decoders)
    assert ["j-1/7"] == [each.line for each in found.lines]


@pytest.mark.parametrize("bad", [b"<html>", b'{"id":"batch-9","response":{"sta', b'{"a":1}}', b"{'a': 1}", b"\xff\xfe\x00"])
async def test_a_line_that_is_not_json_is_unknown_and_the_others_count(bad: bytes, decoders: ThreadPoolExecutor) -> None:
    """One line is lost, and the exchange's reason is `not_json`."""
    for chunks in cuts(file(result(1)) + bad + b"\n" + file(result(2))):
        assert (TWO, summed(NOT_JSON)) == seen(await metered(FILE, chunks, decoders))
    for chunks in cuts(bad + b"\n" + file(result(1), result(2))):
        assert (TWO, summed(NOT_JSON)) == seen(await metered(FILE, chunks, decoders))


@pytest.mark.parametrize("cut", [Unmetered.BROKEN, Unmetered.CANCELLED])
async def test_a_download_that_breaks_off_has_the_lines_that_were_complete(cut: Unmetered, decoders: ThreadPoolExecutor) -> None:
    """What was complete counts, and the reason says that more may have been there."""
    whole, first = file(result(1), result(2)), len(file(result(1)))
    for length in range(len(whole) + 1):
        found = await metered(FILE, [whole[:length]], decoders, NAMED, cut=cut)
        assert TWO[: (length >= first - 1) + (length >= len(whole) - 1)] == found.lines
        assert cut == (found.usage or NOTHING).unmetered
    job = json.dumps({"outputs": [result(1), result(2)]}).encode()
    found = await metered(JOB, [job[:-3]], decoders, cut=cut)
    assert ([line(1)], summed(cut)) == seen(found)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n" * 500, NOT_JSON),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100_000), NOT_JSON),
        (b'{"custom_id":"1","body":{"document":{}}}\n' * 300, NO_USAGE),
        (b'{"pages":[],"usage_info":{"pages_processed":3}}', NO_USAGE),
        (json.dumps({"a": [1, 2]}, indent=1).encode(), NOT_JSON),
        (b"just\ntext", NOT_JSON),
        (b"", NO_USAGE),
        (b"\r\n\n", NO_USAGE),
        (b"12", NO_USAGE),
    ],
)
async def test_a_download_that_is_no_batch_is_no_usage(content: bytes, why: Unmetered, decoders: ThreadPoolExecutor) -> None:
    """A file of somebody's is downloaded: nothing is said, except where the route says that these are results."""
    for chunks in (pieces(content, 65536), pieces(content, 100)):
        assert ([], NOTHING) == seen(await metered(FILE, chunks, decoders))
        assert ([], NOTHING) == seen(await metered(FILE, chunks, decoders, cut=Unmetered.CANCELLED))
        assert ([], summed(why, None)) == seen(await metered(FILE, chunks, decoders, NAMED))


async def test_another_file_is_left_alone_after_some_lines(decoders: ThreadPoolExecutor) -> None:
    """Where results are not sure to come, they must come within the first lines; a named batch is read to its end."""
    other = b'{"custom_id":"1"}\n'
    late = other * (MAX_FOREIGN_LINES - 1) + file(result(1))
    assert [line(1)] == (await metered(FILE, pieces(late, 1000), decoders)).lines
    assert [] == (await metered(FILE, pieces(other + late, 1000), decoders)).lines
    assert [] == (await metered(replace(FILE, content_encoding=b"gzip"), [gzip.compress(other + late)], decoders)).lines
    assert [line(1)] == (await metered(FILE, pieces(other + late, 1000), decoders, NAMED)).lines


@pytest.mark.parametrize(
    "content", [b"{}", b'{"status":"RUNNING","outputs":null}', b'{"outputs":[]}', b'{"outputs":[null,[1],"x"]}', b"", b"null"]
)
async def test_a_job_without_results_is_not_unmetered(content: bytes, decoders: ThreadPoolExecutor) -> None:
    """A job is asked for its status again and again: that uses nothing."""
    for plan in (MeterPlan(), NAMED):
        assert ([], NOTHING) == seen(await metered(JOB, [content], decoders, plan))


@pytest.mark.parametrize(
    ("plan", "method", "path", "status", "expected"),
    [
        (MeterPlan(), "GET", b"/v1/files/f/content", 200, NOTHING),
        (MeterPlan(), "GET", b"/v1/files/f/content", 206, summed(NO_USAGE, None)),
        (MeterPlan(), "HEAD", b"/v1/files/f/content", 200, None),
        (MeterPlan(), "POST", b"/v1/files/f/content", 200, None),
        (MeterPlan(), "GET", b"/v1/files/f/content", 304, None),
        (MeterPlan(), "GET", b"/v1/files/f/content", 404, None),
        (MeterPlan(), "GET", b"/v1/files/f", 200, None),
        (MeterPlan(), "GET", b"/v1/files//content", 200, None),
        (MeterPlan(), "GET", b"/v1/batch/jobs", 200, None),
        (MeterPlan(), "GET", b"/v1/batch/jobs/", 200, None),
        (MeterPlan(), "GET", b"/v1/batch/jobs/j/cancel", 200, None),
        (MeterPlan(), "POST", b"/v1/batch/jobs", 200, None),
        (NAMED, "GET", b"/results/7", 200, summed(NO_USAGE, None)),
        (NAMED, "GET", b"/results/7", 206, summed(NO_USAGE, None)),
        (MeterPlan(), "GET", b"/v1/files/f/%63ontent", 200, NOTHING),
        (NAMED, "HEAD", b"/results/7", 200, None),
        (NAMED, "POST", b"/v1/ocr", 200, None),
        (MeterPlan(shape="none"), "GET", b"/v1/files/f/content", 200, None),
        (MeterPlan(shape="ocr"), "GET", b"/v1/files/f/content", 200, None),
    ],
)
async def test_downloads_are_read_by_their_path(
    plan: MeterPlan, method: str, path: bytes, status: int, expected: Usage | None, decoders: ThreadPoolExecutor
) -> None:
    """A batch is looked for in files and jobs, or where it is named; a piece of a file (206) is not read, which is said."""
    content = file(result(1)) if status == 206 else b""
    assert ([], expected) == seen(await metered(ResponseFacts(method, path, status), [content], decoders, plan))


async def test_a_coding_that_is_not_known_matters_where_results_are_expected(decoders: ThreadPoolExecutor) -> None:
    """Nothing of it can be read: a named batch says so, another download does not."""
    coded = replace(FILE, content_encoding=b"secret")
    assert NOTHING == (await metered(coded, [b"x"], decoders)).usage
    assert summed(Unmetered.UNKNOWN_CODING, None) == (await metered(coded, [b"x"], decoders, NAMED)).usage


async def test_a_bomb_is_too_large_and_what_came_before_counts(decoders: ThreadPoolExecutor) -> None:
    """Decoded beyond the bound it is read no further; the lines before are booked."""
    bomb = gzip.compress(file(result(1)) + b'{"id":"' + bytes(50_000_000))
    coded = replace(FILE, content_encoding=b"gzip")
    found = await metered(coded, pieces(bomb, 5000), decoders, max_bytes=1_000_000)
    assert ([line(1)], summed(Unmetered.TOO_LARGE)) == seen(found)


async def test_lines_pass_in_groups_while_the_file_does(decoders: ThreadPoolExecutor) -> None:
    """Nothing is held until the end: at most so many lines at once, each once, in order, whatever is in one chunk."""
    results = [result(number) for number in range(1, 2000)]
    content = file(*results)
    for coding, coded in ((None, content), (b"gzip", gzip.compress(content)), (b"deflate", zlib.compress(content, 0))):
        found = await metered(replace(FILE, content_encoding=coding), pieces(coded, 100_000), decoders)
        assert [line(number) for number in range(1, 2000)] == found.lines
        assert max(found.groups) <= MAX_LINES_AT_ONCE
        assert len(found.groups) >= 4


async def test_long_lines_are_read_without_being_held(decoders: ThreadPoolExecutor) -> None:
    """A line of 30 MB of base64 between others: images stand in results."""
    image = "data:image/png;base64," + "QUJD" * 7_500_000
    long = body(2, pages=[{"index": 0, "images": [{"image_base64": image, "image_annotation": None}]}])
    found = await metered(FILE, pieces(file(result(1), result(2, long), result(3)), 65536), decoders)
    assert ([line(1), line(2), line(3)], summed()) == seen(found)


async def test_a_line_is_not_held(decoders: ThreadPoolExecutor) -> None:
    """Of a line of any length only what is wanted is kept."""
    piece = b"QUJD" * 16384
    text = json.dumps(result(1, body(1, document_annotation="QUJD", zz="QUJD")))
    before, between, behind = text.encode().split(b"QUJD")
    found = Read()
    meter = open_meter(MeterPlan(), FILE, decoders, passed=found.passed)
    assert meter is not None
    tracemalloc.start()
    try:
        for part in (before, between):
            meter.feed(part)
            for _ in range(500):
                meter.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert summed() == await read(meter, [behind])
    assert [line(1, pages=0, pages_annotated=1)] == found.lines


class Holder:
    """As an exchange: it has its meter, which passes lines on to it."""

    reading: object = None

    def passed(self, lines: tuple[Usage, ...]) -> None:
        """Take lines."""


async def test_what_read_a_batch_goes_with_its_exchange(decoders: ThreadPoolExecutor) -> None:
    """No cycle keeps it once all is read: what undoes a coding has windows of megabytes."""
    holder = Holder()
    holder.reading = meter = open_meter(MeterPlan(), FILE, decoders, passed=holder.passed)
    assert meter is not None
    assert summed() == await read(meter, [file(result(1))])
    gone = weakref.ref(holder)
    gc.disable()
    try:
        del holder, meter
        assert gone() is None
    finally:
        gc.enable()


TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each)
)


@st.composite
def random_results(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, int]]]:
    """A file of random results among noise, and what `json.loads` makes of each line."""
    lines: list[bytes] = []
    for number in range(draw(st.integers(0, 6))):
        answer = {**draw(st.dictionaries(TEXTS, VALUES, max_size=3)), "usage_info": {"pages_processed": draw(st.integers(0, 99))}}
        status = draw(st.sampled_from([200, 201, 299, 400, 500]))
        each = {"id": f"b-{number}", "x": draw(VALUES), "response": {"status_code": status, "body": answer}}
        order = draw(st.permutations(list(each.items())))
        text = json.dumps(dict(order), ensure_ascii=draw(st.booleans()), indent=None)
        lines.append(text.encode("utf-8", "replace") + draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \r\n\t\n"])))
    said = [json.loads(each) for each in lines]
    expected = [
        (each["id"], each["response"]["body"]["usage_info"]["pages_processed"])
        for each in said
        if each["response"]["status_code"] < 300
    ]
    return b"".join(lines), expected


@pytest.mark.slow
@given(random_results(), st.integers(1, 200))
async def test_random_files_cut_anywhere_say_what_json_loads_says(made: tuple[bytes, list[tuple[str, int]]], size: int) -> None:
    """For any content and any chunk borders every line's usage is what a reader of whole lines finds."""
    content, expected = made
    with ThreadPoolExecutor(1) as decoders:
        found = await metered(FILE, pieces(content, size), decoders, NAMED)
    assert expected == [(each.line, each.pages) for each in found.lines]


@pytest.mark.wire
async def test_lines_pass_on_the_road() -> None:
    """What a client downloads is booked by its lines while it passes, and its bytes are untouched."""
    content = file(result(1), result(2))
    async with street(answering(ok(content))) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"GET /v1/files/f-1/content HTTP/1.1"))
        assert content == (await raw.answer())[1]
        exchange = (await house.booked())[0]
        assert summed() == await exchange.usage_source.usage()
        assert [(exchange.id, each) for each in TWO] == house.passed


@pytest.mark.wire
async def test_a_line_is_known_before_the_file_has_passed() -> None:
    """The download still goes on when its first line is booked."""
    content = file(result(1), result(2))
    border = len(file(result(1))) + 5

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content), content[:border])
        await until(lambda: len(house.passed) > 0)
        await peer.send(content[border:])

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"GET /v1/files/f-1/content HTTP/1.1"))
        assert content == (await raw.answer())[1]
        assert 1 == len(await house.booked())


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/files/f1/%63ontent",
        b"/v1/files/%66%31/content",
        b"/v1/%2566iles/f1/content",
        b"/v1/Files/f1/Content",
        b"/v1//files//f1//content/",
        b"/v1/files;v=1/f1;a=b/content;c",
        b"/v1\\files\\f1\\content",
    ],
)
async def test_a_file_is_one_however_its_path_is_spelt(path: bytes, decoders: ThreadPoolExecutor) -> None:
    """What a lenient server takes for the same file is the same file: no spelling is free, none is booked a second time."""
    nameless = {"custom_id": "a", "response": {"status_code": 200, "body": body(1)}}
    plain = await metered(ResponseFacts("GET", b"/v1/files/f1/content", 200), [file(nameless)], decoders)
    assert seen(plain) == seen(await metered(ResponseFacts("GET", path, 200), [file(nameless)], decoders))
    assert ["f1/a"] == [each.line for each in plain.lines]
