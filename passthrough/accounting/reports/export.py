"""Exports the ledger as CSV or JSON lines, as a stream: one row for each charge with its exchange."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from ..entry import Charge
from ..ledger.queries import LedgerRow
from ..money import Number, json_object, usd
from ..named_labels import labels_json
from .report import harmless

Form = Literal["csv", "jsonl"]

SUFFIXES: Final[dict[str, Form]] = {".csv": "csv", ".jsonl": "jsonl"}
"""The forms by the suffix of a file's name."""

_MICRO: Final = 10**6
_NO_CHARGE: Final = Charge()
_BEFORE: Final = (
    *("client", "label", "route", "target", "account", "sandbox", "method", "path", "status", "outcome", "error", "open"),
    *("attempts", "upstream_request_id", "bytes_up", "bytes_down", "first_byte_s", "total_s", "overhead_s", "unmetered"),
)
_CHARGED: Final = ("pages", "pages_annotated", "doc_bytes", "tokens_in", "tokens_out")
_LAST: Final = ("estimated_pages", "estimated_usd", "requests", "tokens_cached", "service_tier", "priced_as", "labels")
_OF_DEPLOYMENT: Final = ("deployment", "model_group", "why")
COLUMNS: Final = (
    "id",
    "time",
    *_BEFORE,
    "line",
    "model",
    *_CHARGED,
    "credits",
    "in_batch",
    "cost_usd",
    "cost_source",
    *_LAST,
    *_OF_DEPLOYMENT,
)
"""The fields of a row, in their order."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows were written, and of how many exchanges."""

    rows: int
    exchanges: int


def write(rows: Iterable[LedgerRow], stream: TextIO, form: Form) -> Written:
    """Write rows as they come, and return how many. An exchange without a charge has a row too, without figures.

    CSV is RFC 4180 with a header, JSON is one object a line. Costs and credits have their exact decimals. In CSV a text that a
    spreadsheet would take for a formula begins with `'`.
    """
    count, exchanges, last = 0, 0, ""
    put = _csv(stream) if form == "csv" else _jsonl(stream)
    for row in rows:
        put(_values(row))
        count += 1
        exchanges += row.requests if row.id != last else 0
        last = row.id
    return Written(count, exchanges)


def _values(row: LedgerRow) -> list[object]:
    charge = row.charge or _NO_CHARGE
    began = datetime.fromtimestamp(row.began_utc, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    return [
        row.id,
        began,
        *(getattr(row, name) for name in _BEFORE),
        charge.line,
        charge.model or row.model,
        *(getattr(charge, name) for name in _CHARGED),
        _credits(charge),
        charge.in_batch,
        usd(charge.cost_nano),
        charge.cost_source,
        row.estimated_pages,
        usd(row.estimated_nano),
        row.requests,
        charge.tokens_cached,
        charge.service_tier,
        charge.priced_as or row.priced_as,
        labels_json(row.labels),
        *(getattr(row, name) for name in _OF_DEPLOYMENT),
    ]


def _credits(charge: Charge) -> Number | None:
    """Return credits with all their decimals; older rows have six."""
    if charge.credits is not None:
        return Number(charge.credits)
    micro = charge.credits_micro
    return None if micro is None else usd(micro * (10**9 // _MICRO))


def _csv(stream: TextIO) -> Callable[[list[object]], object]:
    rows = csv.writer(stream)
    rows.writerow(COLUMNS)
    return lambda values: rows.writerow([_cell(value) for value in values])


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return value
    return harmless(value) if isinstance(value, str) else value


def _jsonl(stream: TextIO) -> Callable[[list[object]], object]:
    return lambda values: stream.write(json_object(zip(COLUMNS, values, strict=True)) + "\n")
