"""The results of a job: which line of a file is whose, and the response in it, with the bytes that it came with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

_COPY_BYTES: Final = 1 << 20
_BLANKS: Final = b" \t\r\n"
_MARKS: Final = b'{}[],:"'
_QUOTE, _BACKSLASH = ord('"'), ord("\\")


@dataclass(frozen=True, slots=True)
class Result:
    """One line. The body of its response is `size` bytes of `path`, from `offset`; `status` is 0 where there is no response.

    `error` is the line's own, as JSON, where it has one.
    """

    path: Path
    offset: int
    size: int
    status: int
    error: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the body is the response that was asked for."""
        return 200 <= self.status < 300 and bool(self.size) and not self.error

    def body(self) -> bytes:
        """Return the body; a string is taken for the JSON that it holds, as Mistral sends those of errors. Blocks; OSError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            raw = file.read(self.size)
        return str(json.loads(raw)).encode("utf-8", "surrogatepass") if raw[:1] == b'"' else raw

    def store(self, into: Path) -> None:
        """Write the body into a file, which has its name only when it is whole, and on the disk. Blocks. Raises OSError."""
        aside = into.with_name(f"{into.name}.part")
        with self.path.open("rb") as file, aside.open("wb") as out:
            file.seek(self.offset)
            if file.read(1) == b'"':
                out.write(self.body())
            else:
                file.seek(self.offset)
                left = self.size
                while left and (block := file.read(min(left, _COPY_BYTES))):
                    out.write(block)
                    left -= len(block)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(into)


def read_results(path: Path) -> dict[str, Result]:
    """Return the lines of a file by their custom ids; what is no result, or names none, is left out. Blocks. Raises OSError.

    The file is mapped into memory, and no line of it copied: responses with pictures are large.
    """
    found: dict[str, Result] = {}
    if not path.stat().st_size:
        return found
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
        begin, size = 0, len(text)
        while begin < size:
            end = text.find(b"\n", begin)
            end = size if end < 0 else end
            try:
                custom_id, result = _result(path, text, begin, end)
            except (ValueError, KeyError, RecursionError):
                pass
            else:
                _add(found, custom_id, result)
            begin = end + 1
    return found


def joined(first: Mapping[str, Result], second: Mapping[str, Result]) -> dict[str, Result]:
    """Return the results of two files: where both have one id, as `_add` says."""
    found = dict(first)
    for custom_id, result in second.items():
        _add(found, custom_id, result)
    return found


def _add(found: dict[str, Result], custom_id: str, result: Result) -> None:
    """Add a result; a later one of the same id counts, but a failure never replaces a response, which is paid for."""
    if result.is_success or custom_id not in found or not found[custom_id].is_success:
        found[custom_id] = result


def _result(path: Path, text: mmap, begin: int, end: int) -> tuple[str, Result]:
    outer = _Cursor(text, begin, end).members()
    custom_id = json.loads(text[slice(*outer["custom_id"])])
    if not isinstance(custom_id, str):
        raise ValueError("The custom id is no string.")
    error = text[slice(*outer.get("error", (0, 0)))]
    said = error if json.loads(error or b"null") else b""
    response = outer.get("response", (begin, begin))[0]
    if response == begin or text[response] != ord("{"):
        return custom_id, Result(path, begin, 0, 0, said)
    inner = _Cursor(text, response, end).members()
    status, body = json.loads(text[slice(*inner["status_code"])]), inner.get("body", (begin, begin))
    return custom_id, Result(path, body[0], body[1] - body[0], status if isinstance(status, int) else 0, said)


class _Cursor:
    """Goes over the tokens of JSON, from a place in a file to the end of its line."""

    def __init__(self, text: mmap, at: int, end: int) -> None:
        self._text, self._at, self._end = text, at, end
        self._begin = at

    def members(self) -> dict[str, tuple[int, int]]:
        """Return where the values of an object's members begin and end. Raises ValueError where there is no object."""
        found: dict[str, tuple[int, int]] = {}
        mark = self._next()
        while mark in b"{," and self._next() == b'"':
            name = json.loads(self._text[self._begin : self._at])
            if self._next() != b":":
                raise ValueError(f"There is no value at {self._begin}.")
            found[name] = self._value()
            mark = self._next()
        if self._text[self._begin : self._at] != b"}":
            raise ValueError(f"There is no object at {self._begin}.")
        return found

    def _value(self) -> tuple[int, int]:
        mark, begin = self._next(), self._begin
        depth = 0
        while True:
            depth += (mark in b"{[") - (mark in b"}]")
            if depth <= 0:
                return begin, self._at
            mark = self._next()

    def _next(self) -> bytes:
        """Go behind the next token: a string, a mark, a number or a word; return its first byte. Raises ValueError at the end."""
        at = self._at
        while at < self._end and self._text[at] in _BLANKS:
            at += 1
        if at >= self._end:
            raise ValueError(f"The line ends at {at}.")
        first = self._text[at]
        self._begin, self._at = at, self._end_of_string(at + 1) if first == _QUOTE else at + 1
        if first not in _MARKS:
            while self._at < self._end and self._text[self._at] not in _MARKS + _BLANKS:
                self._at += 1
        return bytes((first,))

    def _end_of_string(self, at: int) -> int:
        """Return where a string ends, which began before a place: behind a quotation mark with no, or an even number of, `\\`."""
        while (quote := self._text.find(b'"', at, self._end)) >= 0:
            slash = quote
            while slash > at and self._text[slash - 1] == _BACKSLASH:
                slash -= 1
            at = quote + 1
            if (quote - slash) % 2 == 0:
                return at
        raise ValueError(f"A string does not end before {self._end}.")
