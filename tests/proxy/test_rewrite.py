"""What is forwarded, in each direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.credentials.identity import GoogleIdentity
from passthrough.exchange import RouteTerms
from passthrough.proxy.auth import CREDENTIAL_HEADERS, Authenticator, ClientKey
from passthrough.proxy.headers import HOP_BY_HOP, fields_of
from passthrough.proxy.request_head import validate
from passthrough.proxy.rewrite import (
    HeaderRewriter,
    injected_secrets,
    label_of,
    named_labels_of,
    proxy_authorization,
    request_target,
    response_fields,
    sent_values,
)
from passthrough.proxy.routes import LabelHeader, Route, Target
from passthrough.secret import Secret

OURS = b"key-of-this-proxy"
GATE = Authenticator([ClientKey("ann", sha256(OURS).digest())], key_header=b"x-gate-key")
TARGET = Target(tls=True, host="api.test", port=443, base_path=b"/v1")
HOST = (b"Host", b"proxy.test")
Raw = tuple[bytes, bytes]


def route(**settings: Any) -> Route:
    """Return a route that forwards headers, with these settings."""
    settings.setdefault("forward_headers", True)
    return Route(b"", (TARGET,), RouteTerms("/"), include_subpath=True, **settings)


def sent_up(route: Route, *raw: Raw, target: Target = TARGET, method: str = "POST", path: bytes = b"/ocr") -> list[bytes]:
    """Return the lines of the head that goes to the target for a request with these fields."""
    head = validate(method, path, (1, 1), (HOST, *raw))
    whole = HeaderRewriter(route, GATE).request_head(head, head.path, target)
    assert whole.endswith(b"\r\n\r\n")
    assert 1 == whole.count(b"\r\n\r\n")
    return whole[:-4].split(b"\r\n")


def fields_up(route: Route, *raw: Raw, **more: Any) -> list[Raw]:
    """Return the fields that go to the target behind Host, as (name, value)."""
    _, host, *rest = sent_up(route, *raw, **more)
    assert b"Host: api.test" == host
    return [(name, value) for name, _, value in (each.partition(b": ") for each in rest)]


# ── the head that goes up ──

ADDRESSES = (
    b"Forwarded", b"X-Forwarded-For", b"X-Real-IP", b"x-real-port", b"CF-Connecting-IP", b"CF-Connecting-IPv6", b"True-Client-IP",
    b"X-Client-IP", b"X-Cluster-Client-IP", b"X-Remote-IP", b"X-Remote-Addr", b"X-Originating-IP", b"Fastly-Client-IP",
    b"Client-IP", b"Fly-Client-IP", b"DO-Connecting-IP", b"Proxy-Client-IP", b"WL-Proxy-Client-IP",
    b"X-Azure-ClientIP", b"X-Azure-SocketIP",
    b"X-Original-Forwarded-For", b"X-Original-Host", b"X-Envoy-External-Address", b"X-AppEngine-User-IP",
)  # fmt: skip


RESOURCES = (
    b"X-Original-URL", b"X-Original-URI", b"X-Rewrite-URL", b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override",
    b"X-Original-Method",
)  # fmt: skip


@pytest.mark.parametrize("name", [*ADDRESSES, *RESOURCES])
@pytest.mark.parametrize(
    "spelt",
    [
        bytes,
        bytes.upper,
        lambda name: name.replace(b"-", b"_"),
        lambda name: b"x-pass-" + name,
        lambda name: b"x-pass-x-pass-" + name.replace(b"-", b"_"),
    ],
)
def test_what_tells_of_another_client_path_or_method_stays_here(name: bytes, spelt: Callable[[bytes], bytes]) -> None:
    """A client's word about who asked is not passed on as ours, nor another path or method, which would not be metered."""
    found = fields_up(route(), (spelt(name), b"203.0.113.7"), (b"X-Real-Name", b"ann"), (b"X-Client", b"sdk"))
    assert [(b"X-Real-Name", b"ann"), (b"X-Client", b"sdk")] == found


