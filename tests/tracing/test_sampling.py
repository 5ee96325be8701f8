"""Which exchanges get a span: the client's decision, or the trace id's."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from passthrough.tracing.parent import Parent
from passthrough.tracing.sampling import is_sampled
from passthrough.tracing.settings import Sampler

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
YES, NO = Parent(TRACE, 1, 1), Parent(TRACE, 1, 0)


@pytest.mark.parametrize(
    ("sampler", "parent", "expected"),
    [
        (Sampler(1.0), None, True),
        (Sampler(1.0), NO, False),
        (Sampler(0.0), None, False),
        (Sampler(0.0), YES, True),
        (Sampler(1.0, by_parent=False), NO, True),
        (Sampler(0.0, by_parent=False), YES, False),
    ],
)
def test_the_client_decides_where_the_sampler_is_based_on_it(sampler: Sampler, parent: Parent | None, expected: bool) -> None:
    """Its flag is kept; without one the ratio decides."""
    assert expected == is_sampled(sampler, parent, TRACE)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.517, 1.0])
def test_a_ratio_chooses_the_traces_that_the_sdk_chooses(ratio: float) -> None:
    """All services of a trace that have the same ratio agree."""
    sdk = TraceIdRatioBased(ratio)
    for trace_id in (1, TRACE, (1 << 128) - 1, *(TRACE * odd % (1 << 128) for odd in range(1, 2000, 2))):
        expected = sdk.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
        assert expected == is_sampled(Sampler(ratio, by_parent=False), None, trace_id)
