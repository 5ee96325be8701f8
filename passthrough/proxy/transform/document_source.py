"""Where a request's document is, as `document` in the body says it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ...meter.jsonscan.strings import text

MAX_URL_BYTES: Final = 16384
"""The longest URL of a document, in bytes as spelt."""

SCHEME_BYTES: Final = 48
"""What of a URL shows its scheme: `https:`, escaped throughout, and an escape that is cut."""

_WHOLE_ESCAPES: Final = re.compile(rb'(?:[^\\]++|\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt])*', re.DOTALL).match


class SourceKind(StrEnum):
    """Where a document is."""

    DATA = "data"  # in the body, as a data URI
    URL = "url"  # at an http or https URL
    FILE = "file"  # at the provider, as an uploaded file
    OTHER = "other"  # `Source.why` says what it is


@dataclass(frozen=True, slots=True)
class Source:
    """The document's source: the first of `document_url`, `image_url`, `file_id` and `file` in `document` that is not null.

    `begin` is the offset of the value's first byte: for `{"url": …}` of the URL's opening quote. `end` is the offset behind the
    URL's closing quote where `kind` is URL, else None. `url` is the text of a URL. `why` says of OTHER what is wrong with it:
    "the document's URL must …".
    """

    kind: SourceKind
    begin: int
    end: int | None = None
    url: str = ""
    why: str = ""


_KINDS: Final = {"data": SourceKind.DATA, "http": SourceKind.URL, "https": SourceKind.URL}


def kind_of(spelt: bytes | bytearray) -> SourceKind:
    """Return what a URL is that begins with `spelt`, the bytes behind the string's opening quote; the last escape may be cut."""
    whole = _WHOLE_ESCAPES(spelt)
    scheme, colon, _ = ((text(whole[0]) if whole else None) or "").partition(":")
    return _KINDS.get(scheme.lower(), SourceKind.OTHER) if colon else SourceKind.OTHER


def exact_text(spelt: bytes | bytearray) -> str | None:
    """Return the text of the bytes between a string's quotes; None for wrong escapes, lone surrogates, and what is not UTF-8.

    Nothing is replaced here, as meter.jsonscan.strings.text does: two spellings must not pass for one name.
    """
    try:
        exact = str(json.loads(f'"{spelt.decode()}"'))
        exact.encode()
    except ValueError:
        return None
    return exact