@pytest.mark.parametrize(
    "twin", [b"X_Api_Key", b"x_api-key", b"X.Api.Key", b"x-pass-x_api_key", b"X-Pass-X_Api-Key", b"x_pass_x_api_key"]
)
@pytest.mark.parametrize("forward_credentials", [False, True])
def test_no_twin_of_an_injected_field_crosses(twin: bytes, forward_credentials: bool) -> None:
    """To a CGI-like reader `_` and `-` are one: the client's value would stand beside the operator's, or in its place."""
    ours = route(
        headers=((b"X-Api-Key", Secret("0123456789")),), auth=not forward_credentials, forward_credentials=forward_credentials
    )
    assert [(b"X-Api-Key", b"0123456789")] == fields_up(ours, (twin, b"theirs"))


@pytest.mark.parametrize(
    ("settings", "twin"),
    [
        ({"headers": ((b"My_Header", Secret("ours")),)}, b"my-header"),
        ({"label_headers": (LabelHeader(b"x-team", forward=False),)}, b"x_team"),
        ({}, b"authoriza_tion"),
        ({}, b"proxy_authorization"),
        ({}, b"x_gate_key"),
        ({}, b"api_key"),
    ],
)
def test_twins_of_what_stays_stay(settings: dict[str, Any], twin: bytes) -> None:
    """Labels, keys and fields of one connection stay here in every spelling; other names with underscores cross."""
    names = [name.lower() for name, _ in fields_up(route(**settings), (twin, b"theirs"), (b"x_other", b"y"))]
    assert b"x_other" in names
    assert (twin in names) == (twin == b"authoriza_tion")


# Sorted, or each process that takes part in a run would have another order of the tests and other examples.
NEVER = (*sorted(HOP_BY_HOP), b"host", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-x")
BODY = (b"content-type", b"Content-Encoding", b"ACCEPT", b"accept-language", b"Range", b"If-None-Match", b"user-agent")
OTHER = (b"Cookie", b"x-team", b"X-Team", b"via", b"Mistral-Beta", b"x-passage", b"Origin", b"sec-x", b"http2-settings")
PASSED = (b"x-pass-team", b"X-Pass-Mistral-Beta", b"x-pass-content-type")
KEYS = (*CREDENTIAL_HEADERS, b"x-gate-key", b"x-team-key")

VALUES = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12).map(lambda text: text.strip().encode())


