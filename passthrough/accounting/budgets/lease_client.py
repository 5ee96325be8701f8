"""Leases budgets from the ledger for one process: the transactions that ask for leases, and give them back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from ...errors import LedgerError
from ..budget import LeaseGrant, LeaseRequest, Span, Unpriced
from ..ledger import leases, unpriced
from ..ledger.ledger import Ledger

_MAX_SUMMED_EARLY: Final = 100
_SWEEP_S: Final = 600.0


class LeaseClient:
    """One process's leases in one ledger. All methods but `close` are for one thread; they block, and raise LedgerError."""

    def __init__(self, ledger: Ledger, now_utc: Callable[[], float] = time.time) -> None:
        """`now_utc` is this machine's clock; leases in a ledger on a server go by the server's clock."""
        self.replica = uuid4().hex
        self._ledger = ledger
        self._now_utc = now_utc
        self._swept = float("-inf")
        self._held_any = False

    def ask(self, requests: Sequence[LeaseRequest]) -> dict[LeaseRequest, LeaseGrant]:
        """Return the grants, by request. A period that has no row yet gets one, with the sum of what is booked."""
        self._held_any = True
        with self._ledger.explained():
            with self._ledger.transaction(writes=True) as connection:
                stored = {self._stored_request(request): request for request in requests}
                granted = leases.ask(connection, list(stored), self.replica, self._now_ms(connection))
            missing = [request for request in stored if request not in granted]
            if missing:
                with self._ledger.transaction(alone=True) as connection:
                    leases.make(connection, [request.span for request in missing])
                with self._ledger.transaction(writes=True) as connection:
                    granted |= leases.ask(connection, missing, self.replica, self._now_ms(connection))
        return {stored[request]: grant for request, grant in granted.items()}

    def survey(self, spans: Collection[Span]) -> dict[Span, int]:
        """Return what is spent in periods; where few are asked for, those without a row get one now."""
        with self._ledger.explained():
            with self._ledger.transaction() as connection:
                stored = {self._stored(span): span for span in spans}
                spent = leases.spent(connection, stored)
            if len(spent) < len(stored) <= _MAX_SUMMED_EARLY:
                with self._ledger.transaction(alone=True) as connection:
                    leases.make(connection, stored)
                    spent = leases.spent(connection, stored)
        return {stored[span]: amount for span, amount in spent.items()}

    def unpriced(self, spans: Collection[Span]) -> dict[Span, frozenset[Unpriced]]:
        """Return what had no price in periods; those in which everything had one are left out."""
        with self._ledger.explained(), self._ledger.transaction() as connection:
            stored = {self._stored(span): span for span in spans}
            return {stored[span]: found for span, found in unpriced.named(connection, stored).items()}

    def sweep(self) -> None:
        """Delete rows that no process needs any more, every ten minutes."""
        now = time.monotonic()
        if now - self._swept >= _SWEEP_S:
            with self._ledger.explained(), self._ledger.transaction(writes=True) as connection:
                leases.sweep(connection, self._now_ms(connection))
            self._swept = now

    def _now_ms(self, connection: sa.Connection) -> int:
        return leases.now_ms(connection, int(self._now_utc() * 1000))

    def _stored_request(self, request: LeaseRequest) -> LeaseRequest:
        span = self._stored(request.span)
        return request if span is request.span else replace(request, span=span)

    def _stored(self, span: Span) -> Span:
        """Return a span as the ledger stores it: its encoding may not hold the scope's name."""
        name = self._ledger.stored(span.scope.name)
        return span if name == span.scope.name else replace(span, scope=replace(span.scope, name=name))

    def close(self) -> None:
        """Give all leases back; where the ledger does not take that, they expire."""
        if self._held_any:
            with suppress(LedgerError), self._ledger.transaction(writes=True) as connection:
                leases.give_back(connection, self.replica)
