"""One request and its response, as facts: filled by the proxy, read by accounting."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from .meter.plan import MeterPlan
from .meter.usage import NOTHING, Usage

_POOLED_IDS: Final = 100


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"  # a whole response went to the client, whatever its status
    REFUSED = "refused"  # the proxy refused the request
    UPSTREAM_FAILED = "upstream_failed"  # the target was not reached, broke, or was too slow
    CLIENT_GONE = "client_gone"  # the client left first
    CUT_OFF = "cut_off"  # the drain deadline ended it


@dataclass(frozen=True, slots=True)
class DeploymentPrice:
    """How a deployment of `model_list` is priced.

    `model` is the name by which a response is priced whose own model has no price: the deployment's `base_model`, else its model,
    with the provider's prefix (`azure_ai/mistral-document-ai-2512`). `usd_per_page` and `usd_per_annotated_page` (LiteLLM's
    `ocr_cost_per_page`, `annotation_cost_per_page`) come before every list; None: not given.
    """

    model: str
    usd_per_page: Decimal | None = None
    usd_per_annotated_page: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RouteTerms:
    """What accounting needs of a route: its name, how it is metered, and a price of its own.

    `cost_per_request_nano` (10⁻⁹ USD), if set, replaces the page price. `account` names the account at the provider, within which
    a batch line's id is unique; None: each target's authority is an account. `price_list` names the provider whose list prices
    the route, `none` for no list; None: that of the target's host. `deployment_price`: how the chosen deployment is priced.
    """

    route: str
    plan: MeterPlan = MeterPlan()
    cost_per_request_nano: int | None = None
    account: str | None = None
    price_list: str | None = None
    deployment_price: DeploymentPrice | None = None


class UsageSource(Protocol):
    """The accounting side of a meter: the usage, once all bytes have passed."""

    async def usage(self) -> Usage:
        """Return the usage, once all bytes so far are decoded; never raises because of the response's bytes.

        For a batch it has the last model and `unmetered`, without counters: the lines went through `Passed`, the last of them
        before this returns.
        """
        ...

    def usage_if_ready(self) -> Usage | None:
        """Return what `usage` would, or None while something is still being decoded."""
        ...


class CodeSource(Protocol):
    """The body of a response that says what the client did wrong: see meter.error_code."""

    def code(self) -> str | None:
        """Return the provider's own error code, None where there is none; never raises because of the body's bytes."""
        ...


class _NothingRead:
    """The usage source of an exchange without a meter."""

    async def usage(self) -> Usage:
        return NOTHING

    def usage_if_ready(self) -> Usage:
        return NOTHING


NOTHING_READ: UsageSource = _NothingRead()


TraceFields = tuple[bytes, bytes]
"""`traceparent` and `tracestate` as the client sent them; the second is empty where there was none."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its response. Only the relay (and its settlement) writes here, and not after `done`.

    Times: `began_utc` is seconds since the epoch, `began` and the spans are seconds of the monotonic clock. `path` is the raw
    path as text (bytes outside ASCII escaped), without the query. `status` is what the client was sent, None if nothing.
    `bytes_up` and `bytes_down` are body bytes on the wire, without framing. `error` is a code of errors.KINDS. `admitted`:
    routing and authentication let it through; only such exchanges reach the ledger. `reported_cost_nano` (10⁻⁹ USD) is the cost
    that the response's own header reports, and `cost_header` is that header's name. `overhead_s` is the time spent in the proxy:
    from the request's head to the checkout of an upstream connection, and from the response's head to its first write. `labels`
    are the named labels, sorted by name. `bad_cost`: the response had such a header, and none of them held an amount. `went_up`:
    a response with a count had begun, or the request had gone up whole when the call was cancelled or broke. The provider may
    bill it, although the usage is unknown. `deployment` is the one of `model_list`, or the target of an endpoint with several,
    that got the last try; `model_group` is the name from that list that the client asked for. `why` is the reason of the last try
    that failed: `azure-1: 503`; of a refusal, where that has one. `failures` are the tries that had no response, or
    not all of it: the target as the operator knows it, and the reason. `error_body` holds the body of a 4xx response, None for
    any other. `trace` is the client's trace context, None without one and where spans are not exported.
    """

    id: str
    began_utc: float
    began: float
    method: str
    path: str
    terms: RouteTerms | None = None
    admitted: bool = False
    client: str | None = None
    label: str | None = None
    target: str | None = None
    sandbox: bool = False
    status: int | None = None
    outcome: Outcome = Outcome.CUT_OFF  # until something is known
    error: str | None = None
    attempts: int = 0
    upstream_request_id: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    first_byte_s: float | None = None
    total_s: float = 0.0
    overhead_s: float | None = None
    reported_cost_nano: int | None = None
    cost_header: str | None = None
    bad_cost: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    went_up: bool = False
    deployment: str | None = None
    model_group: str | None = None
    why: str | None = None
    failures: tuple[tuple[str, str], ...] = ()
    error_body: CodeSource | None = None
    trace: TraceFields | None = None
    usage_source: UsageSource = field(default=NOTHING_READ)

    def leaving(self) -> None:
        """Note the time in the proxy until an upstream connection is needed; only the first call counts."""
        if self.overhead_s is None:
            self.overhead_s = time.monotonic() - self.began

    def responding(self) -> None:
        """Add the time in the proxy from the response's head to now, when it is about to be written."""
        self.overhead_s = (self.overhead_s or 0.0) + time.monotonic() - self.began - (self.first_byte_s or 0.0)

    def failed(self, why: str) -> None:
        """Note why the last try, which had no response or not all of it, failed."""
        target, deployment = self.target or "", self.deployment
        if deployment is None:
            self.why = why
        else:
            self.why = f"{deployment}: {why}"
            target = target if target == deployment else f"{target} ({deployment})"
        self.failures = (*self.failures, (target, why))

    def end(self) -> None:
        """Note the total time; the last write to an exchange."""
        self.total_s = time.monotonic() - self.began