def cased(names: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Draw one of the names, as it stands, in upper case, or in title case."""
    return st.builds(lambda name, case: case(name), st.sampled_from(names), st.sampled_from([bytes, bytes.upper, bytes.title]))


def fields(names: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Raw]]:
    """Draw header fields with these names, in any number and order."""
    return st.lists(st.tuples(names, VALUES), max_size=12)


def lines_up(raw: list[Raw], crosses: Callable[[bytes], bool]) -> list[Raw]:
    """Return the fields that must cross, in their order, `x-pass-` peeled off."""
    kept = [(name, value) for name, value in raw if crosses(name.lower())]
    return [(name[7:] if name.lower().startswith(b"x-pass-") else name, value) for name, value in kept]


@given(fields(cased((*BODY, *OTHER, *PASSED, *(b"forwarded", b"x-forwarded-for", b"te", b"keep-alive", b"upgrade"), *KEYS))))
def test_exactly_what_crosses_crosses(raw: list[Raw]) -> None:
    """With `forward_headers` all that is no credential and not hop-by-hop crosses: in order, case and duplicates kept."""
    never = {*NEVER, *KEYS}
    expected = lines_up(raw, lambda lower: lower not in never)
    assert expected == fields_up(route(key_header=b"x-team-key"), *raw)


@given(fields(cased((*BODY, *OTHER, *PASSED, *KEYS))))
def test_without_forward_headers_only_what_describes_the_body_crosses(raw: list[Raw]) -> None:
    """Without `forward_headers` the body's description and negotiation cross, and what is passed by name."""
    body = {name.lower() for name in BODY}
    expected = lines_up(raw, lambda lower: lower in body or lower.startswith(b"x-pass-"))
    assert expected == fields_up(route(forward_headers=False, key_header=b"x-team-key"), *raw)


PREFIXES = st.sampled_from([b"", b"x-pass-", b"X-PASS-", b"x-pass-x-pass-", b"x-pass-X-Pass-x-pass-"])


@given(
    st.lists(st.tuples(PREFIXES, cased(KEYS), st.sampled_from([b"", b"Bearer ", b"bearer\t"])), max_size=6),
    st.lists(cased((*KEYS, b"x-pass-authorization", b"close", b"x-team", b"content-length")), max_size=4),
    fields(cased((*BODY, *OTHER))),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_key_of_ours_ever_goes_up(
    keys: list[tuple[bytes, bytes, bytes]],
    nominated: list[bytes],
    others: list[Raw],
    forward_headers: bool,
    forward_credentials: bool,
    random: Any,
) -> None:
    """A client's key stays here wherever it stands, under whatever spelling and nomination, and the injected one stays in."""
    raw = [(prefix + name, scheme + OURS) for prefix, name, scheme in keys]
    raw += [(b"Connection", b", ".join(nominated))] if nominated else []
    raw += [each for each in others if OURS not in each[1]]
    random.shuffle(raw)
    settings = {"forward_headers": forward_headers, "forward_credentials": forward_credentials, "key_header": b"x-team-key"}
    lines = sent_up(route(headers=((b"Authorization", Secret("Bearer upstream")),), **settings), *raw)
    assert not [line for line in lines if OURS in line]
    assert [b"Authorization: Bearer upstream"] == [line for line in lines if line.lower().startswith(b"authorization:")]


@pytest.mark.parametrize("spelt", [bytes, bytes.title, lambda name: b"x-pass-" + name, lambda name: b"X-Pass-x-pass-" + name])
@pytest.mark.parametrize(
    "name",
    [b"authorization", b"x-authorization", b"x_authorization", b"x-forwarded-authorization", b"x-original-authorization",
     b"x-serverless-authorization", b"x-goog-iam-authorization-token", b"proxy-authorization", b"x-goog-user-project",
     b"x_goog_user_project", b"x-goog-iam-authority-selector"],
)  # fmt: skip
@pytest.mark.parametrize("forward_credentials", [False, True])
def test_where_a_token_is_fetched_a_client_sets_no_authorization(
    forward_credentials: bool, name: bytes, spelt: Callable[[bytes], bytes]
) -> None:
    """Under no name that a server may read first, nor whose quota is used; and no configured one is beside the later token."""
    settings: dict[str, Any] = {"auth": not forward_credentials, "forward_credentials": forward_credentials}
    ours = route(upstream_auth=GoogleIdentity(), headers=((b"AUTHORIZATION", Secret("Bearer 0123456789")),), **settings)
    assert [(b"x-team", b"a")] == fields_up(ours, (spelt(name), b"Bearer theirs"), (b"x-team", b"a"))
    assert [(b"x-team", b"a")] == fields_up(ours, (b"Connection", b"authorization"), (b"x-team", b"a"))
    configured = route(upstream_auth=GoogleIdentity(), headers=((b"X-Goog-User-Project", Secret("ours")),))
    assert [(b"X-Goog-User-Project", b"ours")] == fields_up(configured, (spelt(name), b"theirs"))


@given(st.lists(cased((*BODY, *OTHER, *PASSED)), max_size=5), fields(cased((*BODY, *OTHER, *PASSED))))
def test_what_connection_nominates_stays(names: list[bytes], raw: list[Raw]) -> None:
    """A nominated field is dropped, passed by name or not (RFC 9110 §7.6.1)."""
    half = len(names) // 2
    lines = [(b"Connection", b"close, " + b" ,".join(names[:half])), (b"connection", b",".join(names[half:]))]
    nominated = {name.lower() for name in names}
    expected = lines_up(raw, lambda lower: lower not in nominated)
    assert expected == fields_up(route(), lines[0], *raw, lines[1])


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in NEVER),
        *KEYS,
        *(b"x-pass-" + name for name in (b"authorization", b"connection", b"content-length", b"x-gate-key", b"cookie")),
        b"content-length",
        b"content-encoding",
        b"cookie",
        b"content_length",
        b"transfer--encoding",
        b"",
    ],
)
def test_what_may_not_be_passed_by_name(name: bytes) -> None:
    """`x-pass-` sets no credentials, no Host, no length, no coding, nothing of one connection, and no imitation of it."""
    assert [] == fields_up(route(key_header=b"x-team-key"), (b"X-Pass-" + name, b"v"))


