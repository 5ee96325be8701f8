"""Documents that are fetched by their URLs: what is sent and taken, what is refused, and every fault of their hosts."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import brotli
import pytest
import trustme
import zstandard

from passthrough.errors import Refusal
from passthrough.proxy.documents.document import DownloadLimits
from passthrough.proxy.documents.download import MAX_REDIRECTS
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.routes import Target
from tests.harness.downloads import ANY, OWN_ADDRESS, Internet, Names, counted, documents, fetched, refusal_of, whole
from tests.harness.tls import served_by
from tests.harness.upstream import Peer, Script, answering, chunk, ok, reset, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 4
TYPE = b"Content-Type: application/pdf"
UNREACHABLE, REFUSED, TOO_LARGE = "document_unreachable", "document_refused", "document_too_large"
NOT_PUBLIC = (REFUSED, "The document's URL leads to an address that is not public.")
ITSELF = (REFUSED, "The document's URL leads back to this proxy or its machine.")
SHORT = DownloadLimits(connect_s=WAIT_S, head_s=0.05, idle_s=0.05)


def coded(coding: bytes, body: bytes) -> bytes:
    """Return a response in a content coding."""
    return ok(body, TYPE, b"Content-Encoding: " + coding)


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked response."""
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(chunk(piece) for piece in (*pieces, b""))


def raw_deflate(body: bytes) -> bytes:
    """Return a body in zlib's format without its head."""
    packed = zlib.compressobj(wbits=-15)
    return packed.compress(body) + packed.flush()


def then_closing(*pieces: bytes) -> Script:
    """Return a script that answers one request and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


def then_resetting(*pieces: bytes) -> Script:
    """Return a script that answers one request and resets."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        reset(peer.writer)

    return script


def then_hanging(*pieces: bytes) -> Script:
    """Return a script that answers one request and says no more."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        await peer.ended()

    return script


def redirecting(*locations: bytes, status: bytes = b"302 Found", last: bytes = b"") -> Script:
    """Return a script whose request with the path `/<n>` is redirected to the n-th location, and beyond them gets `last`."""

    async def script(peer: Peer) -> None:
        received = await peer.request()
        number = int(received.line.split()[1].partition(b"?")[0].strip(b"/") or b"0")
        if number < len(locations):
            await peer.send(b"HTTP/1.1 %b\r\nLocation: %b\r\nContent-Length: 3\r\n\r\nno\n" % (status, locations[number]))
        else:
            await peer.send(last or ok(PDF, TYPE))

    return script


# ── what is sent and taken ──

WHOLE = {
    "a length": (ok(PDF, TYPE), len(PDF)),
    "chunks": (chunked(PDF[:1], PDF[1:300], PDF[300:]), None),
    "until it closes": (b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n\r\n" + PDF, None),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + TYPE + b"\r\n\r\n" + PDF, None),
    "no reason": (ok(PDF, TYPE, status=b"200"), len(PDF)),
    "after early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok(PDF, TYPE), len(PDF)),
    "more than its length": (ok(PDF, TYPE) + b"surplus", len(PDF)),
    "gzip": (coded(b"gzip", gzip.compress(PDF)), None),
    "x-gzip in capitals": (coded(b"X-GZIP", gzip.compress(PDF)), None),
    "two members of gzip": (coded(b"gzip", gzip.compress(PDF[:99]) + gzip.compress(PDF[99:])), None),
    "deflate": (coded(b"deflate", zlib.compress(PDF)), None),
    "raw deflate": (coded(b"deflate", raw_deflate(PDF)), None),
    "br": (coded(b"br", brotli.compress(PDF)), None),
    "zstd": (coded(b"zstd", zstandard.compress(PDF)), None),
    "identity": (coded(b"identity", PDF), len(PDF)),
    "a coding that is none": (coded(b"utf-8", PDF), len(PDF)),
    "an empty coding": (coded(b"", PDF), len(PDF)),
    "gzip and none": (coded(b"none, gzip", gzip.compress(PDF)), None),
}


@pytest.mark.parametrize(("response", "length"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("by_byte", [False, True])
async def test_a_document_comes_whole(response: bytes, length: int | None, by_byte: bool) -> None:
    """However it is framed or coded, and in whatever pieces it comes; the length is known where it is the document's."""
    pieces = [response[at : at + 1] for at in range(len(response))] if by_byte else [response]
    async with upstream(then_closing(*pieces)) as raw, documents() as of:
        assert ("application/pdf", length, PDF) == await fetched(of, f"http://127.0.0.1:{raw.port}/a.pdf")
        assert {"ok": 1} == counted(of)
        head, _, body = response.partition(b"200")[2].partition(b"\r\n\r\n")
        framing = 0 if b"chunked" in head else len(body.removesuffix(b"surplus"))
        assert (framing or len(PDF)) == of.counts.received_bytes


