"""The life of one request, from its head to its entry in the log and the ledger, in seven numbered phases.

0. Validate: the head must be one plain request (`request_head`).
1. Match: method and path select a route (`routes`).
2. Admit: the client key, the origin of a web page, the limits of parallel requests, the budgets (`auth`, `origins`,
   `concurrency`).
3. Rewrite: the head that the target gets instead of the client's (`rewrite`).
4. Send: a connection, the request and its body, the response's head; again only where the route allows it (`attempts`, `call`,
   `request_body`).
5. Copy: the response's head and body go to the client, and past the meter (`call`, `response_body`).
6. End: the exchange is passed to `done`. A call whose client has left is first read to its end, where its route wants that
   (`settle`).

Phases 0 to 3 depend on the head's bytes and the rules alone, but for the limits and budgets: their result is cached for each
connection (`prepared`). Whatever happens in whichever phase, `done` is called exactly once.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from ..credentials.token_source import TokenSource
from ..credentials.token_sources import TokenSources
from ..errors import ClientGone, Failure, Refusal, UpstreamFailure
from ..exchange import BOUNDLESS, Allowance, Done, Exchange, Outcome, Passed, new_exchange
from ..meter.usage import Unmetered
from .attempts import Sender, upload_failure
from .auth import Authenticator, ClientKey
from .call import Call, MeterFactory
from .concurrency import ConcurrencyLimits
from .cors import Cors, CorsHeaders
from .deployment_calls import DeploymentCalls
from .deployments.deployment import Deployment
from .deployments.file_users import FileUsers
from .deployments.model_table import ModelTable
from .deployments.pool import Pool
from .downstream.http2_refusal import http2_refusal
from .downstream.malformed_head import Malformed
from .downstream.nearest_route import NearestRoutes
from .downstream.response_writer import ResponseWriter, Sent
from .downstream.trace_fields import trace_fields
from .error_response import Reply, date_line, own_reply, own_response
from .ocr.heads import with_own_lines
from .ocr.model_list import model_list
from .ocr.sender import OcrSender
from .origins import PageGuard
from .pool_sender import PoolSender
from .prepared import PreparedRequest
from .request_context import RequestContext
from .request_head import RequestHead, escaped_path, validate
from .response_body import ResponseBody
from .rewrite import HeaderRewriter, label_of, named_labels_of, response_fields, without_secrets
from .routes import OddPath, Route, RouteTable, Serves
from .settle import Settling
from .upstream.pool import ConnectionPool
from .upstream.response_head import Framing, ResponseHead
from .upstream.steps import Steps

_GOES_ON: Final = Sent(keeps_alive=True)
_ENDS: Final = Sent(keeps_alive=False)
_MODELS, _POOL = Serves.MODELS, Serves.POOL  # before Python 3.12 an enum's look-up is slow


@dataclass(frozen=True, slots=True)
class Rules:
    """The configuration that requests are served by. A request reads it once, so that a reload never takes effect within one.

    `max_parallel` is for all requests together. `guard` protects the routes that ask for no key; None: web pages may call them.
    `cors` None: responses carry no CORS headers. `models` are what the routes choose from that have no target of their own, and
    `pools` what each endpoint with several targets chooses from. `tokens` has the token sources of all `upstream_auth`.
    `nearest` finds what a path without a route may have meant.
    """

    routes: RouteTable
    authenticator: Authenticator
    max_parallel: int | None = None
    guard: PageGuard | None = None
    cors: Cors | None = None
    models: ModelTable | None = None
    pools: tuple[Pool, ...] = ()
    tokens: TokenSources | None = None
    nearest: NearestRoutes = field(init=False, repr=False, compare=False)
    _rewriters: dict[int, HeaderRewriter] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pool_of: dict[int, Pool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nearest", NearestRoutes(self.routes.routes))

    def rewriter(self, route: Route) -> HeaderRewriter:
        """Return the header rewriter of one of the routes; it is made when the route is first used."""
        rewriter = self._rewriters.get(id(route))  # The table keeps its routes: an id is one route's.
        if rewriter is None:
            rewriter = self._rewriters[id(route)] = HeaderRewriter(route, self.authenticator, self._token_source(route))
        return rewriter

    def pool(self, route: Route) -> Pool:
        """Return the pool of one of the routes that have several targets."""
        pool = self._pool_of.get(id(route))
        if pool is None:
            pool = self._pool_of[id(route)] = next(pool for pool in self.pools if pool.route == route)
        return pool

    def _token_source(self, route: Route) -> TokenSource | None:
        if route.upstream_auth is None:
            return None
        assert self.tokens is not None
        return self.tokens.of(route.upstream_auth)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return the entries of model_list, then the targets of all pools, in the order of the file."""
        models = () if self.models is None else self.models.deployments
        return (*models, *(deployment for pool in self.pools for deployment in pool.deployments))

    def cors_headers(self, request: web.BaseRequest) -> CorsHeaders | None:
        """Return the CORS headers of the response to a request, None where web pages are not configured."""
        return None if self.cors is None else self.cors.cors_headers(request.raw_headers)


