"""The results of a job: which line of a file is whose, and the response in it, with the bytes that it came with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COPY_BYTES: Final = 1 << 20
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


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
        """Write the body into a file, which has its name only when it is whole. Blocks. Raises OSError."""
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
        aside.replace(into)


def read_results(path: Path) -> dict[str, Result]:
    """Return the lines of a file by their custom ids; what is no result, or names none, is left out. Blocks. Raises OSError.

    One line is in memory at a time.
    """
    found: dict[str, Result] = {}
    with path.open("rb") as file:
        begin = 0
        while line := file.readline():
            try:
                custom_id, result = _result(path, begin, line)
            except (ValueError, KeyError, RecursionError):
                pass
            else:
                found[custom_id] = result
            begin += len(line)
    return found


def _result(path: Path, begin: int, line: bytes) -> tuple[str, Result]:
    # In Latin-1 a character is a byte, so that places in the text are places in the file. JSON's own characters are ASCII.
    text = line.decode("latin-1")
    outer = _members(text, 0)
    custom_id = json.loads(line[slice(*outer["custom_id"])])
    if not isinstance(custom_id, str):
        raise ValueError("The custom id is no string.")
    error = line[slice(*outer.get("error", (0, 0)))]
    said = error if json.loads(error or b"null") else b""
    start = outer.get("response", (0, 0))[0]
    if text[start] != "{" or not start:
        return custom_id, Result(path, begin, 0, 0, said)
    inner = _members(text, start)
    status = json.loads(text[slice(*inner["status_code"])])
    body = inner.get("body", (0, 0))
    return custom_id, Result(path, begin + body[0], body[1] - body[0], status if isinstance(status, int) else 0, said)


def _members(text: str, at: int) -> dict[str, tuple[int, int]]:
    """Return where the values of an object's members begin and end. Raises ValueError where no object begins."""
    found: dict[str, tuple[int, int]] = {}
    at = _behind(text, at, "{")
    while text[at : at + 1] == '"':
        name, at = _DECODER.raw_decode(text, at)
        begin = _behind(text, at, ":")
        _, end = _DECODER.raw_decode(text, begin)
        found[name] = begin, end
        at = _BLANK.match(text, end).end()  # type: ignore[union-attr]  # it matches anywhere
        if text[at : at + 1] == ",":
            at = _behind(text, at, ",")
    _behind(text, at, "}")
    return found


def _behind(text: str, at: int, mark: str) -> int:
    """Return where the next token begins, behind a mark. Raises ValueError where it does not stand there."""
    match = re.compile(rf"[ \t\r\n]*{re.escape(mark)}[ \t\r\n]*").match(text, at)
    if match is None:
        raise ValueError(f"There is no {mark} at {at}.")
    return match.end()
