"""The query parameters of /usage, /exchanges and /recent: what they may be, and the sums that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, cast, get_args

from ..accounting.ledger.daily_sums import KEYS
from ..accounting.ledger.ledger import Ledger
from ..accounting.ledger.queries import ANY, NONE, Selection
from ..accounting.named_labels import label_name
from ..accounting.reports.model_names import ModelNaming
from ..accounting.reports.report import Report, Sandbox, check_order, moment, narrowed, summarize, unknown_labels
from ..meter.usage import Unmetered

FILTERS: Final = ("client", "route", "model", "label", "deployment", "model_group")
"""Parameters that filter sums and exchanges, as named labels do (`label.team`); an empty value means those that have none."""

NAMED: Final = "label.NAME"
"""How messages name the parameters for named labels."""

_SUMS: Final = ("by", "since", "until", "sandbox", "as_told", *FILTERS)
_VALUES: Final = (*FILTERS, "target", "error", "outcome")
_SELECTED: Final = ("since", "until", *_VALUES, "status", "unmetered", "unpriced", "errors", "sandbox")
_LATEST: Final = ("limit", *_SELECTED)
_SANDBOXES: Final[tuple[str, ...]] = get_args(Sandbox)
_OF_SANDBOX: Final = MappingProxyType({"include": None, "exclude": False, "only": True})
_CLAIMS: Final = MappingProxyType({"true": True, "false": False})
_UNMETERED: Final = (ANY, NONE, *map(str, Unmetered))
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
    sandbox = query.get("sandbox", "auto")
    if sandbox not in _SANDBOXES:
        raise InvalidQuery(f"sandbox: '{sandbox}' is none of {', '.join(_SANDBOXES)}.")
    since, until = _period(query, now)
    return SumsQuery(by, since, until, cast("Sandbox", sandbox), _only(query, FILTERS), _claim(query, "as_told") or False)


def parse_latest(pairs: Pairs, now: datetime) -> tuple[int, Selection]:
    """Return the query of /exchanges: how many of the latest, and which. Raises InvalidQuery."""
    query = _single(pairs, _LATEST)
    limit = query.get("limit", str(_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= _MAX):
        raise InvalidQuery(f"limit: '{limit}' is no number from 1 to {_MAX}.")
    return int(limit), _selection(query, now)


def parse_recent(pairs: Pairs, now: datetime) -> Selection:
    """Return the query of /recent: which exchanges. Raises InvalidQuery."""
    return _selection(_single(pairs, _SELECTED), now)


def summarized(ledger: Ledger, query: SumsQuery, naming: ModelNaming) -> Report:
    """Return the sums of a query. Raises LedgerError; InvalidQuery for a label that no exchange ever had."""
    by = (*query.by, *(name for name in query.only if name not in query.by))
    if (why := unknown_labels(ledger, by)) is not None:
        raise InvalidQuery(" ".join(why.split()))
    shown = None if query.as_told else naming
    report = summarize(ledger, by, query.since, query.until, sandbox=query.sandbox, naming=shown)
    return narrowed(report, query.by, query.only) if query.only else report


def _selection(query: Mapping[str, str], now: datetime) -> Selection:
    since, until = _period(query, now)
    values: dict[str, str | int | None] = dict(_only(query, _VALUES))
    if "status" in query:
        values["status"] = _status(query["status"])
    unmetered = query.get("unmetered")
    if unmetered is not None and unmetered not in _UNMETERED:
        raise InvalidQuery(f"unmetered: '{unmetered}' is none of {', '.join(_UNMETERED)}.")
    sandbox = query.get("sandbox", "include")
    if sandbox not in _OF_SANDBOX:
        raise InvalidQuery(f"sandbox: '{sandbox}' is none of {', '.join(_OF_SANDBOX)}.")
    return Selection(
        since, until, values, unmetered, _claim(query, "unpriced"), _claim(query, "errors"), sandbox=_OF_SANDBOX[sandbox]
    )


def _status(text: str) -> int | None:
    """Return the status that a text names; None, that nothing was sent, for an empty one."""
    if text and not (len(text) == 3 and text.isascii() and text.isdecimal()):
        raise InvalidQuery(f"status: '{text}' is no status: write 502, or nothing for exchanges without one.")
    return int(text) if text else None


def _claim(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if text is not None and text not in _CLAIMS:
        raise InvalidQuery(f"{name}: '{text}' is neither true nor false.")
    return None if text is None else _CLAIMS[text]


def _only(query: Mapping[str, str], columns: Sequence[str]) -> Mapping[str, str | None]:
    return {name: value or None for name, value in query.items() if name in columns or label_name(name) is not None}


def _period(query: Mapping[str, str], now: datetime) -> tuple[datetime | None, datetime | None]:
    since, until = _moment(query, "since", now), _moment(query, "until", now)
    try:
        check_order(since, until)
    except ValueError as error:
        raise InvalidQuery(f"since, until: {error}") from None
    return since, until


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
