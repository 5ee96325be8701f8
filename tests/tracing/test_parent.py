"""`traceparent`: which client's span an exchange's span is a child of (W3C Trace Context §3.2)."""

from __future__ import annotations

import pytest

from passthrough.tracing.parent import Parent, parent_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("traceparent", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"  00-{TRACE}-{SPAN}-03\t", 3),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"00-{TRACE}-{SPAN}-01-", None),
        (f"00-{TRACE}-{SPAN}-01.what", None),
        (f"01-{TRACE}-{SPAN}-01.what", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"0-{TRACE}-{SPAN}-01", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_parent_is_valid_or_none(traceparent: str, flags: int | None) -> None:
    """What is not valid is as if it were not there: the span is a root."""
    expected = None if flags is None else Parent(int(TRACE, 16), int(SPAN, 16), flags, "a=b")
    found = parent_of((traceparent.encode(), b"a=b"))
    assert expected == found
    assert found is None or found.is_sampled == bool(flags and flags % 2)


def test_no_fields_are_no_parent() -> None:
    """A client without a trace has no span."""
    assert parent_of(None) is None
