"""Which route a path without one may have meant, and who is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from passthrough.proxy.auth import ClientKey
from passthrough.proxy.downstream.nearest_route import MAX_CLOSE, NearestRoute, NearestRoutes
from passthrough.proxy.routes import Route
from tests.harness.client import asking, client
from tests.harness.process import program
from tests.harness.proxy import road, route_to

MISTRAL = route_to(1, b"/mistral")
AZURE = route_to(1, b"/azure/v1/ocr", include_subpath=False)
ROUTES = (MISTRAL, AZURE, route_to(1, b"/vertex/v1", include_subpath=False))
TEAMS = tuple(route_to(1, b"/team%02d/ocr" % number) for number in range(60))


def nearest_route(routes: Sequence[Route], path: bytes) -> NearestRoute | None:
    """Return the nearest of all these routes."""
    return NearestRoutes(routes).nearest(path)


@pytest.mark.parametrize(
    ("path", "route", "hint"),
    [
        (b"/azure/v1/ocr/x", "/azure/v1/ocr", "Only /azure/v1/ocr itself is served"),
        (b"/azure/v1/ocr/", "/azure/v1/ocr", "Spell it"),
        (b"/Azure/v1//OCR", "/azure/v1/ocr", "Spell it"),
        (b"/MISTRAL/v1/ocr", "/mistral", "Spell it"),
        (b"//mistral/v1/ocr", "/mistral", "Spell it"),
        (b"/v1/ocr", "/azure/v1/ocr", "its whole path is needed, or put /mistral before the path."),
        (b"/mistrall/v1/ocr", "/mistral", "all below it is served"),
        (b"/mstral", "/mistral", "all below it is served"),
        (b"/azure/v1/files", "/azure/v1/ocr", "Call /azure/v1/ocr."),
        (b"/vertex/v2", "/vertex/v1", "Call /vertex/v1."),
        (b"/favicon.ico", None, ""),
        (b"/AZURE/v1/ocr/x", "/azure/v1/ocr", "Only /azure/v1/ocr itself is served"),
        (b"/MISTRAL/" + b"x/" * 2000, "/mistral", "Spell it"),
        (b"/.env", None, ""),
        (b"/", None, ""),
        (b"", None, ""),
        (b"/\xff\xfe%ff", None, ""),
    ],
)
def test_the_nearest_route(path: bytes, route: str | None, hint: str) -> None:
    """By its spelling, its beginning, its end; far ones are none."""
    near = nearest_route(ROUTES, path)
    assert route == (None if near is None else near.route)
    assert near is None or hint in near.hint


def test_a_lone_route_is_always_the_nearest() -> None:
    """The client that left it out is told where to put it."""
    near = nearest_route((MISTRAL,), b"/v1/chat/completions")
    assert near is not None
    assert ("/mistral", "Put /mistral before the path; all below it is served too.") == (near.route, near.hint)
    assert None is nearest_route((), b"/v1/ocr")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/Team55/ocr/x", "/team55/ocr"),
        (b"/team55//ocr", "/team55/ocr"),
        (b"/team5/ocr", None),
        (b"/team55/ocr2", None),
        (b"/ocr", None),  # the end of them all
        (b"/" + b"z/" * 8_000, None),
    ],
)
def test_none_of_very_many_is_taken_for_another(path: bytes, route: str | None) -> None:
    """Spelling and ends are looked up among all of them; letter by letter nothing is compared, and nothing is guessed."""
    near = nearest_route(TEAMS, path)
    assert route == (None if near is None else near.route)


@pytest.mark.parametrize(
    ("paths", "asked", "route"),
    [
        ((b"/team01", b"/team02"), b"/team03/v1", None),
        ((b"/team01", b"/team02"), b"/tem01/v1", "/team01"),
        ((b"/a/v1/ocr", b"/b/v1/ocr"), b"/v1/ocr", None),
        ((b"/azure/v1/ocr", b"/azure/v1/files"), b"/azur/v1/ocr", None),
        ((b"/mistral/a", b"/mistral/b"), b"/mistral/aa", "/mistral/a"),
        ((b"", b"/mistral/b"), b"/mistral/bb", "/mistral/b"),
        ((b"/A/b", b"/a"), b"/A/B/c", "/A/b"),
    ],
)
def test_what_is_not_clearly_nearer_is_not_named(paths: Sequence[bytes], asked: bytes, route: str | None) -> None:
    """Of two that are nearly as near neither is: it may be somebody else's."""
    near = nearest_route([route_to(1, path) for path in paths], asked)
    assert route == (None if near is None else near.route)


def test_as_many_as_are_compared() -> None:
    """The routes that the client may not use do not count: its own few are compared."""
    near = NearestRoutes(TEAMS).nearest(b"/tem07/ocr", {f"/team{number:02}/ocr" for number in range(MAX_CLOSE)})
    assert near is not None
    assert "/team07/ocr" == near.route
    assert None is nearest_route(TEAMS, b"/tem07/ocr")


def test_two_ways_or_one() -> None:
    """Where several routes open what is below them, none of them is named to be put before the path."""
    near = nearest_route((*ROUTES, route_to(1, b"/other")), b"/v1/ocr")
    assert near == NearestRoute("/azure/v1/ocr", "Call /azure/v1/ocr: its whole path is needed.")


