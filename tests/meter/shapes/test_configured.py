"""The meter of responses whose counts stand where the configuration says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.meter import ResponseFacts
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.metering import cuts, metered, pieces

POST = ResponseFacts("POST", b"/parse", 200)
NO_USAGE, NOT_JSON = Unmetered.NO_USAGE, Unmetered.NOT_JSON

REDUCTO = JsonCounts(pages=("usage.num_pages",), credits=("usage.credits",))
RESULTS = JsonCounts(pages=("results[].pages",))
GOOGLE = JsonCounts(count=("document.pages",))
AZURE = JsonCounts(count=("analyzeResult.pages",), when=(("status", "succeeded"),), model="analyzeResult.modelId")
ONE = JsonCounts(constant=1)
WHEN = JsonCounts(constant=1, when=(("done", "true"), ("n", "3")))

PAGE = {"pages": [{"pages": [1, 2]}], "text": "]}"}
UNMETERED = Usage(unmetered=NO_USAGE)

DOCUMENTS: list[tuple[JsonCounts, Any, Usage]] = [
    (REDUCTO, {"usage": {"num_pages": 3, "credits": 1.5}, "model": "r"}, Usage(pages=3, credits_micro=1_500_000, model="r")),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": None}}, Usage(pages=3)),
    (REDUCTO, {"usage": {"num_pages": None, "credits": 2}}, Usage(credits_micro=2_000_000)),
    (REDUCTO, {"usage": {"num_pages": 3.0}}, Usage(pages=3)),
    (REDUCTO, {"usage": {"num_pages": 0, "credits": 0}}, Usage(pages=0, credits_micro=0)),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": "1.5"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": -1}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": True}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 3, "credits": 1e13}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": "3"}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": 1.5}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": True}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": [3]}}, UNMETERED),
    (REDUCTO, {"usage": {"num_pages": -1}}, UNMETERED),
    (REDUCTO, {"usage": [{"num_pages": 3}]}, UNMETERED),
    (REDUCTO, {"model": "r"}, Usage(model="r", unmetered=NO_USAGE)),
    (REDUCTO, None, UNMETERED),
    (RESULTS, {"results": [{"pages": 1}, {"pages": 2}, {}, {"pages": None}, 7]}, Usage(pages=3)),
    (RESULTS, {"results": [{"pages": 1}, {"pages": "2"}]}, UNMETERED),
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
    (WHEN, {"done": True, "n": 4}, NOTHING),
    (WHEN, {"done": True, "n": [3]}, NOTHING),
    (JsonCounts(pages=("p",), model=None), {"p": 1, "model": "m"}, Usage(pages=1)),
    (JsonCounts(), {"p": 1}, UNMETERED),
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
    ("spelt", "micro"),
    [
        ("1.5", 1_500_000),
        ("0.1", 100_000),
        ("1e-6", 1),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("0.00000250000000000000000000000000000000000001", 3),
        ("123456789.123456", 123_456_789_123_456),
        ("1000000000000", 10**18),
        ("1E3", 10**9),
        ("-0.0", 0),
        ("1e-999999999", 0),
        ("1000000000000.1", None),
        ("1e999999999", None),
        ("1e99999999999999999999", None),
        ("NaN", None),
    ],
)
async def test_credits_are_exact_decimals(spelt: str, micro: int | None, decoders: ThreadPoolExecutor) -> None:
    """No float is between the response and its millionths; halves go to the even one."""
    for chunks in cuts(b'{"usage":{"credits":' + spelt.encode() + b"}}"):
        usage = (await metered(POST, chunks, decoders, plan(REDUCTO))).usage
        assert usage is not None
        assert (micro, micro is None) == (usage.credits_micro, usage.unmetered is not None)


@given(st.lists(st.decimals(0, 10**6, places=6), min_size=1, max_size=20), st.integers(1, 40))
async def test_credits_are_summed_exactly(amounts: list[Decimal], size: int) -> None:
    """Any sum of credits is that of their spellings."""
    body = b'{"a":[' + b",".join(b'{"c":%s}' % str(each).encode() for each in amounts) + b"]}"
    with ThreadPoolExecutor(1) as decoders:
        usage = (await metered(POST, pieces(body, size), decoders, plan(JsonCounts(credits=("a[].c",))))).usage
    assert Usage(credits_micro=int(sum(amounts) * 10**6)) == usage


@pytest.mark.parametrize("cut", [None, Unmetered.BROKEN, Unmetered.CANCELLED])
async def test_a_count_holds_once_the_document_has_ended(cut: Unmetered | None, decoders: ThreadPoolExecutor) -> None:
    """A sum is not known before; what comes behind does not matter; a constant holds at once."""
    body = b'{"results":[{"pages":1},{"pages":2}]}'
    for length in range(len(body)):
        found = await metered(POST, [body[:length]], decoders, plan(RESULTS), cut=cut)
        assert Usage(unmetered=cut or (NOT_JSON if length else NO_USAGE)) == found.usage
        assert Usage(pages=1) == (await metered(POST, [body[:length]], decoders, plan(ONE), cut=cut)).usage
    for more in (b"", b" ", b"}"):
        assert Usage(pages=3) == (await metered(POST, [body, more], decoders, plan(RESULTS), cut=cut)).usage


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", NOTHING), (b"<html>", Usage(unmetered=NOT_JSON)), (b'{"status":"succ', Usage(unmetered=NOT_JSON))],
)
async def test_a_condition_that_cannot_be_read_is_reported(body: bytes, expected: Usage, decoders: ThreadPoolExecutor) -> None:
    """An empty response (202) says nothing yet; what is not JSON should have."""
    assert expected == (await metered(POST, [body], decoders, plan(AZURE))).usage


@pytest.mark.parametrize(
    ("method", "is_read"), [("POST", True), ("GET", True), ("PUT", True), ("HEAD", False), ("OPTIONS", False)]
)
async def test_every_method_with_an_answer_is_counted(method: str, is_read: bool, decoders: ThreadPoolExecutor) -> None:
    """A result may be fetched by GET; HEAD and OPTIONS have none."""
    found = await metered(ResponseFacts(method, b"/x", 200), [b"{}"], decoders, plan(ONE))
    assert (Usage(pages=1) if is_read else None) == found.usage
    assert is_read == plan(ONE).expects(method, b"/x")


async def test_a_plan_without_counts_reads_nothing(decoders: ThreadPoolExecutor) -> None:
    """A shape that is not described cannot be found."""
    assert (await metered(POST, [b"{}"], decoders, MeterPlan(shape="json"))).usage is None


async def test_the_configured_model_wins(decoders: ThreadPoolExecutor) -> None:
    """The plan's model stands in the usage, whatever the response names."""
    usage = (await metered(POST, [b'{"model":"m"}'], decoders, plan(ONE, "mine"))).usage
    assert Usage(pages=1, model="mine") == usage
