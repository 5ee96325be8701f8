"""The way up: a call is opened, the request sent, its answer's head awaited, and again only where the route says so."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from ..errors import UpstreamFailure
from ..exchange import Exchange
from ..meter.request import BufferedRequestMeter, RequestMeter
from .call import Call, MeterFactory
from .downstream.response_writer import ResponseWriter
from .prepared import PreparedRequest
from .replay_buffer import ReplayBuffer
from .request_body import RequestBody
from .request_head import RequestHead
from .retry import retry_delay_s
from .routes import Route
from .upstream.connection import Connection
from .upstream.pool import ConnectionPool
from .upstream.response_head import ResponseHead


@dataclass(slots=True)
class RequestContext:
    """One request on its way: what the steps hand to each other."""

    exchange: Exchange
    downstream: ResponseWriter
    head: RequestHead | None = None
    call: Call | None = None
    replay: ReplayBuffer | None = None
    request_meter: RequestMeter | BufferedRequestMeter | None = None
    upload_task: asyncio.Task[None] | None = None
    batches: bool = False  # many are under way: small pieces are sent together with others' ones
    delimited: bool = False
    keeps_alive: bool = False


class Sender:
    """Step 4 of the relay: what it awaits may raise UpstreamFailure, Refusal (of the upload) and ClientGone."""

    def __init__(self, upstream: ConnectionPool, meters: MeterFactory) -> None:
        self._upstream = upstream
        self._meters = meters

    async def send(self, context: RequestContext, prepared: PreparedRequest) -> tuple[Call, ResponseHead]:
        """Return the answer that is to be relayed; send the request again only where the route says so.

        Never once a byte was answered to the client, and only with the whole body in hand: (1) a kept connection that ended
        before it answered anything; (2) an answer whose status the route names.
        """
        head, route = prepared.head, prepared.match.route
        retries = route.retries
        replay = context.replay = ReplayBuffer(retries.held_bytes, spools=retries.spool) if retries.attempts else None
        for tries in range(1, retries.attempts + 2):
            batched = tries == 1 and context.batches and context.downstream.body.is_eof()
            call = context.call = await self._open_call(context, prepared, batched=batched)
            pause: float | None = 0.0
            try:
                response = await self._send_once(context, head, call, prepared.request_head, resends=tries > 1)
                pause = retry_delay_s(retries, response, tries, time.time(), random.random())  # noqa: S311 - jitter, no secret
            except UpstreamFailure:
                if not (call.stale and tries <= retries.attempts and call.request_body.complete and replay and replay.whole):
                    raise
            if pause is None or not (call.request_body.complete and replay and replay.whole):
                break
            context.call = None
            call.connection.abort()
            await asyncio.sleep(pause)
        return call, response

    async def _open_call(self, context: RequestContext, prepared: PreparedRequest, *, batched: bool) -> Call:
        """Return a call on an open connection, a kept one or a new one.

        `soon`: the request will be sent at the end of the loop's turn, and a kept connection looked at then.
        """
        exchange, head, route = context.exchange, prepared.head, prepared.match.route
        target = route.targets[0]
        exchange.attempts += 1
        exchange.leaving()
        connection = self._upstream.checkout(target, head.method, probe=not batched)
        if connection is None:
            connection = await self._connect(exchange, route)
        request_body = RequestBody(exchange, head, route, connection, context.replay, request_meter=context.request_meter)
        return Call(exchange, route, target, connection, request_body, self._meters, prepared.metered_path, prepared.secrets)

    async def _connect(self, exchange: Exchange, route: Route) -> Connection:
        """Return an open connection; two tries, as nothing was sent (RFC 9110 §9.2.2)."""
        try:
            return await self._upstream.checkout_or_connect(route.targets[0], route.timeouts.opening_s, exchange.method)
        except UpstreamFailure:
            exchange.attempts += 1
            return await self._upstream.checkout_or_connect(route.targets[0], route.timeouts.opening_s, exchange.method)

    async def _send_once(
        self, context: RequestContext, head: RequestHead, call: Call, request_head: bytes, *, resends: bool
    ) -> ResponseHead:
        """Send the request and return the answer's head, which may come before the body has gone up (RFC 9112 §9.3)."""
        body = context.downstream.body
        if resends:
            await call.request_body.resend(request_head)
            return await call.response_head()
        if body.is_eof():
            whole = body.read_nowait()
            await call.request_body.send_whole(request_head, whole, batched=context.batches)
            if call.expects:
                # Behind the write: what is read off the body is not in its way.
                context.request_meter = call.request_body.request_meter = self._meters.buffered_request(head, whole)
            return await self._await_head(context, call)
        request_meter = self._meters.request(head) if call.expects else None
        context.request_meter = call.request_body.request_meter = request_meter
        if head.expects_continue:
            context.downstream.invite()
        call.connection.write(request_head)
        upload_task = context.upload_task = asyncio.create_task(
            call.request_body.stream(body, request_meter, context.downstream.bypass)
        )
        upload_task.add_done_callback(lambda task: _abort_if_failed(task, call))
        while True:
            arrival = asyncio.ensure_future(call.connection.arrived())
            try:
                ended, _ = await asyncio.wait({upload_task, arrival}, timeout=call.left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                arrival.cancel()
            if not ended:
                raise UpstreamFailure("upstream_timeout", "The upload took longer than the route's total time-out.")
            early = call.connection.take_response_head() if not upload_task.done() else None
            if upload_task.done():
                upload_task.result()
                return await call.response_head()
            if early is not None:
                if early.status >= 300:
                    upload_task.cancel()  # It will read no more: a 413, a 401. What it said is relayed at once.
                return await call.response_head()

    async def _await_head(self, context: RequestContext, call: Call) -> ResponseHead:
        """Return the answer's head; where the request never left its connection, which was kept, it is sent on another one."""
        try:
            return await call.response_head()
        except UpstreamFailure:
            unsent = call.connection.unsent
            if not unsent:
                raise
        # Nothing was sent: whoever ends this meanwhile finds no call, and it is no further attempt, as when one looks at once.
        context.call = None
        call.move(await self._connect(context.exchange, call.route))
        call.connection.write(unsent)
        context.call = call
        return await call.response_head()


def _abort_if_failed(upload_task: asyncio.Task[None], call: Call) -> None:
    """Close the connection of an upload that failed: what was sent must not look whole, and no answer is worth waiting for."""
    if not upload_task.cancelled() and upload_task.exception() is not None:
        call.connection.abort()
