"""Answers one OCR request: the whole of it, from the bytes of its body to the bytes of the answer."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from .documents import DPI, Page, Picture, Reading, read
from .errors import Rejection, no_such_file, not_fetched, unreadable
from .file_store import FileStore, Stored
from .job_thread import Gone
from .models import LATEST, answered
from .request import OcrRequest, Source, ask, chosen

MAX_DOCUMENT_BYTES: Final = 50_000_000
_WORTH_GZIP: Final = 1024  # bytes
_GZIP_LEVEL: Final = 4  # base64 of pictures hardly shrinks: more effort is lost on it
_BLANKS: Final = b" \t\r\n"
_EMPTY: Final = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the bytes of a JSON body, and the headers that describe them."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a request came in.

    `any_model`: no name is refused, as a deployment's name may be anything. `model`: what the path names, for bodies without one.
    """

    any_model: bool = False
    model: str | None = None


def answer(raw: bytes, *, shelf: FileStore, counter: Counter, gzipped: bool, gone: Gone) -> Answer:
    """Return the answer to an OCR request whose body is `raw`; errors are answers too. Blocks; for the Bench of the reader."""
    try:
        asked = ask(raw, model_needed=counter.model is None)
        return encoded(200, _read(asked, shelf, counter, gone), gzipped)
    except Rejection as rejection:
        return encoded(rejection.status, rejection.body, gzipped)


def encoded(status: int, body: Mapping[str, object], gzipped: bool, headers: Mapping[str, str] | None = None) -> Answer:
    """Return `body` as JSON, gzipped where the client takes that and it is worth it."""
    # `replace`: an escaped half of a surrogate pair is legal JSON and has no UTF-8
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    described = {"Content-Type": "application/json", "Vary": "Accept-Encoding", **(headers or {})}
    if not gzipped or len(raw) <= _WORTH_GZIP:
        return Answer(status, raw, described)
    return Answer(status, gzip.compress(raw, _GZIP_LEVEL, mtime=0), {**described, "Content-Encoding": "gzip"})


def _read(asked: OcrRequest, shelf: FileStore, counter: Counter, gone: Gone) -> dict[str, object]:
    name = asked.model or counter.model or LATEST
    model = name if counter.any_model else answered(name)
    document = _document(asked.source, shelf)
    reading = Reading(
        choose=lambda total: chosen(asked.pages, total),
        with_content=asked.include_image_base64,
        picture_limit=asked.image_limit,
        picture_min_px=asked.image_min_size,
    )
    pages = read(document, reading, gone)
    return {
        "pages": [_page(page, asked) for page in pages],
        "model": model,
        "document_annotation": _annotation(asked.document_annotation_format),
        "usage_info": {"pages_processed": len(pages), "doc_size_bytes": len(document)},
    }


def _page(page: Page, asked: OcrRequest) -> dict[str, object]:
    return {
        "index": page.index,
        "markdown": page.markdown,
        "images": [_picture(picture, asked) for picture in page.pictures],
        "tables": [],
        "hyperlinks": [],
        "header": None,
        "footer": None,
        "dimensions": {"dpi": DPI, "height": page.height, "width": page.width},
    }


def _picture(picture: Picture, asked: OcrRequest) -> dict[str, object]:
    left, top, right, bottom = picture.box
    content = f"data:{picture.mime};base64,{base64.b64encode(picture.content).decode()}" if picture.content else None
    return {
        "id": picture.id,
        "top_left_x": left,
        "top_left_y": top,
        "bottom_right_x": right,
        "bottom_right_y": bottom,
        "image_base64": content,
        "image_annotation": _annotation(asked.bbox_annotation_format),
    }


def _annotation(form: Mapping[str, object] | None) -> str | None:
    """Return an annotation that fits the top level of the JSON schema asked for, with empty values: no model has read a word."""
    if form is None:
        return None
    outer = form.get("json_schema")
    schema = outer.get("schema", outer.get("schema_definition")) if isinstance(outer, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return "{}"
    kinds = {name: one.get("type") if isinstance(one, dict) else None for name, one in properties.items()}
    return json.dumps({name: _EMPTY.get(kind) if isinstance(kind, str) else None for name, kind in kinds.items()})


def _document(source: Source, shelf: FileStore) -> bytes:
    """Return the bytes of the document; nothing is fetched from anywhere but the shelf."""
    if source.file_id:
        return _content(shelf.get(source.file_id))
    if source.url[:5].lower() == "data:":
        return _data_uri(source.url)
    try:
        return _content(shelf.opened(source.url))
    except Rejection:
        raise not_fetched(source.url) from None


def _content(stored: Stored) -> bytes:
    _bounded(stored.size_bytes)
    try:
        return stored.path.read_bytes()
    except FileNotFoundError:  # deleted since
        raise no_such_file(stored.id) from None


def _data_uri(url: str) -> bytes:
    """Return the bytes of a data URI (RFC 2397); blanks within base64 and missing padding at its end are forgiven."""
    head, comma, content = url.partition(",")
    if not comma:
        raise not_fetched(url)
    if not head.lower().endswith(";base64"):
        document = unquote_to_bytes(content)
    else:
        packed = content.encode("ascii", "replace").translate(None, _BLANKS).rstrip(b"=")
        _bounded(len(packed) * 3 // 4)
        try:
            document = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
        except binascii.Error:
            raise unreadable("The data URI is not valid base64.") from None
    _bounded(len(document))
    return document


def _bounded(size_bytes: int) -> None:
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise unreadable(f"Document has {size_bytes} bytes, the limit is {MAX_DOCUMENT_BYTES}.")
