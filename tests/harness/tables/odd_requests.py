"""Odd requests as bytes, and what becomes of each: the table that the tests, the differential run and the fuzzer share.

In the manner of aws/http-desync-guardian's cases and of nginx-tests, by classes. A request is either refused, with one status,
the end of the connection and nothing sent upstream, or forwarded, as one plain request with the line, framing and body that
stand here. Every case carries the canary, which no answer of ours may repeat.
"""

# ruff: noqa: E501 - rows of a table are easier to compare than their pieces
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CANARY: Final = b"canary5e1f"

HOST: Final = b"Host: canary5e1f.test"

WHY: Final = {
    "version": "The version decides about framing and persistence: one that is not spoken is not guessed at (RFC 9112 §2.3).",
    "method": "A method is relayed in the letters it came in or not at all; CONNECT makes tunnels, TRACE shows injected keys.",
    "target": "One target, one resource: what must be percent-encoded, a fragment or another scheme would be read in two ways.",
    "dots": "The next reader resolves what this one does not, and is then above the route's base path.",
    "host": "Two Hosts, or one that is none, name two sites to two readers (RFC 9112 §3.2).",
    "line": "A line that ends in two ways to two readers ends the head in two places (RFC 9112 §2.2, §5).",
    "name": "A name that is no token is another field, or none, to the next reader (RFC 9112 §5.1).",
    "value": "Control bytes end lines or strings for some readers; other bytes cross as they are (RFC 9110 §5.5).",
    "length": "A length that is not one plain number is another number to the next reader (RFC 9112 §6.3).",
    "coding": "Whoever does not know the coding, or finds chunked elsewhere than last, sees another end (RFC 9112 §6.1).",
    "conflict": "Two framings, two ends of the body: the classic of request smuggling (RFC 9112 §11.2).",
    "look-alike": "CGI-like readers take `_` and other signs for `-`, and then see framing that we do not.",
    "chunks": "A size or a line end that is lenient to one reader is where the next one sees another request (RFC 9112 §7.1).",
    "body": "A body goes up with just the framing it came with, whatever the method.",
    "connection": "Nominated fields end here; what frames or injects can not be nominated away (RFC 9110 §7.6.1).",
    "pipeline": "What stands behind a request is the next one or nothing.",
    "expect": "Expectations are met here (RFC 9110 §10.1.1).",
    "size": "Limits are told by the status that names what is too large.",
    "noise": "What is no HTTP at all gets an answer and the end of the connection.",
}
"""The classes of the table, each with the reason for its strictness."""


@dataclass(frozen=True, slots=True)
class Up:
    """One request as it must reach the target; `framing` is "", "length" or "chunked"."""

    line: bytes
    framing: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Odd:
    """One case: its class, what is sent, the status of the refusal or None, and what is forwarded.

    `at_once` is the status where all comes in one piece: aiohttp 3.14 rejects what stands behind a request together with it.
    """

    kind: str
    name: str
    sent: bytes
    refused: int | None
    up: tuple[Up, ...]
    at_once: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"

    @property
    def is_last(self) -> bool:
        """Whether the (first) request asks for the end of the connection, by its version or by `close`."""
        line, _, rest = self.sent.lstrip(b"\r\n").partition(b"\r\n")
        return not line.endswith(b" HTTP/1.1") or b"\r\nconnection: close" in b"\r\n" + rest.lower()

    @property
    def upgrades(self) -> bool:
        """Whether it offers an upgrade behind which the connection is closed."""
        return b"\nupgrade: h2c\r" in self.sent.lower()


def head(line: bytes, *fields: bytes) -> bytes:
    """Return a request head whose lines end in CRLF; the canary stands in the last field."""
    return b"\r\n".join([line, *fields, b"X-Odd: " + CANARY]) + b"\r\n\r\n"


def request(*fields: bytes, line: bytes = b"POST /canary5e1f HTTP/1.1", body: bytes = b"") -> bytes:
    """Return a request with a good Host."""
    return head(line, HOST, *fields) + body


def shown(piece: bytes) -> str:
    """Return bytes as a short name."""
    text = piece.decode("latin-1").encode("unicode_escape").decode() or "nothing"
    return text if len(text) <= 60 else f"{text[:40]}… ({len(piece)} bytes)"


def _bad(kind: str, status: int, *cases: bytes, named: str = "") -> list[Odd]:
    """Return refused requests, which are named by what is odd in them."""
    return [Odd(kind, named or shown(case), case, status, ()) for case in cases]


def _bad_fields(kind: str, status: int, *fields: bytes, body: bytes = b"") -> list[Odd]:
    """Return requests that are refused for a field, or for several that belong together (joined by CRLF)."""
    return [Odd(kind, shown(field), request(field, body=body), status, ()) for field in fields]


def _good(kind: str, name: str, sent: bytes, *up: Up, at_once: int | None = None) -> Odd:
    return Odd(kind, name, sent, None, up, at_once)


POST: Final = Up(b"POST /canary5e1f HTTP/1.1")
CHUNKED: Final = b"Transfer-Encoding: chunked"
ABC: Final = b"3\r\nabc\r\n0\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: canary5e1f.test\r\n\r\n"


def _line(line: bytes) -> bytes:
    return head(line, HOST)


