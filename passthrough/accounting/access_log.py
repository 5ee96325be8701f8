"""The access log: one line for each exchange, on a stream that may be slow, blocked or gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, TextIO

from ..background.background_writer import BackgroundWriter
from ..background.batch_queue import BatchQueue
from ..background.stream_writer import StreamWriter
from .entry import Entry
from .money import members, usd
from .named_labels import PREFIX, labels_json, named_labels

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
        self._writer = BackgroundWriter(
            StreamWriter(stream, lock_file), self._queue, json_line if format == "json" else text_line, name="lines"
        )
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


def json_line(entry: Entry) -> str:
    """Return the entry as one JSON object with all its keys, in the documented order."""
    usage, request_id, estimated = entry.usage, entry.upstream_request_id, entry.estimated_pages
    pages, annotated, doc_bytes, tokens_in, tokens_out, cached = _counts_of(usage)
    request, response, bill = _shared_members(*_shared_of(entry), usage.model, entry.cost_source)
    return (
        f'{{"time": "{_time(entry.began_utc)}", "id": {encode_basestring(entry.id)}, '
        f"{request}, {response}, "
        f'"pages": {"null" if pages is None else pages}, "pages_annotated": {"null" if annotated is None else annotated}, '
        f'"doc_bytes": {"null" if doc_bytes is None else doc_bytes}, '
        f'"tokens_in": {"null" if tokens_in is None else tokens_in}, '
        f'"tokens_out": {"null" if tokens_out is None else tokens_out}, '
        f'"tokens_cached": {"null" if cached is None else cached}, '
        f'"cost_usd": {_cost(entry.cost_nano)}, {bill}, '
        f'"estimated_pages": {"null" if estimated is None else estimated}, "estimated_usd": {_cost(entry.estimated_nano)}, '
        f'"upstream_request_id": {"null" if request_id is None else encode_basestring(request_id)}, '
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


def text_line(entry: Entry) -> str:
    """Return the entry as one line for people: when, what, how it ended, what it cost, how long it took, and for whom."""
    ended = entry.outcome if entry.outcome != "completed" else ""
    parts = (
        _time(entry.began_utc)[11:],
        f"{entry.method} {entry.path} → {'-' if entry.status is None else entry.status}",
        " ".join(filter(None, (ended, entry.error))),
        *_bill(entry),
        f"{_seconds(entry.total_s)} ↑{_size(entry.bytes_up)} ↓{_size(entry.bytes_down)}",
        "sandbox" if entry.sandbox else entry.target,
        entry.deployment and f"deployment={entry.deployment}",
        entry.model_group and f"model_group={entry.model_group}",
        entry.why and f"attempts={entry.attempts} why={entry.why}",
        entry.client and f"client={entry.client}",
        entry.label and f"label={entry.label}",
        *(f"{PREFIX}{name}={value}" for name, value in (named_labels(entry.labels) if entry.labels else {}).items()),
    )
    return "  ".join(filter(None, parts))


def _bill(entry: Entry) -> Iterator[str]:
    usage = entry.usage
    if usage.pages is not None or usage.pages_annotated is not None:
        pages = (usage.pages or 0) + (usage.pages_annotated or 0)
        annotated = f" ({usage.pages_annotated} annotated)" if usage.pages_annotated else ""
        yield f"{pages} page{'' if pages == 1 else 's'}{annotated}"
    if usage.tokens_in is not None or usage.tokens_out is not None:
        cached = f" ({usage.tokens_cached} cached)" if usage.tokens_cached else ""
        yield f"{usage.tokens_in or 0}+{usage.tokens_out or 0} tokens{cached}"
    if usage.model is not None:
        yield usage.model
    cost = usd(entry.cost_nano)
    if cost is not None:
        yield f"${cost}"
    if entry.unmetered is not None:
        yield "unpriced" if entry.unmetered == "unpriced" else f"unmetered: {entry.unmetered}"
    if entry.estimated_pages is not None or entry.estimated_nano is not None:
        estimated, cost = entry.estimated_pages, usd(entry.estimated_nano)
        some = None if estimated is None else f"{estimated} page{'' if estimated == 1 else 's'}"
        yield f"estimated: {', '.join(filter(None, (some, cost and f'${cost}')))}"


def _time(utc_s: float) -> str:
    second, ms = divmod(int(utc_s * 1000), 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(_MAX_CACHED)
def _second(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).isoformat()[:-6]


def _seconds(span_s: float) -> str:
    return f"{span_s * 1000:.0f}ms" if span_s < 1 else f"{span_s:.1f}s"


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count}B"
