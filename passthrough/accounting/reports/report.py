"""The usage report: sums of the ledger by groups, as JSON, CSV or a table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

from ...errors import LedgerError
from ..ledger.daily_sums import KEYS, Sums
from ..ledger.ledger import Ledger
from ..ledger.sum_queries import only_of_exchanges
from ..money import Number, json_object, usd
from ..named_labels import PREFIX, label_name
from .model_names import ModelNaming
from .table import Column, Table, bar

SHOWN_KEYS: Final = (*KEYS, f"{PREFIX}NAME")
"""The keys that sums can be grouped by, as messages name them."""

Sandbox = Literal["auto", "only", "include", "exclude"]
Key = tuple[str | int | None, ...]
Cell = TypeVar("Cell", str, int, "str | int")

_SUMMED: Final = ("requests", "pages", "pages_annotated", "cost_usd", "unmetered", "unpriced", "tokens_in", "tokens_out")
_HEADS: Final = ("requests", "pages", "annotated", "USD", "unmetered", "unpriced", "tokens in", "tokens out")
_CACHED: Final = ("tokens_cached",)
_CACHED_HEADS: Final = ("cached",)
_ESTIMATED: Final = ("estimated_pages", "estimated_usd")
_ESTIMATED_HEADS: Final = ("est. pages", "est. USD")
_RARE: Final = frozenset({"annotated", "unmetered", "unpriced", "tokens in", "tokens out", *_CACHED_HEADS, *_ESTIMATED_HEADS})
_SHORT: Final = frozenset({"day", "month", "status"})
_figures_of: Final = attrgetter(*[field.name for field in fields(Sums)][1:])  # astuple copies each value
_SPAN: Final = re.compile(r"(\d{1,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ROLLING: Final = frozenset({"minutes", "hours"})
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Report:
    """The sums of a period from `since` on, before `until` (None: unbounded), one group for each key.

    `sandbox` tells that they are of the sandbox's traffic only: what it would have cost. `left_out` is how many of its requests
    in the period were left out, `mixed_in` how many were summed with the real ones. `ungrouped_before` is the day before which
    nothing is in the groups, although it is in the total: two labels are known together only while exchanges are kept.
    """

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    groups: tuple[Sums, ...]
    total: Sums
    sandbox: bool = False
    left_out: int = 0
    mixed_in: int = 0
    ungrouped_before: str | None = None

    @property
    def cached(self) -> bool:
        """Tell whether there are cached tokens: only then they are shown."""
        return bool(self.total.tokens_cached)

    @property
    def estimates(self) -> bool:
        """Tell whether there are estimates: only then they are shown."""
        return bool(self.total.estimated_pages or self.total.estimated_nano)

    @property
    def note(self) -> str | None:
        """A remark on the figures, None where there is none."""
        remarks = []
        if self.sandbox:
            remarks.append("sandbox: what it would have cost")
        elif self.left_out:
            remarks.append(f"without {_requests(self.left_out)} to the sandbox")
        elif self.mixed_in:
            remarks.append(f"with {_requests(self.mixed_in)} to the sandbox: what that would have cost is in the sums")
        if self.ungrouped_before is not None:
            remarks.append(
                f"by two labels only from {self.ungrouped_before} on: of the days before, only their daily sums are kept"
            )
        return "; ".join(remarks) or None


def moment(text: str, now: datetime) -> datetime:
    """Return the time that `text` names, in UTC. Raises ValueError, with examples.

    1. Hours and minutes (`12h`, `90m`) go back from now.
    2. Days and weeks (`7d`, `2w`) are whole days, of which today is the last: `1d` is today's first moment.
    3. Of an ISO 8601 date it is the first moment; a time without an offset is UTC.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is None:
            named = datetime.fromisoformat(text.strip())
            return named.astimezone(UTC) if named.tzinfo else named.replace(tzinfo=UTC)
        unit, now = _UNITS[span[2]], now.astimezone(UTC)
        back = timedelta(**{unit: int(span[1])})
        return now - back if unit in _ROLLING else now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY - back
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is no time: write 30d, 12h, 2026-08-01 or 2026-08-01T09:30Z.") from None


def check_order(since: datetime | None, until: datetime | None) -> None:
    """Raise ValueError where a period ends before it begins: its empty report would look like an empty ledger."""
    if since is not None and until is not None and until < since:
        raise ValueError(f"The period ends ({iso(until)}) before it begins ({iso(since)}).")


