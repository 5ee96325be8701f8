"""Pages of named origins may call where a key is asked for, and read what comes back; no one else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.auth import Authenticator, ClientKey
from passthrough.proxy.cors import Cors, CorsHeaders
from passthrough.proxy.relay import Rules
from passthrough.proxy.routes import RouteTable
from tests.harness.client import client
from tests.harness.ocr_client import ask, body_of, request, table
from tests.harness.ocr_upstreams import OcrUpstream, ocr_upstreams
from tests.harness.proxy import OCR_ROUTES, Road, deployment_to, road, route_to
from tests.harness.upstream import RawUpstream, answering, ok, upstream

pytestmark = pytest.mark.wire

ANN = ClientKey("ann", sha256(b"key-of-ann").digest())
KEY = b"Authorization: Bearer key-of-ann"
PAGE = b"Origin: https://app.example"
OTHER = b"Origin: https://other.example"
ALLOWED = b"Access-Control-Allow-Origin: https://app.example"
EXPOSED = b"Access-Control-Expose-Headers: *"
VARIES = b"Vary: Origin"


@asynccontextmanager
async def sharing(*fields: bytes, cors: bool = True) -> AsyncIterator[tuple[Road, RawUpstream]]:
    """Run the proxy with keys, where pages of https://app.example may call; the target sends these fields."""
    async with upstream(answering(ok(b"{}", *fields))) as raw, road() as house:
        routes = RouteTable(
            [
                route_to(raw.port, b"/all"),
                route_to(raw.port, b"/ocr", methods=frozenset({"POST"})),
                route_to(raw.port, b"/ocr", methods=frozenset({"DELETE", "GET"})),
                route_to(raw.port, b"/open", auth=False),
            ]
        )
        shared = Cors([b"https://app.example", b"http://localhost:3000"]) if cors else None
        house.relay.rules = Rules(routes, Authenticator([ANN]), cors=shared)
        yield house, raw


async def asked(house: Road, line: bytes, *fields: bytes) -> tuple[int, list[bytes]]:
    """Send a request; return the status and what of the head is for browsers."""
    async with client(house.port) as raw:
        await raw.send(b"\r\n".join([line, b"Host: proxy.test", *fields]) + b"\r\n\r\n")
        head, _ = await raw.answer(line.split(b" ")[0].decode())
    lines = [each for each in head.split(b"\r\n") if each.lower().startswith((b"access-control-", b"vary"))]
    return int(head[9:12]), lines


def preflight(method: bytes = b"POST", *more: bytes) -> tuple[bytes, ...]:
    """Return the fields of a preflight of the page that may call."""
    return (PAGE, b"Access-Control-Request-Method: " + method, *more)


@pytest.mark.parametrize("path", [b"/all/v1/ocr", b"/open/v1/ocr"])
async def test_a_preflight_is_answered_here(path: bytes) -> None:
    """It carries no key (Fetch, "CORS-preflight request"): it was 401. Nothing goes up, and the log has it without an error."""
    names = b"authorization,content-type, x-team"
    async with sharing() as (house, raw):
        fields = preflight(b"PUT", b"Access-Control-Request-Headers: " + names)
        assert await asked(house, b"OPTIONS %b HTTP/1.1" % path, *fields) == (
            204,
            [
                ALLOWED,
                b"Access-Control-Allow-Methods: PUT",
                b"Access-Control-Max-Age: 7200",
                b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
                b"Access-Control-Allow-Headers: " + names,
            ],
        )
        (exchange,) = await house.booked()
        assert (204, None, Outcome.COMPLETED, 0) == (exchange.status, exchange.error, exchange.outcome, exchange.attempts)
        assert exchange.terms is not None
        assert not exchange.admitted  # What strangers can send without a key is not for the ledger.
        assert [] == raw.received


@pytest.mark.parametrize(
    ("path", "method", "methods"),
    [
        (b"/all", b"PATCH", b"PATCH"),
        (b"/ocr/x", b"POST", b"POST"),
        (b"/ocr/x", b"GET", b"DELETE, GET"),
        (b"/ocr/x", b"PUT", b"DELETE, GET, POST"),
        (b"/nowhere", b"POST", b"POST"),
    ],
)
async def test_the_methods_are_those_of_the_path(path: bytes, method: bytes, methods: bytes) -> None:
    """What a route does not allow, the browser says by itself; where there is no route, the page is to read that."""
    async with sharing() as (house, _):
        status, lines = await asked(house, b"OPTIONS %b HTTP/1.1" % path, *preflight(method))
        assert (204, b"Access-Control-Allow-Methods: " + methods) == (status, lines[1])


