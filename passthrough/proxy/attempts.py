"""Phase 4: sends a request to its target and awaits the response's head; sends it again only where the route allows it.

A request may be sent again (1) where no byte of it has left, on any route (RFC 9110 §9.2.2); (2) where a kept connection ended
before it responded at all, and (3) after a response whose status the route names: both only where the route has `retries`, the
whole body is in the replay buffer, and the client has got no byte of a response. Each further call may be billed. (4) Where the
route fetches a token and the target rejects it (401): once, with another token, if the whole body is in the replay buffer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import ClientGone, Reason, Refusal, UpstreamFailure
from ..exchange import NOTHING_READ, Exchange
from .call import Call, MeterFactory
from .prepared import PreparedRequest
from .replay_buffer import ReplayBuffer
from .request_body import RequestBody
from .request_context import RequestContext
from .retry_wait import doubled_delay_s, retry_after_s
from .routes import Retries, Route
from .upstream.connection import Connection
from .upstream.pool import ConnectionPool
from .upstream.response_head import ResponseHead

HELD_FOR_TOKEN_BYTES: Final = 64 * 1024
"""How large a body is at most that is held only because its token may be rejected."""


class Sender:
    """Sends requests to their targets. All that it awaits may raise UpstreamFailure, Refusal (of the body) and ClientGone."""

    def __init__(self, upstream: ConnectionPool, meters: MeterFactory, *, has_others: bool = False) -> None:
        """`has_others`: the request can go to another target where a connect fails.

        Then it is tried once only, and nothing of the body is taken before the connection is there: requests are not batched.
        """
        self._upstream = upstream
        self._meters = meters
        self._has_others = has_others

    async def send(self, context: RequestContext, prepared: PreparedRequest) -> tuple[Call, ResponseHead, PreparedRequest]:
        """Send a request, again where that is allowed.

        Return the call whose response is to be relayed, the response's head, and the request as it was sent.
        """
        retries = prepared.match.route.retries
        hold_body(context, retries, for_token=prepared.token_source is not None)
        for tries in range(1, retries.attempts + 2):
            pause: float | None = 0.0
            failed: Call | None = None
            try:
                call, response, sent = await self.attempt(context, prepared, resends=tries > 1)
                pause = retry_delay_s(retries, response, tries, time.time(), random.random())  # noqa: S311 - jitter, no secret
            except UpstreamFailure as failure:
                if not isinstance(upload_failure(context), Refusal | ClientGone):
                    context.exchange.failed(str(failure.why or failure.kind.code))
                if context.steps is not None:
                    context.steps.failed(context.exchange, failure.message)
                failed = context.call
                if failed is None or not (failed.stale and tries <= retries.attempts and is_repeatable(context, failed)):
                    raise
                call = failed
            if pause is None or not is_repeatable(context, call):
                break
            if failed is None:
                context.exchange.why = str(response.status)
                if context.steps is not None:
                    context.steps.repeated(context.exchange, response.status)
            await give_up(context)
            await asyncio.sleep(pause)
        return call, response, sent

    async def attempt(
        self, context: RequestContext, prepared: PreparedRequest, *, resends: bool
    ) -> tuple[Call, ResponseHead, PreparedRequest]:
        """Send a request to its route's target; `resends`: from the replay buffer. Return the same as `send`.

        It is sent once; and once more, with another token, where the target rejects its token. Where this raises, `context.call`
        is None if nothing was sent, or nothing but what was rejected.
        """
        source = prepared.token_source
        if source is None:
            call, response = await self._send_once(context, prepared, resends=resends)
            return call, response, prepared
        exchange, route = context.exchange, prepared.match.route
        exchange.leaving()
        token = await source.token(token_wait_s(route, exchange))
        sent = prepared.with_token(token)
        call, response = await self._send_once(context, sent, resends=resends)
        if response.status == 401:
            repeatable = is_repeatable(context, call)
            # A client whose body is not in hand does not wait: the renewal has begun, for the requests to come.
            another = await source.after_rejection(token, token_wait_s(route, exchange) if repeatable else 0.0)
            if another is not None and repeatable:
                await give_up(context)
                sent = prepared.with_token(another, token)
                call, response = await self._send_once(context, sent, resends=True)
        return call, response, sent

    async def _open_call(self, context: RequestContext, prepared: PreparedRequest, *, batched: bool) -> tuple[Call, RequestBody]:
        """Return a call, and its request body, on an open connection, a kept one or a new one.

        `batched`: the request will be sent at the end of the event loop iteration, and a kept connection probed then.
        """
        exchange, head, route = context.exchange, prepared.head, prepared.match.route
        target = route.targets[0]
        exchange.attempts += 1
        exchange.leaving()
        connection = self._upstream.checkout(target, head.method, probe=not batched)
        if connection is None:
            connection = await self._connect(exchange, route)
        if context.steps is not None:
            context.steps.connected(exchange, connection)
        request_body = RequestBody(exchange, head, route, connection, context.replay, request_meter=context.request_meter)
        call = Call(exchange, route, target, connection, request_body, self._meters, prepared.metered_path, prepared.secrets)
        return call, request_body

    async def _connect(self, exchange: Exchange, route: Route) -> Connection:
        """Return an open connection; it is tried twice, as nothing was sent (RFC 9110 §9.2.2)."""
        try:
            return await self._connect_once(exchange, route)
        except UpstreamFailure as failure:
            if self._has_others or failure.why is Reason.TOTAL_TIMEOUT:
                raise
            exchange.attempts += 1
            return await self._connect_once(exchange, route)

    async def _connect_once(self, exchange: Exchange, route: Route) -> Connection:
        opening_s = token_wait_s(route, exchange)
        try:
            return await self._upstream.checkout_or_connect(route.targets[0], opening_s, exchange.method)
        except UpstreamFailure as failure:
            blame_total(failure, opening_s, route)
            raise

    async def _send_once(self, context: RequestContext, prepared: PreparedRequest, *, resends: bool) -> tuple[Call, ResponseHead]:
        """Send the request and return the response's head, which may come before the whole body is sent (RFC 9112 §9.3)."""
        body, head, request_head = context.downstream.body, prepared.head, prepared.request_head
        batches = context.batches and not self._has_others
        batched = not resends and batches and body.is_eof()
        call, request_body = await self._open_call(context, prepared, batched=batched)
        context.call = call
        if resends:
            request_meter = None
            if call.reads_request and context.request_meter is None:  # The target before this one is not metered.
                request_meter = context.request_meter = request_body.request_meter = self._meters.request(head)
            await request_body.resend(request_head, request_meter)
            return call, await call.response_head()
        if body.is_eof():
            whole = body.read_nowait()
            await request_body.send_whole(request_head, whole, batched=batches)
            if call.reads_request:
                # After the write, which metering must not delay.
                context.request_meter = request_body.request_meter = self._meters.buffered_request(head, whole)
            return call, await sent_head(context, call, lambda: self._connect(context.exchange, call.route))
        request_meter = self._meters.request(head) if call.reads_request else None
        context.request_meter = request_body.request_meter = request_meter
        if head.expects_continue:
            context.downstream.invite()
        call.connection.write(request_head)
        upload_task = context.upload_task = asyncio.create_task(
            request_body.stream(body, request_meter, context.downstream.bypass)
        )
        upload_task.add_done_callback(lambda task: abort_if_failed(task, call))
        return call, await first_response(call, upload_task)


