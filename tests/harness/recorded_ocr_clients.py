"""Requests of real clients, byte for byte as they came: of LiteLLM's SDK 1.110.2, langchain-litellm 0.11.2, curl 7.88.

LiteLLM's `ocr` and `aocr` send the same. What it makes of a file as bytes has the type `application/octet-stream`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BEARER: Final = b"Bearer pt-key"
KEY: Final = "pt-key"
"""The client key that all of them sent."""
MODEL: Final = b"mistral-ocr"
"""The model that all of them named."""
URL: Final = b"https://arxiv.org/pdf/2201.04234"
"""The document that some of them named by its URL."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it was sent: the head with its empty line, and the body."""

    name: str
    head: bytes
    body: bytes

    @property
    def is_form(self) -> bool:
        """Whether the body is a form."""
        return b"multipart/form-data" in self.head

    def with_url(self, url: bytes) -> bytes:
        """Return the request with this URL in the place of the one that was recorded."""
        body = self.body.replace(URL, url)
        return self.head.replace(b"ength: %d\r\n" % len(self.body), b"ength: %d\r\n" % len(body)) + body


def _litellm(name: str, path: bytes, body: bytes) -> RecordedRequest:
    fields = (
        b"authorization: " + _BEARER,
        b"content-type: application/json",
        b"accept: */*",
        b"user-agent: litellm/1.110.2",
        b"accept-encoding: gzip,deflate",
        b"host: 127.0.0.1:4000",
        b"content-length: %d" % len(body),
    )
    return RecordedRequest(name, b"\r\n".join((b"POST " + path + b" HTTP/1.1", *fields, b"", b"")), body)


def _loader(name: str, body: bytes) -> RecordedRequest:
    fields = (
        b"Host: 127.0.0.1:4000",
        b"Accept: */*",
        b"Accept-Encoding: gzip, deflate, zstd",
        b"Connection: keep-alive",
        b"User-Agent: python-httpx/0.28.1",
        b"Content-Type: application/json",
        b"Authorization: " + _BEARER,
        b"Content-Length: %d" % len(body),
    )
    return RecordedRequest(name, b"\r\n".join((b"POST /ocr HTTP/1.1", *fields, b"", b"")), body)


def _curl(name: str, body: bytes, *described: bytes) -> RecordedRequest:
    fields = (
        b"Host: 127.0.0.1:4000",
        b"User-Agent: curl/7.88.1",
        b"Accept: */*",
        b"Authorization: " + _BEARER,
        *(each.replace(b"#", b"%d" % len(body)) for each in described),
    )
    return RecordedRequest(name, b"\r\n".join((b"POST /v1/ocr HTTP/1.1", *fields, b"", b"")), body)


_INLINE: Final = (
    b'{"model":"mistral-ocr","document":{"type":"document_url","document_url":"data:application/pdf;base64,JVBERi0xLjQK"}}'
)
_BY_URL: Final = b'{"model":"mistral-ocr","document":{"type":"document_url","document_url":"https://arxiv.org/pdf/2201.04234"}'
_FORM: Final = (
    b"--------------------------320ae115fe5c7438\r\n"
    b'Content-Disposition: form-data; name="model"\r\n\r\nmistral-ocr\r\n'
    b"--------------------------320ae115fe5c7438\r\n"
    b'Content-Disposition: form-data; name="file"; filename="invoice.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n%PDF-1.4\n\r\n"
    b"--------------------------320ae115fe5c7438--\r\n"
)
_LONGER_FORM: Final = (
    b"--------------------------beb0bd78d0c6e196\r\n"
    b'Content-Disposition: form-data; name="model"\r\n\r\nmistral-ocr\r\n'
    b"--------------------------beb0bd78d0c6e196\r\n"
    b'Content-Disposition: form-data; name="pages"\r\n\r\n[0]\r\n'
    b"--------------------------beb0bd78d0c6e196\r\n"
    b'Content-Disposition: form-data; name="include_image_base64"\r\n\r\ntrue\r\n'
    b"--------------------------beb0bd78d0c6e196\r\n"
    b'Content-Disposition: form-data; name="file"; filename="invoice.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n%PDF-1.4\n\r\n"
    b"--------------------------beb0bd78d0c6e196--\r\n"
)
_VERTEX: Final = b"/v1/projects/p/locations/us-central1/publishers/mistralai/models/mistral-ocr:rawPredict"
_BOUNDARY: Final = b"Content-Type: multipart/form-data; boundary=------------------------"

RECORDED: Final = (
    _litellm("litellm.ocr mistral/", b"/v1/ocr", _INLINE),
    _litellm("litellm.ocr mistral/ with a URL", b"/v1/ocr", _BY_URL + b',"pages":[0,1],"include_image_base64":true}'),
    _litellm(
        "litellm.aocr mistral/ with an image",
        b"/v1/ocr",
        b'{"model":"mistral-ocr","document":{"type":"image_url","image_url":"data:image/png;base64,iVBORw0KGgo="}}',
    ),
    _litellm("litellm.ocr mistral/ with bytes", b"/v1/ocr", _INLINE.replace(b"application/pdf", b"application/octet-stream")),
    _litellm("litellm.ocr azure_ai/", b"/providers/mistral/azure/ocr", _INLINE),
    _litellm("litellm.ocr vertex_ai/", _VERTEX, _INLINE),
    _loader("LiteLLMOCRLoader with bytes", _INLINE),
    _loader("LiteLLMOCRLoader with a URL", _BY_URL + b"}"),
    _curl(
        "curl",
        b'{"model": "mistral-ocr", "document": {"type": "document_url", "document_url": "https://arxiv.org/pdf/2201.04234"}}',
        b"Content-Type: application/json",
        b"Content-Length: #",
    ),
    _curl("curl -F", _FORM, b"Content-Length: #", _BOUNDARY + b"320ae115fe5c7438"),
    _curl("curl -F with fields", _LONGER_FORM, b"Content-Length: #", _BOUNDARY + b"beb0bd78d0c6e196"),
)
