"""One process's leases of budgets, asked for and given back: the transactions that this takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from ...errors import LedgerError
from ..budget import LeaseGrant, LeaseRequest, Span
from ..ledger import leases
from ..ledger.ledger import Ledger

_MADE_UNASKED: Final = 100
_SWEEP_S: Final = 600.0


class LeaseClient:
    """What one process holds in one ledger. All methods but `close` are for one thread; they block, and raise LedgerError."""

    def __init__(self, ledger: Ledger, now_utc: Callable[[], float] = time.time) -> None:
        """`now_utc` is this machine's clock; where the ledger is on a server, leases go by the server's."""
        self.replica = uuid4().hex
        self._ledger = ledger
        self._now_utc = now_utc
        self._swept = float("-inf")
        self._held_any = False

    def ask(self, requests: Sequence[LeaseRequest]) -> dict[LeaseRequest, LeaseGrant]:
        """Return what is granted; what a budget's period came to before anybody asked is summed up first."""
        self._held_any = True
        with self._ledger.explained():
            with self._ledger.transaction(writes=True) as connection:
                stored = {self._stored_plea(request): request for request in requests}
                granted = leases.ask(connection, list(stored), self.replica, self._now_ms(connection))
            missing = [request for request in stored if request not in granted]
            if missing:
                with self._ledger.transaction(alone=True) as connection:
                    leases.make(connection, [request.span for request in missing])
                with self._ledger.transaction(writes=True) as connection:
                    granted |= leases.ask(connection, missing, self.replica, self._now_ms(connection))
        return {stored[request]: grant for request, grant in granted.items()}

    def survey(self, spans: Collection[Span]) -> dict[Span, int]:
        """Return what periods came to; where few are looked at, those that nobody asked about are summed up now."""
        with self._ledger.explained():
            with self._ledger.transaction() as connection:
                stored = {self._stored(span): span for span in spans}
                spent = leases.spent(connection, stored)
            if len(spent) < len(stored) <= _MADE_UNASKED:
                with self._ledger.transaction(alone=True) as connection:
                    leases.make(connection, stored)
                    spent = leases.spent(connection, stored)
        return {stored[span]: amount for span, amount in spent.items()}

    def sweep(self) -> None:
        """Remove now and then what no process needs any more."""
        now = time.monotonic()
        if now - self._swept >= _SWEEP_S:
            with self._ledger.explained(), self._ledger.transaction(writes=True) as connection:
                leases.sweep(connection, self._now_ms(connection))
            self._swept = now

    def _now_ms(self, connection: sa.Connection) -> int:
        return leases.now_ms(connection, int(self._now_utc() * 1000))

    def _stored_plea(self, request: LeaseRequest) -> LeaseRequest:
        span = self._stored(request.span)
        return request if span is request.span else replace(request, span=span)

    def _stored(self, span: Span) -> Span:
        """Return a period as it stands in the ledger, whose encoding may not hold its scope's name."""
        name = self._ledger.stored(span.scope.name)
        return span if name == span.scope.name else replace(span, scope=replace(span.scope, name=name))

    def close(self) -> None:
        """Give everything back, if the ledger takes it; else it runs out."""
        if self._held_any:
            with suppress(LedgerError), self._ledger.transaction(writes=True) as connection:
                leases.give_back(connection, self.replica)
