"""The ledger's tables, and the conversion of an entry into rows. The same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter, itemgetter
from typing import Any, Final

import sqlalchemy as sa

from ...exchange import Outcome
from ..entry import Charge, Entry, Part
from .bulk_insert import Row

SCHEMA_VERSION: Final = 5
"""The version of the tables, stored in `meta` under `schema`. Each change of them raises it and adds a step to `migrations`."""
SCHEMA: Final = sa.MetaData()

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that sorts by code points, as SQLite's does: both databases sort in the same order."""

META: Final = sa.Table(
    "meta",
    SCHEMA,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

EXCHANGES: Final = sa.Table(
    "exchanges",
    SCHEMA,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("began_ms", sa.BigInteger, nullable=False, index=True),  # since the epoch
    sa.Column("day", TEXT, nullable=False),  # YYYY-MM-DD, UTC
    sa.Column("route", TEXT),
    sa.Column("client", TEXT),
    sa.Column("label", TEXT),
    sa.Column("target", TEXT),
    sa.Column("sandbox", sa.Boolean, nullable=False),
    sa.Column("method", TEXT, nullable=False),
    sa.Column("path", TEXT, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("outcome", TEXT, nullable=False),
    sa.Column("error", TEXT),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("model", TEXT),  # as in the response, else its first charge's; the exchange itself is counted under it
    sa.Column("unmetered", TEXT),
    sa.Column("upstream_request_id", TEXT),
    sa.Column("bytes_up", sa.BigInteger, nullable=False),
    sa.Column("bytes_down", sa.BigInteger, nullable=False),
    sa.Column("first_byte_s", sa.Float),
    sa.Column("total_s", sa.Float, nullable=False),
    sa.Column("overhead_s", sa.Float),
    sa.Column("account", TEXT),
    sa.Column("open", sa.Boolean, nullable=False, server_default=sa.false()),  # its end is not written yet
    sa.Column("estimated_pages", sa.BigInteger),  # of a call that was paid for and not counted; in no count
    sa.Column("estimated_nano", sa.BigInteger),  # 10⁻⁹ USD
    sa.Column("requests", sa.BigInteger, nullable=False, server_default=sa.text("1")),  # how many refused ones it stands for
    sa.Column("labels", TEXT),  # the named ones, as a JSON object
    sa.Column("priced_as", TEXT),  # the name under which `model` is priced; null in rows of schema 3
    sa.Column("deployment", TEXT),  # the one of `model_list` that got the last try; null on routes without deployments
    sa.Column("model_group", TEXT),  # the name of `model_list` that the client asked for
    sa.Column("why", TEXT),  # the reason of the last try that failed
    sqlite_with_rowid=False,  # ids sort by time, so that the table grows at its end
)

CHARGES: Final = sa.Table(
    "charges",
    SCHEMA,
    sa.Column("exchange_id", TEXT, sa.ForeignKey("exchanges.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("line", TEXT, primary_key=True),  # empty, or the id of one line of a batch file
    sa.Column("model", TEXT),
    sa.Column("pages", sa.BigInteger),
    sa.Column("pages_annotated", sa.BigInteger),
    sa.Column("doc_bytes", sa.BigInteger),
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("cost_nano", sa.BigInteger),  # 10⁻⁹ USD; null: no price is known
    sa.Column("cost_source", TEXT),
    sa.Column("credits_micro", sa.BigInteger),
    sa.Column("in_batch", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("tokens_cached", sa.BigInteger),  # part of tokens_in
    sa.Column("service_tier", TEXT),  # one that is billed apart
    sa.Column("credits", TEXT),  # exact decimals; credits_micro is rounded
    sa.Column("priced_as", TEXT),
    sqlite_with_rowid=False,
)

SHARED_COLUMNS: Final = (
    *("day", "route", "client", "label", "target", "sandbox", "method", "path", "status", "outcome", "error", "attempts"),
    *("model", "unmetered", "account", "open", "estimated_pages", "estimated_nano", "requests"),
    *("labels", "priced_as", "deployment", "model_group", "why"),
)
"""Columns of `exchanges` whose values, taken together, are the same in many rows (bulk_insert.BulkInsert)."""

SHARED_CHARGE_COLUMNS: Final = (
    *("model", "pages_annotated", "tokens_in", "tokens_out", "cost_source", "credits_micro", "in_batch"),
    *("tokens_cached", "service_tier", "credits", "priced_as"),
)
"""The same for `charges`."""

LINES: Final = sa.Table(
    "lines",  # all batch lines ever booked: a file is downloaded more than once, each time in another exchange
    SCHEMA,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("line", TEXT, primary_key=True),
    sa.Column("custom_id", TEXT),  # the client's name of the line; null in rows of schema 3
    sqlite_with_rowid=False,
)

ADDED_KEYS: Final = ("deployment", "model_group")
"""Those of SUM_KEYS that are empty for all routes without deployments: only where one is not does the digest know them."""

SUM_KEYS: Final = ("day", "client", "label", "route", "target", "model", "priced_as", *ADDED_KEYS, "status", "sandbox")
"""The columns by which `sums` is grouped."""

FIGURES: Final = (
    "requests",
    "pages",
    "pages_annotated",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "dollars",  # dollars and the rest apart, so that no sum of costs passes 64 bits
    "nano",
    "unmetered",
    "unpriced",
    "errors",
    "estimated_pages",
    "estimated_dollars",
    "estimated_nano",
)
"""The columns of `sums` that are summed."""

_ADDED_FIGURES: Final = frozenset({"estimated_pages", "estimated_dollars", "estimated_nano", "tokens_cached"})


def _figure(name: str) -> sa.Column[Any]:
    # Tables of older versions get these columns, with a value for each row.
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0") if name in _ADDED_FIGURES else None)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, TEXT, nullable=False, server_default=sa.text("''") if name in {"priced_as", *ADDED_KEYS} else None)


def _daily(name: str) -> sa.Table:
    return sa.Table(
        name,
        SCHEMA,
        sa.Column("day", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),  # a digest of the other SUM_KEYS: their texts are too long for an index
        *map(_key, SUM_KEYS[1:-2]),  # empty: null
        sa.Column("status", sa.Integer, nullable=False),  # 0: null
        sa.Column("sandbox", sa.Boolean, nullable=False),
        *(_figure(name) for name in FIGURES),
        sqlite_with_rowid=False,
    )


SUMS: Final = _daily("sums")
"""Daily sums, kept without end."""

TOTALS: Final = _daily("totals")
"""Daily sums over all labels, with an empty label: there may be as many labels as users."""

LABEL_SUMS: Final = sa.Table(
    "label_sums",
    SCHEMA,
    sa.Column("label_name", TEXT, primary_key=True),
    sa.Column("day", TEXT, primary_key=True),
    sa.Column("label", TEXT, primary_key=True),  # rows of one label lie together: a day is summed by label without sorting it
    sa.Column("key", TEXT, primary_key=True),
    *(sa.Column(name, TEXT, nullable=False) for name in SUM_KEYS[1:-2] if name not in {"label", *ADDED_KEYS}),
    *map(_key, ADDED_KEYS),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("sandbox", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in FIGURES),
    sqlite_with_rowid=False,
)
"""Daily sums by each named label, whose value is in `label`: an exchange is in one row for each of its named labels."""

OPEN_END: Final[dict[str, Any]] = {"outcome": str(Outcome.CUT_OFF), "error": None, "unmetered": None}
"""The end columns of an exchange whose end is not written yet: if its process died, this is how it ended."""

_MAX_LINE: Final = 200
_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_charge_values: Final = attrgetter(*[column.name for column in CHARGES.c][2:])
key_of: Final[Callable[[Row], Row]] = itemgetter(
    *[[column.name for column in EXCHANGES.c].index(name) for name in (*SUM_KEYS, "labels")]
)
"""Returns the SUM_KEYS of an exchange's row, and its named labels."""
_END_COLUMNS: Final = (
    "outcome",
    "error",
    "attempts",
    "unmetered",
    "upstream_request_id",
    "bytes_up",
    "bytes_down",
    "first_byte_s",
    "total_s",
    "overhead_s",
    "why",
)


@lru_cache(64)
def _day(number: int) -> str:
    """Return a day (UTC) from its number since 1970-01-01."""
    return date.fromordinal(_EPOCH + number).isoformat()


def line_key(text: str) -> str:
    """Return the key of a line or an account: the text itself, or a digest where it is too long for an index."""
    if len(text) <= _MAX_LINE // 4:
        return text
    coded = text.encode()
    return text if len(coded) <= _MAX_LINE else f"sha256:{sha256(coded).hexdigest()}"


def line_of(entry: Entry, charge: Charge) -> tuple[str, str]:
    """Return the account and line under which a charge with a line is booked once: see lines.claim."""
    return line_key(entry.account or ""), line_key(charge.line)


def exchange_row(entry: Entry) -> Row:
    """Return an entry's row of `exchanges`, in the order of the columns."""
    if entry.part is Part.OPEN:
        entry = replace(entry, **OPEN_END)
    began_ms = int(entry.began_utc * 1000)
    return (  # attribute by attribute: attrgetters over the columns' names take three times as long
        entry.id,
        began_ms,
        _day(began_ms // _DAY_MS),
        entry.route,
        entry.client,
        entry.label,
        entry.target,
        entry.sandbox,
        entry.method,
        entry.path,
        entry.status,
        entry.outcome,
        entry.error,
        entry.attempts,
        entry.usage.model or next((charge.model for charge in entry.charges if charge.model), None),
        entry.unmetered,
        entry.upstream_request_id,
        entry.bytes_up,
        entry.bytes_down,
        entry.first_byte_s,
        entry.total_s,
        entry.overhead_s,
        entry.account,
        entry.part is Part.OPEN,
        entry.estimated_pages,
        entry.estimated_nano,
        entry.requests,
        entry.labels,
        entry.priced_as,
        entry.deployment,
        entry.model_group,
        entry.why,
    )


def ending(entry: Entry) -> dict[str, Any]:
    """Return the columns that the end of an exchange changes in its row. Its SUM_KEYS stay as they were."""
    return {"open": False} | {name: getattr(entry, name) for name in _END_COLUMNS}


def charge_row(entry: Entry, charge: Charge) -> Row:
    """Return the row of `charges` of one charge of an entry, in the order of the columns."""
    line = charge.line
    return (entry.id, line and line_key(line), *_charge_values(charge))
