"""Reads a batch's results, one usage each: the lines of a file, or the outputs in the response that describes the job.

A result is `{"id", "custom_id", "response": {"status_code", "body": {a response}}, "error"}`, of Mistral and of OpenAI.

1. A result with a status 2xx has a usage: pages or tokens. A failed one has none.
2. It is billed once, however often it is downloaded. So its usage's `line` is the result's own `id`. An `id` of digits alone
   numbers the results of one file or job: it counts with that one's id (`<file>:<id>`). Without an `id` the `line` is the
   `custom_id` in the same way (`<file>/<custom_id>`). Without both, it is the number within the file (`<file>#<number>`, from 1).
   The `custom_id` stands beside it: accounting knows by it that one `line` names two results.
3. A line that is no result, or has no usage although it should, gives a reason for the whole; the others count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..jsonscan.paths import Mark, Value, paths
from ..jsonscan.scanner import STEPS, Scanner
from ..shapes.either import EITHER_PATHS, EitherShape
from ..usage import Unmetered, Usage, has_counts
from . import short_lines

MAX_FOREIGN_LINES: Final = 100
"""A file that need not be one of results is ignored after this many lines without a result: it is another file."""

_MAX_ID: Final = 300
_LINE_STEPS: Final = 20  # the cost of a line apart from its bytes, in the scanner's steps

_BODY: Final = "response.body"
_PATHS: Final = (
    "id", "custom_id", "response.status_code", "error", _BODY, *(f"{_BODY}.{path}" for path in EITHER_PATHS),
)  # fmt: skip
_LINE: Final = paths(_PATHS)
_OUTPUT: Final = "outputs[]"
_JOB: Final = paths((_OUTPUT, *(f"{_OUTPUT}.{path}" for path in _PATHS)))


class Result:
    """One result, built from the scanner's values."""

    __slots__ = ("_alias", "_found", "_shape")

    def __init__(self, alias: str | None) -> None:
        """`alias`: MeterPlan.model."""
        self._alias = alias
        self._shape: EitherShape | None = None
        self._found: dict[str, Value] = {}

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path."""
        if path == _BODY:
            # Of duplicated keys the last counts: the first one's values are dropped.
            self._shape = self._shape if value is Mark.END else EitherShape(self._alias)
        elif self._shape is not None and path.startswith(_BODY):
            self._shape.take(path[len(_BODY) + 1 :], value)
        elif value is not Mark.END:
            self._found[path] = value

    @property
    def recognised(self) -> bool:
        """Whether this is a result: it has an id, and a response or an error."""
        found = self._found
        named = isinstance(found.get("id"), str) or isinstance(found.get("custom_id"), str)
        return named and (isinstance(found.get("response.status_code"), int) or found.get("error") is not None)

    def usage(self, holder: str, number: int) -> Usage | None:
        """Return the result's usage, with a reason if it should have one and has none; None if the result failed.

        `holder` is the id of the file or the job, `number` the result's position in it.
        """
        status = self._found.get("response.status_code")
        if not isinstance(status, int) or not 200 <= status < 300:
            return None
        if self._shape is None:
            return Usage(unmetered=Unmetered.NO_USAGE)
        own, custom = _name(self._found.get("id")), _name(self._found.get("custom_id"))
        if own is not None:
            line = f"{holder}:{own}" if own.isdigit() else own
        else:
            line = f"{holder}/{custom}" if custom else f"{holder}#{number}"
        return replace(self._shape.usage(Unmetered.NO_USAGE), line=line, in_batch=True, custom_id=custom or "")


def _name(value: Value) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_ID and value.isprintable() else None


class _Results:
    """All results so far: usages that are not passed on yet, and the reason for missing ones."""

    __slots__ = ("_alias", "_holder", "_usages", "missing", "model", "number", "recognised")

    def __init__(self, holder: str, alias: str | None) -> None:
        self._holder = holder
        self._alias = alias
        self._usages: list[Usage] = []
        self.model = alias
        self.number = 0
        self.recognised = False  # set by the first result
        self.missing: Unmetered | None = None

    def new_result(self) -> Result:
        return Result(self._alias)

    def add(self, result: Result) -> None:
        self.number += 1
        if not result.recognised:
            self.missing = self.missing or Unmetered.NO_USAGE
            return
        self.recognised = True
        usage = result.usage(self._holder, self.number)
        if usage is None:
            return
        self.model = usage.model or self.model
        if has_counts(usage):
            self._usages.append(usage)
        else:
            self.missing = self.missing or usage.unmetered

    def add_broken(self) -> None:
        self.number += 1
        self.missing = Unmetered.NOT_JSON

    def add_short(self, lines: bytes) -> int:
        """Add lines that are too short to be results, all at once; return the cost, in the scanner's steps."""
        count = short_lines.not_blank(lines)
        if not count:
            return 1
        self.number += count
        steps = count >> 3
        if self.missing is not Unmetered.NOT_JSON:  # Once a line is not JSON, the others do not matter.
            self.missing = self.missing or Unmetered.NO_USAGE
            for line in set(lines.split(b"\n")):
                steps += 3
                if not _is_json(line):
                    self.missing = Unmetered.NOT_JSON
                    break
        return steps

    def take_usages(self) -> list[Usage]:
        usages, self._usages = self._usages, []
        return usages

    def usage(self, otherwise: Unmetered | None) -> Usage:
        return Usage(model=self.model, unmetered=otherwise)


