"""Phase 4 of an OCR request: finds its model, chooses a deployment, sends the spliced body, and goes on with another one.

1. Read the body until it is routable: its model is known, and where a deployment in question cannot fetch documents, what its
   document is. Up to 64 KB are read freely; for more, room for the declared length is reserved first (`held_bodies`).
2. Find the model's group, and keep the body for further tries where room is free at once.
3. Fetch the document, where the deployment cannot: once for all tries.
4. Try: connect, send the head and the body with its splices, await the response's head.
5. Judge: relay the response or failure, or go on with the deployment that `deployments.tries` names next.

A body that is not in hand any more is sent once. Content-Length always goes up: providers take no chunked uploads.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from ...errors import Refusal, UpstreamFailure
from ...exchange import NOTHING_READ, Exchange, RouteTerms
from ...meter.request import ScannedRequest
from ..attempts import abort_if_failed, first_response
from ..auth import ClientKey
from ..call import Call, MeterFactory
from ..deployments.balancer import Balancer, Failed
from ..deployments.deployment import Deployment, ModelGroup
from ..deployments.model_table import ModelTable
from ..deployments.tries import Tries
from ..documents.download import Documents
from ..headers import Field
from ..prepared import PreparedRequest
from ..request_context import RequestContext
from ..request_head import RequestHead
from ..retry_wait import retry_after_s
from ..rewrite import HeaderRewriter
from ..routes import Route, Serves
from ..transform.document_source import SourceKind
from ..transform.inflate import open_inflater
from ..transform.multipart import Multipart, boundary_of, is_form
from ..transform.request_scan import RequestScan
from ..transform.splices import InlinedDocument, Splices
from ..upstream.connection import Connection
from ..upstream.pool import ConnectionPool
from ..upstream.response_head import ResponseHead
from .client_body import ClientBody
from .form_request import FormFile, request_of
from .held_bodies import HeldBodies, Room
from .held_document import HeldDocument
from .settings import OcrSettings
from .upload import SplicedUpload

FREE_BYTES: Final = 64 * 1024
"""How much of each body is read without room."""

_SMALL_BYTES: Final = 1_000_000
"""A body up to this size is kept for further tries at a lone deployment; larger ones only where there is another to go to."""

_METERED_PATH: Final = b"/v1/ocr"
_DESCRIBES: Final = frozenset(
    {b"content-length", b"content-encoding", b"transfer-encoding", b"content-type", b"content-md5", b"content-digest"}
)
_UNSHOWN: Final = re.compile("[^ -~]")
_JSON: Final = (b"content-type", b"Content-Type", b"application/json")
_OCR, _PREDICTION = Serves.OCR, Serves.PREDICTION  # before Python 3.12 an enum's look-up is slow
_URL, _FILE, _OTHER = SourceKind.URL, SourceKind.FILE, SourceKind.OTHER


RewriterOf = Callable[[Route], HeaderRewriter]
"""Returns the header rewriter of a deployment's route."""


@dataclass(slots=True)
class OcrRequest:
    """One OCR request while it is served; `close` gives back all that it holds."""

    context: RequestContext
    prepared: PreparedRequest
    table: ModelTable
    scan: RequestScan
    body: ClientBody
    form: Multipart | None
    model: str | None
    deadline: float | None = None
    group: ModelGroup | None = None
    room: Room | None = None
    document: HeldDocument | FormFile | None = None

    def close(self) -> None:
        """Drop the body and the document, and give their room back. Idempotent."""
        self.body.close()
        if self.document is not None:
            self.document.close()
        if self.room is not None:
            self.room.release()
            self.room = None

    @property
    def is_in_hand(self) -> bool:
        """Whether all that has come of the body, and of the document, can be sent again."""
        return self.body.is_whole and (self.document is None or self.document.repeatable)