def _versions() -> list[Odd]:
    get = b"GET /canary5e1f "
    return [
        *(Odd("version", shown(version), _line(get + version), 505, ()) for version in (
            b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/0.0", b"HTTP/9.9",
            b"RTSP/1.0", b"RTSP/1.1", b"RTSP/2.0",
        )),
        *(Odd("version", shown(version), _line(get + version), 400, ()) for version in (
            b"HTTP/1", b"HTTP/2", b"HTTP/1.", b"HTTP/.1", b"HTTP/1.10", b"HTTP/11.1", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/+1.1",
            b"HTTP/1,1", b"HTTP/1.1x", b"HTTP/1.1 x", b"HTTP/a.b", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTP/1.1\t",
            b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTP/1.1", b"HTTP-1.1", b"XTTP/1.1", b"RTSP/1", b"ICE/1.0", b"1.1",
            b"HTTP/1.1HTTP/1.1", b"HTTP/1.1\x00", b"HTTP/\xc2\xb9.1",
        )),
        Odd("version", "HTTP/0.9, the simple request", b"GET /canary5e1f\r\n\r\n", 505, ()),
        Odd("version", "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ()),
        # aiohttp's parser takes these for HTTP/1.0 and does not say so.
        Odd("version", "SOURCE of ICE/1.0", _line(b"SOURCE /canary5e1f ICE/1.0"), 505, ()),
        Odd("version", "DESCRIBE of RTSP/1.0", _line(b"DESCRIBE /canary5e1f RTSP/1.0"), 505, ()),
        Odd("version", "RTSP/1.0 behind empty lines", b"\r\n\r\n" + _line(get + b"RTSP/1.0"), 505, ()),
        _good("value", "a field that names RTSP/1.0", head(get + b"HTTP/1.1", HOST, b"X-A: b RTSP/1.0"), Up(get + b"HTTP/1.1")),
        _good("version", "HTTP/1.0", _line(get + b"HTTP/1.0"), Up(get + b"HTTP/1.1")),
        _good("version", "HTTP/1.0 without Host", head(get + b"HTTP/1.0"), Up(get + b"HTTP/1.1")),
    ]  # fmt: skip


def _methods() -> list[Odd]:
    return [
        *(Odd("method", shown(method), _line(method + b" /canary5e1f HTTP/1.1"), 501, ()) for method in (
            b"BREW", b"get", b"Get", b"gET", b"GETS", b"GE", b"G", b"POS", b"POSTS", b"X-GET", b"*", b"-", b"TRACE", b"0", b"A" * 32,
            b"!#$%&'*+-.^_`|~",
        )),
        *(Odd("method", f"no token {shown(method)}", _line(method + b" /canary5e1f HTTP/1.1"), 400, ()) for method in (
            b"GET\x00", b"\x00GET", b"\xc7ET", b"GE\tT", b"\"GET\"", b"G\x0bET", b"GE\xd4", b"PO\rST", b"(GET)", b"GET,POST", b"GET:",
            b"GET/", b"{}", b"A" * 33, b"GET" * 100, b"\xe2\x80\x8bGET", b"G=T", b"@GET", b"GE[T", b"",
        )),
        Odd("method", "CONNECT, HTTP/0.9", head(b"CONNECT  HTTP/1.1", HOST), 505, ()),
        Odd("method", "CONNECT and nothing", head(b"CONNECT ", HOST), 400, ()),
        Odd("method", "CONNECT without a space", head(b"CONNECT", HOST), 400, ()),
        Odd("method", "GET and nothing", head(b"GET ", HOST), 400, ()),
        Odd("method", "GET without a space", head(b"GET", HOST), 400, ()),
        *(Odd("method", f"{authority.decode()} by CONNECT", head(b"CONNECT " + authority + b" HTTP/1.1", HOST), 501, ())
          for authority in (b"canary5e1f.test:443", b"127.0.0.1:22", b"[::1]:22")),
        *(Odd("method", f"CONNECT {shown(target)}", head(b"CONNECT " + target + b" HTTP/1.1", HOST), status, ()) for target, status in (
            (b"/canary5e1f", 501), (b"http://canary5e1f.test/", 400), (b"*", 501), (b"canary5e1f.test", 501),
        )),
        Odd("method", "CONNECT with a request in its tunnel", head(b"CONNECT canary5e1f.test:443 HTTP/1.1", HOST) + SMUGGLED, 501, ()),
        Odd("method", "GET *", _line(b"GET * HTTP/1.1"), 400, ()),
        Odd("method", "TRACE with a body", request(b"Content-Length: 3", line=b"TRACE / HTTP/1.1", body=b"abc"), 501, ()),
        *(_good("method", method.decode(), _line(method + b" /canary5e1f HTTP/1.1"), Up(method + b" /canary5e1f HTTP/1.1")) for method in (
            b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"LINK", b"SEARCH", b"QUERY",
        )),
    ]  # fmt: skip


def _targets() -> list[Odd]:
    def get(target: bytes) -> bytes:
        return _line(b"GET " + target + b" HTTP/1.1")

    bad = (
        b"canary5e1f", b"?canary5e1f", b"/canary5e1f#", b"/canary5e1f#a", b"/?canary5e1f#a", b"/#/../canary5e1f", b"#canary5e1f",
        b"/canary5e1f\x00", b"/canary5e1f\x01", b"/canary5e1f\x1b[31m", b"/canary5e1f\x7f", b"/canary5e1f\xff", b"/canary5e1f/\xc3\xa4",
        b"/canary5e1f?\xe9", b"/canary5e1f\xe2\x80\xae", b"/a b", b"/a\tb", b"/canary5e1f HTTP/1.1 HTTP/1.1", b"/a\x0bb", b"/a\x0cb",
        b"/a\rb", b"/a\nb", b"canary5e1f.test:443", b"canary5e1f.test/", b"ftp://canary5e1f.test/", b"ws://canary5e1f.test/",
        b"file:///canary5e1f", b"javascript:canary5e1f", b"http:canary5e1f", b"http:/canary5e1f", b"http:///canary5e1f", b"http://",
        b"http://u:p@canary5e1f.test/", b"http://@canary5e1f.test/", b"http://canary5e1f.test@else.test/", b"http://canary5e1f.test:x/",
        b"http://[::1/canary5e1f", b"http://::1/canary5e1f", b"http://canary5e1f.test#a",
        b"http://canary5e1f.test\\@else.test/", b"http://canary5e1f.test:443:80/", b"http://canary5e1f.test,else.test:80 /", b"%2fcanary5e1f",
        b"\\canary5e1f", b"http://canary5e1f.test:999999/", b"://canary5e1f.test/", b"//", b"http://canary5e1f.te st/",
        b"/canary5e1f%0d%0aX:%20y", b"/canary5e1f%00", b"/canary5e1f%0A", b"/%0b/canary5e1f", b"/canary5e1f%1F", b"/canary5e1f%7f?a",
        b"http://canary5e1f.test/%09",
    )  # fmt: skip
    good = {
        b"/": b"/", b"//canary5e1f": b"//canary5e1f", b"///": b"///", b"/canary5e1f?": b"/canary5e1f?", b"/??": b"/??",
        b"/?a=/../b": b"/?a=/../b", b"/?a=%0a%00": b"/?a=%0a%00", b"/%20": b"/%20", b"/%250a": b"/%250a", b"/%80%9f": b"/%80%9f", b"/%2F%2f": b"/%2F%2f", b"/%": b"/%", b"/%zz": b"/%zz",
        b"/%ff": b"/%ff", b"/a;b=c": b"/a;b=c", b"/a\\b": b"/a\\b", b"/<canary5e1f>\"{}|^`": b"/<canary5e1f>\"{}|^`",
        b"/http://else.test/": b"/http://else.test/", b"/@else.test": b"/@else.test", b"/:80": b"/:80", b"/...": b"/...",
        b"/.a/..b/c..": b"/.a/..b/c..", b"/%23": b"/%23", b"/%3f": b"/%3f", b"/%c0%ae%c0%ae/": b"/%c0%ae%c0%ae/",
        b"http://canary5e1f.test/": b"/", b"http://canary5e1f.test": b"/", b"http://canary5e1f.test?a": b"/?a",
        b"http://else.test/canary5e1f": b"/canary5e1f", b"https://canary5e1f.test/a?b": b"/a?b", b"HTTP://CANARY5E1F.TEST:80/a": b"/a",
        b"http://[::1]:80/a": b"/a", b"http://else.test:1/a?": b"/a?", b"http://canary5e1f.test:/a": b"/a", b"http://else.test//a": b"//a",
    }  # fmt: skip
    return [
        *(Odd("target", shown(target), get(target), 400, ()) for target in bad if target != b"//"),
        *(_good("target", shown(came), get(came), Up(b"GET " + goes + b" HTTP/1.1")) for came, goes in good.items()),
        Odd("target", "none", _line(b"GET HTTP/1.1"), 400, ()),
        Odd("target", "none, two spaces", _line(b"GET  HTTP/1.1"), 400, ()),
        _good("target", "two spaces before it", _line(b"GET  /canary5e1f HTTP/1.1"), Up(b"GET /canary5e1f HTTP/1.1")),
        Odd("target", "tab before it", _line(b"GET\t/canary5e1f HTTP/1.1"), 400, ()),
        _good("target", "two spaces behind it", _line(b"GET /canary5e1f  HTTP/1.1"), Up(b"GET /canary5e1f HTTP/1.1")),
        Odd("target", "tab behind it", _line(b"GET /canary5e1f\tHTTP/1.1"), 400, ()),
    ]


def _dots() -> list[Odd]:
    segments = (
        b"/..", b"/../", b"/.", b"/./", b"/a/..", b"/a/../b", b"/a/./b", b"//..//", b"/..//", b"/%2e", b"/%2E%2e", b"/.%2e/", b"/%2e./a",
        b"/a/%2e%2E/b", b"/a%2f..%2fb", b"/a%2F%2e%2e", b"/a\\..\\b", b"/..\\b", b"/a%5c..", b"/a%5C%2e%2e%5Cb", b"/..;/b", b"/..;a=b/c",
        b"/a/..%3b/b", b"/a/..%00/b", b"/a/..%3f", b"/a/..?b", b"/.?b", b"/.%2F", b"/a/.;/b",
    )  # fmt: skip
    return [
        *(Odd("dots", shown(path), _line(b"GET " + path + b" HTTP/1.1"), 400, ()) for path in segments),
        *(Odd("dots", f"absolute {shown(path)}", _line(b"GET http://else.test" + path + b" HTTP/1.1"), 400, ())
          for path in (b"/..", b"/a/../b", b"/%2e%2e/", b"/.;/")),
    ]  # fmt: skip


def _hosts() -> list[Odd]:
    bad = (
        b"", b" ", b"a b", b"a\tb", b"a/b", b"a?b", b"a#b", b"u@a", b"a@b:80", b"a:b", b"a:80:80", b"a:-1", b"a:+1", b"a:0x50", b"a:123456",
        b":80", b":", b"[::1", b"::1", b"[::1]x", b"[::1]:x", b"[]", b"[g::1]", b"<canary5e1f>", b"a\"b", b"a,b c", b"a\\b", b"a|b", b"a^b",
        b"{a}", b"http://a", b"//a", b"a/", b"/", b"a\xe4", b"\xc3\xa4.test", b"a\x00b", b"a\x01", b"a\x7f", b"[::1]]", b"a;b@c", b"`id`",
        b"[::1%eth0]",
    )  # fmt: skip
    good = (
        b"A", b"a.test.", b"a_b", b"1.2.3.4", b"a:", b"a:0", b"a:65535", b"[::1]", b"[::1]:80", b"xn--a", b"%41", b"a-", b"-", b".",
        b"a!b", b"$a", b"a,b",
    )  # fmt: skip
    get = b"GET /canary5e1f HTTP/1.1"
    two = (
        b"Host: canary5e1f.test\r\nHost: canary5e1f.test",
        b"Host: canary5e1f.test\r\nHost: else.test",
        b"Host: canary5e1f.test\r\nhOST: canary5e1f.test",
        b"Host: canary5e1f.test\r\nHost:",
        b"Host:\r\nHost: canary5e1f.test",
        b"Host: canary5e1f.test\r\nX: y\r\nHost: else.test",
        b"Host : canary5e1f.test",
        b"Host\t: canary5e1f.test",
        b" Host: canary5e1f.test",
        b"Ho\x00st: canary5e1f.test",
        b"Hos: canary5e1f.test",
        b"Host_: canary5e1f.test",
        b"X-Host: canary5e1f.test",
        b"Host: canary5e1f.test\r\n else.test",
    )
    return [
        Odd("host", "none", head(get), 400, ()),
        Odd("host", "none, absolute-form", head(b"GET http://canary5e1f.test/ HTTP/1.1"), 400, ()),
        Odd("host", "two, HTTP/1.0", head(b"GET / HTTP/1.0", HOST, HOST), 400, ()),
        Odd("host", "empty, HTTP/1.0", head(b"GET / HTTP/1.0", b"Host:"), 400, ()),
        *(Odd("host", shown(host), head(get, b"Host: " + host), 400, ()) for host in bad),
        *(Odd("host", shown(hosts), head(get, hosts), 400, ()) for hosts in two),
        *(_good("host", shown(host), head(get, b"Host: " + host), Up(get)) for host in good),
        _good("host", "no space", head(get, b"Host:canary5e1f.test"), Up(get)),
        _good("host", "white space around", head(get, b"Host: \t canary5e1f.test \t"), Up(get)),
        _good("host", "other case", head(get, b"hOST: canary5e1f.test"), Up(get)),
        _good("host", "differs from absolute-form", head(b"GET http://else.test/ HTTP/1.1", HOST), Up(b"GET / HTTP/1.1")),
    ]


def _lines() -> list[Odd]:
    get = b"GET /canary5e1f HTTP/1.1"
    bare = (
        get + b"\n" + HOST + b"\n\n",
        get + b"\r\n" + HOST + b"\n\r\n",
        get + b"\n" + HOST + b"\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\n\n",
        get + b"\r\n" + HOST + b"\r\nA: b\nC: d\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\nA: b\n\nGET /smuggled HTTP/1.1\r\n\r\n",
        get + b"\r" + HOST + b"\r\r",
        get + b"\r\n" + HOST + b"\rA: b\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\nA: b\rC: d\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\nA: b\r\r\n\r\n",
        get + b"\r\r\n" + HOST + b"\r\n\r\n",
        get + b"\n\r\n" + HOST + b"\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\n\rX: y\r\n\r\n",
        get + b"\r\n" + HOST + b"\x0bA: b\r\n\r\n".replace(b"\x0b", b"\n\r"),
        get + b"\x00\r\n" + HOST + b"\r\n\r\n",
        get + b"\r\n" + HOST + b"\r\n\x00\r\n\r\n",
    )
    folded = (
        b"A: b\r\n c", b"A: b\r\n\tc", b"A: b\r\n ", b"A:\r\n b", b"A: b\r\n Content-Length: 5", b"A: b\r\n c\r\n d",
        b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked\r\n , identity", b"Content-Length: 1\r\n 0",
    )  # fmt: skip
    return [
        *(Odd("line", shown(case[len(get) :]), case, 400, ()) for case in bare),
        *(Odd("line", f"folded {shown(fold)}", request(fold, line=get), 400, ()) for fold in folded),
        Odd("line", "first field begins with a space", get + b"\r\n A: b\r\n" + HOST + b"\r\n\r\n", 400, ()),
        Odd("line", "first field begins with a tab", get + b"\r\n\tA: b\r\n" + HOST + b"\r\n\r\n", 400, ()),
        Odd("line", "space on an empty line", get + b"\r\n" + HOST + b"\r\n \r\n\r\n", 400, ()),
        _good("line", "CRLF before it", b"\r\n" + _line(get), Up(get)),
        _good("line", "CRLF CRLF before it", b"\r\n\r\n" + _line(get), Up(get)),
        Odd("line", "space before it", b" " + _line(get), 400, ()),
        Odd("line", "NUL before it", b"\x00" + _line(get), 400, ()),
        Odd("line", "UTF-8's mark before it", b"\xef\xbb\xbf" + _line(get), 400, ()),
    ]


def _names() -> list[Odd]:
    bad = (
        b"A : b", b"A\t: b", b": b", b"A b: c", b"A", b"A b", b"A\x00: b", b"A\x01: b", b"A\x7f: b", b"\xc3\xa4: b", b"\xe4: b", b"A(: b",
        b"A,B: c", b"A/B: c", b"A;B: c", b"A=B", b"[A]: b", b"\"A\": b", b"{A}: b", b"A@B: c", b"A\\B: c", b"<canary5e1f>: b", b"?A: b",
        b"A\x0b: b", b"A\r: b", b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Content-Length : 3",
        b"Transfer-Encoding\x00: chunked", b"\x00Transfer-Encoding: chunked", b"Transfer-Encoding\x0b: chunked", b"Transfer Encoding: chunked",
        b"Content Length: 3", b" Transfer-Encoding: chunked", b"\tContent-Length: 3", b"Transfer-Encoding\xa0: chunked",
        b"GET /smuggled HTTP/1.1", b"\x0bTransfer-Encoding: chunked", b"X:\r\n: y", b"A\xff: b",
    )  # fmt: skip
    good = (
        b"A:",
        b"A:b",
        b"a!#$%&'*+-.^_`|~9: b",
        b"A: b\r\nA: c\r\na: b",
        b"0: 1",
        b"-: -",
        b"_: _",
        b"X_Odd: y",
        b"A::",
        b"A: b: c",
    )
    return [
        *_bad_fields("name", 400, *bad),
        *(_good("name", shown(field), request(field), POST) for field in good),
        *_bad_fields("name", 400, b"Content-Type: a\r\nContent-Type: b", b"User-Agent: a\r\nUser-Agent: b\r\nHost: else.test"),
        _good("name", "two User-Agent", request(b"User-Agent: a\r\nuser-agent: b"), POST),
        _good(
            "name",
            "two User-Agent and a body",
            request(b"User-Agent: a", b"Content-Length: 3", b"User-Agent: b", body=b"abc"),
            Up(POST.line, "length", b"abc"),
        ),
        _good(
            "name",
            "two User-Agent and chunks",
            request(b"User-Agent: a", CHUNKED, b"User-Agent: b", body=ABC),
            Up(POST.line, "chunked", b"abc"),
        ),
        _good("name", "two Server, three ETag", request(b"Server: a\r\nETag: a\r\nServer: b\r\nETag: b\r\nETag: c"), POST),
    ]


def _values() -> list[Odd]:
    bad = [bytes([byte]) for byte in range(0x20) if byte not in {0x09, 0x0A, 0x0D}] + [b"\x7f"]
    other = (
        b"\xff",
        b"caf\xe9",
        b"\xc3",
        b"\xc0\xae",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"\xe2\x82",
        b"a\xfe\xffb",
        b"\xf8\x88\x80\x80\x80",
    )
    good = (
        b"caf\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xf0\x9f\x93\x84",
        b"a\tb",
        b"  a  b  ",
        b'"a\\"b"',
        b"%0d%0aX: y",
        b"<canary5e1f>",
        b"\xc2\x85",
        b"\xc2\xa0",
    )
    return [
        *(Odd("value", f"control {byte[0]:#04x}", request(b"A: b" + byte + b"c"), 400, ()) for byte in bad),
        *(Odd("value", f"control {byte[0]:#04x} at the end", request(b"A: b" + byte), 400, ()) for byte in bad[::4]),
        *(_good("value", f"not UTF-8 {shown(value)}", request(b"A: " + value), POST) for value in other),
        _good("value", "not UTF-8, in a field that stays here", request(b"Connection: a\r\nA: \xff"), POST),
        _good("value", "half a letter in each of two fields", request(b"A: \xc3\r\nB: \xa9"), POST),
        *(_good("value", shown(value), request(b"A: " + value), POST) for value in good),
    ]


def _lengths() -> list[Odd]:
    bad = (
        b"", b" ", b"+3", b"-3", b"-0", b"3.0", b"3e0", b"0x3", b"0b11", b"3 3", b"3,3", b"3, 3", b"3,4", b"3;3", b"3 bytes", b"three", b"\"3\"", b"'3'",
        b"3_", b"1_0", b"3\x00", b"\x003", b"3\x0b", b"\x0b3", b"\x0c3", b"3\xa0", b"\xc2\xa03", b"\xd9\xa3", b"\xef\xbc\x93", b"\xb3", b"99999999999999999999",
        b"18446744073709551619", b"9" * 40, b"4294967296 ,3", b",3", b"3,", b",", b"3\r\n 0", b"NaN", b"inf", b"0 0", b"chunked", b"/3", b"3/", b"3:3",
    )  # fmt: skip
    two = (
        b"Content-Length: 3\r\nContent-Length: 3", b"Content-Length: 3\r\nContent-Length: 4", b"Content-Length: 4\r\nContent-Length: 3",
        b"Content-Length: 3\r\nX: y\r\ncontent-length: 3", b"Content-Length: 0\r\nContent-Length: 3", b"Content-Length:\r\nContent-Length: 3",
        b"Content-Length: 3\r\nContent-Length:", b"Content-Length: 3\r\nContent-Length: 03", b"Content-Length: 3\r\nContent-Length: 3\r\nContent-Length: 3",
    )  # fmt: skip
    good = {b"3": b"abc", b"0": b"", b"03": b"abc", b"0000000000000000003": b"abc", b"  3": b"abc", b"\t3 \t": b"abc"}
    return [
        *(Odd("length", shown(value), request(b"Content-Length: " + value, body=b"abc"), 400, ()) for value in bad),
        *_bad_fields("length", 400, *two, body=b"abc"),
        *(_good("length", f"good {shown(value)}", request(b"Content-Length: " + value, body=body), Up(POST.line, "length", body))
          for value, body in good.items()),
        Odd("length", "an exabyte", request(b"Content-Length: 1152921504606846976"), 413, ()),
        Odd("length", "the largest of 64 bits", request(b"Content-Length: 9223372036854775807"), 413, ()),
    ]  # fmt: skip


def _codings() -> list[Odd]:
    bad = {
        b"gzip": 400, b"identity": 400, b"chunked, gzip": 400, b"chunked, identity": 400, b"chunked, chunked": 400, b"chunked;q=1": 400,
        b"xchunked": 400, b"chunkedx": 400, b"chunke": 400, b"\"chunked\"": 400, b"'chunked'": 400, b"chunked\x00": 400, b"\x00chunked": 400,
        b"\x0bchunked": 400, b"chunked\x0b": 400, b"chunked,": 400, b"chunked, ": 400, b"chunk ed": 400, b"chunked chunked": 400, b"cow": 400,
        b"chunked;a=b": 400, b"\xc3\xa7hunked": 400, b"chunked\xa0": 400, b"chun\xc2\xadked": 400, b"\xef\xbd\x83hunked": 400, b"0": 400, b"true": 400,
        b"gzip, chunked": 501, b"deflate,chunked": 501, b"identity, chunked": 501, b"cow, chunked": 501, b"gzip, deflate, chunked": 501,
        b"chunked, gzip, chunked": 400, b"x-gzip , chunked": 501, b",chunked": 501, b", ,chunked": 501, b"\"a, chunked": 501,
        b"chunked\r\n gzip": 400, b"c\x01hunked": 400, b"[chunked]": 400, b"chunked:chunked": 400, b"chun\tked": 400, b"/chunked": 400,
    }  # fmt: skip
    two = {
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked": 400,
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked": 400,
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked": 400,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity": 400,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip": 400,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding:": 400,
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked": 400,
        b"Transfer-Encoding: cow\r\ntransfer-encoding: chunked": 400,
        b"Transfer-Encoding: x\r\nX: y\r\nTransfer-Encoding: chunked": 400,
    }
    chunked = Up(POST.line, "chunked", b"abc")
    return [
        *(Odd("coding", shown(value), request(b"Transfer-Encoding: " + value, body=ABC), status, ()) for value, status in bad.items()),
        *(Odd("coding", shown(fields), request(fields, body=ABC), status, ()) for fields, status in two.items()),
        *(Odd("coding", f"HTTP/1.0 {shown(value)}", request(b"Transfer-Encoding: " + value, line=b"POST /canary5e1f HTTP/1.0", body=ABC), 400, ())
          for value in (b"chunked", b"identity", b"gzip, chunked", b"gzip")),
        Odd("coding", "HTTP/1.0 kept alive", request(b"Connection: keep-alive", CHUNKED, line=b"POST / HTTP/1.0", body=ABC), 400, ()),
        _good("coding", "other case", request(b"tRANSFER-eNCODING: ChUnKeD", body=ABC), chunked),
        Odd("coding", "empty", request(b"Transfer-Encoding:"), 400, ()),
        _good("coding", "white space before it", request(b"Transfer-Encoding: \t chunked", body=ABC), chunked),
        _good("coding", "space behind it", request(b"Transfer-Encoding: chunked ", body=ABC), chunked),
        Odd("coding", "tab behind it", request(b"Transfer-Encoding: chunked\t", body=ABC), 400, ()),
        _good("coding", "no space", request(b"Transfer-Encoding:chunked", body=ABC), chunked),
        _good("coding", "TE is no coding of this request", request(b"TE: gzip, trailers", CHUNKED, body=ABC), chunked),
    ]  # fmt: skip


def _conflicts() -> list[Odd]:
    lengths = (b"3", b"0", b"13", b"", b"x", b"-1", b"999")
    codings = (b"chunked", b"Chunked", b"gzip", b"identity", b"gzip, chunked", b"")
    pairs = [(length, coding) for length in lengths for coding in codings if coding or not length.isdigit()]
    cl, te = b"Content-Length: ", b"Transfer-Encoding: "
    return [
        *(Odd("conflict", f"length {shown(length)} before {shown(coding)}", request(cl + length, te + coding, body=ABC if coding else b""), 400, ())
          for length, coding in pairs),
        *(Odd("conflict", f"coding {shown(coding)} before {shown(length)}", request(te + coding, cl + length, body=ABC if coding else b""), 400, ())
          for length, coding in pairs),
        Odd("conflict", "CL.TE", request(cl + b"5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), 400, ()),
        Odd("conflict", "TE.CL", request(CHUNKED, cl + b"4", body=b"31\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), 400, ()),
        Odd("conflict", "GET", request(cl + b"3", CHUNKED, line=b"GET / HTTP/1.1", body=ABC), 400, ()),
        Odd("conflict", "HTTP/1.0", request(cl + b"3", CHUNKED, line=b"POST / HTTP/1.0", body=ABC), 400, ()),
        Odd("conflict", "three lengths", request(cl + b"3", CHUNKED, cl + b"3", body=ABC), 400, ()),
        Odd("conflict", "nominated length", request(b"Connection: content-length", cl + b"3", CHUNKED, body=ABC), 400, ()),
        Odd("conflict", "nominated coding", request(b"Connection: transfer-encoding", cl + b"3", CHUNKED, body=ABC), 400, ()),
    ]  # fmt: skip


def _look_alikes() -> list[Odd]:
    signs = (b"_", b"--", b"", b".", b"~", b"-_", b"'", b"|", b"!", b"+", b"*", b"^", b"`", b"#", b"%", b"&", b"$")
    return [
        *_bad_fields("look-alike", 400, *(b"Transfer" + sign + b"Encoding: chunked" for sign in signs), body=b""),
        *_bad_fields("look-alike", 400, *(b"Content" + sign + b"Length: 3" for sign in signs), body=b""),
        *_bad_fields("look-alike", 400, b"-Transfer-Encoding: chunked", b"Transfer-Encoding-: chunked", b"_Content-Length: 3", b"Content-Length_: 3",
                     b"TRANSFER_ENCODING: chunked", b"content_length: 0", b"Transf-er-Encoding: chunked", b"Con-tent-Length: 3"),
        Odd("look-alike", "both spellings of a length", request(b"Content-Length: 3", b"Content_Length: 4", body=b"abc"), 400, ()),
        Odd("look-alike", "chunked beside the real length", request(b"Content-Length: 3", b"Transfer_Encoding: chunked", body=b"abc"), 400, ()),
        _good("look-alike", "other words", request(b"X-Content-Length: 3", b"Content-Lengths: 4", b"Transfer-Encodings: chunked"), POST),
        _good("look-alike", "peeled off by x-pass-", request(b"x-pass-content-length: 9", b"x-pass-transfer-encoding: chunked",
                                                             b"x-pass-content_length: 9", b"x-pass-host: else.test"), POST),
    ]  # fmt: skip


def _chunks() -> list[Odd]:
    bad = {
        "no size": b"\r\nabc\r\n0\r\n\r\n", "size is a word": b"x\r\nabc\r\n0\r\n\r\n", "0x": b"0x3\r\nabc\r\n0\r\n\r\n", "negative": b"-3\r\nabc\r\n0\r\n\r\n",
        "plus": b"+3\r\nabc\r\n0\r\n\r\n", "space before": b" 3\r\nabc\r\n0\r\n\r\n", "tab before": b"\t3\r\nabc\r\n0\r\n\r\n", "underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
        "comma": b"3,3\r\nabc\r\n0\r\n\r\n", "dot": b"3.0\r\nabc\r\n0\r\n\r\n", "h": b"3h\r\nabc\r\n0\r\n\r\n", "quoted": b"\"3\"\r\nabc\r\n0\r\n\r\n",
        "17 digits": b"10000000000000003\r\nabc\r\n0\r\n\r\n", "64 bits and one": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "NUL": b"3\x00\r\nabc\r\n0\r\n\r\n",
        "size ends in LF": b"3\nabc\r\n0\r\n\r\n", "data ends in LF": b"3\r\nabc\n0\r\n\r\n", "data ends in CR": b"3\r\nabc\r0\r\n\r\n",
        "size ends in CR": b"3\rabc\r\n0\r\n\r\n", "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n", "shorter than its size": b"4\r\nabc\r\n0\r\n\r\n",
        "data without end": b"3\r\nabc0\r\n\r\n", "CR CR LF behind size": b"3\r\r\nabc\r\n0\r\n\r\n", "LF CR behind size": b"3\n\rabc\r\n0\r\n\r\n",
        "all in LF": b"3\nabc\n0\n\n", "last chunk in LF": b"3\r\nabc\r\n0\n\r\n", "end in LF": b"3\r\nabc\r\n0\r\n\n", "end in CR CR": b"3\r\nabc\r\n0\r\r",
        "extension with LF": b"3;a\nb\r\nabc\r\n0\r\n\r\n", "extension with CR": b"3;a\rb\r\nabc\r\n0\r\n\r\n", "extension with NUL": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
        "extension ends in LF": b"3;a\nabc\r\n0\r\n\r\n", "superscript": b"\xb3\r\nabc\r\n0\r\n\r\n", "full-width": b"\xef\xbc\x93\r\nabc\r\n0\r\n\r\n",
        "colon": b"3:a\r\nabc\r\n0\r\n\r\n", "equals": b"3=a\r\nabc\r\n0\r\n\r\n", "two sizes": b"3 3\r\nabc\r\n0\r\n\r\n", "no chunks at all": b"abcdefghijk\r\n\r\n",
        "a length instead": b"zzz", "TE.TE by LF in an extension": b"3;\n" + b"xxx\r\nabc\r\n0\r\n\r\n" + SMUGGLED, "minus nothing": b"-0\r\n\r\n",
    }  # fmt: skip
    trailers = {
        "trailer with a space in its name": b"A b: c", "trailer without colon": b"canary5e1f", "trailer with NUL": b"A: b\x00", "folded trailer": b"A: b\r\n c",
        "trailer ends in LF": b"A: b\nC: d", "trailer begins with colon": b": b", "trailer with CR": b"A: b\rc", "trailer with a control byte": b"A: \x01",
        "trailer that is a length": b"Content-Length: 9", "trailer that is a coding": b"Transfer-Encoding: chunked",
    }  # fmt: skip
    good = {
        "plain": ABC, "upper case": b"A\r\nabcdefghij\r\n0\r\n\r\n", "leading zeros": b"0003\r\nabc\r\n000\r\n\r\n", "none": b"0\r\n\r\n",
        "extension": b"3;a=b\r\nabc\r\n0\r\n\r\n", "extension without value": b"3;a\r\nabc\r\n0;b\r\n\r\n", "quoted extension": b"3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n",
        "many": b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", "trailer": b"3\r\nabc\r\n0\r\nX-Trail: canary5e1f\r\n\r\n",
        "trailer with a credential": b"3\r\nabc\r\n0\r\nAuthorization: canary5e1f\r\n\r\n",
        "a request as data": b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), "chunks as data": b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    }  # fmt: skip
    bodies = {
        "upper case": b"abcdefghij", "none": b"", "a request as data": SMUGGLED, "chunks as data": b"0\r\n\r\n",
    }  # fmt: skip
    return [
        *(Odd("chunks", name, request(CHUNKED, body=body), 400, ()) for name, body in bad.items()),
        *(
            Odd("chunks", name, request(CHUNKED, body=b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n"), 400, ())
            for name, line in trailers.items()
        ),
        *(
            _good("chunks", name, request(CHUNKED, body=body), Up(POST.line, "chunked", bodies.get(name, b"abc")))
            for name, body in good.items()
        ),
    ]


def _bodies() -> list[Odd]:
    cases = []
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"POST", b"PROPFIND"):
        line = method + b" /canary5e1f HTTP/1.1"
        name = method.decode()
        cases += [
            _good("body", f"{name} with a length", request(b"Content-Length: 3", line=line, body=b"abc"), Up(line, "length", b"abc")),
            _good("body", f"{name} with length 0", request(b"Content-Length: 0", line=line), Up(line, "length")),
            _good("body", f"{name} in chunks", request(CHUNKED, line=line, body=ABC), Up(line, "chunked", b"abc")),
            _good("body", f"{name} in no chunks", request(CHUNKED, line=line, body=b"0\r\n\r\n"), Up(line, "chunked")),
            _good("body", f"{name} without", request(line=line), Up(line)),
            _good("body", f"{name} with a request for a body", request(b"Content-Length: %d" % len(SMUGGLED), line=line, body=SMUGGLED),
                  Up(line, "length", SMUGGLED)),
        ]  # fmt: skip
    one = b"POST /canary5e1f HTTP/1.0"
    return [
        *cases,
        _good("body", "HTTP/1.0 with a length", request(b"Content-Length: 3", line=one, body=b"abc"), Up(POST.line, "length", b"abc")),
        _good("body", "HTTP/1.0 without a length", request(line=one), POST),
        _good("body", "Upgrade with a body", request(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3", body=b"abc"),
              Up(POST.line, "length", b"abc")),
        _good("body", "Upgrade to h2c", request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), POST),
        _good("body", "Content-Encoding stays", request(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"abc"), Up(POST.line, "length", b"abc")),
    ]  # fmt: skip


def _connections() -> list[Odd]:
    length, chunked = Up(POST.line, "length", b"abc"), Up(POST.line, "chunked", b"abc")
    return [
        *(_good("connection", shown(field), request(field), POST) for field in (
            b"Connection: X-Odd", b"Connection: host", b"Connection: keep-alive, X-Odd, host, cookie", b"Connection:", b"Connection: ,,,",
            b"Connection: close, X-Odd", b"Connection: content-type\r\nContent-Type: text/plain", b"Connection: \xc3\xa4", b"Connection: a b",
            b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: trailers\r\nConnection: TE", b"Trailer: X-Odd",
            b"Proxy-Authorization: Basic canary5e1f", b"Connection: x-forwarded-for\r\nX-Forwarded-For: canary5e1f",
            b"Connection: authorization, api-key\r\nAuthorization: Bearer canary5e1f",
        )),
        _good("connection", "length nominated", request(b"Connection: content-length", b"Content-Length: 3", body=b"abc"), length),
        _good("connection", "coding nominated", request(b"Connection: transfer-encoding", CHUNKED, body=ABC), chunked),
        _good("connection", "close and a length", request(b"Connection: close", b"Content-Length: 3", body=b"abc"), length),
        _good("connection", "everything nominated", request(
            b"Connection: host, content-length, transfer-encoding, x-odd, expect, connection", b"Content-Length: 3", body=b"abc"), length),
    ]  # fmt: skip


def _pipelines() -> list[Odd]:
    get, up = b"GET /canary5e1f HTTP/1.1", Up(b"GET /canary5e1f HTTP/1.1")
    behind = Up(b"GET /smuggled HTTP/1.1")
    return [
        _good("pipeline", "two", request(line=get) + SMUGGLED, up, behind),
        _good("pipeline", "five", request(line=get) * 4 + SMUGGLED, up, up, up, up, behind),
        _good("pipeline", "behind a length", request(b"Content-Length: 3", body=b"abc") + SMUGGLED, Up(POST.line, "length", b"abc"), behind),
        _good("pipeline", "behind chunks", request(CHUNKED, body=ABC) + SMUGGLED, Up(POST.line, "chunked", b"abc"), behind),
        _good("pipeline", "behind a trailer", request(CHUNKED, body=b"0\r\nA: b\r\n\r\n") + SMUGGLED, Up(POST.line, "chunked"), behind),
        _good("pipeline", "behind CRLF", request(line=get) + b"\r\n" + SMUGGLED, up, behind),
        _good("pipeline", "behind HEAD with a length", request(b"Content-Length: 3", line=b"HEAD / HTTP/1.1", body=b"abc") + SMUGGLED,
              Up(b"HEAD / HTTP/1.1", "length", b"abc"), behind),
        _good("pipeline", "behind close", request(b"Connection: close", line=get) + SMUGGLED, up, at_once=400),
        _good("pipeline", "behind HTTP/1.0", request(line=b"GET /canary5e1f HTTP/1.0") + SMUGGLED, up, at_once=400),
        Odd("pipeline", "a bad one behind", request(line=get) + _line(b"GET /\x00 HTTP/1.1"), 400, (up,), at_once=400),
        Odd("pipeline", "no method behind", request(line=get) + b"abc " + SMUGGLED, 501, (up,), at_once=501),
        Odd("pipeline", "a body without framing", request(body=b"abc=def\r\n") + SMUGGLED, 400, (POST,), at_once=400),
        Odd("pipeline", "a longer body than its length", request(b"Content-Length: 3", body=b"abcx") + SMUGGLED, 501,
            (Up(POST.line, "length", b"abc"),), at_once=501),
        Odd("pipeline", "one that is refused by its head behind", request(line=get) + _line(b"GET /.. HTTP/1.1"), 400, (up,)),
        _good("pipeline", "behind an upgrade", request(b"Connection: Upgrade", b"Upgrade: websocket", line=get) + SMUGGLED, up, behind),
        _good("pipeline", "behind an upgrade to h2c with a body",
              request(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"abc") + SMUGGLED, Up(POST.line, "length", b"abc")),
        _good("pipeline", "behind an upgrade to h2c", request(b"Connection: Upgrade", b"Upgrade: h2c", line=get) + SMUGGLED, up),
        _good("pipeline", "behind an upgrade with a body",
              request(b"Connection: Upgrade", b"Upgrade: websocket", CHUNKED, body=ABC) + SMUGGLED, Up(POST.line, "chunked", b"abc"), behind),
    ]  # fmt: skip


def _expectations() -> list[Odd]:
    return [
        *(Odd("expect", shown(value), request(b"Expect: " + value), 417, ())
          for value in (b"canary5e1f", b"200-ok", b"100-continue, x", b"100", b"100-continue;a=b", b"100_continue", b"")),
        Odd("expect", "twice, one odd", request(b"Expect: 100-continue", b"Expect: canary5e1f"), 417, ()),
        _good("expect", "HTTP/1.0's is not met", request(b"Expect: 100-continue", line=b"POST /canary5e1f HTTP/1.0"), POST),
        _good("expect", "without a body", request(b"Expect: 100-continue"), POST),
        _good("expect", "the body came with it", request(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"), Up(POST.line, "length", b"abc")),
    ]  # fmt: skip


def _sizes() -> list[Odd]:
    get = b"GET /canary5e1f HTTP/1.1"
    return [
        Odd("size", "target of 17 kB", _line(b"GET /canary5e1f" + b"a" * 17_000 + b" HTTP/1.1"), 414, ()),
        Odd("size", "query of 17 kB", _line(b"GET /canary5e1f?" + b"a" * 17_000 + b" HTTP/1.1"), 414, ()),
        Odd("size", "target of 1 MB", _line(b"GET /canary5e1f" + b"a" * 1_000_000 + b" HTTP/1.1"), 414, ()),
        Odd("size", "value of 33 kB", request(b"A: " + b"a" * 33_000, line=get), 431, ()),
        Odd("size", "value of 1 MB", request(b"A: " + b"a" * 1_000_000, line=get), 431, ()),
        Odd("size", "name of 33 kB", request(b"A" * 33_000 + b": b", line=get), 431, ()),
        Odd("size", "Host of 33 kB", head(get, b"Host: " + b"a" * 33_000), 431, ()),
        Odd("size", "300 fields", request(*[b"A: b"] * 300, line=get), 431, ()),
        Odd("size", "10000 fields", request(*[b"A: b"] * 10_000, line=get), 431, ()),
        Odd("size", "method of 20 kB", _line(b"A" * 20_000 + b" / HTTP/1.1"), 400, ()),
        Odd("size", "head of 70 kB", request(*[b"A: " + b"a" * 1000] * 70, line=get), 431, ()),
        Odd("size", "head of 8 MB", request(*[b"A: " + b"a" * 32_000] * 250, line=get), 431, ()),
        Odd("size", "head of 70 kB, HTTP/1.0", request(*[b"A: " + b"a" * 1000] * 70, line=b"POST /canary5e1f HTTP/1.0"), 431, ()),
        _good("size", "head of 63 kB", request(*[b"A: " + b"a" * 1000] * 62, line=get), Up(get)),
        _good("size", "two heads of 40 kB", request(*[b"A: " + b"a" * 1000] * 40, line=get) * 2, Up(get), Up(get)),
        Odd(
            "size",
            "a head of 70 kB behind a request",
            request(line=get) + request(*[b"A: " + b"a" * 1000] * 70, line=get),
            431,
            (Up(get),),
        ),
        _good("size", "target of 8 kB", _line(b"GET /" + b"a" * 8000 + b" HTTP/1.1"), Up(b"GET /" + b"a" * 8000 + b" HTTP/1.1")),
        _good("size", "value of 31 kB", request(b"A: " + b"a" * 31_000, line=get), Up(get)),
        _good("size", "200 fields", request(*[b"A: b"] * 200, line=get), Up(get)),
    ]


def _noise() -> list[Odd]:
    return [
        *(Odd("noise", shown(noise), noise, 400, ()) for noise in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary5e1f\r\n\r\n", b"SSH-2.0-canary5e1f\r\n\r\n", b"\x00\x00\x00\x00canary5e1f\r\n\r\n",
            b"{\"canary5e1f\": 1}\r\n\r\n", b"HTTP/1.1 200 canary5e1f\r\n\r\n", b"\xff\xfe\xfdcanary5e1f\r\n\r\n",
            b"*1\r\n$4\r\ncanary5e1f\r\n\r\n", b"<policy-file-request/>\x00canary5e1f\r\n\r\n", b"\x80\x2e\x01\x03canary5e1f\r\n\r\n",
            b"\r\n\r\n\r\n\x01canary5e1f\r\n\r\n",
            b"\r\n\r\n\x00\r\nQUIT\ncanary5e1f\r\n\r\n",
        )),
        *(Odd("noise", shown(noise), noise, 501, ()) for noise in (
            b"EHLO canary5e1f\r\n\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 canary5e1f 80\r\n" + SMUGGLED,
        )),
        *(Odd("noise", shown(noise), noise, 400, ()) for noise in (
            b"    canary5e1f\r\n\r\n", b" \r\n\r\ncanary5e1f", b"\t\r\n\r\ncanary5e1f", b"GET\t/canary5e1f\tHTTP/1.1\r\n\r\n", b"canary5e1f\n",
            b"\r\n \r\ncanary5e1f\r\n\r\n",
        )),
        Odd("noise", "a request in another's shadow", b"X" * 64 + SMUGGLED, 400, ()),
    ]  # fmt: skip


TABLE: Final = (
    *_versions(), *_methods(), *_targets(), *_dots(), *_hosts(), *_lines(), *_names(), *_values(), *_lengths(), *_codings(), *_conflicts(),
    *_look_alikes(), *_chunks(), *_bodies(), *_connections(), *_pipelines(), *_expectations(), *_sizes(), *_noise(),
)  # fmt: skip
"""Every case."""
