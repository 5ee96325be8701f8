"""`traceparent` and `tracestate` of a request's header, as they came."""

from __future__ import annotations

import pytest

from passthrough.exchange import TraceFields
from passthrough.proxy.downstream.trace_fields import trace_fields
from passthrough.proxy.prepared import RawFields

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FIELD = (b"traceparent", PARENT)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ((), None),
        (((b"Host", b"h"), (b"Content-Length", b"1"), (b"User-Agents", b"x")), None),
        ((FIELD,), (PARENT, b"")),
        (((b"TraceParent", PARENT), (b"TraceState", b"a=b")), (PARENT, b"a=b")),
        (((b"tracestate", b"a=b"), FIELD, (b"tracestate", b"c=d,e=f")), (PARENT, b"a=b,c=d,e=f")),
        (((b"tracestate", b"a=b"),), None),
        ((FIELD, FIELD), None),
        (((b"traceparent", b""),), None),
        (((b"traceparent", b"x" * 128),), (b"x" * 128, b"")),
        (((b"traceparent", b"x" * 129),), None),
        ((FIELD, (b"tracestate", b"s" * 1024)), (PARENT, b"s" * 1024)),
        ((FIELD, (b"tracestate", b"s" * 1025)), (PARENT, b"")),
    ],
)
def test_fields_as_they_came(raw: RawFields, expected: TraceFields | None) -> None:
    """Exactly one parent, all of the state, or none of it where it is too long."""
    assert expected == trace_fields(raw)