async def test_a_preflight_keeps_the_connection() -> None:
    """The request that it announces comes on the same connection."""
    async with sharing() as (house, _), client(house.port) as raw:
        lines = (b"OPTIONS /all HTTP/1.1", b"Host: proxy.test", *preflight(b"GET"))
        await raw.send(b"\r\n".join(lines) + b"\r\n\r\n")
        head, body = await raw.answer()
        assert (True, b"") == (b"\r\nConnection: keep-alive\r\n" in head, body)
        assert b"content-length" not in head.lower()  # RFC 9110 §8.6: a 204 has none.
        await raw.send(b"\r\n".join([b"GET /all HTTP/1.1", b"Host: proxy.test", PAGE, KEY]) + b"\r\n\r\n")
        assert (await raw.answer())[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((OTHER, b"Access-Control-Request-Method: POST"), 401),
        ((b"Origin: null", b"Access-Control-Request-Method: POST"), 401),
        ((b"Origin: https://app.example:444", b"Access-Control-Request-Method: POST"), 401),
        ((b"Origin: https://app.example.evil.example", b"Access-Control-Request-Method: POST"), 401),
        ((PAGE, PAGE, b"Access-Control-Request-Method: POST"), 401),
        ((b"Access-Control-Request-Method: POST",), 401),
        ((PAGE,), 401),
        ((PAGE, b"Access-Control-Request-Method: a b"), 401),
        ((PAGE, KEY), 200),
        ((OTHER, KEY, b"Access-Control-Request-Method: POST"), 200),
    ],
)
async def test_what_is_no_preflight_of_such_a_page(fields: tuple[bytes, ...], status: int) -> None:
    """Another page's, and an OPTIONS that is none, go where all requests go."""
    async with sharing() as (house, _):
        assert status == (await asked(house, b"OPTIONS /all HTTP/1.1", *fields))[0]


async def test_a_private_network() -> None:
    """Browsers that ask whether a public page may reach a private address are told so (Private Network Access §3.1)."""
    async with sharing() as (house, _):
        more = b"Access-Control-Request-Private-Network: true"
        _, lines = await asked(house, b"OPTIONS /all HTTP/1.1", *preflight(b"POST", more))
        assert b"Access-Control-Allow-Private-Network: true" == lines[-1]


async def test_names_that_are_none_are_not_repeated() -> None:
    """What stands where names of fields belong is not sent back."""
    async with sharing() as (house, _):
        more = b"Access-Control-Request-Headers: x; y=<script>"
        _, lines = await asked(house, b"OPTIONS /all HTTP/1.1", *preflight(b"POST", more))
        assert [] == [line for line in lines if line.startswith(b"Access-Control-Allow-Headers")]


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((), [ALLOWED, EXPOSED, VARIES]),
        ((b"Access-Control-Allow-Origin: *",), [ALLOWED, EXPOSED, VARIES]),
        (
            (b"access-control-allow-origin: https://elsewhere.example", b"Access-Control-Allow-Credentials: true"),
            [ALLOWED, EXPOSED, VARIES],
        ),
        ((b"Access-Control-Expose-Headers: x-a", b"ACCESS-CONTROL-MAX-AGE: 1"), [ALLOWED, EXPOSED, VARIES]),
        ((b"Vary: Accept-Encoding",), [b"Vary: Accept-Encoding", ALLOWED, EXPOSED, VARIES]),
        ((b"vary: Accept, origin",), [b"vary: Accept, origin", ALLOWED, EXPOSED]),
        ((b"Vary: *",), [b"Vary: *", ALLOWED, EXPOSED]),
    ],
)
async def test_a_page_may_read_the_response(theirs: tuple[bytes, ...], expected: list[bytes]) -> None:
    """Exactly one Access-Control-Allow-Origin arrives, whatever the target sends: two are none. The rest of the head stays."""
    async with sharing(b"X-Of-The-Target: 1", *theirs) as (house, _):
        assert (200, expected) == await asked(house, b"GET /all HTTP/1.1", KEY, PAGE)


@pytest.mark.parametrize("page", [(), (OTHER,), (b"Origin: null",), (PAGE, PAGE)])
async def test_others_notice_nothing(page: tuple[bytes, ...]) -> None:
    """What the target says of origins crosses for all others; caches are told that it differs (Fetch, "HTTP caches")."""
    theirs = b"Access-Control-Allow-Origin: *"
    async with sharing(theirs) as (house, _):
        assert (200, [theirs, VARIES]) == await asked(house, b"GET /all HTTP/1.1", KEY, *page)