async def test_nothing_of_the_client_goes_along() -> None:
    """The request is the proxy's own: a GET, no credentials, no cookies, no coding asked for, one for each connection."""
    async with upstream(then_closing(ok(PDF, TYPE, b"Set-Cookie: a=b"))) as raw, documents() as of:
        for _ in range(2):
            await fetched(of, f"http://127.0.0.1:{raw.port}/a b.pdf?sig=%2F#page=2")
        expected = (
            b"GET /a%%20b.pdf?sig=%%2F HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: passthrough\r\nAccept: */*\r\n"
            b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n" % raw.port
        )
        assert [(1, expected), (2, expected)] == [(each.connection, each.raw_head) for each in raw.received]


async def test_the_port_that_is_the_schemes_own_is_not_said() -> None:
    """Host is what browsers send (RFC 9110 §7.2)."""
    found = [Target(tls, "a.test", port, b"").authority for tls, port in ((False, 80), (True, 443), (True, 80))]
    assert [b"a.test", b"a.test", b"a.test:80"] == found


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to."""
    async with upstream(answering(ok(b"no"))) as trap, upstream(then_closing(ok(PDF, TYPE))) as raw, documents() as of:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        assert PDF == (await fetched(of, f"http://127.0.0.1:{raw.port}/"))[2]
        assert 0 == trap.connections


SNIFFED = {
    "said": (PDF, (b"Content-Type: text/html; charset=utf-8",), "text/html"),
    "not said": (PDF, (), "application/pdf"),
    "bytes": (PDF, (b"Content-Type: application/octet-stream",), "application/pdf"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(5000), (b"Content-Type: binary/octet-stream",), "image/png"),
    "nothing known": (b"a" * 5000, (), "application/octet-stream"),
    "short and not known": (b"a", (), "application/octet-stream"),
    "what would end the data URI": (PDF, (b'Content-Type: a/b","x":"y',), "application/pdf"),
}


@pytest.mark.parametrize(("body", "fields", "expected"), SNIFFED.values(), ids=SNIFFED)
@pytest.mark.parametrize("by_byte", [False, True])
async def test_the_media_type(body: bytes, fields: tuple[bytes, ...], expected: str, by_byte: bool) -> None:
    """It is the server's, else that of the first bytes; what was read to find out comes with the rest."""
    response = ok(body, *fields)
    pieces = [response[at : at + 1] for at in range(300)] + [response[300:]] if by_byte else [response]
    async with upstream(then_closing(*pieces)) as raw, documents() as of:
        assert (expected, len(body), body) == await fetched(of, f"http://127.0.0.1:{raw.port}/")


