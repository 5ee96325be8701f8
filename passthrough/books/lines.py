"""The log: one line for each exchange, on a stream that may be slow, blocked or gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Final, Literal, TextIO

from .backlog import Backlog
from .entry import Entry
from .money import json_text, members, usd
from .sink import POLL_S, Sink

Format = Literal["json", "text"]

_WAITING: Final = 10_000
_BATCH: Final = 500
_GATHER_S: Final = 0.05
_ALIKE: Final = 256


class Lines:
    """Writes a line for each entry, from a thread of its own.

    What is put never waits for the stream: where more than ten thousand lines wait, or the stream fails, lines are dropped and
    counted. A line is written whole or, after a failure in its middle, ended before the next one begins.
    """

    def __init__(self, stream: TextIO, format: Format = "json", turns: Path | None = None) -> None:
        """`turns` is a file that processes share which write to one stream (see Sink)."""
        self._render = json_line if format == "json" else text_line
        self._backlog: Backlog[Entry] = Backlog(_WAITING, batch=_BATCH, gather_s=_GATHER_S)
        self._sink = Sink(stream, turns)
        self._refused = 0
        self._failed = 0
        self._thread = Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were not written."""
        return self._refused + self._failed

    def put(self, entry: Entry) -> None:
        """Let the entry's line be written soon; never blocks, never raises."""
        if not self._backlog.put(entry):
            self._refused += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, for at most `timeout_s` seconds and a little; what is left then is dropped and counted."""
        self._backlog.close()
        self._thread.join(timeout_s)
        self._sink.give_up()
        self._thread.join(2 * POLL_S)

    def _run(self) -> None:
        while batch := self._backlog.take():
            if self._sink.given_up:
                self._failed += len(batch)
                continue
            self._failed += self._sink.write([self._render(entry).encode("utf-8") + b"\n" for entry in batch])


def json_line(entry: Entry) -> str:
    """Return the entry as one JSON object, all its keys always there, in the order that is promised."""
    usage, cost, source = entry.usage, usd(entry.cost_nano), entry.cost_source
    first_byte_s = None if entry.first_byte_s is None else round(entry.first_byte_s, 6)
    request_id = entry.upstream_request_id
    return (
        f'{{"time": "{_time(entry.began_utc)}", "id": {json_text(entry.id)}, '
        f"{_asked(entry.route, entry.client, entry.label, entry.target, entry.sandbox, entry.method, entry.path)}, "
        f"{_answered(entry.status, entry.outcome, entry.error, entry.attempts, usage.model)}, "
        f'"pages": {_or_null(usage.pages)}, "pages_annotated": {_or_null(usage.pages_annotated)}, '
        f'"doc_bytes": {_or_null(usage.doc_bytes)}, '
        f'"tokens_in": {_or_null(usage.tokens_in)}, "tokens_out": {_or_null(usage.tokens_out)}, '
        f'"cost_usd": {_or_null(cost)}, {_billed(source, entry.unmetered)}, '
        f'"upstream_request_id": {"null" if request_id is None else json_text(request_id)}, '
        f'"bytes_up": {entry.bytes_up}, "bytes_down": {entry.bytes_down}, '
        f'"first_byte_s": {_or_null(first_byte_s)}, "total_s": {round(entry.total_s, 6)}}}'
    )


@lru_cache(_ALIKE)  # so many requests are alike, one by one they take the time of all the rest
def _asked(*values: object) -> str:
    return members(zip(("route", "client", "label", "target", "sandbox", "method", "path"), values, strict=True))


@lru_cache(_ALIKE)
def _answered(*values: object) -> str:
    return members(zip(("status", "outcome", "error", "attempts", "model"), values, strict=True))


@lru_cache(_ALIKE)
def _billed(*values: object) -> str:
    return members(zip(("cost_source", "unmetered"), values, strict=True))


def _or_null(number: object) -> object:
    return "null" if number is None else number


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
        entry.client and f"client={entry.client}",
        entry.label and f"label={entry.label}",
    )
    return "  ".join(filter(None, parts))


def _bill(entry: Entry) -> Iterator[str]:
    usage = entry.usage
    if usage.pages is not None or usage.pages_annotated is not None:
        pages = (usage.pages or 0) + (usage.pages_annotated or 0)
        annotated = f" ({usage.pages_annotated} annotated)" if usage.pages_annotated else ""
        yield f"{pages} page{'' if pages == 1 else 's'}{annotated}"
    if usage.tokens_in is not None or usage.tokens_out is not None:
        yield f"{usage.tokens_in or 0}+{usage.tokens_out or 0} tokens"
    if usage.model is not None:
        yield usage.model
    cost = usd(entry.cost_nano)
    if cost is not None:
        yield f"${cost}"
    if entry.unmetered is not None:
        yield "unpriced" if entry.unmetered == "unpriced" else f"unmetered: {entry.unmetered}"


def _time(utc_s: float) -> str:
    second, ms = divmod(int(utc_s * 1000), 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(_ALIKE)
def _second(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).isoformat()[:-6]


def _seconds(span_s: float) -> str:
    return f"{span_s * 1000:.0f}ms" if span_s < 1 else f"{span_s:.1f}s"


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count}B"