def hold_body(context: RequestContext, retries: Retries, *, for_token: bool = False) -> None:
    """Have the request's body kept while it comes, where the route allows further tries.

    `for_token`: a small one is kept in any case, for its token may be rejected. A longer one is not, and takes the shortest way.
    """
    if retries.attempts:
        context.replay = ReplayBuffer(retries.held_bytes, spools=retries.spool)
    elif for_token and context.head is not None and (context.head.length or 0) <= HELD_FOR_TOKEN_BYTES:
        context.replay = ReplayBuffer(HELD_FOR_TOKEN_BYTES, spools=False)


def upload_failure(context: RequestContext) -> BaseException | None:
    """Return what the upload of the last try failed with, None where it did not."""
    task = context.upload_task
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def is_repeatable(context: RequestContext, call: Call) -> bool:
    """Tell whether the request's whole body was sent and is held, so that it can be sent again."""
    return context.replay is not None and context.replay.whole and call.request_body.complete


def blame_total(failure: UpstreamFailure, opening_s: float | None, route: Route) -> None:
    """Say of a connection that had less than the route's time-out that it was the total one that ended it."""
    if failure.kind.code == "upstream_timeout" and opening_s is not None and opening_s < route.timeouts.connect_s:
        failure.why = Reason.TOTAL_TIMEOUT


