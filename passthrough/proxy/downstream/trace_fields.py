"""The trace context that a client sends (W3C Trace Context: `traceparent`, `tracestate`), read for the span of its exchange.

Both fields also go upstream as they came. Nothing is added to them, and nothing in them is judged here: that is done off the
event loop.
"""

from __future__ import annotations

from typing import Final

from ...exchange import TraceFields
from ..prepared import RawFields

_MAX_PARENT_BYTES: Final = 128  # of version 00, which is the only one so far, 55
_MAX_STATE_BYTES: Final = 1024  # §3.3.1.5: at least 512 should be kept; exchanges that wait hold it


def trace_fields(raw: RawFields) -> TraceFields | None:
    """Return `traceparent` and `tracestate` of a header as it came; None where there is not exactly one traceparent.

    Several fields of tracestate are one list (§3.3.1.1). A list that is too long is left out, so that it is not cut in a member.
    """
    parent, states = b"", []
    for name, value in raw:
        if len(name) == 11 and name.lower() == b"traceparent":
            if parent:
                return None
            parent = value
        elif len(name) == 10 and name.lower() == b"tracestate":
            states.append(value)
    if not 0 < len(parent) <= _MAX_PARENT_BYTES:
        return None
    state = b",".join(states) if states else b""
    return parent, state if len(state) <= _MAX_STATE_BYTES else b""
