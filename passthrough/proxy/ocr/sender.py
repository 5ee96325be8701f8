"""Phase 4 of an OCR request: finds its model, chooses a deployment, sends the spliced body, and goes on with another one.

1. Read the body until it is routable (`ocr_request`): its model is known, and what its document is, where several accounts or a
   provider that cannot fetch it are in question. Up to 64 KB are read freely; for more, room for the declared length is reserved
   first (`held_bodies`).
2. Find the model's group, and keep the body for further tries where room is free at once (`ocr_request`).
3. Fetch the document, where the deployment cannot: once for all tries.
4. Try: take the deployment's token where it has one, connect, send the head and the body with its splices, await the response's
   head. Where the token is rejected (401), the same once more with another token.
5. Judge: relay the response or failure, or go on with the deployment that `deployments.tries` names next.

A body that is not in hand any more is sent once. Content-Length always goes up: providers take no chunked uploads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from ...credentials.token import Token
from ...errors import Refusal, UpstreamFailure
from ...meter.request import ScannedRequest
from ..attempts import abort_if_failed, blame_total, first_response, give_up, sent_head
from ..call import Call, MeterFactory
from ..deployment_calls import DeploymentCalls, cause_of, name_deployment, wait_asked
from ..deployments.balancer import Failed
from ..deployments.deployment import Deployment
from ..deployments.model_table import ModelTable
from ..deployments.tries import Tries
from ..documents.download import Documents
from ..prepared import PreparedRequest, head_with, secrets_with
from ..request_context import RequestContext
from ..rewrite import HeaderRewriter, RewriterOf
from ..routes import Route
from ..transform.document_source import SourceKind
from ..transform.splices import InlinedDocument, Splices
from ..upstream.connection import Connection
from ..upstream.pool import ConnectionPool
from ..upstream.response_head import ResponseHead
from .form_request import FormFile
from .heads import answered_by, upstream_head
from .held_bodies import HeldBodies
from .held_document import HeldDocument
from .ocr_request import OcrRequest, RequestReader
from .settings import OcrSettings
from .upload import SplicedUpload

_METERED_PATH: Final = b"/v1/ocr"
_URL, _OTHER = SourceKind.URL, SourceKind.OTHER  # before Python 3.12 an enum's look-up is slow


@dataclass(slots=True)
class _Try:
    """One try: where it goes, with which document in its body (None: none need be put there), until when (the loop's time)."""

    deployment: Deployment
    rewriter: HeaderRewriter
    document: HeldDocument | FormFile | None
    deadline: float | None


class OcrSender:
    """Sends OCR requests to deployments. All that it awaits may raise UpstreamFailure, Refusal and ClientGone."""

    def __init__(self, upstream: ConnectionPool, meters: MeterFactory, decoders: Executor, calls: DeploymentCalls) -> None:
        self.balancer = calls.balancer
        self.documents = Documents(OcrSettings().urls, upstream)
        self.held = HeldBodies(OcrSettings().held_bodies_bytes)
        self._reader = RequestReader(OcrSettings(), self.held, upstream.fair, decoders)
        self._upstream = upstream
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._calls = calls

    def adopt(self, settings: OcrSettings, deployments: Iterable[Deployment]) -> None:
        """Put other settings in force; what cools down of these deployments stays so."""
        self._reader.settings = settings
        self.held.resize(settings.held_bodies_bytes)
        self.documents.rules = settings.urls
        self.balancer.keep(deployments)

    async def send(
        self, context: RequestContext, prepared: PreparedRequest, table: ModelTable, rewriter_of: RewriterOf
    ) -> tuple[Call, ResponseHead, PreparedRequest]:
        """Send a request; return the call whose response is to be relayed, its head, and the request as it was prepared."""
        request = self._reader.open(context, prepared, table)
        context.held = request
        if prepared.head.expects_continue and not context.downstream.body.is_eof():
            context.downstream.invite()
        await self._reader.read_routable(request)
        assert request.group is not None
        self._reader.keep_for_tries(request)
        total_s = table.routing.request_timeout_s
        request.deadline = None if total_s is None else self._loop.time() + total_s
        tries = Tries(table, request.group, self.balancer)
        while True:
            deployment = tries.next()
            rewriter = rewriter_of(deployment.route)
            result = await self._try(request, tries, deployment, rewriter)
            if result is not None:
                call, response = result
                if call.request_body.complete:
                    request.close()  # The response may take long; nothing is sent again after its head.
                return call, response, answered_by(prepared, tries, deployment, call.secrets)

    # ── 3. the document ──

    async def _document(self, request: OcrRequest, deployment: Deployment) -> HeldDocument | FormFile | None:
        """Return the document that must stand in the body for this deployment. Raises Refusal."""
        if isinstance(request.document, FormFile):
            return request.document
        source = request.scan.source
        if source is None or not deployment.inlines_documents or source.kind not in (_URL, _OTHER):
            return None
        if source.kind is _OTHER:
            raise Refusal("document_refused", f"For this model {source.why}.")
        if request.document is None:
            document = await self.documents.open(source.url, request.deadline)
            keeps = request.body.is_whole
            request.document = await HeldDocument.of(document, self.held, self._reader.settings.urls.max_bytes, keeps=keeps)
        return request.document

    # ── 4. one try ──

    async def _try(
        self, request: OcrRequest, tries: Tries, deployment: Deployment, rewriter: HeaderRewriter
    ) -> tuple[Call, ResponseHead] | None:
        """Return the call to relay and its response's head, None where another try follows."""
        exchange = request.context.exchange
        self._calls.enter(exchange, deployment)  # Before the document comes: its limits hold for all that wait for theirs.
        try:
            document = await self._document(request, deployment)
        except BaseException:
            self._calls.leave(exchange)  # No try was made.
            raise
        name_deployment(exchange, deployment)
        exchange.attempts += 1
        one = _Try(deployment, rewriter, document, self._try_deadline(request, deployment.route))
        try:
            exchange.leaving()
            call, response = await self._send(request, one)
        except UpstreamFailure as failure:
            _blame_source(request.context, failure)
            cause = cause_of(request.context, failure)
            failed = Failed(0, cause, None, request.is_in_hand, request.names_file, reason=failure.why)
            if await self._calls.goes_on(request.context, tries, deployment, failed, request.deadline):
                return None
            raise
        if response.status < 400:
            self.balancer.succeeded(deployment)
            return call, response
        failed = Failed(response.status, "", wait_asked(response), request.is_in_hand, request.names_file)
        goes_on = await self._calls.goes_on(request.context, tries, deployment, failed, request.deadline)
        return None if goes_on else (call, response)

    def _try_deadline(self, request: OcrRequest, route: Route) -> float | None:
        total_s = route.timeouts.total_s
        own = None if total_s is None else self._loop.time() + total_s
        return min([each for each in (own, request.deadline) if each is not None], default=None)

    def _opening_s(self, one: _Try) -> float | None:
        """Return the seconds that a token or a connection may take."""
        opening_s = one.deployment.route.timeouts.opening_s
        if one.deadline is None:
            return opening_s
        left_s = max(0.0, one.deadline - self._loop.time())
        return left_s if opening_s is None else min(opening_s, left_s)

    async def _connect(self, one: _Try) -> Connection:
        opening_s = self._opening_s(one)
        try:
            return await self._upstream.checkout_or_connect(one.deployment.target, opening_s, "POST")
        except UpstreamFailure as failure:
            blame_total(failure, opening_s, one.deployment.route)
            raise

    async def _send(self, request: OcrRequest, one: _Try) -> tuple[Call, ResponseHead]:
        """Send the request; once more, with another token, where its token is rejected (401) and the body is in hand."""
        source = one.rewriter.token_source
        if source is None:
            return await self._send_once(request, one)
        token = await source.token(self._opening_s(one))
        call, response = await self._send_once(request, one, token)
        if response.status == 401:
            repeatable = request.is_in_hand
            # Where the body is not in hand, nothing is waited for: the renewal has begun, for the requests to come.
            another = await source.after_rejection(token, self._opening_s(one) if repeatable else 0.0)
            if another is not None and repeatable:
                await give_up(request.context)
                request.context.exchange.attempts += 1
                call, response = await self._send_once(request, one, another, token)
        return call, response

    async def _send_once(self, request: OcrRequest, one: _Try, *tokens: Token) -> tuple[Call, ResponseHead]:
        """Send the request once; `tokens` are its own, where it has one, and that with which it was sent before."""
        context, body, scan = request.context, request.body, request.scan
        deployment, rewriter, document, route = one.deployment, one.rewriter, one.document, one.deployment.route
        whole = document is None and request.goes_in_one_piece
        connection = self._upstream.checkout(deployment.target, "POST", probe=not (whole and context.batches))
        if connection is None:
            connection = await self._connect(one)
        if context.steps is not None:
            context.steps.connected(context.exchange, connection)
        inlined = None if document is None else InlinedDocument(document.media_type, document.length)
        assert body.length is not None
        splices = Splices(scan, body.length, deployment.model, deployment.defaults, inlined)
        meter = context.request_meter = ScannedRequest(deployment.model, lambda: scan.annotated)
        upload = SplicedUpload(body, scan, splices, connection, document, meter, route.timeouts.idle_s)
        call = Call(
            context.exchange,
            route,
            deployment.target,
            connection,
            upload,
            self._meters,
            _METERED_PATH,
            secrets_with(rewriter.secrets, *tokens),
        )
        call.end_by(one.deadline)
        context.call = call
        request_head = upstream_head(request.prepared, deployment, rewriter, splices.length)
        if tokens:
            request_head = head_with(tokens[0], request_head)
        if whole:
            upload.send_whole(request_head, batched=context.batches)
            return call, await sent_head(context, call, lambda: self._connect(one))
        connection.write(request_head)
        task = context.upload_task = asyncio.create_task(upload.stream(context.downstream.bypass))
        task.add_done_callback(lambda done: abort_if_failed(done, call))
        return call, await first_response(call, task)


def _blame_source(context: RequestContext, failure: UpstreamFailure) -> None:
    """Raise Refusal where a try ran out of time because the client, or the document's host, was slow."""
    upload = None if context.call is None else context.call.request_body
    if failure.kind.code == "upstream_timeout" and isinstance(upload, SplicedUpload) and (late := upload.late()) is not None:
        raise late from None
