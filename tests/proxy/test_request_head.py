"""What is one plain request head, and what is refused with which response."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.proxy.headers import HOP_BY_HOP, fields_of, imitates_framing, nominated
from passthrough.proxy.request_head import RequestHead, validate

HOST = (b"Host", b"proxy.test")
RawFields = tuple[tuple[bytes, bytes], ...]

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12).map(str.encode)
"""Names of header fields; too few letters to spell one that means anything to the proxy."""

VALUE = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20).map(lambda text: text.strip().encode())
PATH = st.text("/ab%20~:@!$&'()*+,;=-_", max_size=20).map(lambda text: b"/" + text.encode())
QUERY = st.none() | st.text("ab=&?/%20+;", max_size=20).map(str.encode)


def head(
    target: bytes = b"/", *fields: tuple[bytes, bytes], method: str = "POST", version: tuple[int, int] = (1, 1)
) -> RequestHead:
    """Return the head of a request with a good Host and these fields."""
    return validate(method, target, version, (HOST, *fields))


def refusal(
    target: bytes = b"/", *fields: tuple[bytes, bytes], method: str = "POST", version: tuple[int, int] = (1, 1)
) -> Refusal:
    """Return what a request with a good Host and these fields is refused with."""
    with pytest.raises(Refusal) as caught:
        head(target, *fields, method=method, version=version)
    return caught.value


@given(PATH, QUERY, st.lists(st.tuples(TOKEN, VALUE), max_size=8))
def test_everything_plain_stays_as_it_came(path: bytes, query: bytes | None, raw: list[tuple[bytes, bytes]]) -> None:
    """Path, query and fields come out byte for byte, in their order and case, duplicates too."""
    target = path if query is None else path + b"?" + query
    found = head(target, *raw)
    assert (path, query) == (found.path, found.query)
    assert (HOST, *raw) == tuple((name, value) for _, name, value in found.fields)
    assert all(lower == name.lower() for lower, name, _ in found.fields)


def test_a_request_without_framing_has_no_body() -> None:
    """Neither Content-Length nor Transfer-Encoding: no body, whatever the method (RFC 9112 §6.3)."""
    assert (None, False) == (head().length, head().chunked)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", None),
        (b"/a?", b"/a", b""),
        (b"/a??b=/../", b"/a", b"?b=/../"),
        (b"//a//b/", b"//a//b/", None),
        (b"/a%2Fb%2f", b"/a%2Fb%2f", None),
        (b"/.well-known/...", b"/.well-known/...", None),
        (b"/a..b/..c/d..", b"/a..b/..c/d..", None),
        (b"/:rawPredict", b"/:rawPredict", None),
        (b"http://proxy.test/a?b", b"/a", b"b"),
        (b"HTTPS://[::1]:4000/a", b"/a", None),
        (b"http://proxy.test", b"/", None),
        (b"http://proxy.test?x=1", b"/", b"x=1"),
        (b"/http://else.test/", b"/http://else.test/", None),
    ],
)
def test_targets_that_name_one_resource(target: bytes, path: bytes, query: bytes | None) -> None:
    """Origin-form and absolute-form give the raw path and the raw query; a bare `?` is an empty query."""
    assert (path, query) == (head(target).path, head(target).query)


@pytest.mark.parametrize("lead", [b"/", b"/v1/", b"//", b"/a%2F", b"/a%2f", b"/a\\", b"/a%5C", b"http://proxy.test/"])
@pytest.mark.parametrize("dots", [b".", b"..", b"%2e", b"%2E", b"%2e%2E", b".%2e", b"%2e."])
@pytest.mark.parametrize("end", [b"", b"/", b"/b", b"?q", b"%2F", b"\\b", b"%5c", b";", b";v=1/b", b"%3b", b"%00", b"%3F"])
def test_dot_segments_are_refused_in_every_spelling(lead: bytes, dots: bytes, end: bytes) -> None:
    """What some upstream could resolve to a place above the target's base path goes nowhere."""
    assert "bad_request" == refusal(lead + dots + end).kind.code


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"a",
        b"?a",
        b"/a#b",
        b"/a?b#c",
        b"/a b",
        b"/\xc3\xa4",
        b"/a\x7f",
        b"/a\x00",
        b"/a\n",
        b"proxy.test:443",
        b"ftp://proxy.test/",
        b"http:///a",
        b"http://user@proxy.test/",
        b"http://a/b@c#",
        b"http://proxy.test:port/",
        b"javascript:alert(1)",
    ],
)
def test_targets_that_name_no_resource(target: bytes) -> None:
    """A target that is neither origin-form nor http absolute-form, or holds a fragment or raw bytes, is refused."""
    found = refusal(target)
    assert ("bad_request", True) == (found.kind.code, found.closes)