async def test_a_document_passes_while_it_comes() -> None:
    """Its first bytes are given before the last ones have come."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(PDF, TYPE)[:-100])
        await go_on.wait()
        await peer.send(PDF[-100:])

    async with upstream(script) as raw, documents() as of:
        document = await of.open(f"http://127.0.0.1:{raw.port}/")
        first = await document.piece()
        assert PDF.startswith(first)
        go_on.set()
        assert PDF == first + (await whole(document))[2]
        assert b"" == await document.piece()


# ── whose addresses may be reached ──

CHECKED = {
    "public": (["93.184.216.34"], True),
    "public, of both families": (["2606:2800:220:1::1", "93.184.216.34"], True),
    "loopback": (["127.0.0.1"], False),
    "IPv6's loopback": (["::1"], False),
    "private": (["10.0.0.1"], False),
    "metadata": (["169.254.169.254"], False),
    "metadata of IPv6": (["fd00:ec2::254"], False),
    "Azure's host": (["168.63.129.16"], False),
    "mapped": (["::ffff:127.0.0.1"], False),
    "NAT64": (["64:ff9b::7f00:1"], False),
    "one of two": (["93.184.216.34", "10.0.0.1"], False),
    "one of two, the other way": (["10.0.0.1", "93.184.216.34"], False),
    "one of three, of the other family": (["93.184.216.34", "93.184.216.35", "fe80::1"], False),
    "a zone": (["fe80::1%lo"], False),
}


@pytest.mark.parametrize(("addresses", "served"), CHECKED.values(), ids=CHECKED)
async def test_every_address_of_a_name_is_checked(addresses: list[str], served: bool) -> None:
    """A name that has one address that is not public is refused; nothing is connected to."""
    names = Names({"doc.test": [addresses]})
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(UrlRules(), names, pool=Internet) as of:
        url = f"http://doc.test:{raw.port}/?sig=secret"
        if served:
            assert PDF == (await fetched(of, url))[2]
        else:
            assert NOT_PUBLIC == await refusal_of(of, url)
        assert int(served) == raw.connections
        assert {"ok" if served else "refused": 1} == counted(of)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "１２７.０.０.１", "127.0.0.1."],
)
async def test_an_address_in_the_url_is_checked(host: str) -> None:
    """No name is resolved for it, and nothing is connected to."""
    names = Names({})
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(UrlRules(), names) as of:
        assert NOT_PUBLIC == await refusal_of(of, f"http://{host}:{raw.port}/")
        assert (0, []) == (raw.connections, names.asked)


@pytest.mark.parametrize(
    "url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "gs://b/x", "ftp://a/x", "JVBERi0xLjc=", ""]
)
async def test_what_is_not_a_url_is_refused(url: str) -> None:
    """It is counted as refused; nothing is resolved."""
    names = Names({})
    async with documents(ANY, names) as of:
        code, _ = await refusal_of(of, url)
        assert (REFUSED, [], {"refused": 1}) == (code, names.asked, counted(of))


async def test_a_name_that_changes_is_resolved_once() -> None:
    """What was checked is what is connected to: the second answer of DNS is never asked for (rebinding)."""
    names = Names({"doc.test": [["93.184.216.34"], ["127.0.0.1"]]})
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(UrlRules(), names, pool=Internet) as of:
        assert PDF == (await fetched(of, f"http://doc.test:{raw.port}/"))[2]
        assert (["doc.test"], [["93.184.216.34"]]) == (names.asked, of._pool.reached)  # type: ignore[attr-defined]
        assert NOT_PUBLIC == await refusal_of(of, f"http://doc.test:{raw.port}/")


async def test_each_redirect_is_resolved_and_checked_again() -> None:
    """Also one to the same name, whose address has changed meanwhile."""
    names = Names({"doc.test": [["93.184.216.34"], ["127.0.0.1"]]})
    async with upstream(redirecting(b"/1")) as raw, documents(UrlRules(), names, pool=Internet) as of:
        assert NOT_PUBLIC == await refusal_of(of, f"http://doc.test:{raw.port}/0")
        assert (1, ["doc.test", "doc.test"]) == (raw.connections, names.asked)


@pytest.mark.parametrize(
    "rules",
    [UrlRules(allowed_hosts=frozenset({"inner.test"})), UrlRules(validated=False)],
    ids=["allowed", "not validated"],
)
async def test_an_inner_host_that_the_operator_allows(rules: UrlRules) -> None:
    """It may have any address; others may not, also where the allowed one redirects to them."""
    names = Names({"inner.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    async with upstream(redirecting(b"/1", b"//other.test/")) as raw, documents(rules, names) as of:
        url = f"http://inner.test:{raw.port}"
        assert PDF == (await fetched(of, f"{url}/2"))[2]
        other = f"//other.test:{raw.port}/2".encode()
        raw.script = redirecting(b"/1", other)
        if rules.validated:
            assert NOT_PUBLIC == await refusal_of(of, f"{url}/0")
        else:
            assert PDF == (await fetched(of, f"{url}/0"))[2]


async def test_the_rules_of_a_reload_hold_for_the_next_download() -> None:
    """The one under way keeps its own."""
    async with upstream(redirecting(last=ok(PDF, TYPE))) as raw, documents() as of:
        url = f"http://127.0.0.1:{raw.port}/"
        document = await of.open(url)
        of.rules = UrlRules(max_bytes=1)
        assert PDF == (await whole(document))[2]
        assert NOT_PUBLIC == await refusal_of(of, url)


async def test_a_document_behind_the_proxys_own_port_is_refused() -> None:
    """Whatever the operator allows, and whatever it is called: it would call itself without end."""
    names = Names({"inner.test": [["127.0.0.1"]]})
    for rules in (ANY, UrlRules(allowed_hosts=frozenset({"inner.test"}))):
        async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(rules, names) as of:
            of._pool.listening = [("0.0.0.0", raw.port)]
            assert ITSELF == await refusal_of(of, f"http://inner.test:{raw.port}/")
            assert [] == raw.received


async def test_a_public_address_of_this_machine_is_refused() -> None:
    """A firewall before the machine does not stand between its own programs. The operator may allow the host."""
    names = Names({"own.test": [[OWN_ADDRESS]]})
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(UrlRules(), names, pool=Internet) as of:
        url = f"http://own.test:{raw.port}/"
        assert ITSELF == await refusal_of(of, url)
        assert [] == raw.received
        of.rules = UrlRules(allowed_hosts=frozenset({"own.test"}))
        assert PDF == (await fetched(of, url))[2]


# ── redirects ──


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"])
async def test_a_redirect_is_followed(status: bytes) -> None:
    """Each on a connection of its own, and without a body of the one before."""
    async with upstream(redirecting(b"/1", b"2?x#y", status=status)) as raw, documents() as of:
        assert PDF == (await fetched(of, f"http://127.0.0.1:{raw.port}/0#z"))[2]
        assert [b"GET /0 HTTP/1.1", b"GET /1 HTTP/1.1", b"GET /2?x HTTP/1.1"] == [each.line for each in raw.received]
        assert [1, 2, 3] == [each.connection for each in raw.received]


async def test_redirects_have_an_end() -> None:
    """As many as browsers would follow, half of it; then no more is asked."""
    ten = [b"/%d" % (number + 1) for number in range(MAX_REDIRECTS)]
    async with upstream(redirecting(*ten)) as raw, documents() as of:
        assert PDF == (await fetched(of, f"http://127.0.0.1:{raw.port}/0"))[2]
    async with upstream(redirecting(*ten, b"/0")) as raw, documents() as of:
        why = (UNREACHABLE, "The document's host redirects more than 10 times.")
        assert why == await refusal_of(of, f"http://127.0.0.1:{raw.port}/0")
        assert (MAX_REDIRECTS + 1, {"unreachable": 1}) == (raw.connections, counted(of))


LED_ASTRAY = {
    "inside": (b"http://10.0.0.1/", NOT_PUBLIC),
    "to metadata": (b"http://169.254.169.254/latest/meta-data/", NOT_PUBLIC),
    "to loopback, oddly written": (
        b"http://0x7f000001/",
        (REFUSED, "The host of the document's URL is not an IPv4 address of four decimal numbers."),
    ),
    "to an inner name": (b"http://inner.test/", NOT_PUBLIC),
    "to a file": (b"file:///etc/passwd", (REFUSED, "Documents are not fetched by 'file:' URLs, only by http and https.")),
    "with credentials": (b"http://user:secret@doc.test/", (REFUSED, "The document's URL holds credentials.")),
    "to nothing": (b"", (REFUSED, "The document's host redirects to what is not a URL.")),
    "to a name that is none": (b"http://none.test/", (UNREACHABLE, "The name of the document's host cannot be resolved.")),
}


@pytest.mark.parametrize(("location", "why"), LED_ASTRAY.values(), ids=LED_ASTRAY)
async def test_a_redirect_is_checked_as_the_url_was(location: bytes, why: tuple[str, str]) -> None:
    """A public host cannot send the proxy to where the client could not."""
    names = Names({"doc.test": [["93.184.216.34"]], "inner.test": [["192.168.1.1"]]})
    async with upstream(redirecting(location)) as raw, documents(UrlRules(), names, pool=Internet) as of:
        assert why == await refusal_of(of, f"http://doc.test:{raw.port}/0")
        assert 1 == raw.connections


# ── what hosts say ──

STATUSES = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "203": ok(PDF, TYPE, status=b"203 Non-Authoritative Information"),
    "206": ok(PDF, TYPE, b"Content-Range: bytes 0-9/20", status=b"206 Partial Content"),
    "300": ok(b"", b"Location: /1", status=b"300 Multiple Choices"),
    "302": ok(b"", status=b"302 Found"),
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "307": ok(b"", b"Location: /1", b"Location: /2", status=b"307 Temporary Redirect"),
    "401": ok(b"", b"WWW-Authenticate: Basic", status=b"401 Unauthorized"),
    "404": ok(b"not here: /a.pdf?sig=secret", status=b"404 Not Found: secret"),
    "407": ok(b"", b"Proxy-Authenticate: Basic", status=b"407 Proxy Authentication Required"),
    "429": ok(b"", b"Retry-After: 1", status=b"429 Too Many Requests"),
    "500": ok(b"", status=b"500 Internal Server Error"),
    "999": ok(b"", status=b"999 Request denied"),
}


@pytest.mark.parametrize(("status", "response"), STATUSES.items())
async def test_any_status_but_200_is_said(status: str, response: bytes) -> None:
    """The client learns its number, and nothing else of the response or the URL."""
    async with upstream(answering(response)) as raw, documents() as of:
        expected = (UNREACHABLE, f"The document's host answered {status}.")
        assert expected == await refusal_of(of, f"http://127.0.0.1:{raw.port}/a.pdf?sig=secret")
        assert (1, {"unreachable": 1}) == (raw.connections, counted(of))
        await raw.left()  # The connection has been closed.


def head_of(*fields: bytes) -> bytes:
    """Return the head of a response without the empty line."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join(field + b"\r\n" for field in fields)


