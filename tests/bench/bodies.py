"""What is sent and answered in the benchmark: OCR requests and answers of exactly so many bytes, plain, chunked and gzipped."""

from __future__ import annotations

import base64
import gzip
import json
import random
from functools import cache

KB, MB = 1000, 1_000_000

CHUNK = 32_768
"""How large the chunks of a chunked answer are."""

TOKEN = "sk-bench-7d3f5a1e9c204b68a0b7"
"""The client key; LiteLLM wants it to begin so."""


@cache
def base64_of(size: int) -> str:
    """Return as many characters of base64, the same ones each time: like a scan, they compress by no more than their coding."""
    return base64.b64encode(random.Random(5).randbytes(size * 3 // 4 + 3)).decode()[:size]


def _filled(whole: dict[str, object], size: int, hole: str = "@") -> bytes:
    """Return `whole` as JSON of exactly `size` bytes, with base64 in its hole, or as small as it gets."""
    plain = json.dumps(whole)
    return plain.replace(hole, base64_of(max(size - len(plain) + len(hole), 0))).encode()


@cache
def request_body(size: int, model: str = "", *, model_last: bool = False) -> bytes:
    """Return an OCR request whose document is in it, as a data URI."""
    named = {"model": model or "mistral-ocr-latest"}
    document = {"type": "document_url", "document_url": "data:application/pdf;base64,@"}
    rest: dict[str, object] = {"document": document, "include_image_base64": True}
    return _filled({**rest, **named} if model_last else {**named, **rest}, size)


@cache
def answer_body(size: int) -> bytes:
    """Return an OCR answer in Mistral's shape: pages of text and images, then the model and the usage."""
    count = max(1, size // 200_000)
    text = "# Invoice 4711\n\nThe *total* of all items is due in thirty days. " * 12
    each = (size // count) - 1200
    image = {"id": "img-0.jpeg", "top_left_x": 1, "top_left_y": 2, "bottom_right_x": 3, "bottom_right_y": 4}
    page = {"markdown": text[: min(780, size // 4)], "images": [], "dimensions": {"dpi": 200, "height": 2200, "width": 1700}}
    full = page | {"images": [image | {"image_base64": base64_of(each)}]} if count > 1 else page
    pages = [{"index": number, **full} for number in range(count - 1)] + [{"index": count - 1, **page, "header": "@"}]
    usage = {"pages_processed": count, "doc_size_bytes": size}
    return _filled({"pages": pages, "model": "mistral-ocr-2512", "document_annotation": None, "usage_info": usage}, size)


@cache
def framed_answer(size: int, framing: str) -> bytes:
    """Return head and body of an answer with a Content-Length, in chunks, or gzipped in chunks as providers' edges send it."""
    body = answer_body(size)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: 0f3a\r\n"
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "gzip":
        body = gzip.compress(body, 1)
        head += b"Content-Encoding: gzip\r\n"
    pieces = (body[at : at + CHUNK] for at in range(0, len(body), CHUNK))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def request(path: str, body: bytes, host: str = "127.0.0.1") -> bytes:
    """Return one POST of JSON with the client key; path is as at the proxy."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