@pytest.mark.parametrize(
    ("code", "method", "target", "version"),
    [
        ("not_implemented", "CONNECT", b"proxy.test:443", (1, 1)),
        ("not_implemented", "TRACE", b"/", (1, 1)),
        ("bad_request", "GET", b"*", (1, 1)),
        ("version_not_supported", "GET", b"/", (0, 9)),
        ("version_not_supported", "GET", b"/", (2, 0)),
        ("version_not_supported", "GET", b"/", (1, 2)),
    ],
)
def test_methods_and_versions_that_are_not_relayed(code: str, method: str, target: bytes, version: tuple[int, int]) -> None:
    """A method or a version that the proxy does not speak is refused by name, and the connection closes."""
    found = refusal(target, method=method, version=version)
    assert (code, True) == (found.kind.code, found.closes)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.test",
        b"a_b.test:8080",
        b"a.test:",
        b"127.0.0.1:1",
        b"[::1]",
        b"[::1]:4000",
        b"[fe80::1%25eth0]:1",
        b"xn--bcher-kva.example",
    ],
)
def test_a_well_formed_host_passes(host: bytes) -> None:
    """Names, IPv4 and IPv6 addresses pass, with a port or without (RFC 9110 §7.2)."""
    assert (b"host", b"Host", host) in validate("GET", b"/", (1, 1), ((b"Host", host),)).fields


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (b"",),
        (b":80",),
        (b"a", b"a"),
        (b"a", b"b"),
        (b"x/y@z",),
        (b"user@a",),
        (b"a b",),
        (b"a:b",),
        (b"a:80:80",),
        (b"a:123456",),
        (b"[::1",),
        (b"::1",),
        (b"[]",),
        (b"http://a",),
        (b"a?b",),
        (b"a#b",),
        (b"a\\b",),
    ],
)
@pytest.mark.parametrize("target", [b"/", b"http://proxy.test/"])
def test_other_than_one_well_formed_host_is_refused(hosts: tuple[bytes, ...], target: bytes) -> None:
    """HTTP/1.1 has exactly one Host, well-formed, in absolute-form too (RFC 9112 §3.2)."""
    with pytest.raises(Refusal) as caught:
        validate("GET", target, (1, 1), tuple((b"Host", host) for host in hosts))
    assert ("bad_request", True) == (caught.value.kind.code, caught.value.closes)


@pytest.mark.parametrize(("hosts", "fits"), [((), True), ((b"a",), True), ((b"",), False), ((b"a", b"a"), False)])
def test_http10_may_leave_host_out(hosts: tuple[bytes, ...], fits: bool) -> None:
    """An HTTP/1.0 request needs no Host, but not two either."""
    raw = tuple((b"Host", host) for host in hosts)
    if fits:
        assert validate("GET", b"/", (1, 0), raw).http10
    else:
        with pytest.raises(Refusal):
            validate("GET", b"/", (1, 0), raw)


CL, TE = b"Content-Length", b"Transfer-Encoding"


