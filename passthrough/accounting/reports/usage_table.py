"""Tables of sums for people: the largest first, figures rounded, columns of zeros left out, shares of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..ledger.daily_sums import Sums
from ..money import rounded_usd
from .report import Key, Report, none_first, period_text, together
from .table import Column, Table, bar

UNPRICED: Final = "unpriced"
"""What stands in the place of a cost that is not known at all."""

_NONE: Final = "-"
_SHORT: Final = frozenset({"day", "month", "status"})
_TIMES: Final = frozenset({"day", "month"})
_MONEY, _COUNTS, _DOUBTS, _TOKENS = range(4)


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column of figures: the number that decides whether it is left out, its text, and its part of a table."""

    number: Callable[[Sums], int]
    text: Callable[[Sums], str]
    part: int


def cost_text(sums: Sums) -> str:
    """Return what sums cost, for people; where no charge of them has a price, that."""
    return UNPRICED if sums.unpriced and not sums.cost_nano else rounded_usd(sums.cost_nano)


def _count(of: Callable[[Sums], int], part: int = _COUNTS) -> _Figure:
    return _Figure(of, lambda sums: f"{of(sums):,}", part)


def _estimate_text(sums: Sums) -> str:
    """Pages whose price is not known are not free."""
    return _NONE if sums.estimated_pages and not sums.estimated_nano else rounded_usd(sums.estimated_nano)


FIGURES: Final[Mapping[str, _Figure]] = {
    "requests": _count(lambda sums: sums.requests),
    "pages": _count(lambda sums: sums.pages),
    "annotated": _count(lambda sums: sums.pages_annotated),
    "tokens in": _count(lambda sums: sums.tokens_in, _TOKENS),
    "cached": _count(lambda sums: sums.tokens_cached, _TOKENS),
    "tokens out": _count(lambda sums: sums.tokens_out, _TOKENS),
    "unmetered": _count(lambda sums: sums.unmetered, _DOUBTS),
    "unpriced": _count(lambda sums: sums.unpriced, _DOUBTS),
    "est. pages": _count(lambda sums: sums.estimated_pages, _DOUBTS),
    "est. USD": _Figure(lambda sums: sums.estimated_pages or sums.estimated_nano, _estimate_text, _DOUBTS),
    "USD": _Figure(lambda sums: sums.cost_nano or sums.unpriced, cost_text, _MONEY),
}
"""The columns of figures by their heads, in the order of a table."""


def to_table(report: Report, max_rows: int | None = None) -> Table | str:
    """Return the report for a terminal: groups with their sums and shares, or a sentence where there are none.

    The largest groups come first, days and months in their order. Columns that hold only zeros are left out: the total decides.
    Of more than `max_rows` groups the others are one row.
    """
    if not report.total.requests:
        return f"No requests {period_text(report.since, report.until)}." + (f" ({report.note})" if report.note else "")
    groups = ordered(report.by, report.groups)
    keys, rows = [key_texts(group.key) for group in groups], list(groups)
    rest: int | None = None
    if max_rows is not None and len(rows) > max_rows:
        keys, rows, rest = _shortened(report.by, keys, rows, max_rows)
    columns = [*key_columns(report.by, keys), *figures(rows if report.by else None, report.total), *_shares(report, rows, rest)]
    title = f"Usage {period_text(report.since, report.until)}"
    shorter = partial(_table_of, report) if report.by and max_rows is None else None
    return Table(title, tuple(columns), "\n".join(filter(None, (report.note, _unpriced_note(report)))), shorter)


def _table_of(report: Report, max_rows: int) -> Table:
    table = to_table(report, max_rows)
    assert isinstance(table, Table)
    return table


def _shortened(
    by: Sequence[str], keys: list[list[str]], rows: list[Sums], max_rows: int
) -> tuple[list[list[str]], list[Sums], int]:
    """Return the first rows, one for the others behind them, and its place; of days and months the last rows, it before them."""
    is_by_time = by[0] in _TIMES
    split = len(rows) - max_rows if is_by_time else max_rows
    others = rows[:split] if is_by_time else rows[split:]
    rest = together((), others)
    name = [f"+ {len(others)} {'earlier' if is_by_time else 'more'}", *("" for _ in by[1:])]
    if is_by_time:
        return [name, *keys[split:]], [rest, *rows[split:]], 0
    return [*keys[:split], name], [*rows[:split], rest], split


