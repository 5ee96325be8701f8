"""Scans the passing JSON body of an OCR request for the parts that are replaced, and for what chooses the deployment.

The cost model is the meter's (meter.jsonscan.scanner): nearly all bytes stand in one long string, which `bytes.find` crosses.
The members of three objects are looked at one by one: the top object, `document`, and its `{"url": …}`. Their number is bounded,
and so is the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from ...errors import Refusal
from ...meter.jsonscan.patterns import BLANKS, COMMA, HEAD
from ...meter.jsonscan.skip import Skip, flat
from ...meter.jsonscan.strings import closing, escapes, text
from .document_source import MAX_URL_BYTES, SCHEME_BYTES, Source, SourceKind, exact_text, kind_of

MAX_MODEL_CHARACTERS: Final = 256
"""The longest name of a model; the list of models has no longer ones."""

MAX_MEMBERS: Final = 1000
"""The most members that are looked at: an OCR request has about twenty, and each costs microseconds of the event loop."""

_MODEL_BYTES: Final = 12 * MAX_MODEL_CHARACTERS  # a letter beyond U+FFFF, escaped, is two `\uXXXX`
_NAME_BYTES: Final = 1024  # the longest name that is wanted, escaped throughout, is shorter
_SCALAR_BYTES: Final = 8  # more than `null`
_STEP_WORK: Final = 512  # a microsecond's work, by net.fair_queue
_MEMBER_WORK: Final = 1024

_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPENING_BRACE, _CLOSING_BRACE = b"{}"
_OPENING: Final = frozenset(b"{[")
_BLANK: Final = frozenset(b" \t\n\r")
_BOM: Final = b"\xef\xbb\xbf"

_FIRST: Final = re.compile(BLANKS + HEAD, re.DOTALL).match
_NEXT: Final = re.compile(BLANKS + COMMA + BLANKS + HEAD, re.DOTALL).match
_BLANK_RUN: Final = re.compile(BLANKS).match
_TOKEN: Final = re.compile(rb"[-+.0-9A-Za-z]*+").match

# What a member is, by its name and the object it stands in. The first two are bits of `_formats`.
_DOCUMENT_FORMAT, _BBOX_FORMAT, _MODEL, _DOCUMENT, _URL, _FILE, _REFUSED, _OTHER = 1, 2, 3, 4, 5, 6, 7, 8
_MEMBERS: Final[tuple[Mapping[str | None, int], ...]] = (
    {
        "model": _MODEL,
        "document": _DOCUMENT,
        "document_annotation_format": _DOCUMENT_FORMAT,
        "bbox_annotation_format": _BBOX_FORMAT,
        **dict.fromkeys(("api_key", "api_base", "base_url"), _REFUSED),
    },
    {"document_url": _URL, "image_url": _URL, "file_id": _FILE, "file": _FILE},
    {"url": _URL},
)
_TOP, _IN_DOCUMENT, _IN_LINK = range(3)  # the objects
_DATA, _LINK, _UPLOADED, _UNKNOWN = SourceKind.DATA, SourceKind.URL, SourceKind.FILE, SourceKind.OTHER

_JSON_HINT: Final = "Send one JSON object in UTF-8."
_MODEL_HINT: Final = "Send 'model' once, as a text: a name that GET /v1/models lists."
_OWN_HINT: Final = "Remove it. Your key of this proxy goes into the header 'Authorization'."


class RequestScan:
    """Reads one body as it passes. The result does not depend on the borders of the pieces; memory is bounded.

    Offsets count from the body's first byte, a byte order mark included. The grammar is checked around the members that are
    looked at; in other values only strings and depth are. What is malformed once `model` is known crosses (`lost`): the provider
    says so. Of duplicated keys the first `document` and its first source count; a second `model` is refused.
    """

    __slots__ = (
        "_begin", "_bom", "_document_passed", "_escaped", "_formats", "_kept", "_level", "_members", "_needs_model", "_role",
        "_skip", "_state", "_work", "closing", "is_empty", "lost", "model", "model_span", "position", "present", "source",
        "watched",
    )  # fmt: skip

    def __init__(self, watched: frozenset[str] = frozenset(), *, needs_model: bool = True) -> None:
        """`watched` are the names of top-level members to note in `present`. `needs_model`: a body without `model` is refused."""
        self.model: str | None = None
        """The text of the top-level `model`, None while it has not passed."""
        self.model_span: tuple[int, int] | None = None
        """The offsets of its opening quote, and behind its closing one."""
        self.source: Source | None = None
        """The document's source, as soon as its kind is known; see `source_known`."""
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
        self.watched = watched
        self._needs_model = needs_model
        self._state: _State = _start
        self._level = _TOP  # the object that we are in
        self._role = _OTHER  # of the member that we are in
        self._begin = 0  # the offset of its value
        self._kept = bytearray()  # what is kept of a name or a value
        self._escaped = False  # the piece's border is between a backslash and what it escapes
        self._skip: Skip  # the unwanted container that we are in
        self._formats = 0
        self._document_passed = False
        self._members = 0
        self._bom = 0
        self._work = 0

    @property
    def annotated(self) -> bool:
        """Whether annotations are asked for, by what has passed."""
        return bool(self._formats)

    @property
    def model_known(self) -> bool:
        """Whether `model` is final: it has passed, or the object has ended without it."""
        return self.model is not None or self.closing is not None

    @property
    def source_known(self) -> bool:
        """Whether `source` is final: None then means that there is none."""
        return self.source is not None or self._document_passed or self.closing is not None or self.lost

    def feed(self, piece: bytes) -> int:
        """Read the next bytes; return the work that it was, for `FairQueue.spend`: `len(piece)`, or more where they are dense.

        Raises Refusal (bad_request), also when a part of the body has gone up already: for a second `model`, for one that is not
        a text of 1 to 256 characters, for `api_key`, `api_base` and `base_url`, which would replace the deployment's, for what is
        no JSON object in UTF-8 up to `model`, for an object without `model`, and for a thousand members.
        """
        at, size = 0, len(piece)
        self._work = size
        while at < size:
            at = self._state(self, piece, at)
        self.position += size
        return self._work

    def peek(self, buffer: bytearray, size: int) -> bool:
        """Take the first bytes of a buffer if nothing of interest is in them, without a copy; False: feed them."""
        state = self._state
        if state is not _rest:
            inside = self._skip.inside if state is _in_skip else state is _in_string and not self._escaped
            if not inside or buffer[size - 1] == _BACKSLASH or buffer.find(b'"', 0, size) >= 0:
                return False
        self.position += size
        return True

    def end(self) -> None:
        """End the body. Raises Refusal (bad_request) for one that is empty, or that ends before `model`."""
        if self._state is _start:
            _refuse("The body is empty.", _JSON_HINT)
        if not self.model_known:
            _refuse("The body ends before its JSON object does.", _JSON_HINT)


