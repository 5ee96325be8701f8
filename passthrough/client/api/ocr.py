"""The OCR call: a document in the request, by an upload or by a URL; the response becomes a file once it is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..threads import in_thread
from .calls import Call, send
from .connection import Connection
from .incoming_file import IncomingFile
from .pauses import OnWait
from .request_body import FileContent, RequestBody, inline_document_body, json_body


@dataclass(frozen=True, slots=True)
class InlineSource:
    """A file whose bytes travel in the request, as a data URI of the type `mime`."""

    path: Path
    mime: str
    is_image: bool = False


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A file that was uploaded."""

    file_id: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A document that the API fetches itself."""

    url: str
    is_image: bool = False


Source = InlineSource | StoredSource | UrlSource


async def ocr(connection: Connection, source: Source, fields: Mapping[str, object], into: Path, on_wait: OnWait) -> None:
    """Write the response to a document's OCR call into the file `into`, which is there only once the response is whole.

    `fields` are those of the request beside `document`. Raises DocumentError; what may have been billed is not sent again.
    """
    body = await _body(connection, source, fields)
    async with IncomingFile.created(into, is_billed=True) as file:
        await send(connection, Call("POST", connection.endpoint.ocr_url, body, is_free=False), file.receive, on_wait)
        await file.finish()


async def _body(connection: Connection, source: Source, fields: Mapping[str, object]) -> Callable[[], RequestBody]:
    silence_s = connection.timing.silence_s
    if isinstance(source, InlineSource):
        content = await in_thread(partial(FileContent.of, source.path, as_base64=True))
        kind = "image_url" if source.is_image else "document_url"
        return partial(inline_document_body, fields, kind, source.mime, content, silence_s)
    return partial(json_body, {**fields, "document": document_value(source)}, silence_s)


def document_value(source: StoredSource | UrlSource) -> dict[str, str]:
    """Return the field `document` of a request whose document is elsewhere."""
    if isinstance(source, StoredSource):
        return {"type": "file", "file_id": source.file_id}
    kind = "image_url" if source.is_image else "document_url"
    return {"type": kind, kind: source.url}