BEFORE = "The document's host closed the connection before it responded."
MIDDLE = "The document's host closed the connection in the middle of its response."
CODING = "The document's host sent a content coding that was not asked for."
DECODED = "The document cannot be decoded as its Content-Encoding says."
CUT = "The document breaks off: its content coding does not end."
BOMB = gzip.compress(bytes(200_000))

FAULTS = {
    "nothing": (then_closing(), BEFORE),
    "a reset": (then_resetting(), BEFORE),
    "half a head": (then_closing(b"HTTP/1.1 200 OK\r\nContent-"), BEFORE),
    "HTTP/0.9": (then_closing(b"<html>hello</html>"), "The document's host sent no HTTP/1.1 status line."),
    "HTTP/2": (then_closing(b"HTTP/2 200\r\n\r\n"), "The document's host sent no HTTP/1.1 status line."),
    "another protocol": (then_closing(b"SSH-2.0-OpenSSH_9.6\r\n"), "The document's host sent no HTTP/1.1 status line."),
    "TLS": (then_closing(b"\x15\x03\x01\x00\x02\x02\x46"), "The document's host sent no HTTP/1.1 status line."),
    "a head without end": (
        then_hanging(head_of(*[b"X-%d: %b" % (number, b"a" * 1000) for number in range(70)])),
        "The document's host sent a header of more than 65536 bytes.",
    ),
    "endless interim responses": (
        then_hanging(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21),
        "The document's host sent more than 20 interim responses.",
    ),
    "switching protocols": (
        then_closing(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
        "The document's host sent 101 Switching Protocols, which was not asked for.",
    ),
    "two lengths": (
        then_closing(head_of(b"Content-Length: 1", b"Content-Length: 2") + b"\r\nab"),
        "The document's host sent more than one Content-Length, or an odd one.",
    ),
    "a length and chunks": (
        then_closing(head_of(b"Content-Length: 1", b"Transfer-Encoding: chunked") + b"\r\n1\r\na\r\n0\r\n\r\n"),
        "The document's host sent a Transfer-Encoding that is not plain 'chunked', or conflicts with Content-Length.",
    ),
    "a bare line feed": (
        then_closing(b"HTTP/1.1 200 OK\nContent-Length: 1\n\na"),
        "The document's host sent a header with a bare LF, a bare CR or another control character.",
    ),
    "an empty document": (then_closing(ok(b"", TYPE)), "The document's host sent an empty document."),
    "no chunks": (then_closing(chunked()), "The document's host sent an empty document."),
    "an empty document until it closes": (then_closing(head_of() + b"\r\n"), "The document's host sent an empty document."),
    "an empty gzip": (then_closing(coded(b"gzip", gzip.compress(b""))), "The document's host sent an empty document."),
    "a short body": (then_closing(ok(PDF, TYPE)[:-1]), MIDDLE),
    "only a head": (then_closing(ok(PDF, TYPE)[: -len(PDF)]), MIDDLE),
    "a reset in the body": (then_resetting(ok(PDF, TYPE)[:-1]), MIDDLE),
    "no last chunk": (then_closing(chunked(PDF)[:-5]), MIDDLE),
    "an odd chunk": (
        then_closing(chunked(PDF).replace(b"\r\n0\r\n", b"\r\nx\r\n")),
        "The document's host sent an odd chunk size.",
    ),
    "two codings": (then_closing(coded(b"gzip, gzip", gzip.compress(gzip.compress(PDF)))), CODING),
    "many codings": (then_closing(coded(b"gzip," * 50 + b"gzip", PDF)), CODING),
    "an unknown coding": (then_closing(coded(b"compress", PDF)), CODING),
    "a false coding": (then_closing(coded(b"gzip", PDF)), DECODED),
    "a coding that breaks": (then_closing(coded(b"gzip", gzip.compress(PDF)[:-8] + bytes(8))), DECODED),
    "a coding that breaks off": (then_closing(coded(b"gzip", gzip.compress(PDF)[:-9])), CUT),
    "br that breaks off": (then_closing(coded(b"br", brotli.compress(PDF)[:-1])), CUT),
    "zstd that breaks off": (then_closing(coded(b"zstd", zstandard.compress(PDF)[:-1])), CUT),
    "no head in time": (then_hanging(b"HTTP/1.1 200"), "The document's host did not answer in time."),
    "no answer in time": (then_hanging(), "The document's host did not answer in time."),
    "no body in time": (then_hanging(ok(PDF, TYPE)[: -len(PDF)]), "The document stopped coming."),
    "a body that stalls": (then_hanging(ok(PDF, TYPE)[:-1]), "The document stopped coming."),
    "a coded body that stalls": (then_hanging(coded(b"gzip", gzip.compress(PDF))[:-1]), "The document stopped coming."),
    "too few bytes to sniff": (then_hanging(ok(b"%PD" + PDF)[: -len(PDF)]), "The document stopped coming."),
}


@pytest.mark.faults
@pytest.mark.parametrize(("script", "message"), FAULTS.values(), ids=FAULTS)
async def test_every_fault_of_a_host_is_its_own(script: Script, message: str) -> None:
    """It is the client's document that cannot be had; no broken one looks whole, and the message tells nothing of the URL."""
    async with upstream(script) as raw, documents(limits=SHORT) as of:
        found = await refusal_of(of, f"http://127.0.0.1:{raw.port}/a.pdf?sig=secret")
        assert ((UNREACHABLE, message), {"unreachable": 1}) == (found, counted(of))
        await raw.left()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("response", "resets"),
    [(ok(PDF[:40], TYPE), False), (chunked(PDF[:20], PDF[20:40]), False), (ok(PDF[:40], TYPE), True), (chunked(PDF[:40]), True)],
    ids=["a length, closed", "chunks, closed", "a length, reset", "chunks, reset"],
)
async def test_a_response_that_ends_at_any_byte_is_never_whole(response: bytes, resets: bool) -> None:
    """Wherever a host breaks off: before and in its head, in its body, before its last byte."""
    async with upstream(then_closing()) as raw, documents() as of:
        codes = set()
        for end in range(len(response)):
            raw.script = (then_resetting if resets else then_closing)(response[:end])
            codes.add((await refusal_of(of, f"http://127.0.0.1:{raw.port}/"))[0])
        assert {UNREACHABLE} == codes
        assert {"unreachable": len(response)} == counted(of)


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port on which no one listens; it is bound meanwhile, so that no one else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_host_that_refuses_connections() -> None:
    """The reason is the system's, without the address that asyncio adds."""
    with closed_port() as port:
        async with documents() as of:
            expected = (UNREACHABLE, "No connection to the document's host: Connection refused.")
            assert expected == await refusal_of(of, f"http://127.0.0.1:{port}/?sig=secret")


