"""The sandbox's OCR endpoint: from the bytes of a request's body to the value of its response."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from .documents import read
from .empty_values import empty_json
from .errors import images_only_inline
from .file_store import FileStore
from .job_thread import IsCancelled
from .models import LATEST, resolved
from .office.office_document import is_office, office_kind
from .pages import DPI, Page, Picture, ReadOptions
from .provider import Api, fail_if_asked
from .request import OcrRequest, chosen_pages, parse_request
from .sources import fetched


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint that a request came to.

    `any_model`: every name is accepted, because a deployment may have any name. `model`: the one in the path, for bodies without.
    `api`: whose it is: its bounds hold, and its errors are sent.
    """

    any_model: bool = False
    model: str | None = None
    api: Api = Api.MISTRAL


def pages_read(raw: bytes, files: FileStore, endpoint: Endpoint, is_cancelled: IsCancelled) -> dict[str, object]:
    """Return the response to the OCR request `raw`. Blocks; runs on the reader's JobThread. Raises Rejection, JobCancelled."""
    request = parse_request(raw, model_needed=endpoint.model is None)
    name = request.model or endpoint.model or LATEST
    fail_if_asked(name)
    model = name if endpoint.any_model else resolved(name)
    document = fetched(request.source, files, endpoint.api)
    if is_office(document) and request.include_image_base64 is False and request.image_limit != 0:
        raise images_only_inline(office_kind(document))
    options = ReadOptions(
        choose=lambda total: chosen_pages(request.pages, total),
        with_content=bool(request.include_image_base64),
        picture_limit=request.image_limit,
        picture_min_px=request.image_min_size,
        max_pages=endpoint.api.max_pages,
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
    """Return an annotation with empty values where one is asked for: no model runs."""
    return None if form is None else empty_json(form)
