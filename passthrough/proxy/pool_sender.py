"""Phase 4 of a request to an endpoint with several targets: chooses one, sends the request byte for byte, goes on with another.

1. Which target: any, by weight and by what cools down (`deployments.tries`), or the client's own (`deployments.sticky_tries`).
   Single OCR calls may go anywhere, unless their client uses files on this endpoint; `sticky` may say otherwise.
2. The head is made for that target, as if it were the endpoint's only one. The body is not looked at, and held for further tries
   only where the endpoint has `retries`; a small one is held where a target's token may be rejected, too.
3. Judge: relay the response or failure, or go on. Without `retries` only what never left goes to another target: before a
   connection and its token are there, nothing of the body is taken.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from ..errors import UpstreamFailure
from .attempts import Sender, hold_body, is_repeatable
from .call import Call
from .deployment_calls import DeploymentCalls, cause_of, name_deployment, wait_asked
from .deployments.balancer import Failed
from .deployments.deployment import Deployment
from .deployments.file_users import FileUsers
from .deployments.pool import Pool, is_single_ocr, names_files
from .deployments.sticky_tries import StickyTries
from .deployments.tries import Tries
from .prepared import PreparedRequest
from .request_context import RequestContext
from .request_head import RequestHead
from .rewrite import HeaderRewriter, RewriterOf
from .routes import Match
from .upstream.response_head import ResponseHead


class PoolSender:
    """Sends requests to the targets of endpoints. All that it awaits may raise UpstreamFailure, Refusal and ClientGone."""

    def __init__(self, sender: Sender, calls: DeploymentCalls, file_users: FileUsers) -> None:
        """`sender` knows that there are other targets (`has_others`)."""
        self._sender = sender
        self._calls = calls
        self._file_users = file_users
        self._loop = asyncio.get_running_loop()

    async def send(
        self, context: RequestContext, prepared: PreparedRequest, pool: Pool, rewriter_of: RewriterOf
    ) -> tuple[Call, ResponseHead, PreparedRequest]:
        """Send a request; return the call whose response is to be relayed, its head, and the request as it was sent."""
        tries = self._tries(prepared, pool)
        hold_body(context, pool.route.retries, for_token=pool.fetches_tokens)
        deadline = self._deadline(context, pool)
        while True:
            deployment = tries.next()
            sent = prepared_for(prepared, deployment, rewriter_of(deployment.route))
            result = await self._try(context, sent, tries, deployment, deadline)
            if result is not None:
                return result

    def _tries(self, prepared: PreparedRequest, pool: Pool) -> Tries | StickyTries:
        """Return the tries of a request (1); a client that uses files is noted."""
        client = "" if prepared.client is None else prepared.client.name
        if self._is_free(prepared.head, pool, client):
            return Tries(pool.table, pool.group, self._calls.balancer)
        return StickyTries(pool.group, pool.ranked(client), pool.table.routing, self._calls.balancer)

    def _is_free(self, head: RequestHead, pool: Pool, client: str) -> bool:
        """Tell whether a request may go to any target."""
        if pool.sticky is not None:
            return not pool.sticky
        if names_files(head.path):
            self._file_users.note(pool.name, client)
            return False
        return is_single_ocr(head.method, head.path) and not self._file_users.uses(pool.name, client)

    def _deadline(self, context: RequestContext, pool: Pool) -> float | None:
        """Return when the request's total time-out ends (the loop's time), None without one."""
        total_s = pool.route.timeouts.total_s
        return None if total_s is None else self._loop.time() + total_s - (time.monotonic() - context.exchange.began)

    async def _try(
        self,
        context: RequestContext,
        sent: PreparedRequest,
        tries: Tries | StickyTries,
        deployment: Deployment,
        deadline: float | None,
    ) -> tuple[Call, ResponseHead, PreparedRequest] | None:
        """Return the same as `send`, None where another try follows."""
        exchange = context.exchange
        self._calls.enter(exchange, deployment)
        name_deployment(exchange, deployment)
        try:
            # What was sent before is held (else no try would have followed); where nothing was sent, nothing was taken.
            call, response, sent = await self._sender.attempt(context, sent, resends=exchange.bytes_up > 0)
        except UpstreamFailure as failure:
            if await self._calls.goes_on(context, tries, deployment, self._failed(context, failure), deadline):
                return None
            raise
        if response.status < 400:
            self._calls.balancer.succeeded(deployment)
            return call, response, sent
        failed = Failed(response.status, "", wait_asked(response), _may_repeat(context))
        goes_on = await self._calls.goes_on(context, tries, deployment, failed, deadline)
        return None if goes_on else (call, response, sent)

    def _failed(self, context: RequestContext, failure: UpstreamFailure) -> Failed:
        """Return how a try failed that has no response."""
        cause, call = cause_of(context, failure), context.call
        is_stale = cause == "broke" and call is not None and call.stale
        return Failed(0, cause, None, _may_repeat(context), stale=is_stale, reason=failure.why)


def _may_repeat(context: RequestContext) -> bool:
    """Tell whether the request can be sent again: its whole body came and is held, or nothing of it was taken."""
    return context.call is None or is_repeatable(context, context.call)


def prepared_for(prepared: PreparedRequest, deployment: Deployment, rewriter: HeaderRewriter) -> PreparedRequest:
    """Return a request as it goes to one of the endpoint's targets."""
    head, route = prepared.head, deployment.route
    match = Match(route, prepared.match.suffix)
    return replace(
        prepared,
        match=match,
        metered_path=match.metered_path(head.method, head.path),
        request_head=prepared.upstream_head(
            (deployment.id, _digits(head)), lambda: rewriter.request_head(head, match.suffix, deployment.target)
        ),
        secrets=rewriter.secrets,
        token_source=rewriter.token_source,
    )


def _digits(head: RequestHead) -> bytes:
    """Return the digits of Content-Length, as they came: in all else the heads of one PreparedRequest are alike."""
    return next((value for lower, _, value in head.fields if lower == b"content-length"), b"")