@pytest.mark.parametrize("fields", [(PAGE,), preflight(), (OTHER,), ()])
async def test_without_cors_nothing_changes(fields: tuple[bytes, ...]) -> None:
    """Off by default: a preflight is a request like others, and nothing is added to a response."""
    theirs = (b"Access-Control-Allow-Origin: *", b"Vary: Accept")
    async with sharing(*theirs, cors=False) as (house, _):
        assert (401, []) == await asked(house, b"OPTIONS /all HTTP/1.1", *fields)
        assert (200, list(theirs)) == await asked(house, b"OPTIONS /all HTTP/1.1", *fields, KEY)


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        (b"GET /all HTTP/1.1", (), 401),
        (b"HEAD /all HTTP/1.1", (), 401),
        (b"GET /nowhere HTTP/1.1", (KEY,), 404),
        (b"PUT /ocr HTTP/1.1", (KEY,), 405),
        (b"GET /all/../x HTTP/1.1", (KEY,), 400),
        (b"GET /all HTTP/1.1", (KEY, b"Expect: wonders"), 417),
        (b"POST /all HTTP/1.1", (KEY, b"Content-Length: 9999999999"), 413),
    ],
)
async def test_our_own_errors_can_be_read(line: bytes, fields: tuple[bytes, ...], status: int) -> None:
    """Else a page learns of a wrong key, or of a spent budget, that "the network failed"."""
    async with sharing() as (house, _):
        assert (status, [ALLOWED, EXPOSED, VARIES]) == await asked(house, line, PAGE, *fields)
        assert (status, [VARIES]) == await asked(house, line, OTHER, *fields)


async def test_a_target_that_is_gone_can_be_read_of() -> None:
    """A 502 of our own is marked too."""
    async with sharing() as (house, raw):
        raw.stop()
        assert (502, [ALLOWED, EXPOSED, VARIES]) == await asked(house, b"GET /all HTTP/1.1", KEY, PAGE)


async def test_a_page_behind_a_program_on_one_connection() -> None:
    """What is remembered of a head goes by its origin: each response says what its own request's page may read."""
    lengths = (2, 2, 3)
    async with sharing() as (house, _), client(house.port) as raw:
        for page, expected in ((PAGE, ALLOWED), (b"X: 1", b""), (b"Origin: http://localhost:3000", b"http://localhost:3000")):
            for length in lengths:
                lines = (b"POST /all HTTP/1.1", b"Host: proxy.test", KEY, page, b"Content-Length: %d" % length)
                await raw.send(b"\r\n".join(lines) + b"\r\n\r\n" + b"1" * length)
                head, _ = await raw.answer()
                assert (expected or b"Vary: Origin") in head
                assert (1 if expected else 0) == head.lower().count(b"access-control-allow-origin")


def test_lines_are_not_changed_in_place() -> None:
    """The lines of a head stay what they were for who holds them."""
    lines = [b"HTTP/1.1 200 OK", b"Access-Control-Allow-Origin: *"]
    assert [b"HTTP/1.1 200 OK", b"Vary: Origin"] == CorsHeaders(b"https://app.example").added_to(lines)[::3]
    assert 2 == len(lines)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"bad",), 400),
        ((b"X: " + b"a" * 40_000,), 431),
        ((b"X: " + b"a" * 30_000, b"Y: " + b"a" * 30_000, b"Z: " + b"a" * 30_000), 431),
    ],
)
async def test_a_page_can_read_that_its_head_was_refused(lines: tuple[bytes, ...], status: int) -> None:
    """Also what never became a request: else the page sees nothing but a broken network."""
    async with sharing() as (house, _):
        assert (status, [ALLOWED, EXPOSED, VARIES]) == await asked(house, b"GET /all/x HTTP/1.1", PAGE, KEY, *lines)
        assert (status, [VARIES]) == await asked(house, b"GET /all/x HTTP/1.1", OTHER, KEY, *lines)
    async with sharing(cors=False) as (house, _):
        assert (status, []) == await asked(house, b"GET /all/x HTTP/1.1", PAGE, KEY, *lines)


@pytest.mark.parametrize("path", ["/v1/ocr", "/ocr"])
async def test_pages_call_the_models_of_a_list_as_they_call_routes(path: str) -> None:
    """One of a named origin gets its preflight and reads the response; of another it reads nothing."""
    async with ocr_upstreams(above := OcrUpstream()):
        models = table(deployment_to(above.port))
        async with road(models=models) as house:
            house.relay.rules = Rules(
                RouteTable(OCR_ROUTES), Authenticator([ANN]), cors=Cors([b"https://app.example"]), models=models
            )
            status, lines = await asked(house, b"OPTIONS %b HTTP/1.1" % path.encode(), *preflight())
            assert (204, True) == (status, ALLOWED in lines)
            for page, allowed in ((PAGE, "https://app.example"), (OTHER, None)):
                status, fields, _ = await ask(house.port, request(body_of(), path, KEY.decode(), page.decode()))
                assert (200, allowed) == (status, fields.get("access-control-allow-origin"))
