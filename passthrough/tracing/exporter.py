"""The door to OpenTelemetry's SDK: entries become spans of the SDK, and its exporter encodes and posts them.

Imported by the thread that exports: the libraries come with the extra `otel`, and take a third of a second to import.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Final, overload

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .. import __version__
from ..accounting.entry import Entry
from .attributes import SpanText
from .collector_session import CollectorSession
from .parent import Parent, parent_of
from .sampling import is_sampled
from .settings import TracingSettings

_NANO: Final = 10**9
_AT_ONCE: Final = 8  # spans: half a millisecond of Python
_PAUSE_S: Final = 0.0002
_SCOPE: Final = InstrumentationScope("passthrough", __version__)
_COMPRESSIONS: Final = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_LEVEL_OF_NONE: Final = logging.CRITICAL + 1
_UNSET, _ERROR = Status(StatusCode.UNSET), StatusCode.ERROR


class Exporter:
    """Exports batches of entries as spans; `trouble` says what went wrong with the last one. Belongs to one thread."""

    def __init__(self, settings: TracingSettings, text: SpanText) -> None:
        """Raises OSError where a certificate or a key of the settings cannot be used."""
        # The SDK's own messages would come with each batch, and one of them holds the headers.
        logging.getLogger("opentelemetry").setLevel(_LEVEL_OF_NONE)
        self._settings = settings
        self._text = text
        self._session = CollectorSession(settings)
        self._resource = Resource.create({**settings.resource, **_instance(settings)})
        self._exporter = OTLPSpanExporter(
            endpoint=settings.endpoint.reveal(),
            headers={name: value.reveal() for name, value in settings.headers.items()},
            timeout=settings.timeout_s,
            compression=_COMPRESSIONS[settings.compression],
            session=self._session,
        )

    @property
    def trouble(self) -> str | None:
        """What went wrong with the last batch, without the collector's address; None where all of it was taken."""
        return self._session.trouble

    def export(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """Export those entries that are sampled; return how many spans were taken, and how many were not."""
        spans = _Spans([(entry, parent) for entry in entries for parent in self._sampled(entry)], self._span)
        if not spans:
            return 0, 0
        session = self._session
        session.trouble, rejected = None, session.rejected
        taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        if not taken or session.is_redirected:  # which the SDK takes for a success
            session.trouble = session.trouble or "the spans cannot be sent"
            return 0, len(spans)
        lost = min(session.rejected - rejected, len(spans))
        return len(spans) - lost, lost

    def shut_down(self) -> None:
        """Close the connection, and end a wait between two tries; on any thread."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK does not say what it returns

    def _sampled(self, entry: Entry) -> Iterator[Parent | None]:
        parent = parent_of(entry.trace)
        if is_sampled(self._settings.sampler, parent, int(entry.id, 16) if parent is None else parent.trace_id):
            yield parent

    def _span(self, entry: Entry, parent: Parent | None) -> ReadableSpan:
        name, attributes, failed = self._text.describe(entry)
        state = _state(parent)
        began = round(entry.began_utc * _NANO)
        return ReadableSpan(
            name,
            # A root's trace has the exchange's id: what a response names in X-Passthrough-Id is found by it.
            SpanContext(
                int(entry.id, 16) if parent is None else parent.trace_id,
                random.getrandbits(64) or 1,
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
                trace_state=state,
            ),
            parent=None
            if parent is None
            else SpanContext(
                parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags), trace_state=state
            ),
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER,
            instrumentation_scope=_SCOPE,
            status=_UNSET if failed is None else Status(_ERROR, entry.why or failed),
            start_time=began,
            end_time=began + round(entry.total_s * _NANO),
        )


class _Spans(Sequence[ReadableSpan]):
    """The spans of a batch, made one by one while the SDK encodes them.

    The SDK takes 50 µs of Python for each. So that the event loop, which shares the interpreter, need not wait for a whole batch,
    this thread pauses after a few: it would else be asked for the interpreter only every five milliseconds.
    """

    def __init__(
        self, items: Sequence[tuple[Entry, Parent | None]], span: Callable[[Entry, Parent | None], ReadableSpan]
    ) -> None:
        self._items = items
        self._span = span

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> ReadableSpan: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[ReadableSpan]: ...
    def __getitem__(self, at: int | slice) -> ReadableSpan | Sequence[ReadableSpan]:
        """Return a span, made now."""
        return [self._span(*item) for item in self._items[at]] if isinstance(at, slice) else self._span(*self._items[at])

    def __iter__(self) -> Iterator[ReadableSpan]:
        for number, item in enumerate(self._items, 1):
            yield self._span(*item)
            if not number % _AT_ONCE:
                time.sleep(_PAUSE_S)


def _instance(settings: TracingSettings) -> dict[str, str]:
    """Return what tells this process from others, and its version, where the settings do not say it."""
    own = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    return {name: value for name, value in own.items() if name not in settings.resource}


def _state(parent: Parent | None) -> TraceState | None:
    return TraceState.from_header([parent.state]) if parent is not None and parent.state else None