class Relay:
    """Handles every request. `rules` is replaced on reload; `draining` and `cut_off` are set while the process stops.
    `traced`, set before the first request: exchanges get the client's trace context.

    `active` has the task of each client connection that is being served.
    """

    def __init__(
        self,
        rules: Rules,
        upstream: ConnectionPool,
        done: Done,
        passed: Passed,
        decoders: Executor,
        *,
        allowance: Allowance = BOUNDLESS,
        file_users: FileUsers | None = None,
        steps: Steps | None = None,
    ) -> None:
        """`file_users` are the clients that use files, None: nothing is known of them yet. `steps`: say what is done."""
        self.rules = rules
        self.settling = Settling(upstream, self._end)
        self.draining = False
        self.cut_off = False
        self.traced = False
        self.active: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._upstream = upstream
        self.fair = upstream.fair
        self._limits = ConcurrencyLimits()
        self._allowance = allowance
        self._done = done
        self._steps = steps
        meters = MeterFactory(decoders, passed)
        self._sender = Sender(upstream, meters)
        self._calls = DeploymentCalls()
        self.ocr = OcrSender(upstream, meters, decoders, self._calls)
        self._pools = PoolSender(Sender(upstream, meters, has_others=True), self._calls, file_users or FileUsers())

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request. aiohttp cancels it when the client's connection ends."""
        rules, downstream = self.rules, ResponseWriter(request)
        prepared = downstream.head_cache.recall(rules, request)
        path = _logged_path(request.raw_path) if prepared is None else prepared.logged_path
        context = RequestContext(new_exchange(request.method, path), downstream)
        self.active[request.protocol] = request.task
        context.batches = len(self.active) > 1
        if self.traced:
            context.exchange.trace = trace_fields(request.raw_headers)
        if self._steps is not None:
            context.steps = self._steps
            self._steps.began(context.exchange)
        handed_over = False
        try:
            if prepared is None:
                prepared = self._prepare(context, request, rules)
                downstream.head_cache.keep(rules, request, prepared)
            await self._serve(context, prepared, rules)
        except Failure as failure:
            if not context.exchange.admitted:
                client = rules.authenticator.known(request.raw_headers)
                context.exchange.client = None if client is None else client.name
                if failure.kind.code == "no_route" and context.head is not None:
                    meant = failure.meant if isinstance(failure, OddPath) else None
                    failure = _no_route(rules, client, context.head, request.raw_path, meant)
            await self._fail(context, self._told(context, failure), rules.cors_headers(request))
        except Reply as reply:
            await self._reply(context, reply)
        except (ClientGone, asyncio.CancelledError) as gone:
            handed_over = self._on_client_gone(context)
            if isinstance(gone, asyncio.CancelledError):
                raise
        finally:
            del self.active[request.protocol]
            if context.upload_task is not None:
                context.upload_task.cancel()
            if context.replay is not None:
                context.replay.close()
            if context.held is not None:
                context.held.close()
            if not handed_over:
                if context.call is not None:
                    context.call.connection.abort()
                self._end(context.exchange)
        return _GOES_ON if context.keeps_alive else _ENDS

    def refused(self, malformed: Malformed) -> bytes:
        """Return the response to a head that is no valid request, and end its exchange. Of the head only names are echoed."""
        exchange, failure, rules = new_exchange(malformed.method, malformed.path), malformed.refusal, self.rules
        exchange.status, exchange.error, exchange.outcome = failure.kind.status, failure.kind.code, Outcome.REFUSED
        raw = tuple((name, value) for _, name, value in malformed.fields)
        exchange.why = failure.why and str(failure.why)
        if self.traced:
            exchange.trace = trace_fields(raw)
        client = rules.authenticator.known(raw)
        exchange.client = None if client is None else client.name
        self._end(exchange)
        more = () if rules.cors is None else rules.cors.cors_headers(raw).lines
        with_body = malformed.method != "HEAD"
        response = own_response(failure, exchange.began_utc, keeps_alive=False, with_body=with_body, more=more)
        if malformed.is_http2:
            return http2_refusal(failure.kind.status, failure.kind.code, response.partition(b"\r\n\r\n")[2])
        return response

    def _end(self, exchange: Exchange) -> None:
        """6. End: it comes once for each exchange."""
        exchange.end()
        self._limits.leave(exchange)
        if exchange.deployment is not None:
            self._calls.leave(exchange)
        if self._steps is not None:
            self._steps.ended(exchange)
        self._done(exchange)

    # ── phases 0 to 3, whose result is cached ──

    def _prepare(self, context: RequestContext, request: web.BaseRequest, rules: Rules) -> PreparedRequest:
        """Return what follows from the head's bytes and the rules alone. Raises Refusal, Reply."""
        target = request.raw_path.encode("utf-8", "surrogateescape")
        # 0. Validate.
        head = context.head = validate(request.method, target, (request.version[0], request.version[1]), request.raw_headers)
        if head.path == b"*":
            raise Reply(204, (b"Allow: " + ", ".join(rules.routes.methods()).encode(),))
        if rules.cors is not None:
            rules.cors.answer_preflight(head, request.raw_headers, rules.routes)
        # 1. Match.
        match = rules.routes.match(head.method, head.path)
        route = match.route
        context.exchange.terms = route.terms
        # 2. Admit.
        if rules.guard is not None and not rules.authenticator.asks_for_key(route):
            rules.guard.check(target, head.fields)
        client = rules.authenticator.admit(route, head.fields)
        cors_headers = rules.cors_headers(request)
        if route.serves is _MODELS:
            context.exchange.client = None if client is None else client.name
            assert rules.models is not None
            raise model_list(rules.models, client, route.terms, () if cors_headers is None else cors_headers.lines)
        # 3. Rewrite; where a target is chosen for each request, the head is made once that is known.
        rewriter = None if route.serves is not None else rules.rewriter(route)
        return PreparedRequest(
            logged_path=context.exchange.path,
            head=head,
            match=match,
            metered_path=head.path if rewriter is None else match.metered_path(head.method, head.path),
            client=client,
            label=label_of(route, head.fields),
            labels=named_labels_of(route, head.fields),
            request_head=b"" if rewriter is None else rewriter.request_head(head, match.suffix, route.targets[0]),
            secrets=() if rewriter is None else rewriter.secrets,
            cors_headers=cors_headers,
            token_source=None if rewriter is None else rewriter.token_source,
        )

    # ── the limits and budgets of phase 2, then phases 4 and 5 ──

    async def _serve(self, context: RequestContext, prepared: PreparedRequest, rules: Rules) -> None:
        """Take a request whose head is prepared to its target, and the response back."""
        exchange, head, route, client = context.exchange, prepared.head, prepared.match.route, prepared.client
        context.head = head
        exchange.terms = route.terms
        exchange.client = None if client is None else client.name
        exchange.label, exchange.labels = prepared.label, prepared.labels
        if route.serves is None:
            exchange.target, exchange.sandbox = route.targets[0].name, route.targets[0].name == "sandbox"
        exchange.admitted = True
        if context.steps is not None:
            context.steps.matched(exchange)
        # 2. Admit: what changes from request to request.
        self._limits.enter(client, route, rules.max_parallel, exchange)
        if (pending := self._allowance.enter(exchange)) is not None:
            await pending
        context.downstream.expect_within(route.timeouts.idle_s)
        if head.length is not None and head.length > route.max_body_bytes:
            raise Refusal("body_too_large", f"The body is larger than {route.max_body_bytes} bytes.", closes=True)
        # 4. Send.
        if route.serves is None:
            call, response, prepared = await self._sender.send(context, prepared)
        elif route.serves is _POOL:
            call, response, prepared = await self._pools.send(context, prepared, rules.pool(route), rules.rewriter)
        else:
            assert rules.models is not None
            call, response, prepared = await self.ocr.send(context, prepared, rules.models, rules.rewriter)
        # 5. Copy.
        await self._copy(context, prepared, call, response)

    async def _copy(self, context: RequestContext, prepared: PreparedRequest, call: Call, response: ResponseHead) -> None:
        """Send the response's head at once and its body as it comes; release the connection when both bodies are complete."""
        downstream, exchange, head = context.downstream, context.exchange, prepared.head
        framing = response.framing
        counted = framing is Framing.LENGTH or framing is Framing.NONE
        chunked = not (counted or head.http10)
        delimited = context.delimited = chunked or counted
        context.keeps_alive = (
            head.keep_alive and delimited and downstream.body.is_eof() and call.request_body.complete and not self.draining
        )
        exchange.status = response.status
        if context.steps is not None:
            context.steps.responded(exchange, response.status)
        unsent = _response_head(response, prepared, chunked=chunked, keeps_alive=context.keeps_alive)
        response_body = ResponseBody(call, downstream, chunked=chunked)
        while True:
            if unsent and not call.connection.ready:
                exchange.responding()
                if downstream.write(unsent):  # The body has not come yet: an event stream's head must not wait for its events.
                    await downstream.drained()
                unsent = b""
            piece = await call.piece(None if unsent else response_body)
            if piece == b"":
                break
            if piece:
                if unsent:
                    exchange.responding()
                # A whole response in one piece, on a connection that persists.
                batched = (
                    context.batches and context.keeps_alive and bool(unsent) and not chunked and len(piece) == response.length
                )
                if response_body.send(piece, unsent, batched=batched):
                    await downstream.drained()
                unsent = b""
                if not call.meter_ready:
                    await call.meter_drained()
            else:
                await response_body.go_on()
        exchange.outcome = Outcome.COMPLETED
        if unsent:
            exchange.responding()
        if (unsent or chunked) and downstream.write(unsent + b"0\r\n\r\n" if chunked else unsent):
            await downstream.drained()
        if not delimited:
            downstream.finish()
        if call.request_body.complete:
            self._upstream.release(call.target, call.connection)
            context.call = None

    # ── phase 6, and all other ends ──

    def _told(self, context: RequestContext, failure: Failure) -> Failure:
        """Return what the client is told of a failure: what caused it, without the address of a deployment."""
        return self._calls.without_address(context.exchange, _root_cause(context, failure))

    async def _fail(self, context: RequestContext, failure: Failure, cors_headers: CorsHeaders | None) -> None:
        """Send the failure as a response. After the first byte of a response, break the connection: nothing else is honest."""
        exchange, downstream, head = context.exchange, context.downstream, context.head
        exchange.error = failure.kind.code
        exchange.outcome = Outcome.REFUSED if isinstance(failure, Refusal) else Outcome.UPSTREAM_FAILED
        if exchange.status is not None and isinstance(failure, UpstreamFailure):  # Others are noted where they fail.
            exchange.failed(str(failure.why or failure.kind.code))
        elif failure.why is not None and exchange.why is None:
            exchange.why = str(failure.why)
        if context.call is not None:  # A refusal comes from its request body: the client's fault, as when it leaves.
            context.call.abort(Unmetered.CANCELLED if isinstance(failure, Refusal) else Unmetered.BROKEN)
        if downstream.started:
            context.keeps_alive = False
            downstream.abort(shows=context.delimited)
            return
        context.keeps_alive = (
            head is not None and head.keep_alive and downstream.body.is_eof() and not failure.closes and not self.draining
        )
        exchange.status = failure.kind.status
        more = () if cors_headers is None else cors_headers.lines
        with_body = exchange.method != "HEAD"
        await self._send_own(
            context, own_response(failure, time.time(), keeps_alive=context.keeps_alive, with_body=with_body, more=more)
        )

    async def _reply(self, context: RequestContext, reply: Reply) -> None:
        """Send the proxy's own response to a request that is for the proxy itself."""
        exchange, head = context.exchange, context.head
        exchange.terms, exchange.status, exchange.outcome = reply.terms, reply.status, Outcome.COMPLETED
        context.keeps_alive = head is not None and head.keep_alive and context.downstream.body.is_eof() and not self.draining
        await self._send_own(
            context, own_reply(reply, time.time(), keeps_alive=context.keeps_alive, with_body=exchange.method != "HEAD")
        )

    async def _send_own(self, context: RequestContext, response: bytes) -> None:
        """Send a whole response that the proxy made."""
        try:
            if context.downstream.write(response):
                await context.downstream.drained()
        except ClientGone:
            context.exchange.status = None

    def _on_client_gone(self, context: RequestContext) -> bool:
        """Decide what becomes of a call whose client has left; True: settling owns it now, and its exchange."""
        context.exchange.outcome = Outcome.CUT_OFF if self.cut_off else Outcome.CLIENT_GONE
        context.keeps_alive = False
        context.downstream.abort()
        if context.call is None:
            return False
        if not self.cut_off and self.settling.take(context.call):
            return True
        context.call.abort(Unmetered.CANCELLED)
        return False


