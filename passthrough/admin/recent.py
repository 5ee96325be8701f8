"""How the newest exchanges of a selection ended: errors, latency, and targets that refuse their credentials, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import quantiles
from typing import Final

from ..accounting.ledger.queries import ExchangeEnd
from ..accounting.money import Number, json_object
from ..exchange import Outcome

MAX_RECENT: Final = 10_000
"""How many of the newest exchanges are looked at."""

MAX_ERRORS: Final = 50
"""How many kinds of errors are listed."""

_REJECTED: Final = frozenset({401, 403})
_COMPLETED: Final = str(Outcome.COMPLETED)


@dataclass(slots=True)
class _Errors:
    """Errors of one kind: how many requests, and when the newest began."""

    latest_ms: int
    requests: int = 0


def recent_json(newest: Sequence[ExchangeEnd]) -> str:
    """Return as one JSON object how exchanges ended, given the newest first and one more than MAX_RECENT where there are more."""
    ends = newest[:MAX_RECENT]
    return json_object(
        (
            ("of", len(ends)),
            ("is_all", len(newest) <= MAX_RECENT),
            ("latency", Number(_latency(end.total_s for end in ends if _was_answered(end)))),
            ("errors", Number(f"[{', '.join(_errors(ends))}]")),
            ("rejected", Number(f"[{', '.join(_rejected(ends))}]")),
        )
    )


def _was_answered(end: ExchangeEnd) -> bool:
    """Tell whether a target answered as the client wished: an error that comes at once would make it look fast."""
    return end.outcome == _COMPLETED and end.target is not None and end.status is not None and end.status < 400


def _is_error(end: ExchangeEnd) -> bool:
    """Tell whether sums count it as an error (queries.IS_ERROR)."""
    return end.outcome != _COMPLETED or end.status is None or end.status >= 400


def _latency(totals_s: Iterable[float]) -> str:
    """Return the median and the 95th percentile as JSON, null where there is nothing."""
    found = list(totals_s)
    if len(found) == 1:
        found *= 2  # quantiles: Python before 3.13 wants two
    cuts = quantiles(found, n=20, method="inclusive") if found else None
    median_s, p95_s = (None, None) if cuts is None else (round(cuts[9], 6), round(cuts[18], 6))
    return json_object((("median_s", median_s), ("p95_s", p95_s)))


def _errors(ends: Iterable[ExchangeEnd]) -> list[str]:
    """Return the kinds of errors, the most frequent first: one refused row stands for many requests."""
    kinds: dict[tuple[int | None, str | None, str], _Errors] = {}
    for end in ends:
        if _is_error(end):
            kinds.setdefault((end.status, end.error, end.outcome), _Errors(end.began_ms)).requests += end.requests
    largest = sorted(kinds.items(), key=lambda item: (-item[1].requests, -item[1].latest_ms))[:MAX_ERRORS]
    return [
        json_object(
            (
                ("status", status),
                ("error", error),
                ("outcome", outcome),
                ("requests", found.requests),
                ("latest", _instant(found.latest_ms)),
            )
        )
        for (status, error, outcome), found in largest
    ]


def _rejected(ends: Iterable[ExchangeEnd]) -> list[str]:
    """Return the targets whose newest response is 401 or 403: what they say of the credentials that are sent now."""
    newest: dict[tuple[str, str | None], ExchangeEnd] = {}
    for end in ends:
        if end.target is not None and end.error is None and end.status is not None:
            newest.setdefault((end.target, end.deployment), end)
    return [
        json_object((("target", target), ("deployment", deployment), ("status", end.status), ("latest", _instant(end.began_ms))))
        for (target, deployment), end in newest.items()
        if end.status in _REJECTED
    ]


def _instant(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