async def test_a_host_that_speaks_first() -> None:
    """A server of another protocol greets; it gets no request, or is no HTTP."""

    async def script(peer: Peer) -> None:
        await peer.send(b"220 mail.test ESMTP\r\n")
        await peer.ended()

    async with upstream(script) as raw, documents() as of:
        code, message = await refusal_of(of, f"http://127.0.0.1:{raw.port}/")
        assert (UNREACHABLE, False) == (code, "mail" in message)


async def test_a_name_that_has_no_address() -> None:
    """It is the client's to mend."""
    async with documents(UrlRules(), Names({"empty.test": [[]]})) as of:
        expected = (UNREACHABLE, "The name of the document's host cannot be resolved.")
        assert [expected] * 2 == [await refusal_of(of, f"http://{name}.test/?sig=secret") for name in ("none", "empty")]


# ── bounds ──


@pytest.mark.parametrize(
    ("response", "max_bytes", "received"),
    [
        (ok(PDF, TYPE), len(PDF) - 1, 0),
        (chunked(PDF[:500], PDF[500:]), len(PDF) - 1, len(PDF)),
        (head_of(TYPE) + b"\r\n" + PDF, len(PDF) - 1, len(PDF)),
        (coded(b"gzip", gzip.compress(PDF)), len(PDF) - 1, len(gzip.compress(PDF))),
        (coded(b"gzip", BOMB), 100_000, len(BOMB)),
        (coded(b"br", brotli.compress(bytes(50_000_000))), 1_000_000, len(brotli.compress(bytes(50_000_000)))),
        (coded(b"zstd", zstandard.compress(bytes(50_000_000))), 1_000_000, len(zstandard.compress(bytes(50_000_000)))),
        (coded(b"gzip", bytes(1000)), 999, 0),
    ],
    ids=["a length", "chunks", "until it closes", "gzip", "a bomb", "a bomb of br", "a bomb of zstd", "a coded length"],
)
async def test_a_document_that_is_too_large(response: bytes, max_bytes: int, received: int) -> None:
    """It is cut where it passes the bound, decoded as it comes; where its length is said, nothing of it is read."""
    async with upstream(then_closing(response)) as raw, documents(UrlRules(max_bytes, validated=False)) as of:
        expected = (TOO_LARGE, f"The document is larger than {max_bytes} bytes.")
        assert expected == await refusal_of(of, f"http://127.0.0.1:{raw.port}/")
        assert ({"too_large": 1}, received) == (counted(of), of.counts.received_bytes)