def test_an_injected_field_replaces_the_clients() -> None:
    """Configured fields come last, as spelt, and take the place of all of that name, however it is spelt or passed."""
    headers = ((b"X-Team", Secret("ops")), (b"Accept", Secret("a/b")), (b"X-Pass-Through", Secret("yes")))
    raw = ((b"x-team", b"1"), (b"ACCEPT", b"*/*"), (b"X-Pass-x-Team", b"2"), (b"x-pass-through", b"3"), (b"Keep", b"4"))
    expected = [(b"Keep", b"4"), (b"X-Team", b"ops"), (b"Accept", b"a/b"), (b"X-Pass-Through", b"yes")]
    assert expected == fields_up(route(headers=headers), *raw)


@pytest.mark.parametrize("value", [b"multipart/form-data; boundary=x", b"Multipart/Mixed;boundary=x"])
def test_a_configured_content_type_leaves_a_multipart_one_alone(value: bytes) -> None:
    """The boundary stands in the client's Content-Type: without it the body cannot be read."""
    raw = (b"Content-Type", value)
    assert [raw] == fields_up(route(headers=((b"content-type", Secret("application/json")),)), raw)


def test_a_configured_content_type_replaces_any_other() -> None:
    """As in LiteLLM, a configured Content-Type wins over one that is not multipart."""
    own = route(headers=((b"content-type", Secret("application/json")),))
    assert [(b"content-type", b"application/json")] == fields_up(own, (b"Content-Type", b"text/plain"))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (((b"A", b"1"), (b"content-LENGTH", b"007"), (b"B", b"2")), [(b"A", b"1"), (b"content-LENGTH", b"007"), (b"B", b"2")]),
        (((b"Content-Length", b"5"), (b"Connection", b"content-length")), [(b"Content-Length", b"5")]),
        (
            ((b"TE", b"trailers"), (b"transfer-encoding", b"Chunked"), (b"Trailer", b"a"), (b"A", b"1")),
            [(b"A", b"1"), (b"Transfer-Encoding", b"chunked")],
        ),
        ((), []),
    ],
)
def test_the_framing_is_the_parsers(raw: tuple[Raw, ...], expected: list[Raw]) -> None:
    """A declared length stays where it stood, chunked stays chunked, trailers are not announced, no body stays none."""
    assert expected == fields_up(route(), *raw)


def test_a_declared_length_crosses_without_forward_headers() -> None:
    """Framing is not a header that could be kept back."""
    assert [(b"Content-Length", b"5")] == fields_up(route(forward_headers=False), (b"Content-Length", b"5"))


def test_expect_is_met_here() -> None:
    """Expect does not go up: local checks have met it."""
    assert [(b"Content-Length", b"5")] == fields_up(route(), (b"Expect", b"100-continue"), (b"Content-Length", b"5"))