def _root_cause(context: RequestContext, failure: Failure) -> Failure:
    """Return the failure of the upload, where that caused the failure of the call."""
    cause = upload_failure(context)
    return cause if isinstance(cause, Failure) else failure


def _no_route(rules: Rules, client: ClientKey | None, head: RequestHead, target: str, meant: Route | None) -> Refusal:
    """Return the refusal of a path without a route, which names routes to a client with a valid key only.

    Where no key is asked for at all, to each that may call: on loopback, but not to a page of another origin.
    """
    told: frozenset[str] | None = frozenset()
    if client is not None:
        told = client.routes
    elif rules.authenticator.anonymous and rules.guard is not None:
        with suppress(Refusal):
            rules.guard.check(target.encode("utf-8", "surrogateescape"), head.fields)
            told = None
    return rules.nearest.no_route(head.path, told, meant)


def _logged_path(target: str) -> str:
    return escaped_path(target.encode("utf-8", "surrogateescape"))


def _response_head(response: ResponseHead, prepared: PreparedRequest, *, chunked: bool, keeps_alive: bool) -> bytes:
    """Return the head of the response to the client: the target's status and fields, our framing and connection."""
    reason = without_secrets(response.reason, prepared.secrets)
    lines = [b"HTTP/1.1 %d %b" % (response.status, reason), *response_fields(response.fields, prepared.secrets)]
    if prepared.cors_headers is not None:
        lines = prepared.cors_headers.added_to(lines)
    if prepared.response_lines:
        lines = with_own_lines(lines, prepared.response_lines, response.values)
    if response.first(b"date") is None:
        lines.append(date_line(int(time.time())))
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if not keeps_alive:
        lines.append(b"Connection: close")
    elif prepared.head.http10:
        lines.append(b"Connection: keep-alive")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