async def test_a_document_of_just_the_largest_size() -> None:
    """The bound is the last size that is taken."""
    for response in (ok(PDF, TYPE), chunked(PDF), coded(b"gzip", gzip.compress(PDF))):
        async with upstream(then_closing(response)) as raw, documents(UrlRules(len(PDF), validated=False)) as of:
            assert PDF == (await fetched(of, f"http://127.0.0.1:{raw.port}/"))[2]


async def test_an_endless_document_is_cut() -> None:
    """A host that never ends its chunks is left when the bound is passed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head_of(TYPE, b"Transfer-Encoding: chunked") + b"\r\n")
        while True:
            await peer.send(chunk(bytes(60_000)))

    async with upstream(script) as raw, documents(UrlRules(5_000_000, validated=False)) as of:
        assert TOO_LARGE == (await refusal_of(of, f"http://127.0.0.1:{raw.port}/"))[0]
        await raw.left()
        assert of.counts.received_bytes <= 5_000_000 + 256 * 1024


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 OK\r\n",), (ok(PDF, TYPE)[: -len(PDF)],), (ok(PDF, TYPE)[:-1],)])
async def test_a_deadline_ends_a_download_wherever_it_is(pieces: tuple[bytes, ...]) -> None:
    """It is for connecting, head and body together."""
    async with upstream(then_hanging(*pieces)) as raw, documents() as of:
        code, message = await refusal_of(of, f"http://127.0.0.1:{raw.port}/", asyncio.get_running_loop().time() + 0.05)
        assert (UNREACHABLE, True) == (code, message.endswith(" in time."))


async def test_a_deadline_that_has_passed() -> None:
    """Nothing is asked any more."""
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents() as of:
        expected = (UNREACHABLE, "No connection to the document's host in time.")
        assert expected == await refusal_of(of, f"http://127.0.0.1:{raw.port}/", asyncio.get_running_loop().time() - 1)
        assert [] == raw.received


async def test_redirects_share_one_time_limit() -> None:
    """A host that redirects slowly again and again does not get a new limit each time."""

    async def script(peer: Peer) -> None:
        received = await peer.request()
        await asyncio.sleep(0.05)
        number = int(received.line.split()[1][1:])
        await peer.send(ok(PDF, TYPE) if number == 8 else ok(b"", b"Location: /%d" % (number + 1), status=b"302 Found"))

    async with upstream(script) as raw, documents(limits=DownloadLimits(head_s=0.2)) as of:
        code, message = await refusal_of(of, f"http://127.0.0.1:{raw.port}/0")
        assert (UNREACHABLE, True) == (code, message.endswith(" in time."))


async def test_a_document_that_drips_is_given_up() -> None:
    """Bytes that come too slowly do not keep a download open: the rate is taken over the time that was waited."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(PDF, TYPE)[: -len(PDF)])
        for at in range(len(PDF)):
            await asyncio.sleep(0.005)  # uvloop's clock has milliseconds
            await peer.send(PDF[at : at + 1])

    async with upstream(script) as raw, documents(limits=DownloadLimits(min_rate=10**9, rate_window_s=0.001)) as of:
        expected = (UNREACHABLE, "The document comes too slowly.")
        assert expected == await refusal_of(of, f"http://127.0.0.1:{raw.port}/")
        assert {"unreachable": 1} == counted(of)


