"""The latest exchanges of the ledger, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from ..accounting.entry import Charge
from ..accounting.ledger.queries import LedgerRow
from ..accounting.money import Number, json_object, usd
from ..accounting.named_labels import named_labels

_FIRST: Final = ("route", "target", "sandbox", "method", "path", "status", "outcome", "error", "open", "model", "priced_as")
_COUNTED: Final = ("pages", "pages_annotated", "tokens_in", "tokens_out", "tokens_cached")
_LAST: Final = ("unmetered", "upstream_request_id", "bytes_up", "bytes_down", "first_byte_s", "total_s")
_TRIES: Final = ("deployment", "model_group", "attempts", "why")
_NOTHING: Final = Charge()


def exchanges_json(found: Iterable[LedgerRow]) -> str:
    """Return exchanges as one JSON object, in the order given; costs are numbers with their exact decimals."""
    return json_object((("exchanges", Number(f"[{', '.join(map(_one, found))}]")),))


def _one(row: LedgerRow) -> str:
    charge = row.charge or _NOTHING
    began = datetime.fromtimestamp(row.began_utc, UTC).replace(tzinfo=None)
    return json_object(
        (
            ("id", row.id),
            ("time", began.isoformat(timespec="milliseconds") + "Z"),
            ("client", row.client),
            ("label", row.label),
            ("labels", row.labels and dict(named_labels(row.labels))),
            *((name, getattr(row, name)) for name in _FIRST),
            *((name, getattr(charge, name)) for name in _COUNTED),
            ("cost_usd", usd(charge.cost_nano)),
            ("cost_source", charge.cost_source),
            ("charges", row.charges),
            *((name, getattr(row, name)) for name in _LAST),
            ("estimated_pages", row.estimated_pages),
            ("estimated_usd", usd(row.estimated_nano)),
            ("requests", row.requests),
            *((name, getattr(row, name)) for name in _TRIES),
        )
    )