def token_wait_s(route: Route, exchange: Exchange) -> float | None:
    """Return the seconds that a token or a connection may take: the route's time-out, within the total one."""
    total_s, opening_s = route.timeouts.total_s, route.timeouts.opening_s
    if total_s is None:
        return opening_s
    left_s = max(0.0, total_s - (time.monotonic() - exchange.began))
    return left_s if opening_s is None else min(opening_s, left_s)


async def give_up(context: RequestContext) -> None:
    """End a try whose response is not relayed: its upload, its connection, and what it was metered by."""
    task, call = context.upload_task, context.call
    context.upload_task = context.call = None
    if call is not None:
        call.connection.abort()  # Before the wait, in which the client may leave.
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
    context.exchange.usage_source, context.exchange.went_up = NOTHING_READ, False


async def sent_head(context: RequestContext, call: Call, connect: Callable[[], Awaitable[Connection]]) -> ResponseHead:
    """Return the head of the response to a request that was written `batched`: see Connection.write.

    A request that never left its kept connection is sent on another one, which `connect` returns.
    """
    try:
        return await call.response_head()
    except UpstreamFailure:
        unsent = call.connection.unsent
        if not unsent:
            raise
    # Nothing was sent. If this is cancelled meanwhile, there is no call to abort. It is the same attempt, as if the connection
    # had been probed at once.
    context.call = None
    call.move(await connect())
    call.connection.write(unsent)
    context.call = call
    return await call.response_head()


async def first_response(call: Call, upload: asyncio.Task[None]) -> ResponseHead:
    """Return the response's head while the request body is sent; an upload that the target refuses early is cancelled.

    Raises what the upload raises, and UpstreamFailure.
    """
    while True:
        arrival = asyncio.ensure_future(call.connection.arrived())
        try:
            ended, _ = await asyncio.wait({upload, arrival}, timeout=call.left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        if not ended:
            raise UpstreamFailure(
                "upstream_timeout", "The upload took longer than the route's total time-out.", why=Reason.TOTAL_TIMEOUT
            )
        early = call.connection.take_response_head() if not upload.done() else None
        if upload.done():
            upload.result()
            return await call.response_head()
        if early is not None:
            if early.status >= 300:
                upload.cancel()  # A target that responds 413 or 401 reads no more. Its response is relayed at once.
            return await call.response_head()


def abort_if_failed(upload_task: asyncio.Task[None], call: Call) -> None:
    """Close the connection of an upload that failed: the body must not look whole, and no response is worth waiting for."""
    if not upload_task.cancelled() and upload_task.exception() is not None:
        call.connection.abort()


def retry_delay_s(retries: Retries, response: ResponseHead, tries: int, now_utc: float, chance: float) -> float | None:
    """Return the seconds to wait before the request is sent again after this response; None: the response is relayed.

    `tries` is how often the request was sent so far, `chance` a random number from 0 to 1. Retry-After is honoured (RFC 9110
    §10.2.3); where it asks for more than `max_wait_s` the response is relayed. Without Retry-After the wait doubles from 0.5 s to
    8 s, less up to a half, so that clients that failed together do not come back together.
    """
    if response.status not in retries.statuses or tries > retries.attempts:
        return None
    wait_s = retry_after_s(response.values.get(b"retry-after", ()), now_utc)
    if wait_s is not None:
        return wait_s if wait_s <= retries.max_wait_s else None
    return min(doubled_delay_s(tries, chance), retries.max_wait_s)
