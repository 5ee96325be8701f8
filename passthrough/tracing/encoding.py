"""Encodes entries as a request of OTLP, with OpenTelemetry's own messages.

The SDK's encoder takes 50 µs of Python for a span, which the event loop waits for: threads share the interpreter. What most spans
have in common is encoded once here, and the rest of each follows it: two encodings of one message, one behind the other, are the
encoding of both together (protobuf.dev, "Encoding", "Last One Wins"). That takes a quarter of the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from .. import __version__
from ..accounting.entry import Entry
from .attributes import SpanConventions, Value, shared_of
from .parent import SAMPLED, Parent

_NANO: Final = 10**9
_MAX_CACHED: Final = 256
_AT_ONCE: Final = 32  # spans: half a millisecond of Python
_PAUSE_S: Final = 0.0002
_KNOWN: Final = int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE: Final = int(SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
_SPAN, _SCOPE_SPANS, _RESOURCE_SPANS, _FIRST = 2, 2, 1, 1  # the numbers of fields in trace.proto and trace_service.proto


class SpanEncoder:
    """Encodes the spans of one resource."""

    def __init__(self, conventions: SpanConventions, resource: Mapping[str, Any]) -> None:
        """`conventions` describe spans; `resource` says who exports."""
        self._conventions = conventions
        described = Resource(attributes=_attributes({name: what for name, what in resource.items() if isinstance(what, Value)}))
        scope = InstrumentationScope(name="passthrough", version=__version__)
        self._resource = _field(_FIRST, described.SerializeToString())
        self._scope = _field(_FIRST, scope.SerializeToString())
        self._shared = lru_cache(_MAX_CACHED)(self._encoded_shared)

    def request(self, items: Sequence[tuple[Entry, Parent | None]]) -> bytes:
        """Return an ExportTraceServiceRequest with a span for each entry.

        This thread pauses after a few: it would else be asked for the interpreter only every five milliseconds.
        """
        found = [self._scope]
        for number, (entry, parent) in enumerate(items, 1):
            found.append(_field(_SPAN, self._span(entry, parent)))
            if not number % _AT_ONCE:
                time.sleep(_PAUSE_S)
        return _field(_RESOURCE_SPANS, self._resource + _field(_SCOPE_SPANS, b"".join(found)))

    def _span(self, entry: Entry, parent: Parent | None) -> bytes:
        began = round(entry.began_utc * _NANO)
        own = Span(
            span_id=(random.getrandbits(64) or 1).to_bytes(8),
            start_time_unix_nano=began,
            end_time_unix_nano=began + round(entry.total_s * _NANO),
            attributes=_attributes(self._conventions.own(entry)),
        )
        if parent is None:  # The trace has the exchange's id: what a response names is found by it.
            own.trace_id, own.flags = bytes.fromhex(entry.id), SAMPLED | _KNOWN
        else:
            own.trace_id, own.parent_span_id = parent.trace_id.to_bytes(16), parent.span_id.to_bytes(8)
            own.trace_state, own.flags = parent.state, parent.flags | SAMPLED | _KNOWN | _REMOTE
        shared: bytes = self._shared(shared_of(entry))
        encoded: bytes = own.SerializeToString()
        return shared + encoded

    def _encoded_shared(self, key: tuple[Any, ...]) -> bytes:
        name, attributes, failed = self._conventions.shared(key)
        span = Span(name=name, kind=Span.SpanKind.SPAN_KIND_SERVER, attributes=_attributes(attributes))
        if failed is not None:
            span.status.code = Status.StatusCode.STATUS_CODE_ERROR
            span.status.message = str(attributes.get("passthrough.why", failed))
        encoded: bytes = span.SerializeToString()
        return encoded


def _attributes(named: Mapping[str, Value]) -> Iterable[KeyValue]:
    return [KeyValue(key=name, value=_any(value)) for name, value in named.items()]


def _any(value: Value) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
    return AnyValue(double_value=value)


def _field(number: int, content: bytes) -> bytes:
    """Return a field that holds a message: its tag, its length and its bytes."""
    head, left = bytearray([number << 3 | 2]), len(content)
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    head.append(left)
    return bytes(head) + content