@pytest.mark.parametrize(
    ("raw", "crosses"),
    [
        ((b"Authorization", b"Bearer theirs"), True),
        ((b"api-key", b"theirs"), True),
        ((b"api-key", b""), True),
        ((b"Authorization", b"Bearer " + OURS), False),
        ((b"authorization", OURS), False),
        ((b"X-Api-Key", b"bearer  " + OURS), False),
        ((b"x-pass-authorization", b"Bearer theirs"), False),
    ],
)
def test_bring_your_own_key(raw: Raw, crosses: bool) -> None:
    """With `forward_credentials` a provider's key crosses, one of ours never, and none by another name."""
    own = route(forward_credentials=True, auth=False)
    assert ([raw] if crosses else []) == fields_up(own, raw)
    assert [] == fields_up(own, raw, (b"Connection", raw[0]))
    injected = (raw[0], Secret("Bearer upstream"))
    assert [(raw[0], b"Bearer upstream")] == fields_up(replace(own, headers=(injected,)), raw)


@pytest.mark.parametrize(
    ("label", "raw", "crosses"),
    [
        (LabelHeader(b"x-team"), (b"X-Team", b"a"), True),
        (LabelHeader(b"x-team", forward=False), (b"X-Team", b"a"), False),
        (LabelHeader(b"x-team", forward=False), (b"x-pass-x-team", b"a"), False),
        (LabelHeader(b"x-pass-team", forward=False), (b"x-pass-team", b"a"), False),
    ],
)
def test_a_label_that_stays_here(label: LabelHeader, raw: Raw, crosses: bool) -> None:
    """A label header goes up unless the route keeps it to itself, in whatever spelling."""
    assert crosses == bool(fields_up(route(label_headers=(label,)), raw))


def test_label_of_takes_the_first_that_has_a_value() -> None:
    """The first configured label that the request carries with a value counts, as text of at most 200 characters."""
    own = route(label_headers=(LabelHeader(b"x-user"), LabelHeader(b"x-team")))
    assert None is label_of(own, fields_of(((b"X-Other", b"a"),)))
    assert "ops" == label_of(own, fields_of(((b"X-Team", b"ops"), (b"X-User", b""))))
    assert "é" * 200 == label_of(own, fields_of(((b"X-Team", b"ops"), (b"X-User", "é".encode() * 300))))


def test_named_labels_of_takes_the_first_header_for_each_name() -> None:
    """Sorted by name; a header for a named label is none for the plain one; values are as long as the plain one's."""
    own = route(
        label_headers=(
            LabelHeader(b"x-user", fills="user"),
            LabelHeader(b"x-plain"),
            LabelHeader(b"x-team", fills="team"),
            LabelHeader(b"x-group", fills="team"),
        )
    )
    assert () == named_labels_of(own, fields_of(((b"X-Plain", b"a"),)))
    both = fields_of(((b"X-User", "é".encode() * 300), (b"X-Group", b"old"), (b"X-Team", b"ops")))
    assert (("team", "ops"), ("user", "é" * 200)) == named_labels_of(own, both)
    assert None is label_of(own, both)
    assert (("team", "old"),) == named_labels_of(own, fields_of(((b"X-Team", b""), (b"X-Group", b"old"))))


# ── where it goes ──

PLAIN = Target(tls=False, host="::1", port=8080, base_path=b"")
PROXY = Secret("http://us%65r:p%40ss@proxy.test:3128")


@pytest.mark.parametrize(
    ("target", "start"),
    [
        (PLAIN, [b"POST /ocr HTTP/1.1", b"Host: [::1]:8080"]),
        (
            replace(PLAIN, proxy=PROXY),
            [b"POST http://[::1]:8080/ocr HTTP/1.1", b"Host: [::1]:8080", b"Proxy-Authorization: Basic dXNlcjpwQHNz"],
        ),
        (replace(PLAIN, proxy=Secret("http://proxy.test")), [b"POST http://[::1]:8080/ocr HTTP/1.1", b"Host: [::1]:8080"]),
        (replace(PLAIN, tls=True, proxy=PROXY), [b"POST /ocr HTTP/1.1", b"Host: [::1]:8080"]),
    ],
)
def test_the_first_lines(target: Target, start: list[bytes]) -> None:
    """A plain request through a proxy names its target in full and brings its credentials; in a tunnel neither is seen."""
    assert start == sent_up(route(), target=target)
    assert start == sent_up(route(), (b"Proxy-Authorization", b"Basic theirs"), target=target)


