"""The way of one request: checked, matched, admitted, rewritten, sent up, and its answer copied down.

The steps are numbered as in README's picture: 0 wire, 1 match, 2 admit, 3 rewrite, 4 open, 5 copy, 6 done. Whatever happens
at whatever moment, `done` is called once, with the exchange as it went.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from ..errors import ClientGone, Failure, Refusal
from ..exchange import BOUNDLESS, Allowance, Done, Exchange, Outcome, Passed, began
from ..meter.usage import Unmetered
from .attempts import Sender, Way
from .auth import Gate
from .call import Call, Counting
from .concurrency import Slots
from .cors import Cors, Sharing
from .downstream.connection import Downstream, Sent
from .downstream.malformed_head import Malformed
from .error_response import Reply, date_line, own_answer, own_reply
from .origins import PageGuard
from .prepared import Passage
from .request_head import escaped_path, plain
from .response_body import Flow
from .rewrite import Forward, label_of, response_fields, without_secrets
from .routes import Route, RouteTable
from .settle import Settling
from .upstream.pool import Upstream
from .upstream.response_head import Answer, Framing

_GOES_ON: Final = Sent(keeps_alive=True)
_ENDS: Final = Sent(keeps_alive=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one request is judged by, read once: a reload never splits it. `max_parallel` is for all requests together.

    `guard` minds the routes that ask for no key, None where web pages may call them; `cors` None: no page is told anything.
    """

    routes: RouteTable
    gate: Gate
    max_parallel: int | None = None
    guard: PageGuard | None = None
    cors: Cors | None = None
    _forwards: dict[int, Forward] = field(default_factory=dict, init=False, repr=False, compare=False)

    def forward(self, route: Route) -> Forward:
        """Return what crosses on one of the routes; it is made when the route is first used."""
        forward = self._forwards.get(id(route))  # The table keeps its routes: an id is one route's.
        if forward is None:
            forward = self._forwards[id(route)] = Forward(route, self.gate)
        return forward

    def sharing(self, request: web.BaseRequest) -> Sharing | None:
        """Return what the response to a request says of the web pages that may read it."""
        return None if self.cors is None else self.cors.sharing(request.raw_headers)


