"""Turns a form with a file into the JSON request that LiteLLM makes of it; the file becomes base64 while it is sent.

The JSON has a placeholder for a URL where the document belongs: so the file takes the way of a document that was downloaded.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from ...errors import Refusal
from ..documents.media_type import SNIFFED_BYTES, declared_media_type, sniffed_media_type
from ..transform.base64_stream import GROUP_BYTES, Base64Stream
from ..transform.multipart import CURL_HINT, FormPart

_PLACEHOLDER: Final = "http://file.invalid/"
_STEP: Final = 86_400 * GROUP_BYTES


class FormFile:
    """The file of a form, held where the form is held: a HeldDocument without a download."""

    __slots__ = ("_views", "length", "media_type")

    repeatable = True
    """Whether all of it can be sent again."""

    def __init__(self, views: tuple[memoryview, ...], media_type: str) -> None:
        self._views = views
        self.media_type = media_type
        self.length = sum(map(len, views))

    async def base64(self) -> AsyncIterator[bytes]:
        """Yield the file in base64."""
        stream = Base64Stream()
        for view in self._views:
            for at in range(0, len(view), _STEP):
                yield stream.feed(view[at : at + _STEP])
        yield stream.end()

    def close(self) -> None:
        """Drop it. Idempotent."""
        self._views = ()


def request_of(parts: Sequence[FormPart], pieces: Sequence[bytes]) -> tuple[bytes, FormFile | None]:
    """Return the JSON of a request, and the file that takes the placeholder's place; None where `document` is a field.

    `pieces` are the bytes of the form, whole. Each field is JSON where its text is, else a text; `model` is always a text. Raises
    Refusal (bad_request) for a field that is there twice, a file by another name than `file`, more than one document, or none.
    """
    fields: dict[str, object] = {}
    file: FormFile | None = None
    for part in parts:
        if part.name in fields or (part.name == "file" and file is not None):
            raise _bad("A field of the form is there twice." if part.name != "file" else "The form has more than one file.")
        if part.is_file:
            if part.name != "file":
                raise _bad("A file of the form has another name than 'file'.")
            file = _file(part, pieces)
        else:
            fields[part.name] = _value(part, b"".join(_slices(part, pieces)))
    if "model" not in fields:
        raise _bad("The form has no 'model'.")
    if (file is None) == ("document" not in fields):
        raise _bad("The form has no 'file'." if file is None else "The form has both 'file' and 'document'.")
    model = fields.pop("model")
    if file is not None:
        kind = "image_url" if file.media_type.startswith("image/") else "document_url"
        fields["document"] = {"type": kind, kind: _PLACEHOLDER}
    return json.dumps({"model": model, **fields}, ensure_ascii=False).encode(), file


def _file(part: FormPart, pieces: Sequence[bytes]) -> FormFile:
    if part.begin == part.end:
        raise _bad("The form's file is empty.")
    views = tuple(_slices(part, pieces))
    declared = declared_media_type([] if part.content_type is None else [part.content_type.encode("latin-1", "replace")])
    media_type = declared or mimetypes.guess_type(part.file_name or "")[0]
    if media_type is None:
        first = b"".join(_slices(part, pieces, SNIFFED_BYTES))
        media_type = sniffed_media_type(first, whole=True) or "application/octet-stream"
    return FormFile(views, media_type)


def _slices(part: FormPart, pieces: Sequence[bytes], most: int | None = None) -> Iterator[memoryview]:
    """Yield a part's content, at most so many bytes, without a copy."""
    at, end = 0, part.end if most is None else min(part.end, part.begin + most)
    for piece in pieces:
        begin = max(part.begin - at, 0)
        if begin < len(piece) and at + begin < end:
            yield memoryview(piece)[begin : end - at]
        at += len(piece)
        if at >= end:
            return


def _value(part: FormPart, content: bytes) -> object:
    try:
        text = content.decode(part.charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise _bad("A field of the form is not text in its charset.") from None
    if part.name == "model":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _bad(message: str) -> Refusal:
    return Refusal("bad_request", message, hint=CURL_HINT)
