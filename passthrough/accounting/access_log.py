"""The access log: one line for each exchange, on a stream that may be slow, blocked or gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, TextIO

from ..background.background_writer import BackgroundWriter
from ..background.batch_queue import BatchQueue
from ..background.stream_writer import StreamWriter
from ..background.terminal import Terminal
from .entry import Entry
from .money import members, usd
from .named_labels import labels_json
from .text_log import terminal_line, text_line, time_text

Format = Literal["json", "text"]

_MAX_WAITING: Final = 10_000
_BATCH: Final = 500
_GATHER_S: Final = 0.05
_MAX_CACHED: Final = 256
_FIXED_S: Final = 0.0001  # smaller numbers of seconds have an exponent
_EXACT_S: Final = 1e9  # below it, six decimals are those of the nearest float


class AccessLog:
    """Writes a line for each entry, from a thread of its own.

    `put` never waits for the stream: where more than ten thousand lines wait, or the stream fails, lines are dropped and counted.
    A line is written whole; after a failure in its middle, it is ended before the next one begins.
    """

    def __init__(self, stream: TextIO, format: Format = "json", lock_file: Path | None = None) -> None:
        """`lock_file` is shared by the processes that write to one stream (see StreamWriter)."""
        self._queue: BatchQueue[Entry] = BatchQueue(_MAX_WAITING, batch=_BATCH, gather_s=_GATHER_S)
        self._writer = BackgroundWriter(StreamWriter(stream, lock_file), self._queue, _rendering(stream, format), name="lines")
        self._refused = 0

    @property
    def dropped(self) -> int:
        """How many lines were not written."""
        return self._refused + self._writer.failed

    def put(self, entry: Entry) -> None:
        """Let the entry's line be written soon; never blocks, never raises."""
        if not self._queue.put(entry):
            self._refused += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, for at most `timeout_s` seconds and a little; what is left then is dropped and counted."""
        self._writer.close(timeout_s)


def _rendering(stream: TextIO, format: Format) -> Callable[[Entry], str]:
    if format == "json":
        return json_line
    terminal = Terminal.of(stream)
    return text_line if terminal is None else lambda entry: terminal_line(entry, terminal)


def json_line(entry: Entry) -> str:
    """Return the entry as one JSON object with all its keys, in the documented order."""
    usage, request_id, estimated = entry.usage, entry.upstream_request_id, entry.estimated_pages
    pages, annotated, doc_bytes, tokens_in, tokens_out, cached = _counts_of(usage)
    request, response, bill = _shared_members(*_shared_of(entry), usage.model, entry.cost_source)
    code = entry.upstream_code
    return (
        f'{{"time": "{time_text(entry.began_utc)}", "id": {encode_basestring(entry.id)}, '
        f"{request}, {response}, "
        f'"pages": {"null" if pages is None else pages}, "pages_annotated": {"null" if annotated is None else annotated}, '
        f'"doc_bytes": {"null" if doc_bytes is None else doc_bytes}, '
        f'"tokens_in": {"null" if tokens_in is None else tokens_in}, '
        f'"tokens_out": {"null" if tokens_out is None else tokens_out}, '
        f'"tokens_cached": {"null" if cached is None else cached}, '
        f'"cost_usd": {_cost(entry.cost_nano)}, {bill}, '
        f'"estimated_pages": {"null" if estimated is None else estimated}, "estimated_usd": {_cost(entry.estimated_nano)}, '
        f'"upstream_request_id": {"null" if request_id is None else encode_basestring(request_id)}, '
        f'"upstream_code": {"null" if code is None else encode_basestring(code)}, '
        f'"bytes_up": {entry.bytes_up}, "bytes_down": {entry.bytes_down}, '
        f'"first_byte_s": {_span(entry.first_byte_s)}, "total_s": {_span(entry.total_s)}}}'
    )


_REQUEST: Final = ("route", "client", "label", "target", "sandbox", "method", "path")
_RESPONSE: Final = ("status", "outcome", "error", "attempts", "deployment", "model_group", "why")
_shared_of: Final = attrgetter(*_REQUEST, "labels", *_RESPONSE, "priced_as", "unmetered")
_counts_of: Final = attrgetter("pages", "pages_annotated", "doc_bytes", "tokens_in", "tokens_out", "tokens_cached")


@lru_cache(_MAX_CACHED)  # many requests have the same values, which would take as long as all the rest
def _shared_members(*values: object) -> tuple[str, str, str]:
    *plain, priced_as, unmetered, model, source = values
    behind = len(_REQUEST) + 1
    response = _response_members(*plain[behind:], model, priced_as)
    return _request_members(*plain[:behind]), response, _bill_members(source, unmetered)


@lru_cache(_MAX_CACHED)  # apart: paths and labels may be many where all the rest is the same, or the other way round
def _request_members(*values: object) -> str:
    *plain, labels = values
    assert labels is None or isinstance(labels, str)
    return f'{members(zip(_REQUEST, plain, strict=True))}, "labels": {labels_json(labels) or "null"}'


@lru_cache(_MAX_CACHED)
def _response_members(*values: object) -> str:
    return members(zip((*_RESPONSE, "model", "priced_as"), values, strict=True))


@lru_cache(_MAX_CACHED)
def _bill_members(*values: object) -> str:
    return members(zip(("cost_source", "unmetered"), values, strict=True))


@lru_cache(_MAX_CACHED)
def _cost(nano: int | None) -> str:
    return usd(nano) or "null"


def _span(span_s: float | None) -> str:
    """Return seconds as a JSON number, rounded to microseconds."""
    if span_s is None:
        return "null"
    if not _FIXED_S <= span_s < _EXACT_S:
        return str(round(span_s, 6))
    text = f"{span_s:.6f}".rstrip("0")  # half the time of the way that is right for all
    return f"{text}0" if text[-1] == "." else text
