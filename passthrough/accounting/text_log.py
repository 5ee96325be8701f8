"""The access log's lines for people: one plain line, or as many as a terminal's width needs, in colours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from ..background.terminal import Colour, Part, Terminal
from .entry import Entry
from .money import usd
from .named_labels import PREFIX, named_labels

_MAX_CACHED: Final = 256
_INDENT: Final = len("12:03:04.123Z  ")


def text_line(entry: Entry) -> str:
    """Return the entry as one line for people: when, what, how it ended, what it cost, how long it took, and for whom."""
    return "  ".join(part.text for part in _parts(entry))


def terminal_line(entry: Entry, terminal: Terminal) -> str:
    """Return the same for a terminal: in lines that fit it, with the status and the cost in colours."""
    return terminal.joined(_parts(entry), _INDENT)


def found_by_meter(entry: Entry) -> str:
    """Return what the meter has found, and its price, as one line for people."""
    return f"metered: {', '.join(part.text for part in _bill(entry)) or 'nothing'}"


def _parts(entry: Entry) -> Iterator[Part]:
    yield Part(time_text(entry.began_utc)[11:], "dim")
    yield Part(f"{entry.method} {entry.path} → {'-' if entry.status is None else entry.status}", _colour(entry))
    ended = " ".join(filter(None, (entry.outcome if entry.outcome != "completed" else "", entry.error, entry.upstream_code)))
    if ended:
        yield Part(ended, _colour(entry))
    yield from _bill(entry)
    yield Part(f"{_seconds(entry.total_s)} ↑{_size(entry.bytes_up)} ↓{_size(entry.bytes_down)}", "dim")
    labels = named_labels(entry.labels) if entry.labels else {}
    rest = (
        "sandbox" if entry.sandbox else entry.target,
        entry.deployment and f"deployment={entry.deployment}",
        entry.model_group and f"model_group={entry.model_group}",
        entry.why and f"{_attempts(entry)}why={entry.why}",
        entry.client and f"client={entry.client}",
        entry.label and f"label={entry.label}",
        *(f"{PREFIX}{name}={value}" for name, value in labels.items()),
    )
    yield from (Part(text) for text in rest if text)


def _attempts(entry: Entry) -> str:
    return f"attempts={entry.attempts} " if entry.attempts > 1 else ""


def _colour(entry: Entry) -> Colour:
    if entry.status is None or entry.status >= 500:
        return "red"
    return "yellow" if entry.status >= 400 or entry.outcome != "completed" else "green"


def _bill(entry: Entry) -> Iterator[Part]:
    usage = entry.usage
    if usage.pages is not None or usage.pages_annotated is not None:
        pages = (usage.pages or 0) + (usage.pages_annotated or 0)
        annotated = f" ({usage.pages_annotated} annotated)" if usage.pages_annotated else ""
        yield Part(f"{pages} page{'' if pages == 1 else 's'}{annotated}", "cyan")
    if usage.tokens_in is not None or usage.tokens_out is not None:
        cached = f" ({usage.tokens_cached} cached)" if usage.tokens_cached else ""
        yield Part(f"{usage.tokens_in or 0}+{usage.tokens_out or 0} tokens{cached}", "cyan")
    if usage.model is not None:
        yield Part(usage.model)
    cost = usd(entry.cost_nano)
    if cost is not None:
        yield Part(f"${cost}", "cyan")
    if entry.unmetered is not None:
        yield Part("unpriced" if entry.unmetered == "unpriced" else f"unmetered: {entry.unmetered}", "yellow")
    if entry.estimated_pages is not None or entry.estimated_nano is not None:
        estimated, cost = entry.estimated_pages, usd(entry.estimated_nano)
        some = None if estimated is None else f"{estimated} page{'' if estimated == 1 else 's'}"
        yield Part(f"estimated: {', '.join(filter(None, (some, cost and f'${cost}')))}", "yellow")


def time_text(utc_s: float) -> str:
    """Return a time (seconds since the epoch) in UTC as RFC 3339 has it, with milliseconds."""
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
