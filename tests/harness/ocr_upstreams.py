"""Local OCR providers that speak as Mistral, Azure AI Foundry and Vertex do, record all that came, and misbehave on order.

Each takes its provider's exact path and credential, wants a Content-Length and JSON that a strict parser takes, and answers with
the pages of the PDF that came. Azure and Vertex take documents in the body only: one that is named by a URL is refused there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final, NoReturn

import pypdfium2

from tests.harness.ports import free_port
from tests.harness.upstream import Peer, RawUpstream, Received, ok

MISTRAL: Final = "mistral"
AZURE: Final = "azure_ai"
VERTEX: Final = "vertex_ai"

_PATHS: Final = {
    MISTRAL: re.compile(r"/v1/ocr"),
    AZURE: re.compile(r"/providers/mistral/azure/ocr(\?api-version=[0-9a-z-]+)?"),
    VERTEX: re.compile(r"/v1/projects/([^/]+)/locations/([^/]+)/publishers/mistralai/models/([^/:]+):rawPredict"),
}
_REASONS: Final = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
_CHOICES: Final = ("document_url", "image_url", "file_id")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a provider treats one request; by default as the request deserves.

    `status`, with `fields` and `body`, is what it answers whatever came. `early`: it answers as soon as it has the head, and
    closes the connection at the end of the body. `until`: it answers once that is set. `reset`: it breaks the connection off
    instead of answering; `cut`: in the middle of its response.
    """

    status: int | None = None
    fields: tuple[bytes, ...] = ()
    body: bytes | None = None
    early: bool = False
    until: asyncio.Event | None = None
    reset: bool = False
    cut: bool = False


WELL: Final = Behaviour()
UNAVAILABLE: Final = Behaviour(503, body=b"upstream connect error or disconnect/reset before headers")
RESETS: Final = Behaviour(reset=True)

Mood = Callable[[], Behaviour]
"""Says how the next request is treated; called once for each, when its head has come."""


def always(behaviour: Behaviour) -> Mood:
    """Treat every request alike."""
    return lambda: behaviour


def throttled(retry_after: str | None = None) -> Behaviour:
    """Return the behaviour of one that is asked too often; without Retry-After where none is given."""
    return Behaviour(429, () if retry_after is None else (b"Retry-After: " + retry_after.encode(),))


def at_random(behaviour: Behaviour, chance: float, random: Random) -> Mood:
    """Treat each request so with that chance, else well."""
    return lambda: behaviour if random.random() < chance else WELL


def in_turn(*behaviours: Behaviour) -> Mood:
    """Treat the first requests so, each by one of them, and all others well."""
    left = list(behaviours)
    return lambda: left.pop(0) if left else WELL


@dataclass(frozen=True, slots=True)
class OcrCall:
    """One request that came whole: `status` is what was answered, None where nothing was; `pages` are those of the answer."""

    received: Received
    status: int | None
    pages: int = 0

    @property
    def body(self) -> Any:
        """The JSON value of the body."""
        return json.loads(self.received.body)


