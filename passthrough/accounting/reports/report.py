"""The usage report: sums of the ledger by groups, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

from ...errors import LedgerError
from ..ledger.daily_sums import KEYS, Sums
from ..ledger.ledger import Ledger
from ..ledger.sum_queries import only_of_exchanges
from ..money import Number, json_object, usd
from ..named_labels import PREFIX, label_name
from .model_names import ModelNaming

SHOWN_KEYS: Final = (*KEYS, f"{PREFIX}NAME")
"""The keys that sums can be grouped by, as messages name them."""

Sandbox = Literal["auto", "only", "include", "exclude"]
Key = tuple[str | int | None, ...]
Cell = TypeVar("Cell", str, int, "str | int")

_SUMMED: Final = ("requests", "pages", "pages_annotated", "cost_usd", "unmetered", "unpriced", "tokens_in", "tokens_out")
_CACHED: Final = ("tokens_cached",)
_ESTIMATED: Final = ("estimated_pages", "estimated_usd")
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
    nothing is in the groups, although it is in the total: two labels are known together only while exchanges are kept. `parts`
    are the reports of the real traffic and of the sandbox's where both were asked for, as far as there is any.
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
    parts: tuple[Report, ...] = ()

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
    parts: tuple[Sandbox, ...] = ("exclude", "only") if sandbox == "include" else ()
    groups: dict[Key, list[Sums]] = {}
    for row in found:
        if row.key[-1] in wanted:
            groups.setdefault(row.key[:-1], []).append(row)
    return Report(
        by,
        since,
        until,
        tuple(together(key, groups[key]) for key in sorted(groups, key=none_first)),
        together((), [row for row in totals if row.key[0] in wanted]),
        sandbox=only,
        left_out=0 if True in wanted else of_sandbox.get(True, 0),
        mixed_in=of_sandbox.get(True, 0) if sandbox == "include" else 0,
        parts=tuple(report_of(by, since, until, part, totals, found) for part in parts if (part == "only") in of_sandbox),
    )


def narrowed(report: Report, by: tuple[str, ...], wanted: Mapping[str, str | None]) -> Report:
    """Return the report of those groups that have the `wanted` values (None: no value) of some keys, grouped by `by` alone."""
    places = [(report.by.index(name), value) for name, value in wanted.items()]
    rows = [sums for sums in report.groups if all((sums.key[place] or None) == value for place, value in places)]
    groups: dict[Key, list[Sums]] = {}
    for row in rows:
        groups.setdefault(row.key[: len(by)], []).append(row)
    summed = tuple(together(key, found) for key, found in groups.items())
    parts = tuple(narrowed(part, by, wanted) for part in report.parts)
    # How many requests of the sandbox were left out is known for the whole period only.
    return replace(report, by=by, groups=summed, total=together((), rows), left_out=0, mixed_in=0, parts=parts)


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


def none_first(key: Key) -> list[Any]:
    """Return a key to sort by: what has no value comes first."""
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
    """Return the groups as CSV (RFC 4180) with a header; without keys, the total as the one row.

    The column `sandbox` tells that a row is of the sandbox's traffic. No row is of both: a group that has both is two rows.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow((*report.by, *_names(report), "sandbox"))
    for part in report.parts or (report,):
        for group in part.groups if part.by else (part.total,):
            key = ("" if value is None else harmless(value) for value in group.key)
            rows.writerow((*key, *_values(report, group), flag(part.sandbox)))
    return out.getvalue()


def flag(is_set: bool) -> str:
    """Return a truth value as CSV has it."""
    return "true" if is_set else "false"


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