Done = Callable[[Exchange], None]
"""Takes an exchange that has ended: synchronous, never blocks, never raises. Called exactly once for each."""


Passed = Callable[[Exchange, Sequence[Usage]], None]
"""Takes the usages of a batch's lines that have passed, while the exchange goes on: synchronous, never blocks, never raises."""


class Allowance(Protocol):
    """Checks budgets and rates before a byte goes upstream."""

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Reserve what an admitted exchange may cost. None: it may go on; the awaitable is for the rare case of a wait.

        Raises Refusal (rate_limited, budget_spent, budget_unpriced), or the awaitable does. Booking the exchange releases the
        reservation.
        """
        ...


class _Boundless:
    """The allowance without limits."""

    def enter(self, exchange: Exchange) -> None:
        return None


BOUNDLESS: Allowance = _Boundless()


_random_digits: Final[list[str]] = []  # the only module-level state: random bits that no id has used
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_random_digits.clear)


def new_id(now_utc: float) -> str:
    """Return 32 hexadecimal digits that sort by time: 48 bits of milliseconds, then 80 random bits. From any thread.

    One system call fetches the bits of many ids, because the call lets other threads take the interpreter, in the data path. A
    forked process drops its parent's bits.
    """
    while True:
        try:
            return f"{int(now_utc * 1000):012x}{_random_digits.pop()}"
        except IndexError:
            digits = os.urandom(10 * _POOLED_IDS).hex()
            _random_digits.extend([digits[at : at + 20] for at in range(0, 20 * _POOLED_IDS, 20)])


def new_exchange(method: str, path: str) -> Exchange:
    """Return a new exchange that begins now."""
    now_utc = time.time()
    return Exchange(id=new_id(now_utc), began_utc=now_utc, began=time.monotonic(), method=method, path=path)
