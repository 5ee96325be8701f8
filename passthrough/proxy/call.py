"""One upstream call: the response's head and body, read within the route's time-outs and fed to the meter.

A task can stop at any wait, and another task go on there: the relay reads the response for the client, settling for the ledger.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from ..errors import Reason, UpstreamFailure
from ..exchange import Exchange, Passed
from ..meter.buffered import SMALL_BYTES, BufferedMeter
from ..meter.cost_header import reported_nano
from ..meter.error_code import MAX_BYTES, ErrorBody
from ..meter.meter import Meter, ResponseFacts, is_event_stream, open_meter
from ..meter.plan import ResponseKind
from ..meter.request import AnyRequestMeter, BufferedRequestMeter, RequestMeter, open_request_meter
from ..meter.usage import Unmetered, Usage
from .request_head import RequestHead
from .rewrite import sent_values, without_secrets
from .routes import Route, Target
from .upstream.connection import BodySink, Connection
from .upstream.response_head import ResponseHead

_CHAT, _OTHER_UNIT = ResponseKind.CHAT, ResponseKind.OTHER_UNIT  # before Python 3.12 an enum's look-up is slow
_REQUEST_IDS: Final = (b"mistral-correlation-id", b"x-request-id", b"apim-request-id")


class _WithoutResponse:
    """The usage of a call that was to be metered and had no response: only the model that its request named is known."""

    __slots__ = ("_request_meter", "_why")

    def __init__(self, why: Unmetered, request_meter: AnyRequestMeter | None) -> None:
        self._why = why
        self._request_meter = request_meter

    async def usage(self) -> Usage:
        if self._request_meter is not None:
            await self._request_meter.rest()
        return self._found()

    def usage_if_ready(self) -> Usage | None:
        return None if self._request_meter is not None and self._request_meter.busy else self._found()

    def _found(self) -> Usage:
        return Usage(model=None if self._request_meter is None else self._request_meter.model, unmetered=self._why)


@dataclass(frozen=True, slots=True)
class MeterFactory:
    """Opens meters. `decoders` runs what would block the event loop; `passed` takes the lines of a batch as they pass."""

    decoders: Executor
    passed: Passed

    def request(self, head: RequestHead) -> RequestMeter | None:
        """Return the meter of a request's body that is streamed, None where its coding cannot be undone."""
        return open_request_meter(_codings(head), self.decoders)

    def buffered_request(self, head: RequestHead, body: bytes) -> RequestMeter | BufferedRequestMeter | None:
        """Return the meter of a request's body that is in memory, None where its coding cannot be undone."""
        if len(body) <= SMALL_BYTES and not _codings(head):
            return BufferedRequestMeter(body)
        request_meter = self.request(head)
        if request_meter is not None:
            request_meter.feed(body)
        return request_meter


def _codings(head: RequestHead) -> bytes:
    return b",".join([value for name, _, value in head.fields if name == b"content-encoding"])


class SentBody(Protocol):
    """The request body of a call: `complete` once its last byte was written. `head` is that of the client's request."""

    request_meter: AnyRequestMeter | None

    @property
    def head(self) -> RequestHead:
        """The head of the client's request."""
        ...

    @property
    def complete(self) -> bool:
        """Whether its last byte was written to the connection."""
        ...