@pytest.mark.parametrize(
    ("raw", "length", "chunked"),
    [
        (((CL, b"0"),), 0, False),
        (((CL, b"0042"),), 42, False),
        (((CL, b"9" * 19),), int("9" * 19), False),
        (((b"cOnTeNt-LeNgTh", b"7"),), 7, False),
        (((TE, b"chunked"),), None, True),
        (((b"transfer-encoding", b"CHUNKED"),), None, True),
    ],
)
def test_framing_that_can_be_read_in_one_way(raw: RawFields, length: int | None, chunked: bool) -> None:
    """One Content-Length in digits, or plain chunked."""
    assert (length, chunked) == (head(b"/", *raw).length, head(b"/", *raw).chunked)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (((CL, b"5"), (TE, b"chunked")), "bad_request"),
        (((TE, b"chunked"), (CL, b"0")), "bad_request"),
        (((CL, b"5"), (CL, b"5")), "bad_request"),
        (((CL, b"5, 5"),), "bad_request"),
        *((((CL, odd),), "bad_request") for odd in (b"", b"+5", b"-1", b"5x", b"0x5", b"5.0", b"1_0", b"9" * 20, b"\xd9\xa5")),
        (((TE, b""),), "bad_request"),
        (((TE, b"identity"),), "bad_request"),
        (((TE, b"gzip"),), "bad_request"),
        (((TE, b"chunked, gzip"),), "bad_request"),
        (((TE, b"chunked, identity"),), "bad_request"),
        (((TE, b"chunked, chunked"),), "bad_request"),
        (((TE, b"chunked"), (TE, b"chunked")), "bad_request"),
        (((TE, b"chunked,"),), "bad_request"),
        (((TE, b"chunked;q=1"),), "bad_request"),
        (((TE, b"xchunked"),), "bad_request"),
        (((TE, b'"chunked"'),), "bad_request"),
        (((TE, b"gzip, chunked"),), "not_implemented"),
        (((TE, b"gzip"), (TE, b"chunked")), "not_implemented"),
        (((TE, b"identity, chunked"),), "not_implemented"),
        *(
            (((name, b"1"),), "bad_request")
            for name in (
                b"Transfer_Encoding",
                b"Content_Length",
                b"Transfer--Encoding",
                b"Content.Length",
                b"Content-Length-",
                b"-Content-Length",
                b"ContentLength",
                b"Content+Length",
                b"transferencoding",
                b"Transfer-Enc-oding",
            )
        ),
    ],
)
def test_framing_that_could_be_read_in_two_ways(raw: RawFields, code: str) -> None:
    """Where a body ends must not be a matter of opinion: refused, and the connection closes (RFC 9112 §6.3, §11.2)."""
    found = refusal(b"/", *raw)
    assert (code, True) == (found.kind.code, found.closes)


def test_http10_has_no_transfer_coding() -> None:
    """Transfer-Encoding in an HTTP/1.0 request is refused (RFC 9112 §6.1)."""
    assert "bad_request" == refusal(b"/", (TE, b"chunked"), version=(1, 0)).kind.code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ((b"A b", b"c"), "bad_request"),
        ((b"A ", b"c"), "bad_request"),
        ((b"", b"c"), "bad_request"),
        ((b"A\xc3\xa4", b"c"), "bad_request"),
        ((b"A:", b"c"), "bad_request"),
        ((b"A", b"b\x00"), "bad_header"),
        ((b"A", b"b\nC: d"), "bad_header"),
        ((b"A", b"b\rC: d"), "bad_header"),
        ((b"A", b"b\x7f"), "bad_header"),
    ],
)
def test_fields_that_cannot_cross_unchanged(raw: tuple[bytes, bytes], code: str) -> None:
    """A name that is no token and control bytes are refused, never altered."""
    assert code == refusal(b"/", raw, (b"Behind", b"\xa9")).kind.code


@pytest.mark.parametrize("value", [b"caf\xe9", b"\xc3", b"\xed\xa0\x80", bytes(range(0x80, 0x100))])
def test_bytes_that_are_not_utf8_are_a_value(value: bytes) -> None:
    """Latin-1 and worse is opaque data (RFC 9110 §5.5): it stays as it came."""
    assert value == head(b"/", (b"A", value)).fields[1][2]


