"""The meter of one response: reads its usage from the passing body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from .bodies.batch import BatchFile, BatchJob
from .bodies.document import JsonDocument, Shape, StrictDocument
from .bodies.lines import JsonLines
from .bodies.sse import EventStream
from .buffered import SMALL_BYTES, BufferedMeter, BufferedStrictMeter
from .decode import Chain, chain
from .false_coding import Undecodable
from .pipeline import MeterPipeline, OnProgress, Reader
from .plan import JsonCounts, MeterPlan, ResponseKind, results_path
from .request import AnyRequestMeter, with_request_fields
from .shapes.chat import ChatShape
from .shapes.configured import ConfiguredShape, Documents, before_body
from .shapes.either import EitherShape
from .shapes.ocr import OcrShape
from .shapes.other_unit import OtherUnitShape
from .shapes.values import Fields
from .usage import NOTHING, Unmetered, Usage

MAX_BYTES: Final = 1024**3
"""A response that is larger, decoded, is not read to its end."""

MAX_RESULTS_BYTES: Final = 16 * 1024**3
"""As `MAX_BYTES`, for a batch's results that are coded. Plain ones have no bound: they are read line by line."""

_UNBOUNDED: Final = 2**62
# Constants, because before Python 3.12 an enum's look-up is expensive.
_RESULTS, _JOB, _OCR = ResponseKind.RESULTS, ResponseKind.JOB, ResponseKind.OCR
_STREAMED: Final = (ResponseKind.CHAT, ResponseKind.EITHER, ResponseKind.OTHER_UNIT)  # a tuple: compared without a hash
_CONFIGURED: Final = ResponseKind.CONFIGURED
_NO_USAGE: Final = Unmetered.NO_USAGE

# JSON in each line has no registered type; these are in use.
_JSON_TYPE: Final = re.compile(rb"[^/;]+/(?:(?:[^;]*\+)?json|(?:x-)?(?:ndjson|jsonl|jsonlines))\s*(?:;|\Z)", re.IGNORECASE).match

MAX_LINES_AT_ONCE: Final = 500
"""The most lines of a batch in one call of `passed`."""

TakeLines = Callable[[tuple[Usage, ...]], None]
"""Takes the usages of a batch's lines as they pass, on the event loop; never raises."""


@dataclass(slots=True)  # not frozen: one is made for each response
class ResponseFacts:
    """What is known of a response before its body comes: the request's method and path, the status, and some fields.

    `path` is raw, without the query. Several codings are joined by commas. `length` is the body's on the wire, None if unknown.
    `fields` are all fields of the head: a count that stands there is looked up only where it is needed.
    """

    method: str
    path: bytes
    status: int
    content_encoding: bytes | None = None
    content_type: bytes | None = None
    length: int | None = None
    fields: Fields | None = None

    @property
    def is_small(self) -> bool:
        """Whether the body is plain and so short that it is read in one piece."""
        return self.length is not None and self.length <= SMALL_BYTES and not self.content_encoding