class OcrSender:
    """Sends OCR requests to deployments. All that it awaits may raise UpstreamFailure, Refusal and ClientGone."""

    def __init__(self, upstream: ConnectionPool, meters: MeterFactory, decoders: Executor) -> None:
        self.balancer = Balancer(asyncio.get_running_loop().time, random.random)
        self.documents = Documents(OcrSettings().urls, upstream)
        self.held = HeldBodies(OcrSettings().held_bodies_bytes)
        self._settings = OcrSettings()
        self._upstream = upstream
        self._meters = meters
        self._decoders = decoders
        self._loop = asyncio.get_running_loop()
        self._entered: dict[str, Deployment] = {}

    def adopt(self, settings: OcrSettings, table: ModelTable | None) -> None:
        """Put other settings in force; what cools down stays so."""
        self._settings = settings
        self.held.resize(settings.held_bodies_bytes)
        self.documents.rules = settings.urls
        self.balancer.keep(() if table is None else table.deployments)

    def leave(self, exchange: Exchange) -> None:
        """End the last call of an exchange that has ended, settled calls too."""
        deployment = self._entered.pop(exchange.id, None)
        if deployment is not None:
            self.balancer.leave(deployment)

    async def send(
        self, context: RequestContext, prepared: PreparedRequest, table: ModelTable, rewriter_of: RewriterOf
    ) -> tuple[Call, ResponseHead, PreparedRequest]:
        """Send a request; return the call whose response is to be relayed, its head, and the request as it was prepared."""
        request = self._opened(context, prepared, table)
        context.held = request
        if prepared.head.expects_continue and not context.downstream.body.is_eof():
            context.downstream.invite()
        await self._read_routable(request)
        assert request.group is not None
        self._keep_for_tries(request)
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
                return call, response, _answered(request, tries, deployment, rewriter)

    # ── 1. the body, until it is routable ──

    def _opened(self, context: RequestContext, prepared: PreparedRequest, table: ModelTable) -> OcrRequest:
        head, route = prepared.head, prepared.match.route
        content_type, coding = b"", b""
        for lower, _, value in head.fields:
            if lower == b"content-type":
                content_type = content_type or value
            elif lower == b"content-encoding":
                coding = coding + b"," + value if coding else value
        form = (
            Multipart(boundary_of(content_type)) if content_type[:10].lower() == b"multipart/" and is_form(content_type) else None
        )
        scan = RequestScan(table.default_names, needs_model=route.serves is _OCR or form is not None)
        inflater = open_inflater(coding, self._decoders, self._settings.held_body_bytes) if coding else None
        body = ClientBody(context.exchange, head, route, context.downstream.body, form or scan, self._upstream.fair, inflater)
        return OcrRequest(context, prepared, table, scan, body, form, _model_of_path(prepared))

    async def _read_routable(self, request: OcrRequest) -> None:
        """Read until the deployment can be chosen; a body of unknown length is read whole."""
        body = request.body
        while not self._is_routable(request):
            if body.kept_bytes >= FREE_BYTES and request.room is None:
                await self._reserve(request)
            if not await body.read():
                break
            if body.kept_bytes > self._settings.held_body_bytes:
                raise self._too_large()
        if request.form is not None:
            _read_form(request, request.form)
        self._find_group(request)
        if request.room is not None and request.form is None and body.length is not None:
            request.room.shrink(body.length)

    def _is_routable(self, request: OcrRequest) -> bool:
        scan = request.scan
        if request.form is not None or not scan.model_known:
            return False
        group = self._find_group(request)
        if request.body.length is None:
            return False
        if scan.source_known:
            return True
        others = _in_question(request.table, group)
        # With several accounts it matters whether the document is one account's file.
        return len(others) == 1 and not others[0].inlines_documents

    def _find_group(self, request: OcrRequest) -> ModelGroup:
        """Return the model's group. Raises Refusal (unknown_model, model_forbidden)."""
        if request.group is None:
            model = request.scan.model if request.scan.model is not None else request.model
            assert model is not None  # Else the scan has refused the body.
            client: ClientKey | None = request.prepared.client
            request.group = request.table.group(model, None if client is None else client.models)
            # Of a wildcard its name in the file: what clients send instead has no bounds.
            request.context.exchange.model_group = request.group.deployments[0].group
        return request.group

    async def _reserve(self, request: OcrRequest) -> None:
        """Reserve room for the whole body. Raises Refusal (body_too_large, overloaded)."""
        size = self._settings.held_body_bytes
        if request.body.is_plain:
            size = request.prepared.head.length or 0
            if size > self._settings.held_body_bytes:
                raise self._too_large()
        try:
            request.room = await self.held.reserve(size, request.prepared.match.route.timeouts.idle_s)
        except TimeoutError:
            what = "Other bodies that must be held take all the room."
            hint = "Send 'model' before the document, then the body is not held; or raise 'ocr: {held_bodies: …}'."
            raise Refusal("overloaded", what, hint=hint, retry_after_s=1, closes=True) from None

    def _too_large(self) -> Refusal:
        what = f"A body is held up to {self._settings.held_body_bytes} bytes until its model is known."
        hint = "Send 'model' before the document, or raise 'ocr: {held_body: …}'."
        return Refusal("body_too_large", what, hint=hint, closes=True)

    # ── 2. what is kept for further tries ──

    def _keep_for_tries(self, request: OcrRequest) -> None:
        """Keep the body where another try is possible and room is free at once; else it passes once."""
        body, length = request.body, request.body.length
        assert length is not None
        if body.ended or length <= FREE_BYTES:
            return
        others = _in_question(request.table, request.group)
        has_others = len(others) > 1 or request.table.routing.num_retries or others[0].num_retries
        if length <= self._settings.held_body_bytes and (has_others or length <= _SMALL_BYTES):
            request.room = request.room or self.held.take_at_once(length)
            if request.room is not None:
                return
        body.drop()
        if request.room is not None:
            request.room.shrink(body.kept_bytes)  # What is still to come is not held.

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
            request.document = await HeldDocument.of(document, self.held, self._settings.urls.max_bytes, keeps=keeps)
        return request.document

    # ── 4. one try ──

    def _enter(self, exchange: Exchange, deployment: Deployment) -> None:
        """Count a try that begins, and say on the exchange where it goes."""
        exchange.terms = _terms(deployment)
        exchange.target, exchange.sandbox = deployment.target.name, deployment.target.name == "sandbox"
        exchange.deployment = deployment.id
        exchange.attempts += 1

    async def _try(
        self, request: OcrRequest, tries: Tries, deployment: Deployment, rewriter: HeaderRewriter
    ) -> tuple[Call, ResponseHead] | None:
        """Return the call to relay and its response's head, None where another try follows."""
        exchange = request.context.exchange
        self.balancer.enter(deployment)  # Before the document comes: its limits hold for all that wait for theirs.
        self._entered[exchange.id] = deployment
        try:
            document = await self._document(request, deployment)
        except BaseException:
            self.leave(exchange)  # No try was made.
            raise
        self._enter(exchange, deployment)
        deadline = self._try_deadline(request, deployment.route)
        call: Call | None = None
        try:
            connection = await self._connect(exchange, deployment, deadline)
            call, response = await self._send_once(request, deployment, rewriter, connection, document, deadline)
        except UpstreamFailure as failure:
            _blame_source(request.context, failure)
            cause = "connect" if call is None and request.context.call is None else _cause(failure)
            failed = Failed(0, cause, None, request.is_in_hand, _names_file(request))
            if await self._goes_on(request, tries, deployment, failed):
                return None
            raise _without_address(failure, deployment) from None
        if response.status < 400:
            self.balancer.succeeded(deployment)
            return call, response
        wait_s = retry_after_s(response.values.get(b"retry-after", ()), time.time())
        failed = Failed(response.status, "", wait_s, request.is_in_hand, _names_file(request))
        return None if await self._goes_on(request, tries, deployment, failed) else (call, response)

    def _try_deadline(self, request: OcrRequest, route: Route) -> float | None:
        total_s = route.timeouts.total_s
        own = None if total_s is None else self._loop.time() + total_s
        return min([each for each in (own, request.deadline) if each is not None], default=None)

    async def _connect(self, exchange: Exchange, deployment: Deployment, deadline: float | None) -> Connection:
        exchange.leaving()
        connect_s = deployment.route.timeouts.opening_s
        if deadline is not None:
            left_s = max(0.0, deadline - self._loop.time())
            connect_s = left_s if connect_s is None else min(connect_s, left_s)
        return await self._upstream.checkout_or_connect(deployment.target, connect_s, "POST")

    async def _send_once(
        self,
        request: OcrRequest,
        deployment: Deployment,
        rewriter: HeaderRewriter,
        connection: Connection,
        document: HeldDocument | FormFile | None,
        deadline: float | None,
    ) -> tuple[Call, ResponseHead]:
        context, body, scan, route = request.context, request.body, request.scan, deployment.route
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
            rewriter.secrets,
        )
        call.end_by(deadline)
        context.call = call
        request_head = rewriter.request_head(_head(request.prepared.head, splices.length), b"", deployment.target)
        if body.ended and document is None and body.is_whole and splices.length <= FREE_BYTES:
            upload.send_whole(request_head)
            return call, await call.response_head()
        connection.write(request_head)
        task = context.upload_task = asyncio.create_task(upload.stream(context.downstream.bypass))
        task.add_done_callback(lambda done: abort_if_failed(done, call))
        return call, await first_response(call, task)

    # ── 5. what follows ──

    async def _goes_on(self, request: OcrRequest, tries: Tries, deployment: Deployment, failed: Failed) -> bool:
        """Judge a failed try; True: it was given up, and another one follows now."""
        context = request.context
        exchange = context.exchange
        if isinstance(_failure_of(context.upload_task), Refusal):
            return False  # The client's body, or the document, has failed: the deployment has not.
        verdict = tries.judge(failed)
        exchange.why = f"{deployment.id}: {failed.outcome}"
        if verdict.lacks_body:
            exchange.why += "; the body was not held"
        if not verdict.goes_on or (request.deadline is not None and self._loop.time() + verdict.after_s >= request.deadline):
            return False
        await self._give_up(context)
        if verdict.after_s:
            await asyncio.sleep(verdict.after_s)
        return True

    async def _give_up(self, context: RequestContext) -> None:
        """End a try whose response is not relayed: its upload, its connection, and what it was metered by."""
        task, call = context.upload_task, context.call
        context.upload_task = context.call = None
        if call is not None:
            call.connection.abort()  # Before the wait, in which the client may leave.
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        exchange = context.exchange
        exchange.usage_source, exchange.went_up = NOTHING_READ, False
        self.leave(exchange)