_State = Callable[[RequestScan, bytes, int], int]
"""A state: does one step from a position before the piece's end, and returns the next position."""

# The states are functions of this module, not methods: a bound method kept in its own object is a cycle, for every request.


def _refuse(message: str, hint: str) -> NoReturn:
    raise Refusal("bad_request", message, hint=hint)


def _malformed(scan: RequestScan, piece: bytes, at: int) -> int:
    """Leave the rest to the provider, or refuse it where `model` is not known yet; `at` may be before this piece."""
    if scan.model is not None:
        scan.lost, scan._state = True, _rest
        return len(piece)
    offset, byte = scan.position + at, piece[max(at, 0)]
    if (byte == 0 and offset < 4) or (byte in b"\xfe\xff" and not offset):
        _refuse("The body is in UTF-16 or UTF-32.", _JSON_HINT)
    _refuse(f"The body is not well-formed JSON at byte {offset}.", _JSON_HINT)


def _rest(_scan: RequestScan, piece: bytes, _at: int) -> int:
    """Behind the object, or lost: nothing is of interest."""
    return len(piece)


def _start(scan: RequestScan, piece: bytes, at: int) -> int:
    """Before the object: a UTF-8 byte order mark may stand here."""
    byte = piece[at]
    if scan.position + at == scan._bom < len(_BOM) and byte == _BOM[scan._bom]:
        scan._bom += 1
        return at + 1
    if byte == _OPENING_BRACE and scan._bom in (0, len(_BOM)):
        scan._state = _open
        return at + 1
    if byte in _BLANK and scan._bom in (0, len(_BOM)):
        return _blanks(piece, at)
    if byte in b'["-0123456789tfn' and scan._bom in (0, len(_BOM)):
        _refuse("The body is not a JSON object.", _JSON_HINT)
    return _malformed(scan, piece, at)


def _blanks(piece: bytes, at: int) -> int:
    match = _BLANK_RUN(piece, at)
    return match.end() if match else at


def _open(scan: RequestScan, piece: bytes, at: int) -> int:
    """Behind an object's opening brace."""
    head = _FIRST(piece, at)
    if head:
        return _member(scan, piece, head)
    byte = piece[at]
    if byte in _BLANK:
        return _blanks(piece, at)
    if byte == _CLOSING_BRACE:
        return _leave(scan, at)
    return _key(scan, piece, at)