@dataclass(slots=True)
class OcrUpstream:
    """One local provider. `pages` are those of documents that are no PDF or that it would fetch by their URLs.

    `answer_fields` are in each of its 200. `mood` may be changed while it runs. `admits`, instead of `key`, judges the value of
    the one Authorization that comes.
    """

    provider: str = MISTRAL
    key: str = "provider-key"
    pages: int = 1
    mood: Mood = lambda: WELL
    admits: Callable[[bytes], bool] | None = None
    answer_fields: tuple[bytes, ...] = (b"x-request-id: upstream-1",)
    calls: list[OcrCall] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    _raw: RawUpstream = field(init=False)
    _is_open: bool = False
    _idle: dict[int, Peer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._raw = RawUpstream(self._serve)

    @property
    def url(self) -> str:
        """What `api_base` says."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections it was asked for."""
        return self._raw.connections

    @property
    def answered(self) -> list[OcrCall]:
        """The calls that were answered by 200."""
        return [call for call in self.calls if call.status == 200]

    @property
    def pages_answered(self) -> int:
        """All pages that its answers of 200 name."""
        return sum(call.pages for call in self.answered)

    async def open(self) -> None:
        """Listen; also again, on the same port."""
        self._is_open = True
        await self._raw.start(self.port)

    def refuse(self) -> None:
        """Refuse connections until `open`. Idle ones are closed, those with a request once that is answered."""
        self._is_open = False
        self._raw.stop()
        for peer in self._idle.values():
            peer.writer.close()
        self._idle.clear()

    async def close(self) -> None:
        """End, and raise what was wrong with the heads and the framing of requests."""
        await self._raw.close()

    async def _serve(self, peer: Peer) -> None:
        while self._is_open:
            self._idle[peer.number] = peer
            line, fields, raw = await peer.head()
            self._idle.pop(peer.number, None)
            behaviour = self.mood()
            if behaviour.early:
                await peer.send(_response(behaviour, b"Connection: close"))
            received = await self._body(peer, line, fields, raw)
            if behaviour.until is not None:
                await behaviour.until.wait()
            if behaviour.reset:
                self.calls.append(OcrCall(received, None))
                peer.reset()
                return
            await self._answer(peer, received, behaviour)
            if behaviour.early or behaviour.cut:
                return

    async def _body(self, peer: Peer, line: bytes, fields: list[tuple[bytes, bytes]], raw: bytes) -> Received:
        length = {key.lower(): value for key, value in fields}.get(b"content-length")
        try:
            body = await peer.chunks() if length is None else await peer.reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._raw.broken.append(getattr(error, "partial", b""))
            raise EOFError from None
        return Received(line, fields, body, peer.number, raw)

    async def _answer(self, peer: Peer, received: Received, behaviour: Behaviour) -> None:
        if behaviour.status is not None:
            self.calls.append(OcrCall(received, behaviour.status))
            if not behaviour.early:
                await peer.send(_response(behaviour))
            return
        pages = 0
        try:
            answer = self._read(received)
            status, pages = 200, int(answer["usage_info"]["pages_processed"])
        except _Refused as refused:
            status, answer = refused.status, refused.answer
        self.calls.append(OcrCall(received, status, pages))
        fields = (b"Content-Type: application/json", *(self.answer_fields if status == 200 else ()))
        whole = ok(json.dumps(answer).encode(), *fields, status=_REASONS[status])
        if behaviour.cut:
            await peer.send(whole[: -len(whole) // 4])
            peer.reset()
            return
        await peer.send(whole)

    def _read(self, received: Received) -> dict[str, Any]:
        """Return the answer that a request deserves. Raises _Refused."""
        method, target, _ = received.line.decode().split(" ")
        path = _PATHS[self.provider].fullmatch(target)
        if path is None or method != "POST":
            raise _Refused(404, {"detail": "Not Found"})
        if not self._admits(received):
            raise _Refused(401, {"detail": "Unauthorized"})
        if not received.values(b"content-length"):
            raise _Refused(411, {"detail": "A request body needs a Content-Length."})
        body = _parsed(received)
        named = path[3] if self.provider == VERTEX else body.get("model")
        if not isinstance(named, str):
            raise _Refused(422, {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required"}]})
        kind, source = _source(body)
        is_inline = kind != "file_id" and source[:5].lower() == "data:"
        if self.provider != MISTRAL and not is_inline:
            said = json.dumps({"detail": "Only documents as base64 data URIs are supported."})
            raise _Refused(422, {"error": {"code": "invalid_input", "message": said, "status": 422}})
        document = _document(source) if is_inline else b""
        pages = _pages_of(document) or self.pages
        shown: list[dict[str, Any]] = [
            {"index": page, "markdown": f"# Page {page}", "images": [], "dimensions": None} for page in range(pages)
        ]
        usage = {"pages_processed": pages, "doc_size_bytes": len(document) or None}
        return {"pages": shown, "model": named, "document_annotation": None, "usage_info": usage}

    def _admits(self, received: Received) -> bool:
        """Tell whether the one credential is the provider's key, in a form that it takes."""
        key = self.key.encode()
        offered = [(name, value) for name in (b"authorization", b"api-key", b"x-api-key") for value in received.values(name)]
        if self.admits is not None:
            return [b"authorization"] == [name for name, _ in offered] and self.admits(offered[0][1])
        bearer = [(b"authorization", b"Bearer " + key)]
        azure = [[(b"authorization", key)], [(b"api-key", key)]] if self.provider == AZURE else []
        return offered in [bearer, *azure]


class _Refused(Exception):
    """A request that the provider answers by an error."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.answer = answer


@asynccontextmanager
async def ocr_upstreams(*providers: OcrUpstream) -> AsyncIterator[None]:
    """Run local providers."""
    async with AsyncExitStack() as stack:
        for each in providers:
            await each.open()
            stack.push_async_callback(each.close)
        yield


def data_uri(document: bytes, media_type: str = "application/pdf") -> str:
    """Return a document as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(document).decode()}"


def _response(behaviour: Behaviour, *more: bytes) -> bytes:
    assert behaviour.status is not None
    said = behaviour.body
    if said is None:
        said = json.dumps({"object": "error", "message": "so it was ordered", "raw_status_code": behaviour.status}).encode()
    return ok(said, b"Content-Type: application/json", *behaviour.fields, *more, status=_REASONS[behaviour.status])


def _parsed(received: Received) -> dict[str, Any]:
    if received.values(b"content-encoding") or not received.values(b"content-type"):
        raise _Refused(400, {"detail": "There was an error parsing the body"})
    try:
        body = json.loads(received.body.decode("utf-8"), parse_constant=_no_constant)
    except ValueError as wrong:
        raise _Refused(422, {"detail": [{"type": "json_invalid", "loc": ["body"], "msg": str(wrong)}]}) from None
    if not isinstance(body, dict):
        raise _Refused(422, {"detail": [{"type": "model_attributes_type", "loc": ["body"], "msg": "not an object"}]})
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _source(body: dict[str, Any]) -> tuple[str, str]:
    """Return the kind and the text of where the document is."""
    document = body.get("document")
    found = [key for key in _CHOICES if isinstance(document, dict) and key in document]
    value = document[found[0]] if found and isinstance(document, dict) else None
    if isinstance(value, dict):  # the long form of an image: {"url": …}
        value = value.get("url")
    if len(found) != 1 or not isinstance(value, str):
        raise _Refused(422, {"detail": [{"type": "missing", "loc": ["body", "document"], "msg": "Field required"}]})
    return found[0], value


def _document(uri: str) -> bytes:
    head, _, content = uri.partition(",")
    try:
        assert head.endswith(";base64")
        return base64.b64decode(content, validate=True)
    except (AssertionError, binascii.Error):
        raise _Refused(400, {"object": "error", "message": "The data URI is not valid base64.", "code": "3310"}) from None


def _pages_of(document: bytes) -> int:
    """Return how many pages a PDF has, 0 where it is none."""
    try:
        opened = pypdfium2.PdfDocument(document)
    except pypdfium2.PdfiumError:
        return 0
    try:
        return len(opened)
    finally:
        opened.close()