def checked_keys(by: Iterable[str]) -> tuple[str, ...]:
    """Return the keys to group by, each once. Raises LedgerError for an unknown one."""
    by = tuple(dict.fromkeys(by))
    unknown = [name for name in by if name not in KEYS and label_name(name) is None]
    if unknown:
        raise LedgerError(f"Nothing can be summed by {', '.join(unknown)}.\nThere are: {', '.join(SHOWN_KEYS)}.")
    return by


def summarize(
    ledger: Ledger,
    by: Iterable[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    sandbox: Sandbox = "auto",
    naming: ModelNaming | None = None,
) -> Report:
    """Return the sums of the exchanges that began in a period, grouped by some of daily_sums.KEYS and named labels.

    `sandbox`: `auto` sums the real traffic, or the sandbox's where there is no other; `only`, `include` and `exclude` are
    explicit. `naming` names models by what prices them; None: as they came. Raises LedgerError, also for an unknown key.
    """
    by = checked_keys(by)
    asked = by if naming is None else naming.columns(ledger, by, since, until)
    totals, found = ledger.sums(("sandbox",), (*asked, "sandbox"), since=since, until=until)
    if naming is not None:
        found = [replace(row, key=(*naming.key(by, asked, row.key), row.key[-1])) for row in found]
    report = report_of(by, since, until, sandbox, totals, found)
    return replace(report, ungrouped_before=_ungrouped_before(ledger, by, since))


def report_of(
    by: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    sandbox: Sandbox,
    totals: Sequence[Sums],
    found: Sequence[Sums],
) -> Report:
    """Return the report of sums that are by `sandbox` alone (`totals`), and by the keys and `sandbox` (`found`)."""
    of_sandbox = {bool(row.key[0]): row.requests for row in totals}
    only = sandbox == "only" or (sandbox == "auto" and set(of_sandbox) == {True})
    wanted = (False, True) if sandbox == "include" else (only,)
    groups: dict[Key, list[Sums]] = {}
    for row in found:
        if row.key[-1] in wanted:
            groups.setdefault(row.key[:-1], []).append(row)
    return Report(
        by,
        since,
        until,
        tuple(together(key, groups[key]) for key in sorted(groups, key=_none_first)),
        together((), [row for row in totals if row.key[0] in wanted]),
        sandbox=only,
        left_out=0 if True in wanted else of_sandbox.get(True, 0),
        mixed_in=of_sandbox.get(True, 0) if sandbox == "include" else 0,
    )


def unknown_labels(ledger: Ledger, by: Iterable[str]) -> str | None:
    """Return what to say of named labels among the keys that no exchange ever had, where there are others; else None."""
    asked = [name for name in map(label_name, by) if name is not None]
    names = ledger.label_names() if asked else []
    unknown = [name for name in asked if name not in names]
    if not unknown or not names:
        return None
    known = ", ".join(f"{PREFIX}{name}" for name in names)
    return f"No request has a label named {', '.join(unknown)}.\nThere are: {known}."


def _ungrouped_before(ledger: Ledger, by: Sequence[str], since: datetime | None) -> str | None:
    pruned = ledger.pruned_before() if only_of_exchanges(by) else ""
    return pruned if pruned and (since is None or since.astimezone(UTC).date().isoformat() < pruned) else None


def _none_first(key: Key) -> list[Any]:
    return [(value is not None, value) for value in key]


def to_json(report: Report) -> str:
    """Return the report as one JSON object; costs are JSON numbers with their exact decimals."""
    groups = ", ".join(json_object((*zip(report.by, group.key, strict=True), *_cells(report, group))) for group in report.groups)
    return json_object(
        (
            ("since", iso(report.since)),
            ("until", iso(report.until)),
            ("sandbox", report.sandbox),
            ("left_out", report.left_out),
            ("groups", Number(f"[{groups}]")),
            ("total", Number(json_object(_cells(report, report.total)))),
        )
    )


def to_csv(report: Report) -> str:
    """Return the groups as CSV (RFC 4180) with a header; without keys, the total as the one row."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow((*report.by, *_names(report)))
    for group in report.groups if report.by else (report.total,):
        rows.writerow((*("" if value is None else harmless(value) for value in group.key), *_values(report, group)))
    return out.getvalue()


def to_table(report: Report) -> Table | str:
    """Return the report for a terminal: groups with their sums and shares, or a sentence where there are none.

    Columns of rare figures are left out where they hold only zeros; all costs have the same number of decimals.
    """
    if not report.total.requests:
        return f"No requests {period_text(report.since, report.until)}." + (f" ({report.note})" if report.note else "")
    columns = key_columns(report.by, [group.key for group in report.groups])
    return Table(
        f"Usage {period_text(report.since, report.until)}", (*columns, *_figures(report), *_shares(report)), report.note or ""
    )


def key_columns(by: Sequence[str], keys: Sequence[Key]) -> list[Column]:
    """Return the columns of the groups' keys, for a table with a total below it."""
    columns = [
        Column(name, tuple("-" if key[place] is None else str(key[place]) for key in keys), whole=name in _SHORT)
        for place, name in enumerate(by)
    ]
    if columns:
        columns[0] = replace(columns[0], foot="total")
    return columns


def _shares(report: Report) -> Iterator[Column]:
    """Yield the columns of the groups' shares: of the cost if all of it is known, else of pages, tokens or requests."""
    if not report.by:
        return
    total = report.total
    if total.cost_nano and not total.unpriced:
        head, parts, whole = "of USD", [group.cost_nano for group in report.groups], total.cost_nano
    elif total.pages + total.pages_annotated:
        head, whole = "of pages", total.pages + total.pages_annotated
        parts = [group.pages + group.pages_annotated for group in report.groups]
    elif total.tokens_in + total.tokens_out:
        head, whole = "of tokens", total.tokens_in + total.tokens_out
        parts = [group.tokens_in + group.tokens_out for group in report.groups]
    else:
        head, parts, whole = "of requests", [group.requests for group in report.groups], total.requests
    yield Column(head, tuple(_percent(part, whole) for part in parts), whole=True, right=True)
    yield Column("", tuple(bar(part / max(parts)) for part in parts), whole=True, ornament=True)


def _percent(part: int, whole: int) -> str:
    tenths = (part * 2000 + whole) // (2 * whole)  # integers: shares of large sums are exact, too
    return "<0.1%" if part and not tenths else f"{tenths // 10}.{tenths % 10}%"


def _figures(report: Report) -> Iterator[Column]:
    rows = [_values(report, sums) for sums in (*(report.groups if report.by else ()), report.total)]
    heads = (*_HEADS, *(_CACHED_HEADS if report.cached else ()), *(_ESTIMATED_HEADS if report.estimates else ()))
    for head, column in zip(heads, zip(*rows, strict=True), strict=True):
        *cells, total = aligned(map(str, column))
        if total == "0" and head in _RARE:
            continue
        shown = Column(head, tuple(cells), total) if report.by else Column(head, (total,))
        yield replace(shown, whole=True, right=True)


def aligned(amounts: Iterable[str]) -> list[str]:
    """Return decimal numbers with the same number of decimals."""
    texts = list(amounts)
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{Decimal(text):.{max(decimals, 2) if decimals else 0}f}" for text in texts]


def together(key: Key, rows: Iterable[Sums]) -> Sums:
    """Return the sum of some rows, under a key."""
    columns = list(zip(*map(_figures_of, rows), strict=True))
    return Sums(key, *map(sum, columns)) if columns else Sums(key, 0, 0, 0, 0, 0, 0)


def _values(report: Report, sums: Sums) -> tuple[object, ...]:
    counts = (sums.unmetered, sums.unpriced, sums.tokens_in, sums.tokens_out)
    plain = (sums.requests, sums.pages, sums.pages_annotated, usd(sums.cost_nano), *counts)
    cached = (sums.tokens_cached,) if report.cached else ()
    return (*plain, *cached, *((sums.estimated_pages, usd(sums.estimated_nano)) if report.estimates else ()))


def _names(report: Report) -> tuple[str, ...]:
    return (*_SUMMED, *(_CACHED if report.cached else ()), *(_ESTIMATED if report.estimates else ()))


def _cells(report: Report, sums: Sums) -> Iterable[tuple[str, object]]:
    return zip(_names(report), _values(report, sums), strict=True)


def harmless(value: Cell) -> Cell:
    """Return a cell for CSV that no spreadsheet takes for a formula: labels come from outside."""
    # A spreadsheet takes a cell with such a first character for a formula; some take the full-width ones too.
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")) else value


def iso(when: datetime | None) -> str | None:
    """Return a time in UTC, to the second; None stays None."""
    return None if when is None else when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def period_text(since_utc: datetime | None, until_utc: datetime | None) -> str:
    """Return a period as part of a sentence."""
    since, until = iso(since_utc), iso(until_utc)
    if since and until:
        return f"since {since} until {until}"
    return f"since {since}" if since else f"before {until}" if until else "so far"


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"