def test_a_refusal_has_no_bytes_of_the_path() -> None:
    """Neither what is told nor the log: a key may stand in a path."""
    for told in (None, frozenset[str]()):
        refusal = NearestRoutes(ROUTES).no_route(b"/mistrall/secret-key", told)
        assert "secret" not in f"{refusal.message} {refusal.hint} {refusal.why}"
        assert "nearest route: /mistral" == refusal.why
        assert ("/mistral" in refusal.message) is (told is None)


def test_without_a_near_route_the_first_few_are_named() -> None:
    """To who may know them."""
    assert "Call one of the routes: /mistral, /azure/v1/ocr, /vertex/v1." == NearestRoutes(ROUTES).no_route(b"/x", None).hint
    many = NearestRoutes([route_to(1, b"/%d" % number) for number in range(9)])
    assert "Call one of the routes: /0, /1, /2 …." == many.no_route(b"/favicon.ico", None).hint


def key_of(name: str, *routes: str) -> ClientKey:
    """Return a client whose key is `key-of-…`."""
    return ClientKey(name, sha256(f"key-of-{name}".encode()).digest(), frozenset(routes) or None)


@pytest.mark.wire
@pytest.mark.parametrize(
    ("path", "key", "message", "why"),
    [
        (b"/mistrall/v1/ocr", b"", "No route has this path.", "nearest route: /mistral"),
        (b"/mistrall/v1/ocr", b"key-of-nobody", "No route has this path.", "nearest route: /mistral"),
        (b"/mistrall/v1/ocr", b"key-of-all", "No route has this path; the nearest is /mistral.", "nearest route: /mistral"),
        # Of the routes of others nothing is told; the log has the nearest of all.
        (b"/azure/v1/files", b"key-of-some", "No route has this path; the nearest is /mistral.", "nearest route: /azure/v1/ocr"),
        (b"/", b"", "This is passthrough, a reverse proxy: it serves its routes, and '/' is none of them.", None),
        (b"/", b"key-of-all", "This is passthrough, a reverse proxy: it serves its routes, and '/' is none of them.", None),
    ],
)
async def test_only_a_client_with_a_valid_key_is_told(path: bytes, key: bytes, message: str, why: str | None) -> None:
    """The message names the nearest route that its key may use; a stranger gets no name of any."""
    fields = (b"Authorization: Bearer " + key,) if key else ()
    keys = (key_of("all"), key_of("some", "/mistral"))
    async with road(*ROUTES, clients=keys) as house, client(house.port) as one:
        await one.send(asking(b"GET " + path + b" HTTP/1.1", *fields))
        head, body = await one.answer()
        (exchange,) = await house.booked()
    said = json.loads(body)
    assert (404, message, why) == (said["raw_status_code"], said["message"], exchange.why)
    is_known = key in {b"key-of-all", b"key-of-some"}
    assert is_known is ("/mistral" in said["message"] + said["hint"])
    assert b"X-Passthrough-Error: no_route\r\n" in head
    assert is_known or "azure" not in said["hint"]


@pytest.mark.wire
@pytest.mark.parametrize("path", [b"/mistral//secret/x", b"/mistral/%73ecret", b"/mistral/Secret/a"])
async def test_the_route_of_an_odd_path_is_as_secret_as_any(path: bytes) -> None:
    """It lies below a route that the client may use, and is another's: it is named to who may use that one, and in the log."""
    routes = (MISTRAL, route_to(1, b"/mistral/secret"))
    told = []
    for key in (b"", b"key-of-nobody", b"key-of-some", b"key-of-all"):
        async with road(*routes, clients=(key_of("all"), key_of("some", "/mistral"))) as house, client(house.port) as one:
            await one.send(asking(b"GET " + path + b" HTTP/1.1", *([b"Authorization: Bearer " + key] if key else [])))
            head, body = await one.answer()
            (exchange,) = await house.booked()
        assert b"X-Passthrough-Error: no_route\r\n" in head
        assert "nearest route: /mistral/secret" == exchange.why
        told.append("secret" in json.dumps(json.loads(body)))
    assert [False, False, False, True] == told


NO_KEYS = json.dumps(
    {"pass_through_endpoints": [{"path": "/mistral", "target": "http://127.0.0.1:9", "include_subpath": True}], "ledger": "none"}
)


@pytest.mark.wire
@pytest.mark.process
async def test_where_no_keys_are_asked_for_the_programs_of_this_machine_are_told(tmp_path: Path) -> None:
    """Not a page of another site, nor one whose name was made to point here."""
    asked: list[tuple[bytes, tuple[bytes, ...], bool]] = [
        (b"localhost", (), True),
        (b"localhost", (b"Origin: http://evil.example",), False),
        (b"evil.example", (), False),
    ]
    async with program(tmp_path, NO_KEYS) as running:
        for host, fields, is_told in asked:
            async with client(running.port) as one:
                await one.send(b"\r\n".join([b"GET /v1/models HTTP/1.1", b"Host: " + host, *fields, b"", b""]))
                _, body = await one.answer()
            said = json.loads(body)
            assert ("no_route", is_told) == (said["code"], "/mistral" in said["message"] and "/mistral" in said["hint"])
        assert ["nearest route: /mistral"] * 3 == [line["why"] for line in await running.logs(3)]
        assert 0 == await running.stop()
    async with program(tmp_path, NO_KEYS.replace("{", '{"allow_anonymous": true, ', 1)) as running:
        async with client(running.port) as one:
            await one.send(asking(b"GET /v1/models HTTP/1.1"))
            _, body = await one.answer()
        assert "mistral" not in body.decode()
        assert 0 == await running.stop()