def _after(scan: RequestScan, piece: bytes, at: int) -> int:
    """Behind a member."""
    head = _NEXT(piece, at)
    if head:
        return _member(scan, piece, head)
    byte = piece[at]
    if byte in _BLANK:
        return _blanks(piece, at)
    if byte == _CLOSING_BRACE:
        return _leave(scan, at)
    if byte != _COMMA:
        return _malformed(scan, piece, at)
    scan._state = _key
    return at + 1


def _leave(scan: RequestScan, at: int) -> int:
    """Leave the object that we are in, at its closing brace."""
    scan._state = _after
    if scan._level == _TOP:
        if scan.model is None and scan._needs_model:
            _refuse("The body has no 'model'.", _MODEL_HINT)
        scan.closing, scan._state = scan.position + at, _rest
    elif scan._level == _IN_DOCUMENT:
        scan._level, scan._document_passed = _TOP, True
    else:
        scan._level = _IN_DOCUMENT
        if scan.source is None:
            scan.source = Source(_UNKNOWN, scan._begin, why="the document's link must have a 'url'")
    return at + 1


def _member(scan: RequestScan, piece: bytes, head: re.Match[bytes]) -> int:
    """Enter a member whose name is whole in this piece, and not escaped."""
    _named(scan, head[1].decode("utf-8", "replace"))
    return _value(scan, piece, head.end())


def _key(scan: RequestScan, piece: bytes, at: int) -> int:
    """Before a member's name."""
    if piece[at] in _BLANK:
        return _blanks(piece, at)
    if piece[at] != _QUOTE:
        return _malformed(scan, piece, at)
    scan._kept, scan._state = bytearray(), _name
    return at + 1