def _read_form(request: OcrRequest, form: Multipart) -> None:
    """Let the JSON that a form stands for be the request's body. Raises Refusal."""
    body = request.body
    text, request.document = request_of(form.parts, list(body.kept))
    request.scan.feed(text)
    request.scan.end()
    if request.room is not None:
        request.room.shrink(body.kept_bytes)
    body.replace_whole(text)


def _terms(deployment: Deployment) -> RouteTerms:
    """Return what accounting goes by; a wildcard's deployment is priced by the model that it stands for."""
    terms = deployment.route.terms
    price = terms.deployment_price
    if price is None or "*" not in price.model:
        return terms
    provider = price.model.partition("/")[0]
    return replace(terms, deployment_price=replace(price, model=f"{provider}/{deployment.model}"))


def _in_question(table: ModelTable, group: ModelGroup | None) -> list[Deployment]:
    """Return all deployments that may serve a request: the group's, and its fallbacks'."""
    assert group is not None
    return [each for one in (group, *table.fallbacks(group)) for each in one.deployments]


def _model_of_path(prepared: PreparedRequest) -> str | None:
    """Return the model that the path of a prediction names. Raises Refusal (no_route)."""
    if prepared.match.route.serves is not _PREDICTION:
        return None
    parts = prepared.match.suffix.split(b"/")
    # /{project}/locations/{location}/publishers/mistralai/models/{model}:rawPredict
    if len(parts) != 8 or (parts[2], parts[4], parts[5], parts[6]) != (b"locations", b"publishers", b"mistralai", b"models"):
        raise Refusal("no_route", "No route has this path.")
    model, _, verb = parts[7].rpartition(b":")
    if verb != b"rawPredict" or not model:
        raise Refusal("no_route", "No route has this path.")
    return unquote(model.decode("ascii"))


