"""Scans the passing JSON body of an OCR request for the parts that are replaced, and for what chooses the deployment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_MODEL_CHARACTERS: Final = 256
"""The longest name of a model; the list of models has no longer ones."""

MAX_URL_BYTES: Final = 16384
"""The longest URL of a document, in bytes as spelt."""


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
    URL's closing quote where `kind` is URL, else None. `url` is the text of a URL. `why` says of OTHER what is wrong with it,
    for an error: "a document's URL begins with …".
    """

    kind: SourceKind
    begin: int
    end: int | None = None
    url: str = ""
    why: str = ""


class RequestScan:
    """Reads one body as it passes. The result does not depend on the borders of the pieces; memory is bounded.

    Offsets count from the body's first byte, a byte order mark included. The grammar is checked around the members of the top
    object, of `document` and of its source; in other values only strings and depth are looked at. What is malformed once `model`
    is known crosses (`lost`): the provider says so.
    """

    __slots__ = ("annotated", "closing", "is_empty", "lost", "model", "model_span", "position", "present", "source")

    def __init__(self, watched: frozenset[str] = frozenset(), *, needs_model: bool = True) -> None:
        """`watched` are the names of top-level members to note in `present`. `needs_model`: a body without `model` is refused."""
        self.model: str | None = None
        """The text of the top-level `model`, None while it has not passed."""
        self.model_span: tuple[int, int] | None = None
        """The offsets of its opening quote, and behind its closing one."""
        self.source: Source | None = None
        """The document's source, as soon as its kind is known; see `source_known`."""
        self.annotated = False
        """Whether annotations are asked for, by what has passed."""
        self.present: set[str] = set()
        """Those of `watched` that have passed."""
        self.is_empty = True
        """Whether no member of the top object has passed."""
        self.closing: int | None = None
        """The offset of the top object's closing brace."""
        self.lost = False
        """Whether the body is malformed behind `model`: nothing more is looked at."""
        self.position = 0
        """How many bytes have passed."""

    @property
    def model_known(self) -> bool:
        """Whether `model` is final: it has passed, or the object has ended without it."""
        return self.model is not None or self.closing is not None

    @property
    def source_known(self) -> bool:
        """Whether `source` is final: None then means that there is none."""
        return self.source is not None or self.closing is not None or self.lost

    def feed(self, piece: bytes) -> int:
        """Read the next bytes; return the work that it was, for `FairQueue.spend`: `len(piece)`, or more where they are dense.

        Raises Refusal (bad_request), also when a part of the body has gone up already: for a second `model`, for one that is not
        a text of 1 to 256 characters, for `api_key`, `api_base` and `base_url`, which would replace the deployment's, for what is
        no JSON object in UTF-8 up to `model`, and for thousands of members.
        """
        raise NotImplementedError

    def peek(self, buffer: bytearray, size: int) -> bool:
        """Take the first bytes of a buffer if nothing of interest is in them, without a copy; False: feed them."""
        raise NotImplementedError

    def end(self) -> None:
        """End the body. Raises Refusal (bad_request) for one that is empty, that ends before `model`, or that has none."""
        raise NotImplementedError
