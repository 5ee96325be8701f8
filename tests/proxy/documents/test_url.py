"""Which URLs of documents are read, as what, and which are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.proxy.documents.url import MAX_URL_CHARS, DocumentUrl, parse_url, redirected, refused_source
from passthrough.proxy.documents.url_rules import UrlRules

pytestmark = pytest.mark.fast


def read(text: str) -> tuple[bool, str, int, bytes] | str:
    """Return the parts of a URL, or why it is refused."""
    try:
        url = parse_url(text)
    except Refusal as refusal:
        return refusal.message if refusal.kind.code == "document_refused" else refusal.kind.code
    return url.tls, url.host, url.port, url.target


READ = [
    ("https://arxiv.org/pdf/2201.04234", (True, "arxiv.org", 443, b"/pdf/2201.04234")),
    ("http://arxiv.org", (False, "arxiv.org", 80, b"/")),
    ("HTTPS://ArXiv.ORG/PDF", (True, "arxiv.org", 443, b"/PDF")),
    ("https://a.test:8443/x", (True, "a.test", 8443, b"/x")),
    ("https://a.test:/x", (True, "a.test", 443, b"/x")),
    ("https://a.test:00080/x", (True, "a.test", 80, b"/x")),
    ("https://a.test?x=1", (True, "a.test", 443, b"/?x=1")),
    ("https://a.test/x?y=https://b.test/@#:z", (True, "a.test", 443, b"/x?y=https://b.test/@")),
    ("https://a.test#@b.test/", (True, "a.test", 443, b"/")),
    ("https://a.test/x#y", (True, "a.test", 443, b"/x")),
    ("https://a.test/x?", (True, "a.test", 443, b"/x?")),
    ("https://a.test/a b?c d", (True, "a.test", 443, b"/a%20b?c%20d")),
    ("  https://a.test/x  ", (True, "a.test", 443, b"/x")),
    ("https://a.test/%41%2f%zz%", (True, "a.test", 443, b"/%41%2f%zz%")),
    ("https://a.test/é?ü", (True, "a.test", 443, b"/%C3%A9?%C3%BC")),
    ('https://a.test/"<>\\^`{|}', (True, "a.test", 443, b"/%22%3C%3E%5C%5E%60%7B%7C%7D")),
    ("https://a.test/a/../b/./c", (True, "a.test", 443, b"/a/../b/./c")),
    ("https://a.test./x", (True, "a.test", 443, b"/x")),
    ("https://a_b.test/", (True, "a_b.test", 443, b"/")),
    ("https://localhost/", (True, "localhost", 443, b"/")),
    ("https://bücher.example/", (True, "xn--bcher-kva.example", 443, b"/")),
    ("https://BÜCHER.example/", (True, "xn--bcher-kva.example", 443, b"/")),
    ("https://ａ.test/", (True, "a.test", 443, b"/")),
    ("https://a。test/", (True, "a.test", 443, b"/")),
    ("http://8.8.8.8/", (False, "8.8.8.8", 80, b"/")),
    ("http://8.8.8.8./", (False, "8.8.8.8", 80, b"/")),
    ("http://[2001:DB8:0:0::1]:8080/x", (False, "2001:db8::1", 8080, b"/x")),
    ("http://[::ffff:127.0.0.1]/", (False, str(ipaddress.IPv6Address("::ffff:127.0.0.1")), 80, b"/")),
    ("http://127.0.0.1/", (False, "127.0.0.1", 80, b"/")),
    ("http://１２７.０.０.１/", (False, "127.0.0.1", 80, b"/")),
    ("http://①②⑦.0.0.1/", (False, "127.0.0.1", 80, b"/")),
    ("http://127。0。0。1/", (False, "127.0.0.1", 80, b"/")),
    ("http://0x7f.example/", (False, "0x7f.example", 80, b"/")),
    ("http://1.2.3.4.example/", (False, "1.2.3.4.example", 80, b"/")),
    ("http://127.0.0.1.nip.io/", (False, "127.0.0.1.nip.io", 80, b"/")),
]

NO_ADDRESS = "The host of the document's URL is not an IPv4 address of four decimal numbers."
NO_ADDRESS6 = "The host of the document's URL is not an IPv6 address."
NO_NAME = "The host of the document's URL is not a name that DNS could hold."
NO_HOST = "The document's URL has no host, or an odd one."
NO_PORT = "The port of the document's URL is not one."
CONTROL = "The document's URL holds a control character."
CREDENTIALS = "The document's URL holds credentials."
NO_URL = "The document is neither an http or https URL nor a data URI."
ZONE = "The host of the document's URL is an address with a zone."

REFUSED = [
    ("http://2130706433/", NO_ADDRESS),
    ("http://127.1/", NO_ADDRESS),
    ("http://127.0.1/", NO_ADDRESS),
    ("http://0x7f.1/", NO_ADDRESS),
    ("http://0x7f000001/", NO_ADDRESS),
    ("http://0X7F.0.0.1/", NO_ADDRESS),
    ("http://0177.0.0.1/", NO_ADDRESS),
    ("http://017700000001/", NO_ADDRESS),
    ("http://127.0.0.01/", NO_ADDRESS),
    ("http://127.0.0.1.1/", NO_ADDRESS),
    ("http://127.0.0.256/", NO_ADDRESS),
    ("http://a.0/", NO_ADDRESS),
    ("http://a.0x/", NO_ADDRESS),
    ("http://0/", NO_ADDRESS),
    ("http://２１３０７０６４３３/", NO_ADDRESS),
    ("http://127.0.0.1../", NO_NAME),
    ("http://[::1/", NO_HOST),
    ("http://::1/", NO_HOST),
    ("http://[::1]x/", NO_HOST),
    ("http://[[::1]]/", NO_HOST),
    ("http://[]/", NO_ADDRESS6),
    ("http://[127.0.0.1]/", NO_ADDRESS6),
    ("http://[::1%25eth0]/", ZONE),
    ("http://[fe80::1%eth0]/", ZONE),
    ("http://[v1.a]/", NO_ADDRESS6),
    ("http:///x", NO_HOST),
    ("http://", NO_HOST),
    ("http://:80/", NO_HOST),
    ("http://./", NO_NAME),
    ("http://a..b/", NO_NAME),
    ("http://-a.test/", NO_NAME),
    ("http://a-.test/", NO_NAME),
    ("http://" + "a" * 64 + ".test/", NO_NAME),
    ("http://" + "a." * 130 + "test/", NO_NAME),
    ("http://a%2etest/", NO_NAME),
    ("http://127%2e0%2e0%2e1/", NO_NAME),
    ("http://a test/", NO_NAME),
    ("http://a\\b.test/", NO_NAME),
    ("http://a.test\\@b.test/", CREDENTIALS),
    ("http://a*b.test/", NO_NAME),
    ("http://☃\u200d.test/", NO_NAME),
    ("http://user:password@a.test/", CREDENTIALS),
    ("http://user@a.test/", CREDENTIALS),
    ("http://@a.test/", CREDENTIALS),
    ("http://a.test@127.0.0.1/", CREDENTIALS),
    ("http://a＠b.test/", NO_NAME),
    ("http://a：80/", NO_NAME),
    ("http://a.test:0/", NO_PORT),
    ("http://a.test:65536/", NO_PORT),
    ("http://a.test:000080/", NO_PORT),
    ("http://a.test:99999999999999999999/", NO_PORT),
    ("http://a.test:x/", NO_HOST),
    ("http://a.test:-1/", NO_HOST),
    ("http://a.test:８０/", NO_HOST),
    ("http://a.test:80:80/", NO_HOST),
    ("http://a.test/\r\nHost: b", CONTROL),
    ("http://a.test/\n", CONTROL),
    ("\thttp://a.test/", CONTROL),
    ("http://a\t.test/", CONTROL),
    ("http://a.test/\x00", CONTROL),
    ("http://a.test/\x7f", CONTROL),
    ("http://a.test/\x85", CONTROL),
    ("http://a.test/\u2028", CONTROL),
    ("http://a.test/\ud800", CONTROL),
    ("http://a.test/" + "a" * MAX_URL_CHARS, f"The document's URL is longer than {MAX_URL_CHARS} characters."),
    ("http://a.test/" + "é" * (MAX_URL_CHARS // 4), f"The document's URL is longer than {MAX_URL_CHARS} characters."),
    ("ftp://a.test/x.pdf", "Documents are not fetched by 'ftp:' URLs, only by http and https."),
    ("gs://bucket/x.pdf", "Documents are not fetched by 'gs:' URLs, only by http and https."),
    ("S3://bucket/x.pdf", "Documents are not fetched by 's3:' URLs, only by http and https."),
    ("file:///etc/passwd", "Documents are not fetched by 'file:' URLs, only by http and https."),
    ("gopher://a.test/_x", "Documents are not fetched by 'gopher:' URLs, only by http and https."),
    ("javascript:alert(1)", "Documents are not fetched by 'javascript:' URLs, only by http and https."),
    ("http:a.test/", "The document's URL has no host."),
    ("https:/a.test/", "The document's URL has no host."),
    ("http:\\\\a.test\\", "The document's URL has no host."),
    ("httpſ://a.test/", NO_URL),
    ("JVBERi0xLjcKJcTl8uXrp", NO_URL),
    ("/etc/passwd", NO_URL),
    ("//a.test/x", NO_URL),
    ("a.test/x", NO_URL),
    ("", NO_URL),
]


@pytest.mark.parametrize(("text", "parts"), READ, ids=[row[0] for row in READ])
def test_a_url_is_read(text: str, parts: tuple[bool, str, int, bytes]) -> None:
    """The host is what DNS and TLS get, the target what goes into the request line."""
    assert parts == read(text)


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[ascii(row[0][:60]) for row in REFUSED])
def test_a_url_is_refused(text: str, why: str) -> None:
    """What is not plainly a URL of one host is not guessed at."""
    assert why == read(text)


def test_a_name_is_the_same_without_what_cannot_be_seen() -> None:
    """A soft hyphen is dropped as browsers do (UTS 46)."""
    assert (False, "ab.test", 80, b"/") == read("http://a\u00adb.test/")


def test_an_address_is_known_as_one() -> None:
    """No name is resolved for it."""
    found = [parse_url(f"http://{host}/").address for host in ("8.8.8.8", "[::1]", "a.test")]
    assert [ipaddress.IPv4Address("8.8.8.8"), ipaddress.IPv6Address("::1"), None] == found


@given(st.text(alphabet=st.characters(exclude_categories=())) | st.from_regex(r"https?://[^/]{0,12}/?.{0,12}", fullmatch=True))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    """Nothing else is raised, and what is read makes one request line and one Host."""
    if isinstance(why := read(text), str):
        assert why.startswith(("The ", "Documents "))
        return
    url = parse_url(text)
    assert url == parse_url(url.text)
    assert all(0x20 < byte < 0x7F for byte in url.target)
    assert url.target.startswith(b"/")
    assert url.host.isascii()
    assert not set(url.host) & set("/?#@\\ %")


# ── redirects ──

BASE = parse_url("https://a.test/b/c?d")

LED = [
    (b"https://other.test/x", (True, "other.test", 443, b"/x")),
    (b"/x?y", (True, "a.test", 443, b"/x?y")),
    (b"x", (True, "a.test", 443, b"/b/x")),
    (b"../x", (True, "a.test", 443, b"/x")),
    (b"?y", (True, "a.test", 443, b"/b/c?y")),
    (b"//other.test:444/x", (True, "other.test", 444, b"/x")),
    (b"#fragment", (True, "a.test", 443, b"/b/c?d")),
    (b" /x ", (True, "a.test", 443, b"/x")),
    ("/é".encode(), (True, "a.test", 443, b"/%C3%A9")),
    (b"/a b", (True, "a.test", 443, b"/a%20b")),
]

LOST = [
    (b"", "The document's host redirects to what is not a URL."),
    (b"/\xff", "The document's host redirects to what is not a URL."),
    (b"/\tx", "The document's host redirects to what is not a URL."),
    (b"https://[x/", "The document's host redirects to what is not a URL."),
    (b"/" + b"a" * MAX_URL_CHARS, "The document's host redirects to what is not a URL."),
    (b"http://a.test/x", "The document's host redirects from https to http."),
    (b"ftp://a.test/x", "Documents are not fetched by 'ftp:' URLs, only by http and https."),
    (b"file:///etc/passwd", "Documents are not fetched by 'file:' URLs, only by http and https."),
    (b"https://user:secret@a.test/", CREDENTIALS),
    (b"//0x7f.1/", NO_ADDRESS),
    (b"https://a.test:0/", NO_PORT),
]


@pytest.mark.parametrize(("location", "parts"), LED, ids=[repr(row[0]) for row in LED])
def test_where_a_redirect_leads(location: bytes, parts: tuple[bool, str, int, bytes]) -> None:
    """A reference is resolved against the URL that redirects (RFC 9110 §10.2.2)."""
    url = redirected(BASE, location)
    assert parts == (url.tls, url.host, url.port, url.target)


@pytest.mark.parametrize(("location", "why"), LOST, ids=[repr(row[0][:40]) for row in LOST])
def test_a_redirect_is_refused(location: bytes, why: str) -> None:
    """It is read as strictly as the client's URL, and never leads from https to http."""
    with pytest.raises(Refusal) as caught:
        redirected(BASE, location)
    assert ("document_refused", why) == (caught.value.kind.code, caught.value.message)