def _failure_of(task: asyncio.Task[None] | None) -> BaseException | None:
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def _without_address(failure: UpstreamFailure, deployment: Deployment) -> UpstreamFailure:
    """Return the failure with the deployment's id in the place of its address, which clients need not know."""
    message = failure.message.replace(deployment.target.name, f"deployment {deployment.id}")
    return UpstreamFailure(failure.kind.code, message, hint=failure.hint)


def _blame_source(context: RequestContext, failure: UpstreamFailure) -> None:
    """Raise Refusal where a try ran out of time because the client, or the document's host, was slow."""
    upload = None if context.call is None else context.call.request_body
    if _cause(failure) == "timeout" and isinstance(upload, SplicedUpload) and (late := upload.late()) is not None:
        raise late from None


def _names_file(request: OcrRequest) -> bool:
    return request.scan.source is not None and request.scan.source.kind is _FILE


def _cause(failure: UpstreamFailure) -> str:
    return "timeout" if failure.kind.code == "upstream_timeout" else "broke"


def _head(head: RequestHead, length: int) -> RequestHead:
    """Return the head of a request whose body is JSON of this length, in no coding; without the client's query."""
    kept: list[Field] = [each for each in head.fields if each[0] not in _DESCRIBES]
    own = (_JSON, (b"content-length", b"Content-Length", b"%d" % length))
    return RequestHead("POST", head.path, None, (*kept, *own), head.nominated - _DESCRIBES, False, True, length, False, False)


def _shown(name: str) -> bytes:
    """Return a name as a field's value: a wildcard's is the client's, and may hold what ends a line."""
    return _UNSHOWN.sub("?", name).encode()


def _answered(request: OcrRequest, tries: Tries, deployment: Deployment, rewriter: HeaderRewriter) -> PreparedRequest:
    """Return the prepared request with what its response needs: the secrets that went up, and who answered."""
    name, old = _shown(deployment.id), request.prepared
    lines = (
        b"x-litellm-model-id: " + name,
        b"x-litellm-model-group: " + _shown(tries.group.name),
        b"x-litellm-attempted-retries: %d" % tries.retries,
        b"x-litellm-attempted-fallbacks: %d" % tries.fallbacks,
        b"X-Passthrough-Deployment: " + name,
    )
    return PreparedRequest(
        old.logged_path,
        old.head,
        old.match,
        old.metered_path,
        old.client,
        old.label,
        old.labels,
        old.request_head,
        rewriter.secrets,
        old.cors_headers,
        lines,
    )
