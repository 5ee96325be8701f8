"""No spelling of a metered path is served without being counted: Starlette's real router is compared with the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthrough.errors import Refusal
from passthrough.exchange import Outcome
from passthrough.meter.path_variants import folded, variants
from passthrough.meter.plan import MeterPlan
from passthrough.proxy.request_head import validate
from tests.harness.client import asking, client
from tests.harness.process import program
from tests.harness.proxy import street
from tests.harness.spellings import METERED, READERS, is_served, serve_starlette, serves, spellings, tells_pages
from tests.harness.upstream import upstream

HOST = ((b"Host", b"proxy.test"),)


def is_refused(method: str, path: bytes) -> bool:
    """Tell whether a head with this path is not let in."""
    try:
        validate(method, path, (1, 1), HOST)
    except Refusal:
        return True
    return False


def test_every_spelling_that_a_router_serves_is_refused_or_counted() -> None:
    """Thousands of spellings, two dozen lenient readers, one real router: what is served has been counted."""
    asked = served = 0
    free = []
    for method, path in spellings(6000):
        asked += 1
        reader = is_served(method, path)
        if reader is None:
            continue
        served += 1
        if not is_refused(method, path) and MeterPlan().reads(method, path) is None:
            free.append((method, path, reader))
    assert [] == free
    assert served > 1500, (asked, served)


@pytest.mark.parametrize(
    "path", [b"/v1/batch/jobs./j1", b"/v1/files./f1/content", b"/v1/batch./jobs/j1", b"/v1/files/f1./content"]
)
def test_a_dot_behind_a_folders_name_is_one_spelling(path: bytes) -> None:
    """Windows ignores it, wherever in the path it stands."""
    assert MeterPlan().reads("GET", path) is not None


def test_the_router_serves_what_is_documented_and_the_line_end() -> None:
    """The reader that is asked is no straw man: each path, and the spelling that was found first."""
    assert all(serves(method, path) for method, path in METERED)
    assert serves("POST", "/v1/ocr\n")
    assert not serves("POST", "/v1/ocr\r")
    assert not serves("GET", "/v1/ocr")
    assert len(READERS) > 20


@pytest.mark.wire
@pytest.mark.parametrize(
    "end", [b"%0A", b"%0a", b"%0D", b"%0B", b"%0C", b"%00", b"%1F", b"%7F", b"%7f", b"/%09", b"%0A?a", b"%20%0A"]
)
@pytest.mark.parametrize("path", [b"/v1/ocr", b"/v1/chat/completions", b"/v1/files/f1/content"])
async def test_an_encoded_control_byte_never_reaches_a_router(path: bytes, end: bytes) -> None:
    """`/ocr%0A` was served as `/ocr`, and neither counted nor held by a budget: it is 400, and says where it is."""
    async with street(serve_starlette) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST " + path + end + b" HTTP/1.1", body=b"{}"))
        head, body = await raw.answer()
        assert (b"400", 0) == (head[9:12], above.connections)
        assert b"at byte %d" % (len(path + end.partition(b"?")[0]) - 2) in body
        assert Outcome.REFUSED is (await house.booked())[0].outcome


@pytest.mark.wire
@pytest.mark.parametrize(
    "path",
    [
        b"/v1/ocr", b"/v1/oc%72", b"/v1%2Focr", b"/v1/ocr%20", b"/v1/ocr/", b"//v1/ocr", b"/v1/OCR", b"/v1/ocr;a", b"/v1/ocr%3Fa",
        b"/v1/ocr%23", b"/v1/ocr.", b"/v1/ocr%C2%A0", b"/v1/ocr%E2%80%A8", b"/v1/oc%C1%B2", b"/v1/ocr%250A",
    ],
)  # fmt: skip
async def test_what_starlette_answers_with_pages_has_been_counted(path: bytes) -> None:
    """Over real sockets: whenever the real application responds with pages, the exchange has the pages."""
    async with street(serve_starlette) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST " + path + b" HTTP/1.1", body=b"{}"))
        _, body = await raw.answer()
        exchange = (await house.booked())[0]
        usage = await exchange.usage_source.usage()
        assert (3 if tells_pages(body) else None) == usage.pages


BUDGET = """\
pass_through_endpoints:
  - {path: /v1, target: 'http://127.0.0.1:PORT/v1', include_subpath: true}
client_keys:
  - {name: ann, key: key-of-ann-0123456789, budget: {pages: 9, per: day}}
"""


@pytest.mark.wire
@pytest.mark.process
async def test_no_spelling_walks_round_a_budget(tmp_path: Path) -> None:
    """Six hundred pages went by a budget of two hundred, spelt `/ocr%0A`: however it is spelt, what is served is held by it."""
    paths = [b"/v1/ocr" + end for end in (b"", b"%0A", b"%0D", b"%20", b"%00", b"/", b";a", b"%7F")] * 4
    async with upstream(serve_starlette) as raw, program(tmp_path, BUDGET.replace("PORT", str(raw.port))) as running:
        statuses = []
        for path in paths:
            async with client(running.port) as one:
                await one.send(asking(b"POST " + path + b" HTTP/1.1", b"Authorization: Bearer key-of-ann-0123456789", body=b"{}"))
                statuses.append(int((await one.answer())[0][9:12]))
        log = await running.logs(len(paths))
        assert 0 == await running.stop()
    served = [line for line in log if line["status"] == 200]
    assert [3] * len(served) == [line["pages"] for line in served]
    assert 9 >= sum(line["pages"] for line in served)
    assert {200, 400, 429} <= set(statuses)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/v1/ocr", (b"/v1/ocr",)),
        (b"/v1/OCR", (b"/v1/OCR",)),
        (b"/v1/files/a%2Db/content", (b"/v1/files/a-b/content", b"/v1/files/a%2Db/content")),
        (b"/v1/ocr%3Fa", (b"/v1/ocr?a", b"/v1/ocr", b"/v1/ocr%3Fa")),
        (b"/v1/ocr.json", (b"/v1/ocr.json", b"/v1/ocr")),
        (b"/v1/..%255c../ocr", (b"/ocr", b"/v1/..%5c/ocr", b"/v1/..%255c/ocr")),
        (b"/../../a", (b"/a",)),
        (b"/%u006fcr", (b"/ocr", b"/%u006fcr")),
        (b"/%uD800", (b"/?", b"", b"/%uD800")),
        (b"/%EF%BD%8Fcr%EF%BC%8Fa", (b"/ocr/a", b"/%EF%BD%8Fcr%EF%BC%8Fa")),
        (b"/", (b"",)),
    ],
)
def test_the_readings_of_a_path(path: bytes, found: tuple[bytes, ...]) -> None:
    """Decoded up to three times, cut where a query could begin, with and without a format; the furthest first."""
    assert found == variants(path)


@pytest.mark.parametrize("path", [b"/FILE\xc5\xbf", b"/f\xc4\xb1les", b"/F\xc4\xb0LES", b"/Files"])
def test_letters_that_are_compared_without_case(path: bytes) -> None:
    """What Python's re.IGNORECASE takes for ASCII is folded to it."""
    assert b"/files" == folded(path)
