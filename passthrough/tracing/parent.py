"""The client's span, of which an exchange's span is a child, as `traceparent` names it (W3C Trace Context §3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..exchange import TraceFields

SAMPLED: Final = 1
"""The flag that says that a span is recorded (§3.2.2.5.1)."""

_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Parent:
    """A client's span: the ids of its trace and of itself, its flags, and the text of its `tracestate`."""

    trace_id: int
    span_id: int
    flags: int
    state: str = ""

    @property
    def is_sampled(self) -> bool:
        """Whether the client says that its span is recorded."""
        return bool(self.flags & SAMPLED)


def parent_of(fields: TraceFields | None) -> Parent | None:
    """Return the client's span; None where there is none, or `traceparent` is not valid: then the span is a root of its own.

    1. Version ff is invalid, and so are ids of zeros. 2. Version 00 has nothing behind the flags. 3. A higher version is read as
    far as it is known (§3.2.4).
    """
    found = None if fields is None else _PARENT.fullmatch(fields[0].strip())
    if fields is None or found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), int(flags, 16), fields[1].decode("ascii", "replace"))
    return parent if parent.trace_id and parent.span_id else None