async def test_a_slow_reader_is_not_the_hosts_fault() -> None:
    """Only the time that the host is waited for counts, not that in which what has come is not taken."""
    limits = DownloadLimits(min_rate=10**12, rate_window_s=0.001)
    async with upstream(then_closing(ok(PDF, TYPE))) as raw, documents(limits=limits) as of:
        document = await of.open(f"http://127.0.0.1:{raw.port}/")
        await raw.left()
        assert PDF == (await whole(document))[2]


# ── TLS ──


async def test_the_certificate_is_of_the_name(authority: trustme.CA, ca_file: str) -> None:
    """The address that was checked is connected to, and must prove to be the name's."""
    names = Names({name: [["93.184.216.34"]] for name in ("doc.test", "other.test", "xn--bcher-kva.test")})
    tls = served_by(authority, "doc.test", "xn--bcher-kva.test")
    rules = UrlRules()
    async with (
        upstream(then_closing(ok(PDF, TYPE)), ssl=tls) as raw,
        documents(rules, names, pool=Internet, ca_file=ca_file) as of,
    ):
        for host in ("doc.test", "DOC.test.", "bücher.test"):
            assert PDF == (await fetched(of, f"https://{host}:{raw.port}/"))[2]
        assert [b"doc.test:%d" % raw.port] == raw.received[1].values(b"Host")
        expected = (UNREACHABLE, "The certificate of the document's host is not trusted.")
        assert expected == await refusal_of(of, f"https://other.test:{raw.port}/?sig=secret")
        assert expected == await refusal_of(of, f"https://93.184.216.34:{raw.port}/")


