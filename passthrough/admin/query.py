"""The query parameters of /usage and /exchanges: what they may be, and the sums that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, cast, get_args

from ..accounting.ledger.daily_sums import KEYS, Sums
from ..accounting.ledger.ledger import Ledger
from ..accounting.named_labels import label_name
from ..accounting.reports.model_names import ModelNaming
from ..accounting.reports.report import Report, Sandbox, check_order, moment, summarize, together, unknown_labels

FILTERS: Final = ("client", "route", "model", "label", "deployment", "model_group")
"""Parameters that filter sums and exchanges, as named labels do (`label.team`); an empty value means those that have none."""

NAMED: Final = "label.NAME"
"""How messages name the parameters for named labels."""

_SUMS: Final = ("by", "since", "until", "sandbox", "as_told", *FILTERS)
_LATEST: Final = ("limit", *FILTERS)
_SANDBOXES: Final[tuple[str, ...]] = get_args(Sandbox)
_LIMIT: Final = 50
_MAX: Final = 1000


Pairs = Sequence[tuple[str, str]]
"""A query's parameters as received, decoded."""


class InvalidQuery(ValueError):
    """A parameter that is unknown or has a wrong value; the message says which, and what is allowed."""


@dataclass(frozen=True, slots=True)
class SumsQuery:
    """Which sums to make: grouped by `by`, of a period, and only of exchanges that have the values of `only`.

    `as_told`: models have the names that came, instead of those that are priced.
    """

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    sandbox: Sandbox
    only: Mapping[str, str | None]
    as_told: bool = False


def parse_sums(pairs: Pairs, now: datetime) -> SumsQuery:
    """Return the query of /usage. Raises InvalidQuery."""
    query = _single(pairs, _SUMS)
    by = tuple(dict.fromkeys(name.strip() for name in query.get("by", "client").split(",") if name.strip()))
    unknown = [name for name in by if name not in KEYS and label_name(name) is None]
    if unknown:
        known = f"{', '.join(KEYS)}, and {NAMED} for a named label"
        raise InvalidQuery(f"by: nothing can be summed by {', '.join(unknown)}; there are {known}.")
    as_told = query.get("as_told", "false")
    if as_told not in {"true", "false"}:
        raise InvalidQuery(f"as_told: '{as_told}' is neither true nor false.")
    sandbox = query.get("sandbox", "auto")
    if sandbox not in _SANDBOXES:
        raise InvalidQuery(f"sandbox: '{sandbox}' is none of {', '.join(_SANDBOXES)}.")
    since, until = _moment(query, "since", now), _moment(query, "until", now)
    try:
        check_order(since, until)
    except ValueError as error:
        raise InvalidQuery(f"since, until: {error}") from None
    return SumsQuery(by, since, until, cast("Sandbox", sandbox), _only(query), as_told == "true")


def parse_latest(pairs: Pairs) -> tuple[int, Mapping[str, str | None]]:
    """Return the query of /exchanges: how many of the latest, and which values they must have. Raises InvalidQuery."""
    query = _single(pairs, _LATEST)
    limit = query.get("limit", str(_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= _MAX):
        raise InvalidQuery(f"limit: '{limit}' is no number from 1 to {_MAX}.")
    return int(limit), _only(query)


def summarized(ledger: Ledger, query: SumsQuery, naming: ModelNaming) -> Report:
    """Return the sums of a query. Raises LedgerError; InvalidQuery for a label that no exchange ever had."""
    by = (*query.by, *(name for name in query.only if name not in query.by))
    if (why := unknown_labels(ledger, by)) is not None:
        raise InvalidQuery(" ".join(why.split()))
    shown = None if query.as_told else naming
    report = summarize(ledger, by, query.since, query.until, sandbox=query.sandbox, naming=shown)
    if not query.only:
        return report
    wanted = [(report.by.index(name), value) for name, value in query.only.items()]
    rows = [sums for sums in report.groups if all((sums.key[place] or None) == value for place, value in wanted)]
    groups: dict[tuple[str | int | None, ...], list[Sums]] = {}
    for row in rows:
        groups.setdefault(row.key[: len(query.by)], []).append(row)
    summed = tuple(together(key, found) for key, found in groups.items())
    # How many requests of the sandbox were left out is known for the whole period only.
    return replace(report, by=query.by, groups=summed, total=together((), rows), left_out=0, mixed_in=0)


def _only(query: Mapping[str, str]) -> Mapping[str, str | None]:
    return {name: value or None for name, value in query.items() if name in FILTERS or label_name(name) is not None}


def _moment(query: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    text = query.get(name, "")
    try:
        return moment(text, now) if text else None
    except ValueError as error:
        raise InvalidQuery(f"{name}: {error}") from None


def _single(pairs: Pairs, known: Sequence[str]) -> Mapping[str, str]:
    """Refuse (1) an unknown name: a misspelt filter would show too much; (2) one given twice: one of them would be dropped."""
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in known and label_name(name) is None:
            raise InvalidQuery(f"There is no parameter '{name}'; there are {', '.join(known)}, and {NAMED} for a named label.")
        if name in query:
            raise InvalidQuery(f"{name}: this is given twice.")
        query[name] = value
    return query
