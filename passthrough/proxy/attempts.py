"""The way up: a call is opened, the request sent, its answer's head awaited, and again only where the route says so."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from ..errors import UpstreamFailure
from ..exchange import Exchange
from ..meter.request import Asked, AskedAtOnce
from .call import Call, Counting
from .downstream.connection import Downstream
from .prepared import Passage
from .replay_buffer import Held
from .request_body import Upload
from .request_head import Head
from .retry import pause_s
from .routes import Route
from .upstream.connection import Connection
from .upstream.pool import Upstream
from .upstream.response_head import Answer


@dataclass(slots=True)
class Way:
    """One request on its way: what the steps hand to each other."""

    exchange: Exchange
    downstream: Downstream
    head: Head | None = None
    call: Call | None = None
    held: Held | None = None
    asked: Asked | AskedAtOnce | None = None
    uploading: asyncio.Task[None] | None = None
    among_others: bool = False  # many are under way: small pieces are sent together with others' ones
    delimited: bool = False
    keeps_alive: bool = False


class Sender:
    """Step 4 of the relay: what it awaits may raise UpstreamFailure, Refusal (of the upload) and ClientGone."""

    def __init__(self, upstream: Upstream, counting: Counting) -> None:
        self._upstream = upstream
        self._counting = counting

    async def answered(self, way: Way, passage: Passage) -> tuple[Call, Answer]:
        """Return the answer that is to be relayed; send the request again only where the route says so.

        Never once a byte was answered to the client, and only with the whole body in hand: (1) a kept connection that ended
        before it answered anything; (2) an answer whose status the route names.
        """
        head, route = passage.head, passage.match.route
        retries = route.retries
        held = way.held = Held(retries.held_bytes, spools=retries.spool) if retries.attempts else None
        for tries in range(1, retries.attempts + 2):
            soon = tries == 1 and way.among_others and way.downstream.body.is_eof()
            call = way.call = await self._open(way, passage, soon=soon)
            pause: float | None = 0.0
            try:
                answer = await self._send(way, head, call, passage.request_head, again=tries > 1)
                pause = pause_s(retries, answer, tries, time.time(), random.random())  # noqa: S311 - jitter, no secret
            except UpstreamFailure:
                if not (call.stale and tries <= retries.attempts and call.upload.complete and held and held.whole):
                    raise
            if pause is None or not (call.upload.complete and held and held.whole):
                break
            way.call = None
            call.connection.abort()
            await asyncio.sleep(pause)
        return call, answer

    async def _open(self, way: Way, passage: Passage, *, soon: bool) -> Call:
        """Return a call on an open connection, a kept one or a new one.

        `soon`: the request will be sent at the end of the loop's turn, and a kept connection looked at then.
        """
        exchange, head, route = way.exchange, passage.head, passage.match.route
        target = route.targets[0]
        exchange.attempts += 1
        exchange.leaving()
        connection = self._upstream.begun(target, head.method, looks=not soon)
        if connection is None:
            connection = await self._opened(exchange, route)
        upload = Upload(exchange, head, route, connection, way.held, asked=way.asked)
        return Call(exchange, route, target, connection, upload, self._counting, passage.telling, passage.secrets)

    async def _opened(self, exchange: Exchange, route: Route) -> Connection:
        """Return an open connection; two tries, as nothing was sent (RFC 9110 §9.2.2)."""
        try:
            return await self._upstream.opened(route.targets[0], route.timeouts.opening_s, exchange.method)
        except UpstreamFailure:
            exchange.attempts += 1
            return await self._upstream.opened(route.targets[0], route.timeouts.opening_s, exchange.method)

    async def _send(self, way: Way, head: Head, call: Call, request_head: bytes, *, again: bool) -> Answer:
        """Send the request and return the answer's head, which may come before the body has gone up (RFC 9112 §9.3)."""
        body = way.downstream.body
        if again:
            await call.upload.again(request_head)
            return await call.answer()
        if body.is_eof():
            whole = body.read_nowait()
            await call.upload.whole(request_head, whole, soon=way.among_others)
            if call.expects:
                # Behind the write: what is read off the body is not in its way.
                way.asked = call.upload.asked = self._counting.asked_at_once(head, whole)
            return await self._answer(way, call)
        asked = self._counting.asked(head) if call.expects else None
        way.asked = call.upload.asked = asked
        if head.expects_continue:
            way.downstream.invite()
        call.connection.write(request_head)
        uploading = way.uploading = asyncio.create_task(call.upload.stream(body, asked, way.downstream.straight))
        uploading.add_done_callback(lambda task: _gave_up(task, call))
        while True:
            arrival = asyncio.ensure_future(call.connection.arrived())
            try:
                ended, _ = await asyncio.wait({uploading, arrival}, timeout=call.left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                arrival.cancel()
            if not ended:
                raise UpstreamFailure("upstream_timeout", "The upload took longer than the route's total time-out.")
            early = call.connection.take_answer() if not uploading.done() else None
            if uploading.done():
                uploading.result()
                return await call.answer()
            if early is not None:
                if early.status >= 300:
                    uploading.cancel()  # It will read no more: a 413, a 401. What it said is relayed at once.
                return await call.answer()

    async def _answer(self, way: Way, call: Call) -> Answer:
        """Return the answer's head; where the request never left its connection, which was kept, it is sent on another one."""
        try:
            return await call.answer()
        except UpstreamFailure:
            unsent = call.connection.unsent
            if not unsent:
                raise
        # Nothing was sent: whoever ends this meanwhile finds no call, and it is no further attempt, as when one looks at once.
        way.call = None
        call.move(await self._opened(way.exchange, call.route))
        call.connection.write(unsent)
        way.call = call
        return await call.answer()


def _gave_up(uploading: asyncio.Task[None], call: Call) -> None:
    """Close the connection of an upload that failed: what was sent must not look whole, and no answer is worth waiting for."""
    if not uploading.cancelled() and uploading.exception() is not None:
        call.connection.abort()
