"""Turns a form with a file into the JSON request that LiteLLM makes of it; the file becomes base64 while it is sent.

The JSON has a placeholder for a URL where the document belongs: so the file takes the way of a document that was downloaded.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from ...errors import Refusal
from ..documents.media_type import SNIFFED_BYTES, UNKNOWN, declared_media_type, sniffed_media_type
from ..transform.base64_stream import Base64Stream
from ..transform.multipart import CURL_HINT, FormPart

_PLACEHOLDER: Final = "http://file.invalid/"

_CODECS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "iso-8859-15": "iso8859-15",
    "windows-1252": "cp1252",
}
"""The charsets of texts. Python knows more, some of which are no text, raise what they like, or take long."""

_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument."
_MEDIA_TYPES: Final = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".docx": f"{_OPEN_XML}wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}spreadsheetml.sheet",
    ".doc": "application/msword",
    ".ppt": "application/vnd.ms-powerpoint",
    ".xls": "application/vnd.ms-excel",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".epub": "application/epub+zip",
    ".rtf": "application/rtf",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xml": "application/xml",
    ".json": "application/json",
}
"""By the ending of a file's name: the machine's own table differs from machine to machine."""


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
            for coded in stream.steps(view):
                yield coded
        yield stream.end()

    def close(self) -> None:
        """Drop it. Idempotent."""
        self._views = ()


def request_of(parts: Sequence[FormPart], pieces: Sequence[bytes]) -> tuple[bytes, FormFile | None]:
    """Return the JSON of a request, and the file that takes the placeholder's place; None where `document` is a field.

    `pieces` are the bytes of the form, whole. Each field is JSON where its text is, as it stands there, else a text; `model` is
    always a text. Raises Refusal (bad_request) for a field that is there twice, a file by another name than `file`, more than one
    document, or none.
    """
    fields: dict[str, FormPart] = {}
    for part in parts:
        if part.name in fields:
            raise _bad(f"The form has {'more than one file' if part.name == 'file' else 'a field twice: write a list as [0,1]'}.")
        if part.is_file != (part.name == "file"):
            what = "a file by another name than 'file'" if part.is_file else "a text as 'file'"
            raise _bad(f"The form has {what}.")
        fields[part.name] = part
    charset = _charset(fields.pop("_charset_", None), pieces)
    file_part, model = fields.pop("file", None), fields.pop("model", None)
    if model is None:
        raise _bad("The form has no 'model'.")
    if (file_part is None) == ("document" not in fields):
        raise _bad("The form has no 'file'." if file_part is None else "The form has both 'file' and 'document'.")
    values = {"model": _text_value(_text(model, pieces, charset))}
    values.update((name, _value(_text(part, pieces, charset))) for name, part in fields.items())
    file = None if file_part is None else _file(file_part, pieces)
    if file is not None:
        kind = "image_url" if file.media_type.startswith("image/") else "document_url"
        values["document"] = f'{{"type":"{kind}","{kind}":"{_PLACEHOLDER}"}}'
    elif not values["document"].lstrip().startswith("{"):
        raise _bad("The form's 'document' is no JSON object.")
    members = ",".join(f"{_dumped(name)}:{value}" for name, value in values.items())
    return f"{{{members}}}".encode(), file


def _file(part: FormPart, pieces: Sequence[bytes]) -> FormFile:
    if part.begin == part.end:
        raise _bad("The form's file is empty.")
    declared = declared_media_type([] if part.content_type is None else [part.content_type.encode("latin-1", "replace")])
    media_type = declared or _MEDIA_TYPES.get(os.path.splitext(part.file_name or "")[1].lower())
    if media_type is None:
        media_type = sniffed_media_type(b"".join(_slices(part, pieces, SNIFFED_BYTES)), whole=True) or UNKNOWN
    return FormFile(tuple(_slices(part, pieces)), media_type)


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


def _charset(part: FormPart | None, pieces: Sequence[bytes]) -> str:
    """Return the charset of texts whose parts name none: that of the field `_charset_` (RFC 7578 §4.6)."""
    return "utf-8" if part is None else b"".join(_slices(part, pieces)).decode("latin-1").strip()


def _text(part: FormPart, pieces: Sequence[bytes], charset: str) -> str:
    codec = _CODECS.get((part.charset or charset).lower())
    if codec is None:
        raise _bad("A field of the form is in a charset that is not read: send UTF-8.")
    try:
        return b"".join(_slices(part, pieces)).decode(codec)
    except UnicodeDecodeError:
        raise _bad("A field of the form is not text in its charset.") from None


def _value(text: str) -> str:
    """Return the JSON of a field."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except RecursionError:
        raise _bad("A field of the form is nested too deeply.") from None
    except ValueError:
        return _dumped(text)
    return text


def _text_value(text: str) -> str:
    """Return the JSON of a field that is always a text, whether it stands as JSON's text or bare."""
    return text if _value(text) == text and text.lstrip().startswith('"') else _dumped(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # Python takes NaN and Infinity.


def _dumped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _bad(message: str) -> Refusal:
    return Refusal("bad_request", message, hint=CURL_HINT)