@pytest.mark.parametrize(
    ("url", "lines"),
    [
        ("http://proxy.test", []),
        ("http://a@proxy.test", [b"Proxy-Authorization: Basic YTo="]),
        ("http://a:b:c@proxy.test", [b"Proxy-Authorization: Basic YTpiOmM="]),
        ("http://%C3%A4:%00@proxy.test", [b"Proxy-Authorization: Basic w6Q6AA=="]),
    ],
)
def test_the_credentials_of_a_proxy(url: str, lines: list[bytes]) -> None:
    """User and password of the proxy's URL become Basic, unescaped (RFC 7617)."""
    assert lines == proxy_authorization(Secret(url))


SUFFIXES = st.text("/ab%2Fc.:;=@!~", max_size=20).map(lambda text: b"/" + text.encode())
QUERIES = st.none() | st.text("ab=&?/%20+;", max_size=20).map(str.encode)


@given(st.sampled_from([b"", b"/v1", b"/v1/ocr"]), st.just(b"") | SUFFIXES, QUERIES)
def test_suffix_and_query_cross_byte_for_byte(base: bytes, suffix: bytes, query: bytes | None) -> None:
    """Where the operator configured no query, the client's bytes follow the base path unchanged, a bare `?` too."""
    target = replace(TARGET, base_path=base)
    expected = (base + suffix or b"/") + (b"" if query is None else b"?" + query)
    assert expected == request_target(route(), target, suffix, query)
    assert expected == request_target(route(merge_query_params=True), target, suffix, query)


@pytest.mark.parametrize(
    ("base", "suffix", "path"),
    [
        (b"/v1/", b"/ocr", b"/v1/ocr"),
        (b"/v1/", b"", b"/v1/"),
        (b"/v1/", b"//ocr", b"/v1//ocr"),
        (b"/v1", b"/", b"/v1/"),
        (b"", b"", b"/"),
        (b"", b"//", b"//"),
    ],
)
def test_base_path_and_suffix_meet_in_one_slash(base: bytes, suffix: bytes, path: bytes) -> None:
    """Two slashes that meet at the joint are one; all others stay."""
    assert path == request_target(route(), replace(TARGET, base_path=base), suffix, None)


@pytest.mark.parametrize(
    ("ours", "theirs", "defaults", "kept", "merged"),
    [
        (b"v=1", None, (), b"v=1", b"v=1"),
        (b"v=1", b"", (), b"v=1", b"v=1"),
        (b"v=1", b"a=%2F&a=b+c&&=", (), b"v=1&a=%2F&a=b+c&&=", b"v=1&a=%2F&a=b+c&&="),
        (b"v=1", b"v=2&w=3&v", (), b"v=1&w=3", b"v=2&w=3&v"),
        (b"v=1&w=9", b"v=2", (), b"v=1&w=9", b"w=9&v=2"),
        (b"api-version=1", b"%61pi-version=2", (), b"api-version=1", b"%61pi-version=2"),
        (b"a+b=1", b"a%20b=2", (), b"a+b=1", b"a%20b=2"),
        (b"%ff=1", b"%fe=2", (), b"%ff=1&%fe=2", b"%ff=1&%fe=2"),
        (b"v=1", b"V=2", (), b"v=1&V=2", b"v=1&V=2"),
        (b"", b"a=1", (b"d=4", b"a=9"), b"a=1&d=4", b"a=1&d=4"),
        (b"d=1", None, (b"d=4", b"e=5"), b"d=1&e=5", b"d=1&e=5"),
        (b"", None, (b"d=4",), b"d=4", b"d=4"),
    ],
)
def test_the_operators_query_joins_the_clients(
    ours: bytes, theirs: bytes | None, defaults: tuple[bytes, ...], kept: bytes, merged: bytes
) -> None:
    """The operator's pairs, then the client's others; merged, the client's win; defaults only where no one named them."""
    target = replace(TARGET, query=ours)
    assert b"/v1?" + kept == request_target(route(default_query=defaults), target, b"", theirs)
    assert b"/v1?" + merged == request_target(route(default_query=defaults, merge_query_params=True), target, b"", theirs)


