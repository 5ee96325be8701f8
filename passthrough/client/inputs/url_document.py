"""Makes a document of a URL, which the API fetches itself."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from ..documents import Document
from ..errors import DocumentError
from ..shown import shown, shown_url

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_RESERVED: Final = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986 §2.2, and the `%` of what is encoded already
_NO_HOST: Final = re.compile(r"[\s<>\"\\^`{|}%\ud800-\udfff\x00-\x1f\x7f]")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")


def is_url(argument: str) -> bool:
    """Tell whether an argument is meant as a URL: it begins with a scheme and `://`."""
    return _SCHEME.match(argument) is not None


def url_document(url: str) -> Document:
    """Return the document of a URL, whose name is the last piece of its path, else its host. Raises DocumentError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DocumentError(f"It is no URL: {shown(str(error))}.") from None
    if parts.scheme not in {"http", "https"}:
        raise DocumentError(f"The API fetches no {parts.scheme}: URLs.", "Give http:// or https://, or a file.")
    if not host or _NO_HOST.search(host):
        raise DocumentError("It is a URL without the name of a host.", "Write https://host/file.pdf.")
    name = _UNSAFE.sub("_", unquote(parts.path.rstrip("/").rpartition("/")[2]))
    encoded = parts._replace(path=_encoded(parts.path), query=_encoded(parts.query), fragment="")
    return Document(shown_url(url), PurePath(host if name in {"", ".", ".."} else name), url=encoded.geturl())


def _encoded(text: str) -> str:
    """Return a piece of a URL with what a person typed into it (blanks, umlauts) encoded, and all else as it is."""
    return quote(text, safe=_RESERVED, errors="surrogateescape")