def _is_json(line: bytes) -> bool:
    """Tell whether a line is blank, or JSON that the scanner accepts."""
    scanner = Scanner(_LINE, lambda _path, _value: None)
    scanner.feed(line)
    scanner.end()
    return scanner.whole or scanner.empty


class BatchFile:
    """The body of a file of results, a JSON document in each line (JSONL); lines end with LF or CRLF, blank ones are ignored."""

    __slots__ = ("_expected", "_result", "_results", "_scanner", "gave_up")

    def __init__(self, holder: str, alias: str | None, *, expected: bool) -> None:
        """`holder` is the file's id; `expected`: it is a file of results, whatever it looks like."""
        self._results = _Results(holder, alias)
        self._expected = expected
        self._result: Result | None = None  # of this line, once it has begun
        self._scanner: Scanner | None = None
        self.gave_up = False

    @property
    def recognised(self) -> bool:
        """Whether the file has had a result."""
        return self._results.recognised

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on (pipeline.Reader)."""
        size = len(chunk)
        while at < size and steps > 0:
            if self.gave_up:
                return size
            end = chunk.find(b"\n", at)
            if self._scanner is None and 0 <= end - at <= short_lines.MAX_BYTES:
                lines = short_lines.run(chunk, at)
                at += len(lines)
                steps -= 1 + self._results.add_short(lines)
                self._give_up_foreign()
                continue
            stop = size if end < 0 else end
            if at < stop:
                scanner = self._scanner or self._begin()
                # JSON strings contain no line end, so a line's text ends here, whatever the scanner's state is.
                reached = scanner.feed(chunk if stop - at == size else chunk[at:stop], 0, steps)
                steps = scanner.left
                at += reached
                if at < stop:
                    return at
            if end >= 0:
                steps -= _LINE_STEPS
                self._line_end()
                at += 1
        return at

    def _begin(self) -> Scanner:
        self._result = self._results.new_result()
        self._scanner = Scanner(_LINE, self._result.take)
        return self._scanner

    def _line_end(self) -> None:
        scanner, result = self._scanner, self._result
        self._scanner = self._result = None
        if scanner is None or result is None:
            return
        scanner.end()
        if scanner.whole:
            self._results.add(result)
        elif not scanner.empty:
            self._results.add_broken()
        self._give_up_foreign()

    def _give_up_foreign(self) -> None:
        """Give up the file if it need not be one of results, and has had none."""
        self.gave_up = not (self._expected or self._results.recognised) and self._results.number >= MAX_FOREIGN_LINES

    def end(self) -> Unmetered | None:
        """End the body; return the reason why some results, or all, have no usage."""
        self._line_end()
        none = None if self._results.number else Unmetered.NO_USAGE
        return self._results.missing or none

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage of the file: the last model and the reason, without counters, which belong to the lines."""
        return self._results.usage(otherwise)

    def take_usages(self) -> list[Usage]:
        """Return the usages of complete lines, each once."""
        return self._results.take_usages()


class BatchJob:
    """The body of a response that describes a job, which may have its results in `outputs`."""

    __slots__ = ("_result", "_results", "_scanner")

    gave_up = False

    def __init__(self, holder: str, alias: str | None) -> None:
        """`holder` is the job's id."""
        self._results = _Results(holder, alias)
        self._result: Result | None = None
        self._scanner = Scanner(_JOB, self._take)

    @property
    def recognised(self) -> bool:
        """Whether the job has had a result."""
        return self._results.recognised

    def _take(self, path: str, value: Value) -> None:
        if path == _OUTPUT and value is Mark.OBJECT:
            self._result = self._results.new_result()
        elif self._result is not None and path != _OUTPUT:
            self._result.take(path[len(_OUTPUT) + 1 :], value)
        elif self._result is not None:
            self._results.add(self._result)
            self._result = None

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on (pipeline.Reader)."""
        return self._scanner.feed(chunk, at, steps)

    def end(self) -> Unmetered | None:
        """End the body; return the reason why some results have no usage. A job without results needs no reason."""
        self._scanner.end()
        return self._results.missing if self._scanner.whole or self._scanner.empty else Unmetered.NOT_JSON

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage of the job: the last model and the reason, without counters, which belong to the results."""
        return self._results.usage(otherwise)

    def take_usages(self) -> list[Usage]:
        """Return the usages of complete results, each once."""
        return self._results.take_usages()
