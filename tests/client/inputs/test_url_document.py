"""URLs as documents."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.inputs.url_document import is_url, url_document

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("url", "name", "sent"),
    [
        ("https://a.example/b/report.pdf", "report.pdf", None),
        ("HTTPS://A.example/report.pdf", "report.pdf", "https://A.example/report.pdf"),
        ("https://arxiv.org/pdf/2201.04234", "2201.04234", None),
        ("https://a.example:8443/x.pdf?version=2&b=%20", "x.pdf", None),
        ("http://a.example/b/", "b", None),
        ("http://a.example", "a.example", None),
        ("http://a.example/?q", "a.example", None),
        ("http://a.example/x.pdf#page=2", "x.pdf", "http://a.example/x.pdf"),
        ("http://a.example/%C3%BCber%20uns.pdf", "über uns.pdf", None),
        ("http://a.example/über uns.pdf?q=ä b", "über uns.pdf", "http://a.example/%C3%BCber%20uns.pdf?q=%C3%A4%20b"),
        ("http://a.example/a%2F..%2Fb%5Cc.pdf", "a_.._b_c.pdf", None),
        ("http://a.example/a%00b%0a%1b%7f.pdf", "a_b___.pdf", None),
        ("http://a.example/..", "a.example", None),
        ("http://a.example/%2e%2e", "a.example", None),
        ("http://a.example/%2E/", "a.example", None),
        ("http://a.example/%ff.pdf", "\ufffd.pdf", None),
        ("http://a.example/x\udcff.pdf", "x\udcff.pdf", "http://a.example/x%FF.pdf"),
        ("http://[::1]:80/a.pdf", "a.pdf", None),
        ("http://bücher.example/a.pdf", "a.pdf", None),
        ("http://a.example/(1)[2]'!.pdf", "(1)[2]'!.pdf", None),
    ],
)
def test_a_url_is_a_document(url: str, name: str, sent: str | None) -> None:
    """Its name is the last piece of its path, decoded, never a path itself; what a browser encodes is encoded."""
    assert is_url(url)
    document = url_document(url)
    assert (PurePath(name), sent or url, None, None) == (document.relative, document.url, document.path, document.type)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@a.example/x@y.pdf", "https://a.example/x@y.pdf"),
        ("https://key@a.example?x=y@z", "https://a.example?x=y@z"),
        ("https://a.example/x@y.pdf", "https://a.example/x@y.pdf"),
        ("https://a.example/a\x1bb.pdf", "https://a.example/a\\x1bb.pdf"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, shown: str) -> None:
    """It is sent, because the API needs it, and not shown."""
    document = url_document(url)
    assert shown == document.name
    assert ("secret" in url) == ("secret" in str(document.url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://", "It is a URL without the name of a host."),
        ("http:///x.pdf", "It is a URL without the name of a host."),
        ("https://a b/x.pdf", "It is a URL without the name of a host."),
        ("https://a\udcff/x.pdf", "It is a URL without the name of a host."),
        ("https://a%0ab/x.pdf", "It is a URL without the name of a host."),
        ("http://[", "It is no URL: Invalid IPv6 URL."),
        ("http://a:b/x", "It is no URL: Port could not be cast to integer value as 'b'."),
        ("ftp://a.example/x.pdf", "The API fetches no ftp: URLs."),
        ("s3://bucket/x.pdf", "The API fetches no s3: URLs."),
        ("file:///x.pdf", "The API fetches no file: URLs."),
    ],
)
def test_a_url_that_the_api_cannot_fetch_is_refused(url: str, why: str) -> None:
    """It says why."""
    assert is_url(url)
    with pytest.raises(DocumentError) as caught:
        url_document(url)
    assert why == caught.value.why


@pytest.mark.parametrize("argument", ["report.pdf", "a:b", "C:\\x.pdf", "C:/x.pdf", "./http://a", "://a", "-", ""])
def test_what_has_no_scheme_is_no_url(argument: str) -> None:
    """A drive's letter is none."""
    assert not is_url(argument)
