"""Finds the parts of a passing form: what their heads say, and where their contents are (RFC 7578, RFC 2046 §5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import Final

from ...errors import Refusal

MAX_PARTS: Final = 100
"""The most parts of a form: an OCR request has a dozen fields."""

MAX_TEXT_BYTES: Final = 1_000_000
"""The bound of a form's texts, all together: an annotation's JSON Schema is the longest."""

MAX_HEAD_BYTES: Final = 16384
_MAX_PADDING_BYTES: Final = 256
_MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046 §5.1.1

FORM: Final = "multipart/form-data"

CURL_HINT: Final = "With curl: -F model=mistral-ocr -F file=@invoice.pdf, and no Content-Type of your own."

_BOUNDARY: Final = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_LINE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")
_LINE_END: Final = re.compile(r"\r\n(?![ \t])")  # A line that begins with white space goes on with the one before.
_BEHIND: Final = re.compile(rb"(--)?[ \t]*\r\n")
_BEHIND_SO_FAR: Final = re.compile(rb"-|(?:--)?[ \t]*\r?")
_CLOSES: Final = re.compile(rb"--[ \t]*\r?")


@dataclass(frozen=True, slots=True)
class FormPart:
    """One part of a form. Its content is what stands from `begin` to `end`, offsets in the body.

    `content_type` is the value of the field, None where there is none. `file_name` is None where it is not given.
    """

    name: str
    file_name: str | None
    content_type: str | None
    charset: str | None
    begin: int
    end: int

    @property
    def is_file(self) -> bool:
        """Whether it is a file: it has a file's name, or a type that no text has (RFC 7578 §4.2: the name is optional)."""
        media_type = (self.content_type or "text/plain").partition(";")[0].strip().lower()
        return self.file_name is not None or not media_type.startswith(("text/", "application/json"))


def _bad(message: str, hint: str = CURL_HINT) -> Refusal:
    return Refusal("bad_request", message, hint=hint)


def is_form(content_type: bytes) -> bool:
    """Tell whether a Content-Type is a form's."""
    return content_type.partition(b";")[0].strip(b" \t").lower() == FORM.encode()


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a form's Content-Type names. Raises Refusal where it names none that RFC 2046 allows."""
    field = Message()
    field["Content-Type"] = content_type.decode("latin-1")
    named = [value for name, value in field.get_params([]) if name.lower() == "boundary"]
    boundary = named[0].encode("latin-1", "replace") if len(named) == 1 and isinstance(named[0], str) else b""
    if not boundary:
        raise _bad("The Content-Type of the form names no boundary, or more than one.")
    if len(boundary) > _MAX_BOUNDARY_BYTES or not _BOUNDARY.fullmatch(boundary):
        raise _bad(f"The form's boundary is not 1 to {_MAX_BOUNDARY_BYTES} printable characters of ASCII.")
    return boundary


