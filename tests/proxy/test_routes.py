"""Which route a method and a raw path belong to."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.exchange import RouteTerms
from passthrough.meter.path_variants import folded, variants
from passthrough.proxy.routes import Match, OddPath, Route, RouteTable, Target

TARGET = Target(tls=True, host="api.test", port=443, base_path=b"")
GET, POST = frozenset({"GET"}), frozenset({"POST"})


def route(path: bytes, *, below: bool = False, methods: frozenset[str] | None = None) -> Route:
    """Return a route at `path`."""
    return Route(path, (TARGET,), RouteTerms(path.decode() or "/"), include_subpath=below, methods=methods)


def belongs(route: Route, path: bytes) -> bool:
    """Tell whether `path` is the route's, or below it: the rule, said without an index."""
    return path == route.path or (route.include_subpath and path.startswith(route.path + b"/"))


def reference(routes: list[Route], method: str, path: bytes) -> Match | frozenset[str]:
    """Return the match by looking at every route, or the methods that the path has routes for."""
    here = [each for each in routes if belongs(each, path)]
    fitting = [each for each in here if each.methods is None or method in each.methods]
    if fitting:
        best = max(fitting, key=lambda each: (each.path == path, len(each.path)))
        return Match(best, path[len(best.path) :])
    return frozenset().union(*(each.methods or () for each in here))


