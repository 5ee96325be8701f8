"""One OCR request while it is served: its body, read until a deployment can be chosen, and kept where another try may need it."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ...errors import Refusal
from ..auth import ClientKey
from ..deployments.deployment import Deployment, ModelGroup
from ..deployments.model_table import ModelTable
from ..net.fair_queue import FairQueue
from ..prepared import PreparedRequest
from ..request_context import RequestContext
from ..routes import Serves
from ..transform.document_source import SourceKind
from ..transform.inflate import open_inflater
from ..transform.multipart import Multipart, boundary_of, is_form
from ..transform.request_scan import RequestScan
from .client_body import ClientBody
from .form_request import FormFile, request_of
from .held_bodies import HeldBodies, Room
from .held_document import HeldDocument
from .settings import OcrSettings

FREE_BYTES: Final = 64 * 1024
"""How much of each body is read without room."""

_SMALL_BYTES: Final = 1_000_000
"""A body up to this size is kept for further tries at a lone deployment; larger ones only where there is another to go to."""

_OCR, _PREDICTION = Serves.OCR, Serves.PREDICTION  # before Python 3.12 an enum's look-up is slow
_FILE: Final = SourceKind.FILE


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

    @property
    def goes_in_one_piece(self) -> bool:
        """Whether the whole body is in hand, and short."""
        body = self.body
        return body.ended and body.is_whole and body.kept_bytes <= FREE_BYTES

    @property
    def names_file(self) -> bool:
        """Whether the document is a file at one of the accounts."""
        return self.scan.source is not None and self.scan.source.kind is _FILE


class RequestReader:
    """Reads requests by the settings in force. All that it awaits may raise Refusal and ClientGone."""

    def __init__(self, settings: OcrSettings, held: HeldBodies, fair: FairQueue, decoders: Executor) -> None:
        """`settings` may be replaced at any time: a request under way goes by the new ones."""
        self.settings = settings
        self._held = held
        self._fair = fair
        self._decoders = decoders

    def open(self, context: RequestContext, prepared: PreparedRequest, table: ModelTable) -> OcrRequest:
        """Return a request of which nothing has been read. Raises Refusal (no_route, bad_request)."""
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
        inflater = open_inflater(coding, self._decoders, self.settings.held_body_bytes) if coding else None
        body = ClientBody(context.exchange, head, route, context.downstream.body, form or scan, self._fair, inflater)
        return OcrRequest(context, prepared, table, scan, body, form, _model_of_path(prepared))

    async def read_routable(self, request: OcrRequest) -> None:
        """Read until the deployment can be chosen; a body of unknown length is read whole."""
        body = request.body
        while not self._is_routable(request):
            if body.kept_bytes >= FREE_BYTES and request.room is None:
                await self._reserve(request)
            if not await body.read():
                break
            if body.kept_bytes > self.settings.held_body_bytes:
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
        others = in_question(request.table, group)
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
        size = self.settings.held_body_bytes
        if request.body.is_plain:
            size = request.prepared.head.length or 0
            if size > self.settings.held_body_bytes:
                raise self._too_large()
        try:
            request.room = await self._held.reserve(size, request.prepared.match.route.timeouts.idle_s)
        except TimeoutError:
            what = "Other bodies that must be held take all the room."
            hint = "Send 'model' before the document, then the body is not held; or raise 'ocr: {held_bodies: …}'."
            raise Refusal("overloaded", what, hint=hint, retry_after_s=1, closes=True) from None

    def _too_large(self) -> Refusal:
        what = f"A body is held up to {self.settings.held_body_bytes} bytes until its model is known."
        hint = "Send 'model' before the document, or raise 'ocr: {held_body: …}'."
        return Refusal("body_too_large", what, hint=hint, closes=True)

    def keep_for_tries(self, request: OcrRequest) -> None:
        """Keep the body where another try is possible and room is free at once; else it passes once."""
        body, length = request.body, request.body.length
        assert length is not None
        if body.ended or length <= FREE_BYTES:
            return
        others = in_question(request.table, request.group)
        has_others = len(others) > 1 or request.table.routing.num_retries or others[0].num_retries
        if length <= self.settings.held_body_bytes and (has_others or length <= _SMALL_BYTES):
            request.room = request.room or self._held.take_at_once(length)
            if request.room is not None:
                return
        body.drop()
        if request.room is not None:
            request.room.shrink(body.kept_bytes)  # What is still to come is not held.


def _read_form(request: OcrRequest, form: Multipart) -> None:
    """Let the JSON that a form stands for be the request's body. Raises Refusal."""
    body = request.body
    text, request.document = request_of(form.parts, list(body.kept))
    request.scan.feed(text)
    request.scan.end()
    if request.room is not None:
        request.room.shrink(body.kept_bytes)
    body.replace_whole(text)


def in_question(table: ModelTable, group: ModelGroup | None) -> list[Deployment]:
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