@pytest.mark.parametrize(
    ("target", "raw", "said"),
    [
        (b"/", (b"X-Name", b"ab\x01"), "The value of the field 'X-Name' has a control byte (0x01 at byte 3)."),
        (b"/", (b"Content_Length", b"3"), "The field 'Content_Length' imitates one that frames the body."),
        (b"/", (b"A b", b"c"), "The field has a name that is not a token."),
        (b"/caf\xe9", (b"A", b"b"), "The request target has a byte that must be percent-encoded (0xE9 at byte 5)."),
        (b"", (b"A", b"b"), "There is no request target."),
        (b"/a%0Ab", (b"A", b"b"), "The path has an encoded control byte (%0A at byte 3)."),
    ],
)
def test_a_refusal_names_the_field_or_the_place(target: bytes, raw: tuple[bytes, bytes], said: str) -> None:
    """Who reads it knows where to look: the field's name, and the byte, counted from one."""
    assert said == refusal(target, raw).message


def test_a_whole_head_is_bounded() -> None:
    """However the fields are cut, their names and values have 64 KB together."""
    fields = [(b"X%d" % number, b"a" * 1000) for number in range(70)]
    assert "headers_too_large" == refusal(b"/", *fields).kind.code
    assert 61 == len(head(b"/", *fields[:60]).fields)


def test_a_tab_and_utf8_may_stand_in_a_value() -> None:
    """A tab within a value and UTF-8 beyond ASCII are plain."""
    assert "café\t!".encode() == head(b"/", (b"A", "café\t!".encode())).fields[1][2]


@pytest.mark.parametrize(
    ("values", "version", "waits"),
    [
        ((), (1, 1), False),
        ((b"100-continue",), (1, 1), True),
        ((b"100-Continue",), (1, 1), True),
        ((b"100-continue", b"100-continue"), (1, 1), True),
        ((b"100-continue",), (1, 0), False),
    ],
)
def test_the_expectation_that_is_met(values: tuple[bytes, ...], version: tuple[int, int], waits: bool) -> None:
    """100-continue is met in HTTP/1.1 and ignored in HTTP/1.0 (RFC 9110 §10.1.1)."""
    assert waits == head(b"/", *((b"Expect", value) for value in values), version=version).expects_continue


@pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, else", b"100-continue;q=1"])
def test_other_expectations_are_refused(value: bytes) -> None:
    """Whatever is not 100-continue is 417."""
    assert "expectation_failed" == refusal(b"/", (b"Expect", value)).kind.code


@pytest.mark.parametrize(
    ("version", "values", "lives"),
    [
        ((1, 1), (), True),
        ((1, 1), (b"close",), False),
        ((1, 1), (b"Close",), False),
        ((1, 1), (b"keep-alive", b"x, CLOSE ,y"), False),
        ((1, 1), (b"closed",), True),
        ((1, 0), (), False),
        ((1, 0), (b"Keep-Alive",), True),
        ((1, 0), (b"keep-alive, close",), False),
    ],
)
def test_whether_the_connection_lives_on(version: tuple[int, int], values: tuple[bytes, ...], lives: bool) -> None:
    """HTTP/1.1 persists unless told otherwise, HTTP/1.0 only if told so (RFC 9112 §9.3)."""
    assert lives == head(b"/", *((b"Connection", value) for value in values), version=version).keep_alive


@given(st.lists(st.lists(TOKEN.filter(lambda token: b"," not in token), max_size=3), max_size=3))
def test_every_connection_field_nominates(lines: list[list[bytes]]) -> None:
    """All names in all Connection fields are nominated, whatever their case and spacing."""
    raw = tuple((b"connEction", b" ,\t".join(names)) for names in lines)
    expected = {name.lower() for names in lines for name in names}
    assert expected == nominated(fields_of(raw)) - {b""}


@pytest.mark.parametrize(
    "name", [b"content-length", b"transfer-encoding", b"content-type", b"x-content-length", b"length", *sorted(HOP_BY_HOP)]
)
def test_what_does_not_imitate_framing(name: bytes) -> None:
    """The two framing fields do not imitate themselves, and other names share letters freely."""
    assert not imitates_framing(name)