SEGMENTS = st.lists(st.sampled_from([b"", b"a", b"A", b"b", b"ab", b"a%2Fb", b"%61"]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: b"/" + b"/".join(segments))
METHODS = st.sampled_from([None, GET, POST, GET | POST])


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    """Draw routes without conflicts: one path's methods are disjoint, as the configuration makes sure."""
    routes: list[Route] = []
    for path in draw(st.lists(PATHS, max_size=8)):
        below, methods = draw(st.booleans()), draw(METHODS)
        bare = path.rstrip(b"/") if below else path
        rivals = [each for each in routes if each.path == bare]
        if all(each.methods and methods and not each.methods & methods for each in rivals):
            routes.append(route(bare, below=below, methods=methods))
    return routes


def rivals(routes: list[Route], method: str, path: bytes) -> list[list[Route]]:
    """Return, for each way in which a lenient server could read a path, the routes with the longest path that it is below."""
    found = []
    for reading in map(folded, variants(path)):
        lengths: dict[int, list[Route]] = {}
        for each in routes:
            bare = folded(variants(each.path)[0])
            if each.allows(method) and (reading == bare or (each.include_subpath and reading.startswith(bare + b"/"))):
                lengths.setdefault(len(bare), []).append(each)
        found.append(lengths[max(lengths)] if lengths else [])
    return found


@given(tables(), PATHS, st.sampled_from(["GET", "POST", "DELETE"]))
def test_a_match_is_what_looking_at_every_route_would_find(routes: list[Route], path: bytes, method: str) -> None:
    """The exact path wins, then the longest prefix on a segment boundary; 405 tells the other methods, 404 that none are."""
    expected = reference(routes, method, path)
    table = RouteTable(routes)
    if isinstance(expected, Match):
        rivalled = any(meant and expected.route not in meant for meant in rivals(routes, method, path))
        expected = frozenset() if expected.suffix and rivalled else expected
    if isinstance(expected, Match):
        assert expected == table.match(method, path)
        assert path == expected.route.path + table.match(method, path).suffix
        return
    with pytest.raises(Refusal) as caught:
        table.match(method, path)
    assert ("method_not_allowed" if expected else "no_route", tuple(sorted(expected))) == (
        caught.value.kind.code,
        caught.value.allow,
    )


TABLE = RouteTable(
    [
        route(b"/a", below=True),
        route(b"/a/v1/ocr", methods=POST),
        route(b"/a/v1/ocr", methods=GET, below=True),
        route(b"/exact"),
        route(b"/slash/"),
        route(b"/only", methods=GET | POST),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found", "suffix"),
    [
        ("GET", b"/a", b"/a", b""),
        ("GET", b"/a/", b"/a", b"/"),
        ("GET", b"/a//b", b"/a", b"//b"),
        ("GET", b"/a/%2F/", b"/a", b"/%2F/"),
        ("POST", b"/a/v1/ocr", b"/a/v1/ocr", b""),
        ("GET", b"/a/v1/ocr", b"/a/v1/ocr", b""),
        ("GET", b"/a/v1/ocr/x", b"/a/v1/ocr", b"/x"),
        ("POST", b"/a/v1/ocr/x", b"/a", b"/v1/ocr/x"),
        ("DELETE", b"/a/v1/ocr", b"/a", b"/v1/ocr"),
        ("POST", b"/a/v1/ocrs", b"/a", b"/v1/ocrs"),
        ("PURGE", b"/exact", b"/exact", b""),
        ("GET", b"/slash/", b"/slash/", b""),
    ],
)
def test_where_paths_belong(method: str, path: bytes, found: bytes, suffix: bytes) -> None:
    """Paths are compared raw, segment by segment; a route without the method does not hide a shorter one with it."""
    match = TABLE.match(method, path)
    assert (found, suffix) == (match.route.path, match.suffix)


@pytest.mark.parametrize("path", [b"/", b"/ab", b"/A", b"/%61", b"/exact/", b"/exact/x", b"/slash", b"/slash/x"])
def test_paths_without_a_route(path: bytes) -> None:
    """What no route has is 404: case, escapes and slashes count."""
    with pytest.raises(Refusal) as caught:
        TABLE.match("GET", path)
    assert "no_route" == caught.value.kind.code


@pytest.mark.parametrize(
    "path",
    [
        b"/a/v1/%6Fcr", b"/a/v1/oc%72", b"/a/%76%31/%6f%63%72", b"/a/v%31/ocr", b"/a/v1/ocr/", b"/a/v1/OCR",
        b"/a/v1//ocr", b"/a//v1/ocr",
        b"/a/v1/ocr%20", b"/a/v1/ocr;a", b"/a/v1/ocr.", b"/a/v1/ocr%3Fa", b"/a/v1/ocr%23", b"/a/v1%2Focr", b"/a/v1\\ocr",
        b"/a/x/%252e%252e/v1/ocr", b"/a/v1/oc%C1%B2", b"/a/v1/ocr%250A",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_walks_round_its_route(path: bytes) -> None:
    """What a target would take for another route's path is not let in by a route above it: it may have other limits."""
    with pytest.raises(Refusal) as caught:
        TABLE.match("POST", path)
    assert isinstance(caught.value, OddPath)
    assert ("no_route", "No route has this path.") == (caught.value.kind.code, caught.value.message)
    assert b"/a/v1/ocr" == caught.value.meant.path


def test_other_spellings_cross_as_they_came() -> None:
    """An escape that is no one else's path is the target's to understand; one that means something else stays what it is."""
    assert b"/%7Euser/b%2Fc" == TABLE.match("POST", b"/a/%7Euser/b%2Fc").suffix


def test_a_method_that_is_not_allowed_is_told_the_others() -> None:
    """405 carries Allow, sorted (RFC 9110 §15.5.6)."""
    with pytest.raises(Refusal) as caught:
        TABLE.match("PUT", b"/only")
    assert (405, ("GET", "POST")) == (caught.value.kind.status, caught.value.allow)


def test_an_empty_table_has_no_route() -> None:
    """Without routes everything is 404."""
    with pytest.raises(Refusal) as caught:
        RouteTable([]).match("GET", b"/")
    assert "no_route" == caught.value.kind.code


@pytest.mark.parametrize("path", [b"/", b"//", b"/a/b"])
def test_a_route_for_everything(path: bytes) -> None:
    """A route below the root has the empty path; the whole path is then its suffix."""
    assert path == RouteTable([route(b"", below=True)]).match("GET", path).suffix


@pytest.mark.parametrize(
    ("tls", "host", "port", "authority"),
    [
        (True, "api.test", 443, b"api.test"),
        (True, "api.test", 80, b"api.test:80"),
        (False, "api.test", 80, b"api.test"),
        (False, "api.test", 443, b"api.test:443"),
        (False, "::1", 4000, b"[::1]:4000"),
        (True, "::1", 443, b"[::1]"),
        (False, "fe80::1%eth0", 80, b"[fe80::1]"),
        (True, "api.test.", 443, b"api.test."),
    ],
)
def test_the_authority_of_a_target(tls: bool, host: str, port: int, authority: bytes) -> None:
    """Host names the port only where it is not the scheme's own, and brackets an IPv6 address."""
    assert authority == Target(tls, host, port, b"").authority


@pytest.mark.parametrize(("host", "tls_name"), [("api.test.", "api.test"), ("api.test", "api.test"), ("fe80::1%eth0", "fe80::1")])
def test_what_a_certificate_must_hold(host: str, tls_name: str) -> None:
    """The name without the root's dot (RFC 6066 §3), an address without its zone."""
    assert tls_name == Target(True, host, 443, b"").tls_name


class Looked(dict[bytes, tuple[Route, ...]]):
    """A mapping that counts how often it is asked."""

    asked = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        """Count, and return what there is."""
        self.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize("path", [b"/a" + b"/b" * 8000, b"/a" + b"/" * 16_000, b"/c" * 8000])
def test_a_path_of_many_segments_is_looked_up_a_few_times(path: bytes) -> None:
    """Each of 8,000 prefixes was, before any key was asked for: 70 ms for one request of 16 KB."""
    table = RouteTable([route(b"/a", below=True), route(b"/b/c/d", below=True)])
    table._prefixes, table._lenient = prefixes, lenient = Looked(table._prefixes), Looked(table._lenient)
    with suppress(Refusal):
        table.match("GET", path)
    assert prefixes.asked + lenient.asked < 20


@pytest.mark.parametrize("odd", [b"%2525", b"/a;b", b"%20/", b"%CC%81%CC%A3", b"//"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_long_path_has_one_reading_only(odd: bytes, count: int) -> None:
    """What it can be read as takes long to find out, for anybody, key or not: so long is no path that has to be odd."""
    table = RouteTable([route(b"/a", below=True), route(b"/b", below=True)][:count])
    short = b"/a/" + odd * (2000 // len(odd)) + b"x"
    assert short[2:] == table.match("GET", short).suffix
    with pytest.raises(Refusal) as refused:
        table.match("GET", b"/a/" + odd * (2100 // len(odd)) + b"x")
    assert "target_too_long" == refused.value.kind.code
    assert 16_001 == len(table.match("GET", b"/a/" + b"x" * 16_000).suffix)