def ordered(by: Sequence[str], groups: Sequence[Sums]) -> list[Sums]:
    """Return groups, the largest first.

    1. Size is cost, then pages, tokens, requests.
    2. Where days or months are among the keys, groups that have the same first keys stand together: times in their order, other
    values by the size of all that they have.
    """
    if not _TIMES & {*by}:
        return sorted(groups, key=lambda group: (size(group), none_first(group.key)))
    found: dict[Key, list[Sums]] = {}
    for group in groups:
        for end in range(1, len(by) + 1):
            found.setdefault(group.key[:end], []).append(group)
    sizes = {key: size(together((), rows)) for key, rows in found.items() if by[len(key) - 1] not in _TIMES}

    def rank(group: Sums) -> list[object]:
        return [(sizes.get(group.key[:end], ()), none_first(group.key[end - 1 : end])) for end in range(1, len(by) + 1)]

    return sorted(groups, key=rank)


def size(sums: Sums) -> tuple[int, ...]:
    """Return what puts the largest sums first: cost, then pages, tokens, requests."""
    return (-sums.cost_nano, -_pages(sums), -_tokens(sums), -sums.requests)


def _pages(sums: Sums) -> int:
    return sums.pages + sums.pages_annotated


def _tokens(sums: Sums) -> int:
    return sums.tokens_in + sums.tokens_out


def key_columns(by: Sequence[str], keys: Sequence[Sequence[str]]) -> list[Column]:
    """Return the columns of the groups' keys, for a table with a total below it."""
    columns = [Column(name, tuple(key[place] for key in keys), whole=name in _SHORT) for place, name in enumerate(by)]
    if columns:
        columns[0] = replace(columns[0], foot="total")
    return columns


def key_texts(key: Key) -> list[str]:
    """Return a group's key as it is shown."""
    return [_NONE if value is None else str(value) for value in key]


def figures(rows: Sequence[Sums] | None, total: Sums, heads: Iterable[str] = FIGURES) -> Iterator[Column]:
    """Yield columns of figures, some of FIGURES, without those whose total is zero. `rows` None: the total is the only row."""
    for head in heads:
        figure = FIGURES[head]
        if figure.number(total):
            foot = figure.text(total)
            column = Column(head, (foot,)) if rows is None else Column(head, tuple(map(figure.text, rows)), foot)
            yield replace(column, whole=True, right=True, part=figure.part)


def _shares(report: Report, rows: Sequence[Sums], rest: int | None) -> Iterator[Column]:
    """Yield the columns of the groups' shares: of the cost where any of it is known, else of pages, tokens or requests.

    `rest` is the place of the row that sums up others: its bar would make those of single groups short.
    """
    if not report.by:
        return
    head, of = _measure(report.total)
    whole, parts = of(report.total), [of(row) for row in rows]
    in_usd = head == "of USD"
    cells = (_NONE if in_usd and cost_text(row) == UNPRICED else _percent(of(row), whole) for row in rows)
    yield Column(head, tuple(cells), whole=True, right=True, part=_MONEY)
    longest = max((part for place, part in enumerate(parts) if place != rest), default=0) or 1
    bars = ("" if place == rest else bar(part / longest) for place, part in enumerate(parts))
    yield Column("", tuple(bars), whole=True, ornament=True)


def _measure(total: Sums) -> tuple[str, Callable[[Sums], int]]:
    if total.cost_nano:
        return "of USD", lambda sums: sums.cost_nano
    if _pages(total):
        return "of pages", _pages
    if _tokens(total):
        return "of tokens", _tokens
    return "of requests", lambda sums: sums.requests


def _percent(part: int, whole: int) -> str:
    tenths = (part * 2000 + whole) // (2 * whole)  # integers: shares of large sums are exact, too
    return "<0.1%" if part and not tenths else f"{tenths // 10}.{tenths % 10}%"


def _unpriced_note(report: Report) -> str:
    count = report.total.unpriced
    if not count:
        return ""
    said = "1 charge has no price and is in no cost" if count == 1 else f"{count:,} charges have no price and are in no cost"
    return said + ("" if "model" in report.by else "; --by model shows which models")