class BodyReader(Reader, Protocol):
    """A pipeline.Reader that finds usages in a response's body."""

    @property
    def recognised(self) -> bool:
        """Whether the body shows that it should have a count."""
        ...

    def end(self) -> Unmetered | None:
        """End the body; return the reason for missing usages, None if none is missing."""
        ...

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage of the whole body; `otherwise` is the reason where no count was complete."""
        ...


class Meter:
    """The meter of one response: fed by the proxy, read by accounting (exchange.UsageSource). Called only on the event loop."""

    __slots__ = ("_body", "_cut", "_ended", "_expected", "_kind", "_may_be_silent", "_pipeline", "_request_meter", "feed")

    feed: Callable[[bytes], bool]
    """Takes the next bytes of the body, as they are on the wire: synchronous, bounded, never raises.

    False: the queue is full; await `drained` before the next chunk.
    """

    def __init__(
        self,
        body: BodyReader,
        pipeline: MeterPipeline,
        kind: ResponseKind,
        *,
        expected: bool,
        may_be_silent: bool = False,
        request_meter: AnyRequestMeter | None,
    ) -> None:
        """`expected`: a usage without a count gives the reason; if False, only where the body shows that it should have one.

        `may_be_silent`: that a whole body reports no usage is no reason. `request_meter` has read the request.
        """
        self._body = body
        self._pipeline = pipeline
        self._kind = kind
        self._expected = expected
        self._may_be_silent = may_be_silent
        self._request_meter = request_meter
        self._ended = False
        self._cut: Unmetered | None = None
        self.feed = pipeline.feed  # without a call of its own

    async def drained(self) -> None:
        """Wait until the queue has space again."""
        await self._pipeline.drained()

    def end(self, cut: Unmetered | None = None) -> None:
        """End the body. `cut` is why the response did not arrive whole, None if it did. Only the first call counts."""
        if not self._ended:
            self._ended, self._cut = True, cut
            self.feed = _ignore

    async def usage(self) -> Usage:
        """Return the usage, once all bytes so far are decoded. Never raises because of the response's bytes.

        A complete count of a document holds, whatever happened to the rest: the provider has said what it bills. Of a stream that
        was cut, the count so far has the reason beside it. A meter without an `end` is BROKEN. The last lines of a batch are
        passed on first.
        """
        await self._pipeline.rest()
        if self._request_meter is not None:
            await self._request_meter.rest()
        return self._found()

    def usage_if_ready(self) -> Usage | None:
        """Return what `usage` would, or None while something is still being decoded."""
        if self._pipeline.busy or (self._request_meter is not None and self._request_meter.busy):
            return None
        return self._found()

    def _found(self) -> Usage:
        why = self._why()
        # `passed` refers to the exchange, which refers to this meter: a cycle that would keep megabytes of decoders alive.
        self._pipeline.report_progress(last=self._ended)
        usage = self._body.usage(why)
        if usage.unmetered is not None and not (self._expected or self._body.recognised):
            return NOTHING
        if usage.unmetered is _NO_USAGE and self._may_be_silent:
            return NOTHING
        return usage if self._request_meter is None else with_request_fields(usage, self._request_meter, self._kind)

    def _why(self) -> Unmetered | None:
        """End the body; return the reason for missing usages. Where reading failed, counts that were complete before hold."""
        if not self._ended:
            return Unmetered.BROKEN
        failure = self._pipeline.failure
        if failure is not None:  # The reader may have stopped anywhere.
            return self._cut or failure
        missing = self._body.end()
        return self._cut or (missing if self._pipeline.decoded else Unmetered.UNKNOWN_CODING)


def _ignore(_chunk: bytes) -> bool:
    """Ignore bytes behind the end."""
    return True


def _pass_lines(body: BatchFile | BatchJob, passed: TakeLines) -> bool:
    """Pass on the usages of complete lines; return whether the body is to be read further."""
    usages = body.take_usages()
    for at in range(0, len(usages), MAX_LINES_AT_ONCE):
        passed(tuple(usages[at : at + MAX_LINES_AT_ONCE]))
    return not body.gave_up


def open_meter(
    plan: MeterPlan,
    response: ResponseFacts,
    decoders: Executor,
    *,
    request_meter: AnyRequestMeter | None = None,
    passed: TakeLines,
    max_bytes: int | None = None,
) -> Meter | BufferedMeter | None:
    """Return the meter for a response, None if it is not read: it is not in the plan, or its status is not 2xx.

    `decoders` decodes off the event loop. `request_meter` has read the request; `passed` takes the lines of a batch. Never
    raises. An unknown coding makes a meter that reads nothing and gives the reason. So does a batch file of which only a range
    came (206), because a client that asks for `bytes=0-` gets all of it.
    """
    kind = plan.reads(response.method, response.path) if 200 <= response.status < 300 else None
    if kind is None:
        return None
    is_batch = kind is _RESULTS or kind is _JOB
    if kind is _CONFIGURED:
        return _open_configured(plan, response, decoders, request_meter, max_bytes or MAX_BYTES)
    is_one = kind is _OCR or not (is_batch or (kind in _STREAMED and is_event_stream(response.content_type)))
    if is_one and response.is_small:
        return BufferedMeter(_shape(kind, plan, response), kind, request_meter=request_meter)
    coding, refusal = _coding(response, max_bytes or (MAX_RESULTS_BYTES if is_batch else MAX_BYTES))
    if refusal is None and is_batch and response.status == 206:
        refusal = Unmetered.NO_USAGE
    expected = refusal is Unmetered.NO_USAGE or not is_batch or plan.expects_count(kind)
    # Where no shape is named, a stream need not report its usage: OpenAI's do so only where the request asks for it.
    may_be_silent = plan.shape == "auto" and not is_batch and not is_one
    body: BodyReader
    on_progress: OnProgress = None
    if is_batch:
        body = results = _results(kind, plan, response, expected=expected)
        on_progress = partial(_pass_lines, results, passed)  # A cycle by way of the exchange, so only for a batch.
    else:
        shape = _shape(kind, plan, response)
        body = JsonDocument(shape) if is_one else EventStream(shape)
    pipeline = MeterPipeline(body, coding, decoders, max_bytes or (_UNBOUNDED if is_batch else MAX_BYTES), on_progress)
    if refusal is not None:
        pipeline.refuse(refusal)
    return Meter(body, pipeline, kind, expected=expected, may_be_silent=may_be_silent, request_meter=request_meter)


def _coding(response: ResponseFacts, max_bytes: int) -> tuple[Chain | None, Unmetered | None]:
    """Return what undoes the coding of a response, up to a bound, and the reason for reading nothing where it is not known."""
    try:
        return chain(response.content_encoding, max_bytes), None
    except Undecodable:
        return None, Unmetered.UNKNOWN_CODING


def _results(kind: ResponseKind, plan: MeterPlan, response: ResponseFacts, *, expected: bool) -> BatchFile | BatchJob:
    """Return the reader of a batch's results; the last segment of the path names the file or the job."""
    *_, above, last = ("", *results_path(response.path).decode("ascii", "backslashreplace").split("/"))
    holder = above if last.lower() == "content" else last
    return BatchJob(holder, plan.model) if kind is _JOB else BatchFile(holder, plan.model, expected=expected)