class Call:
    """One request to a target on an open connection. `response_head` and `piece` raise UpstreamFailure."""

    __slots__ = (
        "_connection",
        "_deadline",
        "_has_head",
        "_kind",
        "_loop",
        "_meter",
        "_meters",
        "_path",
        "exchange",
        "expects",
        "meter_ready",
        "request_body",
        "route",
        "secrets",
        "target",
    )

    def __init__(
        self,
        exchange: Exchange,
        route: Route,
        target: Target,
        connection: Connection,
        request_body: SentBody,
        meters: MeterFactory,
        path: bytes,
        secrets: tuple[bytes, ...] = (),
    ) -> None:
        """`path` is the raw path that selects the meter's shape; `expects` tells whether the response should carry a count.

        `secrets` are what was injected into the request: a response field that echoes one is not logged.
        `meter_ready` tells whether the meter takes more at once; else `meter_drained` must be awaited.
        """
        self._loop = asyncio.get_running_loop()
        self.exchange = exchange
        self.route = route
        self.target = target
        self.request_body = request_body
        self.meter_ready = True
        plan = route.terms.plan
        self._kind = plan.reads(exchange.method, path)
        self.expects = self._kind is not None and plan.expects_count(self._kind)
        self._connection = connection
        self._meters = meters
        self._path = path
        self.secrets = secrets
        self._meter: Meter | BufferedMeter | ErrorBody | None = None
        self._has_head = False
        total_s = route.timeouts.total_s
        self._deadline = None if total_s is None else self._loop.time() + total_s - (time.monotonic() - exchange.began)

    @property
    def connection(self) -> Connection:
        """The connection, which this call owns until its end."""
        return self._connection

    def move(self, connection: Connection) -> None:
        """Go on with another connection, on which the whole request was sent: nothing of it left on the one before."""
        self._connection = connection

    def end_by(self, deadline: float | None) -> None:
        """Set a deadline (the loop's time) for this call, instead of the one that counts from the exchange's begin."""
        self._deadline = deadline

    @property
    def left_s(self) -> float | None:
        """The seconds that are left until the route's total time-out, None where it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    @property
    def stale(self) -> bool:
        """Whether the connection was kept from an earlier call and ended before any byte of this call's response."""
        return self._connection.was_kept and not self._connection.has_responded

    @property
    def reads_request(self) -> bool:
        """Whether the meter needs what the request says."""
        return self.expects or self._kind is _OTHER_UNIT

    @property
    def streams(self) -> bool:
        """Whether the response is a stream of events; before its head, whether it is a chat's whose request asks for one.

        Other requests may ask in vain, and a client that leaves must not keep their pages from being counted.
        """
        if self._has_head:
            head = self._connection.take_response_head()
            return head is not None and is_event_stream(head.first(b"content-type"))
        request_meter = self.request_body.request_meter
        return self._kind is _CHAT and request_meter is not None and not request_meter.busy and request_meter.stream

    def _wait_deadline(self, limit_s: float | None, since: float | None = None) -> float | None:
        """Return the deadline (the loop's time) of a wait of `limit_s` seconds from `since` on, within the total time-out."""
        if limit_s is None:
            return self._deadline
        deadline = (self._loop.time() if since is None else since) + limit_s
        return deadline if self._deadline is None or deadline < self._deadline else self._deadline

    def _timeout(self, otherwise: Reason) -> Reason:
        """Return which time-out has ended a wait: the total one, or the wait's own."""
        return Reason.TOTAL_TIMEOUT if self.left_s == 0.0 else otherwise

    async def response_head(self) -> ResponseHead:
        """Await the response's final head, within the route's header time-out from now on; open the meter. Idempotent."""
        response = self._connection.take_response_head()
        if response is None:
            deadline = self._wait_deadline(self.route.timeouts.header_s)
            while (response := self._connection.take_response_head()) is None:
                if not await self._connection.arrived(deadline):
                    message = f"No response from {self.target.name} in time."
                    raise UpstreamFailure("upstream_timeout", message, why=self._timeout(Reason.HEADER_TIMEOUT))
        if not self._has_head:
            self._on_head(response)
        return response

    def _on_head(self, response: ResponseHead) -> None:
        self._has_head = True
        exchange = self.exchange
        exchange.first_byte_s = time.monotonic() - exchange.began
        if response.first(b"x-passthrough-sandbox") is not None:
            exchange.sandbox = True  # Also of a sandbox in another process: its counts are never real money.
        for name in _REQUEST_IDS:
            value = response.first(name)
            if value and (value := without_secrets(value, self.secrets)):
                exchange.upstream_request_id = value.decode("ascii", "replace")[:200]
                break
        plan = self.route.terms.plan
        exchange.reported_cost_nano = exchange.cost_header = None  # of a response after which the request is sent again
        exchange.bad_cost = False
        if plan.cost_headers:
            self._read_cost(response, plan.cost_headers)
        codings = b",".join(response.values.get(b"content-encoding", ()))
        content_type, fields = response.first(b"content-type"), response.values
        facts = ResponseFacts(exchange.method, self._path, response.status, codings, content_type, response.length, fields)
        meters = self._meters
        passed = partial(meters.passed, exchange)
        meter = open_meter(plan, facts, meters.decoders, request_meter=self.request_body.request_meter, passed=passed)
        self._meter = meter
        if meter is not None:
            exchange.usage_source = meter
            exchange.went_up = True
        elif 400 <= response.status < 500 and (response.length or 0) <= MAX_BYTES:
            secrets = (*self.secrets, *sent_values(self.route, self.target, self.request_body.head))
            self._meter = exchange.error_body = ErrorBody(codings, secrets)
        elif exchange.error_body is not None:
            exchange.error_body = None  # of a response after which the request was sent again

    def _read_cost(self, response: ResponseHead, names: tuple[bytes, ...]) -> None:
        """Note the cost that the response reports: the first field of these names that holds an amount."""
        exchange = self.exchange
        for name in names:
            for value in response.values.get(name, ()):
                cost_nano = reported_nano(value)
                if cost_nano is not None:
                    exchange.reported_cost_nano, exchange.cost_header = cost_nano, name.decode("ascii", "replace")
                    exchange.bad_cost = False
                    return
                exchange.bad_cost = True

    def idle_deadline(self, since: float | None = None) -> float | None:
        """Return the deadline (the loop's time) for the next bytes of the body, counted from `since`, else from now."""
        return self._wait_deadline(self.route.timeouts.idle_s, since)

    async def piece(self, sink: BodySink | None = None) -> bytes | None:
        """Return the next piece of the body, already fed to the meter; b"" at its end, when the meter is ended too.

        What comes while this waits is given to `sink`. When that stops, this returns None.
        """
        piece = self._connection.take()
        while piece is None:
            if not await self._connection.arrived(self.idle_deadline(), sink):
                message = f"The response of {self.target.name} stopped coming."
                raise UpstreamFailure("upstream_timeout", message, why=self._timeout(Reason.IDLE_TIMEOUT))
            if sink is not None and sink.stopped:
                return None
            piece = self._connection.take()
        if piece:
            self.feed(piece)
        elif self._meter is not None:
            self._meter.end()
        return piece

    def feed(self, piece: bytes) -> None:
        """Feed a piece of the body to the meter."""
        if self._meter is not None:
            self.meter_ready = self._meter.feed(piece)

    async def meter_drained(self) -> None:
        """Wait until the meter takes more."""
        if self._meter is not None:
            await self._meter.drained()

    def _mark_unmetered(self, why: Unmetered) -> None:
        """Note why the usage is unknown, if this call was to be metered."""
        if self._meter is not None:
            self._meter.end(why)
        elif not self._has_head and self.reads_request:
            why = Unmetered.UNKNOWN_UNIT if self._kind is _OTHER_UNIT and self.exchange.went_up else why
            self.exchange.usage_source = _WithoutResponse(why, self.request_body.request_meter)

    def _feed_rest(self) -> None:
        """Feed the meter what has come and was not taken: a slow client's stream may have its usage, and its end, in there."""
        if self._meter is None:
            return
        with suppress(UpstreamFailure):
            while piece := self._connection.take():
                self._meter.feed(piece)
            if piece == b"":
                self._meter.end()

    def abort(self, why: Unmetered) -> None:
        """Give up the call: close the connection at once, and note why the usage is unknown."""
        if self.request_body.complete and not self._connection.has_unsent:
            self.exchange.went_up = True
        self._feed_rest()
        self._connection.abort()
        self._mark_unmetered(why)
