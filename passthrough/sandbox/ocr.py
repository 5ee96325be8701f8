"""The sandbox's OCR endpoint: from the bytes of a request's body to the bytes of its response."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from .documents import DPI, Page, Picture, ReadOptions, read
from .errors import Rejection, no_such_file, not_fetched, not_inline, unreadable
from .file_store import FileStore, StoredFile
from .job_thread import IsCancelled
from .models import LATEST, resolved
from .provider import Api
from .request import OcrRequest, Source, chosen_pages, parse_request

MAX_DOCUMENT_BYTES: Final = 50_000_000
_WORTH_GZIP: Final = 1024  # bytes
_GZIP_LEVEL: Final = 4  # base64 of pictures hardly shrinks: more effort is lost on it
_BLANKS: Final = b" \t\r\n"
_EMPTY: Final = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A status, the bytes of a JSON body, and the headers that describe them."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint that a request came to.

    `any_model`: every name is accepted, because a deployment may have any name. `model`: the one in the path, for bodies without.
    `api`: whose it is.
    """

    any_model: bool = False
    model: str | None = None
    api: Api = Api.MISTRAL


def respond(raw: bytes, *, files: FileStore, endpoint: Endpoint, gzipped: bool, is_cancelled: IsCancelled) -> EncodedResponse:
    """Return the response to an OCR request whose body is `raw`, errors included. Blocks; runs on the reader's JobThread."""
    try:
        request = parse_request(raw, model_needed=endpoint.model is None)
        return encoded(200, _read(request, files, endpoint, is_cancelled), gzipped)
    except Rejection as rejection:
        return encoded(rejection.status, rejection.body, gzipped)


def encoded(status: int, body: Mapping[str, object], gzipped: bool, headers: Mapping[str, str] | None = None) -> EncodedResponse:
    """Return `body` as JSON; `gzipped` if the client accepts that and the body is large enough."""
    # `replace`: an escaped half of a surrogate pair is legal JSON and has no UTF-8
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    described = {"Content-Type": "application/json", "Vary": "Accept-Encoding", **(headers or {})}
    if not gzipped or len(raw) <= _WORTH_GZIP:
        return EncodedResponse(status, raw, described)
    return EncodedResponse(status, gzip.compress(raw, _GZIP_LEVEL, mtime=0), {**described, "Content-Encoding": "gzip"})


def _read(request: OcrRequest, files: FileStore, endpoint: Endpoint, is_cancelled: IsCancelled) -> dict[str, object]:
    name = request.model or endpoint.model or LATEST
    model = name if endpoint.any_model else resolved(name)
    document = _document(request.source, files, endpoint.api)
    options = ReadOptions(
        choose=lambda total: chosen_pages(request.pages, total),
        with_content=request.include_image_base64,
        picture_limit=request.image_limit,
        picture_min_px=request.image_min_size,
    )
    pages = read(document, options, is_cancelled)
    return {
        "pages": [_page(page, request) for page in pages],
        "model": model,
        "document_annotation": _annotation(request.document_annotation_format),
        "usage_info": {"pages_processed": len(pages), "doc_size_bytes": len(document)},
    }


def _page(page: Page, request: OcrRequest) -> dict[str, object]:
    return {
        "index": page.index,
        "markdown": page.markdown,
        "images": [_picture(picture, request) for picture in page.pictures],
        "tables": [],
        "hyperlinks": [],
        "header": None,
        "footer": None,
        "dimensions": {"dpi": DPI, "height": page.height, "width": page.width},
    }


def _picture(picture: Picture, request: OcrRequest) -> dict[str, object]:
    left, top, right, bottom = picture.box
    content = f"data:{picture.mime};base64,{base64.b64encode(picture.content).decode()}" if picture.content else None
    return {
        "id": picture.id,
        "top_left_x": left,
        "top_left_y": top,
        "bottom_right_x": right,
        "bottom_right_y": bottom,
        "image_base64": content,
        "image_annotation": _annotation(request.bbox_annotation_format),
    }


def _annotation(form: Mapping[str, object] | None) -> str | None:
    """Return an annotation that fits the top level of the request's JSON schema, with empty values: no model runs."""
    if form is None:
        return None
    outer = form.get("json_schema")
    schema = outer.get("schema", outer.get("schema_definition")) if isinstance(outer, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return "{}"
    kinds = {name: one.get("type") if isinstance(one, dict) else None for name, one in properties.items()}
    return json.dumps({name: _EMPTY.get(kind) if isinstance(kind, str) else None for name, kind in kinds.items()})


def _document(source: Source, files: FileStore, api: Api) -> bytes:
    """Return the bytes of the document; the only URLs that are fetched are those of the file store."""
    if api.inline_only and source.url[:5].lower() != "data:":
        raise not_inline(api)
    if source.file_id:
        return _content(files.get(source.file_id))
    if source.url[:5].lower() == "data:":
        return _data_uri(source.url)
    try:
        return _content(files.by_signed_url(source.url))
    except Rejection:
        raise not_fetched(source.url) from None


def _content(stored: StoredFile) -> bytes:
    _bounded(stored.size_bytes)
    try:
        return stored.path.read_bytes()
    except FileNotFoundError:  # deleted in the meantime
        raise no_such_file(stored.id) from None


def _data_uri(url: str) -> bytes:
    """Return the bytes of a data URI (RFC 2397); blanks within base64 and missing padding are accepted."""
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