def is_event_stream(content_type: bytes | None) -> bool:
    """Tell whether a response with this Content-Type is a stream of events."""
    return content_type is not None and content_type.strip().lower().startswith(b"text/event-stream")


def _shape(kind: ResponseKind, plan: MeterPlan, response: ResponseFacts) -> Shape:
    """Return the shape of a response with one usage."""
    if kind is _OCR:
        return OcrShape(plan.model, response.fields, plan.pages_header)
    if kind is ResponseKind.EITHER:
        return EitherShape(plan.model, response.fields, plan.pages_header)
    if kind is ResponseKind.OTHER_UNIT:
        return OtherUnitShape(plan.model)
    return ChatShape(plan.model)


_READERS: Final[Mapping[Documents, Callable[[ConfiguredShape], BodyReader]]] = {
    Documents.ONE: StrictDocument,
    Documents.LINES: JsonLines,
    Documents.EVENTS: EventStream,
}


def _open_configured(
    plan: MeterPlan,
    response: ResponseFacts,
    decoders: Executor,
    request_meter: AnyRequestMeter | None,
    max_bytes: int,
) -> Meter | BufferedMeter:
    """Return the meter of a response whose counts stand where the configuration says."""
    counted = plan.counted or JsonCounts()
    is_stream = is_event_stream(response.content_type)
    documents = Documents.EVENTS if is_stream else Documents.LINES if counted.lines else Documents.ONE
    shape = ConfiguredShape(
        counted,
        plan.model,
        documents=documents,
        path=response.path,
        known=before_body(counted, response.method, response.fields),
        says_json=_JSON_TYPE(response.content_type or b"") is not None,
    )
    if documents is Documents.ONE and response.is_small:
        return BufferedStrictMeter(shape, _CONFIGURED, request_meter=request_meter)
    body = _READERS[documents](shape)
    coding, refusal = _coding(response, max_bytes)
    pipeline = MeterPipeline(body, coding, decoders, max_bytes, None)
    if refusal is not None:
        pipeline.refuse(refusal)
    return Meter(body, pipeline, _CONFIGURED, expected=True, request_meter=request_meter)