def test_a_redirect_from_http_may_lead_to_either() -> None:
    """Nothing is lost by it."""
    base = parse_url("http://[::1]:8080/x")
    found = [redirected(base, location).text for location in (b"y", b"http://a.test/", b"https://a.test/")]
    assert ["http://[::1]:8080/y", "http://a.test:80/", "https://a.test:443/"] == found


# ── what the operator allows ──

ALLOWED = [
    ("http://inner.test/", {"inner.test"}, True),
    ("http://INNER.test./", {"inner.test"}, True),
    ("http://inner.test:8080/", {"inner.test"}, True),
    ("http://inner.test:8080/", {"inner.test:8080"}, True),
    ("http://inner.test/", {"inner.test:8080"}, False),
    ("http://inner.test/", {"inner.test:80"}, True),
    ("https://inner.test/", {"inner.test:443"}, True),
    ("http://sub.inner.test/", {"inner.test"}, False),
    ("http://inner.test.evil.test/", {"inner.test"}, False),
    ("http://10.0.0.1/", {"10.0.0.1"}, True),
    ("http://10.0.0.1:81/", {"10.0.0.1:80"}, False),
    ("http://[fd00::1]/", {"fd00::1"}, True),
    ("http://[FD00:0::1]/", {"[fd00::1]"}, True),
    ("http://[fd00::1]:8080/", {"[fd00::1]:8080"}, True),
    ("http://[fd00::1]:8080/", {"[fd00::1]:80"}, False),
    ("http://bücher.example/", {"xn--bcher-kva.example"}, True),
    ("http://inner.test/", set(), False),
]


@pytest.mark.parametrize(("text", "hosts", "allowed"), ALLOWED)
def test_which_hosts_may_be_private(text: str, hosts: set[str], allowed: bool) -> None:
    """A host is named with its port, or for all ports; its subdomains are others."""
    assert allowed == parse_url(text).may_be_private(UrlRules(allowed_hosts=frozenset(hosts)))
    assert parse_url(text).may_be_private(UrlRules(validated=False))


def test_a_source_that_is_no_url_is_named_by_its_scheme_only() -> None:
    """A message has no part of the document."""
    found = [refused_source(text).message for text in ("gs://b/x", "JVBERi0", "x" * 60 + ":y")]
    assert ["Documents are not fetched by 'gs:' URLs, only by http and https.", NO_URL, NO_URL] == found


def test_the_url_is_not_shown() -> None:
    """A signed URL is a credential: it is not in what a defect would print."""
    assert "signature" not in repr(DocumentUrl(True, "a.test", 443, b"/x?signature"))