async def test_an_authority_that_nobody_knows(authority: trustme.CA) -> None:
    """The system's authorities are trusted, and no others."""
    async with upstream(then_closing(ok(PDF, TYPE)), ssl=served_by(authority, "127.0.0.1")) as raw, documents() as of:
        expected = (UNREACHABLE, "The certificate of the document's host is not trusted.")
        assert expected == await refusal_of(of, f"https://127.0.0.1:{raw.port}/")


async def test_no_tls_where_it_is_asked_for() -> None:
    """A server that speaks plainly, or hangs up in the handshake."""

    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def silent(peer: Peer) -> None:
        await peer.reader.read(1)

    for script in (plain, silent):
        async with upstream(script) as raw, documents() as of:
            code, message = await refusal_of(of, f"https://127.0.0.1:{raw.port}/?sig=secret")
            assert (UNREACHABLE, False) == (code, "secret" in message or "127" in message)


async def test_a_tls_handshake_that_hangs_ends_in_time() -> None:
    """Connecting means TLS, too."""
    async with upstream(then_hanging()) as raw, documents(limits=DownloadLimits(connect_s=0.05)) as of:
        raw.script = lambda peer: peer.ended()  # type: ignore[assignment,return-value]
        expected = (UNREACHABLE, "No connection to the document's host in time.")
        assert expected == await refusal_of(of, f"https://127.0.0.1:{raw.port}/")


async def test_a_document_never_falls_from_https_to_http(authority: trustme.CA, ca_file: str) -> None:
    """A redirect from http to https is followed; the way back is not."""
    async with (
        upstream(then_closing(ok(PDF, TYPE)), ssl=served_by(authority, "127.0.0.1")) as safe,
        upstream(redirecting(b"https://127.0.0.1:%d/" % safe.port)) as plain,
        documents(ca_file=ca_file) as of,
    ):
        assert PDF == (await fetched(of, f"http://127.0.0.1:{plain.port}/0"))[2]
        safe.script = redirecting(b"http://127.0.0.1:%d/1" % plain.port)
        expected = (REFUSED, "The document's host redirects from https to http.")
        assert expected == await refusal_of(of, f"https://127.0.0.1:{safe.port}/0")
        assert 1 == plain.connections


# ── ends ──


@pytest.mark.parametrize(
    "pieces", [(), (b"HTTP/1.1 200 OK\r\n",), (ok(PDF, TYPE)[: -len(PDF)],)], ids=["nothing", "half a head", "a head"]
)
async def test_a_cancelled_task_closes_the_connection(pieces: tuple[bytes, ...]) -> None:
    """Wherever it waits before the first bytes."""
    async with upstream(then_hanging(*pieces)) as raw, documents() as of:
        opening = asyncio.create_task(of.open(f"http://127.0.0.1:{raw.port}/"))
        await until(lambda: bool(raw.received))
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        await raw.left()
        assert {"cancelled": 1} == counted(of)


async def test_a_document_that_is_closed_early() -> None:
    """The host sees it, and it is counted once; a document that came whole stays so."""
    async with upstream(then_hanging(ok(PDF, TYPE)[:-1])) as raw, documents() as of:
        document = await of.open(f"http://127.0.0.1:{raw.port}/")
        for _ in range(2):
            document.close()
        await raw.left()
        assert {"cancelled": 1} == counted(of)
        with pytest.raises(Refusal) as caught:
            await document.piece()
        assert (UNREACHABLE, {"cancelled": 1}) == (caught.value.kind.code, counted(of))


async def test_a_document_that_is_closed_while_it_is_awaited() -> None:
    """The waiting task ends at once."""
    async with upstream(then_hanging(ok(PDF, TYPE)[:-1])) as raw, documents() as of:
        document = await of.open(f"http://127.0.0.1:{raw.port}/")
        reading = asyncio.create_task(whole(document))
        await asyncio.sleep(0)
        document.close()
        with pytest.raises(Refusal):
            await reading
        assert {"cancelled": 1} == counted(of)


async def test_many_documents_at_once() -> None:
    """None waits for another, and all are counted."""
    large = PDF * 100
    async with upstream(then_closing(ok(large, TYPE))) as raw, documents() as of:
        url = f"http://127.0.0.1:{raw.port}/"
        found: list[Any] = await asyncio.gather(*(fetched(of, url) for _ in range(20)))
        assert {("application/pdf", len(large), large)} == set(found)
        assert ({"ok": 20}, 20 * len(large)) == (counted(of), of.counts.received_bytes)