class Multipart:
    """Reads one form as it passes. The result does not depend on the borders of the pieces.

    What stands before the first delimiter and behind the closing one is ignored. Bytes that begin as a delimiter and are none
    (not at the start of a line, or with something behind them) are content.
    """

    __slots__ = ("_begin", "_carry", "_closed", "_delimiter", "_head", "_in_head", "_position", "_text_bytes", "parts")

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[FormPart] = []
        """The parts that have passed whole."""
        self._delimiter = b"\r\n--" + boundary
        self._carry = b"\r\n"  # The first delimiter may stand at the very start.
        self._position = 0
        self._in_head = self._closed = False
        self._head: FormPart | None = None  # Its `begin` is not final, its `end` unknown. None: in the preamble.
        self._begin = 0
        self._text_bytes = 0

    def feed(self, piece: bytes) -> int:
        """Read the next bytes; return how many they are.

        Raises Refusal (bad_request) for a part's malformed head, and for texts that are too long.
        """
        data = self._carry + piece if self._carry else piece
        base = self._position - len(self._carry)
        self._position += len(piece)
        at: int | None = 0
        rest = 0
        while at is not None and not self._closed:
            rest = at
            at, rest = self._part_head(data, at, base) if self._in_head else self._content(data, at, base)
        self._carry = b"" if self._closed else data[rest:]
        self._check_text(self._position)
        return len(piece)

    def end(self) -> None:
        """End the body. Raises Refusal (bad_request) where its closing delimiter has not come."""
        size = len(self._delimiter)
        # The line of the closing delimiter may end with the body.
        if not self._closed and not self._in_head and self._carry.startswith(self._delimiter):
            self._closed = _CLOSES.fullmatch(self._carry, size) is not None
            if self._closed:
                self._end_part(self._position - len(self._carry))
        if self._closed:
            return
        if self._head is None and not self._in_head:
            raise _bad("The body has no line with the boundary that its Content-Type names.")
        raise _bad("The form is cut short: its closing delimiter has not come.")

    def _content(self, data: bytes, at: int, base: int) -> tuple[int | None, int]:
        """Look for the next delimiter from `at` on; return where to go on (None: with more bytes), and from where to keep."""
        size = len(self._delimiter)
        while (found := data.find(self._delimiter, at)) >= 0:
            behind = _BEHIND.match(data, found + size)
            if behind is not None and behind.end() - found - size <= _MAX_PADDING_BYTES:
                self._end_part(base + found)
                self._closed, self._in_head = behind[1] is not None, True
                return behind.end(), behind.end()
            if len(data) - found - size <= _MAX_PADDING_BYTES and _BEHIND_SO_FAR.fullmatch(data, found + size):
                return None, found
            at = found + 1
        return None, self._possible_start(data, at)

    def _possible_start(self, data: bytes, at: int) -> int:
        """Return where a delimiter may have begun at the end of `data`; its length where none has."""
        start = max(at, len(data) - len(self._delimiter) + 1)
        while (start := data.find(b"\r", start)) >= 0:
            if self._delimiter.startswith(data[start:]):
                return start
            start += 1
        return len(data)

    def _part_head(self, data: bytes, at: int, base: int) -> tuple[int | None, int]:
        """Read the head of a part that begins at `at`; return as `_content`."""
        number = len(self.parts) + 1
        if data.startswith(b"\r\n", at):
            raise _bad(f"Part {number} of the form has no Content-Disposition.")
        end = data.find(b"\r\n\r\n", at)
        if (len(data) if end < 0 else end) - at > MAX_HEAD_BYTES:
            raise _bad(f"The head of part {number} of the form is longer than {MAX_HEAD_BYTES} bytes.")
        if end < 0:
            return None, at
        if number > MAX_PARTS:
            raise _bad(f"The form has more than {MAX_PARTS} parts.")
        self._head = _read_head(data[at:end], number)
        self._begin = base + end + 4
        self._in_head = False
        return end + 2, end + 2  # An empty content may be followed at once by the delimiter, whose CRLF ends the head.

    def _end_part(self, end: int) -> None:
        head = self._head
        if head is not None:
            self._check_text(end)
            begin = min(self._begin, end)
            if not head.is_file:
                self._text_bytes += end - begin
            self.parts.append(FormPart(head.name, head.file_name, head.content_type, head.charset, begin, end))
            self._head = None

    def _check_text(self, end: int) -> None:
        """Raise Refusal where the texts up to `end` are too long."""
        if self._head is not None and not self._head.is_file and self._text_bytes + end - self._begin > MAX_TEXT_BYTES:
            hint = "Send a document as 'file', or the request as JSON."
            raise _bad(f"The form's texts are longer than {MAX_TEXT_BYTES} bytes.", hint)


def _read_head(raw: bytes, number: int) -> FormPart:
    """Return what the head of a part says, without its content. Raises Refusal."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # the name of a file, by a client of another age
    if not all(_LINE.fullmatch(re.sub("\r\n[ \t]", " ", line)) for line in _LINE_END.split(text)):
        raise _bad(f"The head of part {number} of the form is malformed.")
    fields = HeaderParser().parsestr(f"{text}\r\n\r\n")
    if len(fields.get_all("Content-Disposition", [])) != 1 or len(fields.get_all("Content-Type", [])) > 1:
        raise _bad(f"Part {number} of the form has not one Content-Disposition and at most one Content-Type.")
    (disposition, _), *params = fields.get_params([], "Content-Disposition")
    names = [_text_of(value) for name, value in params if name.lower() == "name"]
    if disposition.lower() != "form-data" or len(names) != 1 or not names[0]:
        raise _bad(f"Part {number} of the form has no name.")
    if fields.get("Content-Transfer-Encoding", "binary").strip().lower() not in {"7bit", "8bit", "binary"}:
        raise _bad(f"Part {number} of the form has a Content-Transfer-Encoding.", "Send its bytes as they are (RFC 7578 §4.7).")
    if fields.get_content_maintype() == "multipart":
        raise _bad(f"Part {number} of the form is multipart itself.", "Send one file (RFC 7578 §4.3).")
    files = [value for name, value in params if name.lower() == "filename"]
    # `filename*` says more than `filename` (RFC 6266 §4.3); no form should have it (RFC 7578 §4.2), some have.
    exact = next((value for value in files if isinstance(value, tuple)), files[0] if files else None)
    charset = fields.get_content_charset()
    return FormPart(names[0], None if exact is None else _text_of(exact), fields.get("Content-Type"), charset, 0, 0)


def _text_of(value: str | tuple[str | None, str | None, str]) -> str:
    return collapse_rfc2231_value(value) if isinstance(value, tuple) else value
