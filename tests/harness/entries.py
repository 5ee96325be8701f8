"""Entries to book, made like those of real exchanges."""

from __future__ import annotations

from dataclasses import dataclass

from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.exchange import Exchange, Outcome, RouteTerms, new_exchange, new_id
from passthrough.meter.usage import Usage


@dataclass(frozen=True, slots=True)
class Read:
    """A reading that is there already."""

    found: Usage

    async def usage(self) -> Usage:
        """Return what was found."""
        return self.found

    def usage_if_ready(self) -> Usage:
        """Return it without waiting."""
        return self.found


def exchange(client: str | None = "invoices", *, at: float | None = None, usage: Usage | None = None) -> Exchange:
    """Return an admitted OCR call that got 200, at a time (None: now)."""
    made = new_exchange("POST", "/mistral/v1/ocr")
    if at is not None:
        made.began_utc = at
        made.id = new_id(at)
    made.terms = RouteTerms("/mistral")
    made.admitted = True
    made.client = client
    made.target = "api.mistral.ai"
    made.status = 200
    made.outcome = Outcome.COMPLETED
    made.attempts = 1
    if usage is not None:
        made.usage_source = Read(usage)
    return made


def booked(
    client: str | None = "invoices",
    *,
    at: float | None = None,
    pages: int = 1,
    cost_nano: int | None = 2_000_000,
    model: str | None = "mistral-ocr-2512",
    sandbox: bool = False,
    exchange_id: str | None = None,
) -> Entry:
    """Return the entry of such a call with one charge."""
    made = exchange(client, at=at)
    made.id = exchange_id or made.id
    made.sandbox = sandbox
    charge = Charge(model, pages, 0, cost_nano=cost_nano, cost_source="prices.yaml")
    return entry(made, Usage(pages, 0, model), (charge,))


def one(ledger: Ledger) -> tuple[int, int, int]:
    """Return requests, pages and nano-dollars of the whole ledger."""
    (sums,) = ledger.sums(())
    return (sums[0].requests, sums[0].pages, sums[0].cost_nano) if sums else (0, 0, 0)