# ── the head that comes down ──

DOWN = (*OTHER, *BODY, b"Set-Cookie", b"Content-Length", b"Date", b"Server", b"X-RateLimit-Remaining")


@given(fields(cased((*DOWN, *sorted(HOP_BY_HOP), b"alt-svc"))), st.lists(cased(DOWN), max_size=3))
def test_an_answers_header_crosses_as_it_came(raw: list[Raw], names: list[bytes]) -> None:
    """All but hop-by-hop fields and Alt-Svc come down: order, case, duplicates kept; no nomination takes the length away."""
    raw = [each for each in raw if each[0].lower() != b"connection"]
    gone = {*HOP_BY_HOP, b"alt-svc", *(name.lower() for name in names)} - {b"content-length"}
    expected = [name + b": " + value for name, value in raw if name.lower() not in gone]
    assert expected == response_fields(fields_of((*raw, (b"Connection", b",".join(names)))), ())


def test_no_nomination_takes_an_answers_length_away() -> None:
    """Framing is not the target's to nominate: the length that was read is the length that is told."""
    raw = ((b"Connection", b"content-length, x-a"), (b"Content-Length", b"5"), (b"X-A", b"1"))
    assert [b"Content-Length: 5"] == response_fields(fields_of(raw), ())


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        (((b"Authorization", Secret("Bearer sk-123456", "KEY")),), (b"sk-123456",)),
        (((b"api-key", Secret("sk-123456")),), (b"sk-123456",)),
        (((b"X-Own", Secret("token-123", "OWN")),), (b"token-123",)),
        (((b"X-Own", Secret("plain-text")),), ()),
        (((b"api-version", Secret("2024-05-01-preview", "VERSION")),), ()),
        (((b"Authorization", Secret("Bearer short", "KEY")),), ()),
    ],
)
def test_what_must_not_come_back(headers: tuple[tuple[bytes, Secret], ...], secrets: tuple[bytes, ...]) -> None:
    """Credentials, and what came from the environment, are secrets; a text too short to be told from chance is none."""
    assert secrets == injected_secrets(route(headers=headers))


def test_an_echo_of_the_injected_key_does_not_reach_the_client() -> None:
    """A target that echoes its request does not hand out the operator's key, neither under its name nor in another value."""
    echoed = fields_of(((b"Authorization", b"x"), (b"X-Echo", b"a=Bearer sk-123456;"), (b"X-Good", b"sk-12345")))
    assert [b"X-Good: sk-12345"] == response_fields(echoed, (b"sk-123456",))


def test_what_was_sent_may_hold_secrets() -> None:
    """Fields of the client and of the route, queries raw and decoded, the proxy on the way; not what describes the body."""
    sent = route(headers=((b"X-Set", Secret("set")),), default_query=(b"d=default",))
    fields = ((b"Authorization", b"Bearer own"), (b"Content-Type", b"a/b"), (b"User-Agent", b"sdk"), (b"Connection", b"x"))
    head = validate("POST", b"/ocr?t=as%2Bked&lone", (1, 1), (HOST, *fields))
    target = replace(TARGET, query=b"key=in+url", proxy=Secret("http://user:via@proxy.test"))
    proxied = [b"http://user:via@proxy.test", b"dXNlcjp2aWE="]
    queries = [b"in+url", b"in url", b"default", b"default", b"as%2Bked", b"as+ked", b"lone", b"lone"]
    assert [b"set", b"Bearer own", *proxied, *queries] == sent_values(sent, target, head)
    assert [b"set", b"default", b"default"] == sent_values(sent, TARGET, validate("GET", b"/ocr", (1, 1), (HOST,)))
