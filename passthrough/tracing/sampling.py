"""Which exchanges get a span: by the client's own decision, or by a ratio of trace ids."""

from __future__ import annotations

from typing import Final

from .parent import Parent
from .settings import Sampler

_IDS: Final = 1 << 64
"""The lower half of a trace id decides, as in the SDK's TraceIdRatioBased: so all services choose the same traces."""


def is_sampled(sampler: Sampler, parent: Parent | None, trace_id: int) -> bool:
    """Tell whether an exchange of this trace gets a span."""
    if sampler.by_parent and parent is not None:
        return parent.is_sampled
    return trace_id % _IDS < round(sampler.ratio * _IDS)
