"""Base URLs and keys as people write them, and what each request carries."""

from __future__ import annotations

import pytest

from passthrough import __version__
from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.files import delete
from passthrough.client.errors import ClientError
from tests.harness.api_calls import api, responds, says


@pytest.mark.parametrize(
    ("given", "base", "ocr_url"),
    [
        ("https://api.mistral.ai", "https://api.mistral.ai", "https://api.mistral.ai/v1/ocr"),
        ("https://api.mistral.ai/", "https://api.mistral.ai", "https://api.mistral.ai/v1/ocr"),
        ("https://api.mistral.ai/v1", "https://api.mistral.ai", "https://api.mistral.ai/v1/ocr"),
        (" HTTPS://api.mistral.ai/v1/#x\n", "https://api.mistral.ai", "https://api.mistral.ai/v1/ocr"),
        ("http://127.0.0.1:4000/mistral", "http://127.0.0.1:4000/mistral", "http://127.0.0.1:4000/mistral/v1/ocr"),
        ("http://[::1]:4000/a/b/v1//", "http://[::1]:4000/a/b", "http://[::1]:4000/a/b/v1/ocr"),
        ("https://a.example/v1?k=v", "https://a.example?k=v", "https://a.example/v1/ocr?k=v"),
        ("https://a.example/nov1", "https://a.example/nov1", "https://a.example/nov1/v1/ocr"),
        *((call, call, call) for call in (
            "https://r.services.ai.azure.com/providers/mistral/azure/ocr?api-version=2024-05-01-preview",
            "https://a.example/v1/ocr",
            "https://aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict",
        )),
    ],
)  # fmt: skip
def test_a_base_url_is_read_as_it_is_meant(given: str, base: str, ocr_url: str) -> None:
    """With or without `/v1`; the URL of a call is used as it is, and then there are no files."""
    endpoint = Endpoint.of(given, None)
    assert (base, ocr_url, base != ocr_url) == (endpoint.base, endpoint.ocr_url, endpoint.has_files)
    assert endpoint == Endpoint.of(endpoint.base, None)


@pytest.mark.parametrize(
    "given",
    ["", "api.mistral.ai", "localhost:4000/mistral", "ftp://a.example", "http://", "http:///x", "http://a:99999", "http://a:0",
     "http://a b", "http://a/\x00", "http://a\u202eb", "http://[::1", "/mistral", "http://a..b", "http://" + "a" * 64,
     "http://user:word@a.example", "http://user@a"],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(given: str) -> None:
    """With an example of one that is, and without what it holds."""
    with pytest.raises(ClientError, match="The base URL") as caught:
        Endpoint.of(given, None)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(("key", "sent"), [(" k-1\n", "k-1"), ("", None), ("  ", None), (None, None)])
def test_a_key_is_trimmed(key: str | None, sent: str | None) -> None:
    """A line end of a file is none of its characters; an empty variable is no key."""
    found = Endpoint.of("http://a", key).key
    assert sent == (None if found is None else found.reveal())


@pytest.mark.parametrize("key", ["two words", "line\nline", "schlüssel", "a\x7fb"])
def test_a_key_that_no_field_can_hold_is_refused(key: str) -> None:
    """The message does not have it."""
    with pytest.raises(ClientError, match="The API key holds a character") as caught:
        Endpoint.of("http://a", key)
    assert key not in str(caught.value)


def test_an_endpoint_does_not_show_its_key_or_its_query() -> None:
    """Nor does it show in a traceback."""
    endpoint = Endpoint.of("https://a.example/x?code=hidden", "hidden")
    assert ("hidden" in repr(endpoint.key), "https://a.example/x") == (False, endpoint.shown)


@pytest.mark.parametrize(
    ("base", "authority", "is_reseller", "is_loopback"),
    [
        ("https://api.eu.mistral.ai", "api.eu.mistral.ai", False, False),
        ("https://r.services.ai.azure.com/providers/mistral/azure/ocr", "r.services.ai.azure.com", True, False),
        ("https://azure.com.example", "azure.com.example", False, False),
        ("http://127.0.0.1:4000/providers/mistral/azure/ocr", "127.0.0.1:4000", True, True),
        ("https://a.example/v1/models/m:rawPredict", "a.example", True, False),
        ("http://localhost:4000/mistral", "localhost:4000", False, True),
        ("http://[::1]:1", "[::1]:1", False, True),
    ],
)
def test_whose_api_it_is(base: str, authority: str, is_reseller: bool, is_loopback: bool) -> None:
    """Azure and Vertex have bounds of their own, and what runs on this machine is reached without a proxy."""
    endpoint = Endpoint.of(base, None)
    assert (authority, is_reseller, is_loopback) == (endpoint.authority, endpoint.is_reseller, endpoint.is_loopback)


@pytest.mark.parametrize("key", ["k-1", None])
async def test_what_each_request_carries(key: str | None) -> None:
    """The key where there is one, who calls, no cookie, and the end of the connection."""
    async with api(says(200, {}, b"Set-Cookie: a=b"), key=key) as one:
        await delete(one.connection, "file-1")
        await delete(one.connection, "file-1")
        for received in one.raw.received:
            assert [b"passthrough-ocr/" + __version__.encode()] == received.values(b"user-agent")
            assert ([] if key is None else [b"Bearer k-1"]) == received.values(b"authorization")
            assert [[b"close"], [], [b"application/json"]] == [
                received.values(name) for name in (b"connection", b"cookie", b"accept")
            ]
        assert 2 == one.raw.connections


async def test_netrc_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """What is stored there for the host is for other programs."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\ndefault login a password b\n")  # type: ignore[operator]
    monkeypatch.setenv("NETRC", f"{tmp_path}/netrc")
    async with api(responds(), key=None) as one:
        await delete(one.connection, "file-1")
        assert [] == one.raw.received[0].values(b"authorization")


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent past it."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(ClientError, match="no HTTP proxy"):
        Connection(Endpoint.of("https://api.mistral.ai", None))