class Relay:
    """The handler of every request. `rules` is replaced on reload; `draining` and `cut_off` are set while stopping."""

    def __init__(
        self,
        rules: Rules,
        upstream: Upstream,
        done: Done,
        passed: Passed,
        decoders: Executor,
        *,
        allowance: Allowance = BOUNDLESS,
    ) -> None:
        self.rules = rules
        self.settling = Settling(upstream, self._end)
        self.draining = False
        self.cut_off = False
        self.active: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._upstream = upstream
        self.fair = upstream.fair
        self._slots = Slots()
        self._allowance = allowance
        self._done = done
        self._sender = Sender(upstream, Counting(decoders, passed))

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; aiohttp cancels it when the client's connection ends."""
        rules, downstream = self.rules, Downstream(request)
        passage = downstream.memory.recall(rules, request)
        path = _shown(request.raw_path) if passage is None else passage.shown
        way = Way(began(request.method, path), downstream)
        self.active[request.protocol] = request.task
        way.among_others = len(self.active) > 1
        handed_over = False
        try:
            if passage is None:
                passage = self._judged(way, request, rules)
                downstream.memory.keep(rules, request, passage)
            await self._serve(way, passage, rules)
        except Failure as failure:
            if not way.exchange.admitted:
                way.exchange.client = rules.gate.known(request.raw_headers)
            await self._fail(way, _blamed(way, failure), rules.sharing(request))
        except Reply as reply:
            await self._reply(way, reply)
        except (ClientGone, asyncio.CancelledError) as gone:
            handed_over = self._leave(way)
            if isinstance(gone, asyncio.CancelledError):
                raise
        finally:
            del self.active[request.protocol]
            if way.uploading is not None:
                way.uploading.cancel()
            if way.held is not None:
                way.held.close()
            if not handed_over:
                if way.call is not None:
                    way.call.connection.abort()
                self._end(way.exchange)
        return _GOES_ON if way.keeps_alive else _ENDS

    def refused(self, malformed: Malformed) -> bytes:
        """Return the answer to a head that is no request, and book the exchange; nothing of it but names is echoed."""
        exchange, failure, rules = began(malformed.method, malformed.path), malformed.refusal, self.rules
        exchange.status, exchange.error, exchange.outcome = failure.kind.status, failure.kind.code, Outcome.REFUSED
        raw = tuple((name, value) for _, name, value in malformed.fields)
        exchange.client = rules.gate.known(raw)
        self._end(exchange)
        more = () if rules.cors is None else rules.cors.sharing(raw).lines
        return own_answer(failure, exchange.began_utc, keeps_alive=False, with_body=malformed.method != "HEAD", more=more)

    def _end(self, exchange: Exchange) -> None:
        exchange.end()
        self._slots.leave(exchange)
        self._done(exchange)

    # ── the steps ──

    def _judged(self, way: Way, request: web.BaseRequest, rules: Rules) -> Passage:
        """Take steps 0 to 3: all that follows from the head's bytes and the rules alone. Raises Refusal, Reply."""
        target = request.raw_path.encode("utf-8", "surrogateescape")
        head = way.head = plain(request.method, target, (request.version[0], request.version[1]), request.raw_headers)
        if head.path == b"*":
            raise Reply(204, (b"Allow: " + ", ".join(rules.routes.methods()).encode(),))
        if rules.cors is not None:
            rules.cors.answer_preflight(head, request.raw_headers, rules.routes)
        match = rules.routes.match(head.method, head.path)
        route = match.route
        way.exchange.terms = route.terms
        if rules.guard is not None and not rules.gate.asks_for_key(route):
            rules.guard.check(target, head.fields)
        client = rules.gate.admit(route, head.fields)
        forward = rules.forward(route)
        return Passage(
            shown=way.exchange.path,
            head=head,
            match=match,
            telling=match.telling(head.method, head.path),
            client=client,
            label=label_of(route, head.fields),
            request_head=forward.request_head(head, match.suffix, route.targets[0]),
            secrets=forward.secrets,
            sharing=rules.sharing(request),
        )

    async def _serve(self, way: Way, passage: Passage, rules: Rules) -> None:
        exchange, head, route, client = way.exchange, passage.head, passage.match.route, passage.client
        way.head = head
        exchange.terms = route.terms
        exchange.client = None if client is None else client.name
        exchange.label = passage.label
        exchange.target, exchange.sandbox = route.targets[0].name, route.targets[0].name == "sandbox"
        exchange.admitted = True
        self._slots.enter(client, route, rules.max_parallel, exchange)
        if (asked := self._allowance.enter(exchange)) is not None:
            await asked
        way.downstream.expect_within(route.timeouts.idle_s)
        if head.length is not None and head.length > route.max_body_bytes:
            raise Refusal("body_too_large", f"The body is larger than {route.max_body_bytes} bytes.", closes=True)
        call, answer = await self._sender.answered(way, passage)
        await self._copy(way, passage, call, answer)

    async def _copy(self, way: Way, passage: Passage, call: Call, answer: Answer) -> None:
        """Send the answer's head at once and its body as it comes; release the connection when both bodies are whole."""
        downstream, exchange, head = way.downstream, way.exchange, passage.head
        framing = answer.framing
        counted = framing is Framing.LENGTH or framing is Framing.NONE
        chunked = not (counted or head.http10)
        delimited = way.delimited = chunked or counted
        way.keeps_alive = (
            head.keep_alive and delimited and downstream.body.is_eof() and call.upload.complete and not self.draining
        )
        exchange.status = answer.status
        unsent = _answer_head(answer, passage, chunked=chunked, keeps_alive=way.keeps_alive)
        flow = Flow(call, downstream, chunked=chunked)
        while True:
            if unsent and not call.connection.ready:
                exchange.answering()
                if downstream.write(unsent):  # The body is still on its way: a stream of events begins with its head.
                    await downstream.drained()
                unsent = b""
            piece = await call.piece(None if unsent else flow)
            if piece == b"":
                break
            if piece:
                if unsent:
                    exchange.answering()
                # A whole answer in one piece, and behind it a connection that goes on.
                soon = way.among_others and way.keeps_alive and bool(unsent) and not chunked and len(piece) == answer.length
                if flow.send(piece, unsent, soon=soon):
                    await downstream.drained()
                unsent = b""
                if not call.room:
                    await call.metered()
            else:
                await flow.go_on()
        exchange.outcome = Outcome.COMPLETED
        if unsent:
            exchange.answering()
        if (unsent or chunked) and downstream.write(unsent + b"0\r\n\r\n" if chunked else unsent):
            await downstream.drained()
        if not delimited:
            downstream.finish()
        if call.upload.complete:
            self._upstream.release(call.target, call.connection)
            way.call = None

    # ── the ends ──

    async def _fail(self, way: Way, failure: Failure, sharing: Sharing | None) -> None:
        """Answer with the failure, or, after the first byte of another answer, break the connection: nothing else is honest."""
        exchange, downstream, head = way.exchange, way.downstream, way.head
        exchange.error = failure.kind.code
        exchange.outcome = Outcome.REFUSED if isinstance(failure, Refusal) else Outcome.UPSTREAM_FAILED
        if way.call is not None:  # A refusal comes from its upload: the client is to blame, as when it leaves.
            way.call.abort(Unmetered.CANCELLED if isinstance(failure, Refusal) else Unmetered.BROKEN)
        if downstream.started:
            way.keeps_alive = False
            downstream.abort(shows=way.delimited)
            return
        way.keeps_alive = (
            head is not None and head.keep_alive and downstream.body.is_eof() and not failure.closes and not self.draining
        )
        exchange.status = failure.kind.status
        more = () if sharing is None else sharing.lines
        with_body = exchange.method != "HEAD"
        await self._say(way, own_answer(failure, time.time(), keeps_alive=way.keeps_alive, with_body=with_body, more=more))

    async def _reply(self, way: Way, reply: Reply) -> None:
        """Answer what concerns nobody but us."""
        exchange, head = way.exchange, way.head
        exchange.terms, exchange.status, exchange.outcome = reply.terms, reply.status, Outcome.COMPLETED
        way.keeps_alive = head is not None and head.keep_alive and way.downstream.body.is_eof() and not self.draining
        await self._say(way, own_reply(reply, time.time(), keeps_alive=way.keeps_alive))

    async def _say(self, way: Way, answer: bytes) -> None:
        """Send an answer of our own, whole."""
        try:
            if way.downstream.write(answer):
                await way.downstream.drained()
        except ClientGone:
            way.exchange.status = None

    def _leave(self, way: Way) -> bool:
        """Decide what becomes of a call that has no client any more; True: settling has it, and its exchange."""
        way.exchange.outcome = Outcome.CUT_OFF if self.cut_off else Outcome.CLIENT_GONE
        way.keeps_alive = False
        way.downstream.abort()
        if way.call is None:
            return False
        if not self.cut_off and self.settling.take(way.call):
            return True
        way.call.abort(Unmetered.CANCELLED)
        return False


def _blamed(way: Way, failure: Failure) -> Failure:
    """Return what the upload failed with, where it was that which broke the call."""
    uploading = way.uploading
    if uploading is not None and uploading.done() and not uploading.cancelled():
        cause = uploading.exception()
        if isinstance(cause, Failure):
            return cause
    return failure


def _shown(target: str) -> str:
    return escaped_path(target.encode("utf-8", "surrogateescape"))


def _answer_head(answer: Answer, passage: Passage, *, chunked: bool, keeps_alive: bool) -> bytes:
    """Return the head of the answer to the client: the target's status and fields, our framing and connection."""
    reason = without_secrets(answer.reason, passage.secrets)
    lines = [b"HTTP/1.1 %d %b" % (answer.status, reason), *response_fields(answer.fields, passage.secrets)]
    if passage.sharing is not None:
        lines = passage.sharing.marked(lines)
    if answer.first(b"date") is None:
        lines.append(date_line(int(time.time())))
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if not keeps_alive:
        lines.append(b"Connection: close")
    elif passage.head.http10:
        lines.append(b"Connection: keep-alive")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