def _name(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside a member's name."""
    end = _cross(scan, piece, at, _NAME_BYTES)
    if end < 0:
        return len(piece)
    _named(scan, text(scan._kept) if len(scan._kept) <= _NAME_BYTES else None)
    scan._state = _colon
    return end + 1


def _named(scan: RequestScan, name: str | None) -> None:
    """Enter a member; None: its name is malformed, or too long to be of interest."""
    scan._members += 1
    scan._work += _MEMBER_WORK
    if scan._members > MAX_MEMBERS:
        _refuse(f"The body has more than {MAX_MEMBERS} keys.", "Send only what the OCR endpoint knows.")
    role = _MEMBERS[scan._level].get(name, _OTHER)
    if scan._level == _TOP:
        scan.is_empty = False
        if name in scan.watched:
            scan.present.add(name)
        if role == _MODEL and scan.model is not None:
            _refuse("The body has two 'model' keys.", _MODEL_HINT)
        if role == _REFUSED:
            _refuse(f"The body has '{name}', which would replace the deployment's own.", _OWN_HINT)
        if role == _DOCUMENT and scan._document_passed:
            role = _OTHER
    elif scan.source is not None:
        role = _OTHER
    scan._role = role


def _colon(scan: RequestScan, piece: bytes, at: int) -> int:
    """Behind a member's name."""
    if piece[at] in _BLANK:
        return _blanks(piece, at)
    if piece[at] != _COLON:
        return _malformed(scan, piece, at)
    scan._state = _value
    return at + 1


def _value(scan: RequestScan, piece: bytes, at: int) -> int:
    """Before a member's value."""
    byte = piece[at]
    if byte in _BLANK:
        scan._state = _value
        return _blanks(piece, at)
    scan._begin = scan.position + at
    if byte in _OPENING:
        return _container(scan, piece, at)
    if byte != _QUOTE:
        scan._kept, scan._state = bytearray(), _scalar
        return at
    role = scan._role
    if role == _MODEL:
        scan._kept, scan._state = bytearray(), _in_model
    elif role == _URL:
        scan._kept, scan._state = bytearray(), _in_scheme
    else:
        _found(scan)
        scan._state = _in_string
        return _in_string(scan, piece, at + 1) if at + 1 < len(piece) else at + 1
    return at + 1


def _found(scan: RequestScan) -> None:
    """Note a value that is neither null nor looked at."""
    role = scan._role
    if role == _OTHER:
        return
    if role == _MODEL:
        _refuse("'model' is not a text.", _MODEL_HINT)
    if role == _FILE:
        scan.source = Source(_UPLOADED, scan._begin)
    elif role == _URL:
        scan.source = Source(_UNKNOWN, scan._begin, why="the document's URL must be a text")
    elif role == _DOCUMENT:
        scan._document_passed = True
    else:
        scan._formats |= role


def _container(scan: RequestScan, piece: bytes, at: int) -> int:
    """Enter the object that begins at `at`, if its members are of interest; else cross the container, or begin to."""
    role = scan._role
    if piece[at] == _OPENING_BRACE and (role == _DOCUMENT or (role == _URL and scan._level == _IN_DOCUMENT)):
        scan._level += 1
        scan._state = _open
        return at + 1
    _found(scan)
    rest = flat(piece, at + 1)
    if rest is not None:
        scan._state = _after
        return rest.end()
    scan._skip, scan._state = Skip(), _in_skip
    return at + 1


def _in_skip(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside a container that is not of interest."""
    skip = scan._skip
    at, cost = skip.step(piece, at)
    scan._work += cost * _STEP_WORK
    if skip.spoilt:
        return _malformed(scan, piece, scan._begin - scan.position)
    if not skip.depth:
        scan._state = _after
    return at


def _scalar(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside a number, or true, false, null; it is not checked further."""
    token = _TOKEN(piece, at)
    end = token.end() if token else at
    if len(scan._kept) <= _SCALAR_BYTES:
        scan._kept += piece[at : min(end, at + _SCALAR_BYTES + 1)]
    if end == len(piece):
        return end
    if not scan._kept:
        return _malformed(scan, piece, at)
    scan._state = _after
    role = scan._role
    if scan._kept != b"null" or role in (_MODEL, _DOCUMENT):
        _found(scan)
    elif role in (_DOCUMENT_FORMAT, _BBOX_FORMAT):
        scan._formats &= ~role
    return end


def _in_string(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside a string that is not of interest: nearly all bytes pass here, or in `peek`."""
    begin = at + scan._escaped
    end = closing(piece, begin)
    if end < 0:
        scan._escaped = escapes(piece, begin, len(piece))
        return len(piece)
    scan._escaped, scan._state = False, _after
    return end + 1


def _cross(scan: RequestScan, piece: bytes, at: int, max_bytes: int) -> int:
    """Return the position of the quote that ends the string we are in, or -1; keep at least its first `max_bytes`, if so many."""
    begin = at + scan._escaped
    end = closing(piece, begin)
    scan._escaped = end < 0 and escapes(piece, begin, len(piece))
    left = max_bytes + 1 - len(scan._kept)
    if left > 0:
        stop = len(piece) if end < 0 else end
        scan._kept += piece[at : min(stop, at + left)]
    return end


def _in_model(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside the text of `model`."""
    end = _cross(scan, piece, at, _MODEL_BYTES)
    long = len(scan._kept) > _MODEL_BYTES
    if end < 0 and not long:
        return len(piece)
    model = "" if long else exact_text(scan._kept)
    if long or (model and len(model) > MAX_MODEL_CHARACTERS):
        _refuse(f"'model' has more than {MAX_MODEL_CHARACTERS} characters.", _MODEL_HINT)
    if not model:
        _refuse("'model' is empty." if model == "" else "'model' is not a well-formed text.", _MODEL_HINT)
    scan.model, scan.model_span = model, (scan._begin, scan.position + end + 1)
    scan._state = _after
    return end + 1


def _in_scheme(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside the first bytes of the document's URL."""
    begin = int(scan._escaped)
    head = piece[at : at + SCHEME_BYTES - len(scan._kept)]
    end = closing(head, begin)
    scan._escaped = end < 0 and escapes(head, begin, len(head))
    scan._kept += head if end < 0 else head[:end]
    if end < 0 and len(scan._kept) < SCHEME_BYTES:
        return at + len(head)
    kind = kind_of(scan._kept)
    if kind is not _LINK:
        why = "" if kind is _DATA else "the document's URL must begin with https:, http: or data:"
        scan.source = Source(kind, scan._begin, why=why)
        scan._state = _in_string if end < 0 else _after
    elif end < 0:
        scan._state = _in_url
    else:
        _url_end(scan, scan.position + at + end + 1)
    return at + (len(head) if end < 0 else end + 1)


def _in_url(scan: RequestScan, piece: bytes, at: int) -> int:
    """Inside an http or https URL."""
    end = _cross(scan, piece, at, MAX_URL_BYTES)
    if len(scan._kept) > MAX_URL_BYTES and scan.source is None:
        scan.source = Source(_UNKNOWN, scan._begin, why=f"the document's URL must have at most {MAX_URL_BYTES} bytes")
        scan._kept = bytearray()
        scan._state = _in_string
    if end < 0:
        return len(piece)
    if scan.source is None:
        _url_end(scan, scan.position + end + 1)
    scan._state = _after
    return end + 1


def _url_end(scan: RequestScan, end: int) -> None:
    """Note a URL that has ended."""
    url = exact_text(scan._kept)
    if url is None:
        scan.source = Source(_UNKNOWN, scan._begin, why="the document's URL must be a well-formed text")
    else:
        scan.source = Source(_LINK, scan._begin, end, url)
    scan._state = _after
