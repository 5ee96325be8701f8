"""An entry as a line of text, and back."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.journal.codec import FORMAT, SpoiltLineError, decode, encode, line, value_of
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.entries import booked

COUNTS = st.none() | st.integers(-(2**70), 2**70)
TEXTS = st.none() | st.text()
FLOATS = st.floats(allow_nan=False)
USAGES = st.builds(
    Usage,
    pages=COUNTS,
    pages_annotated=COUNTS,
    model=TEXTS,
    doc_bytes=COUNTS,
    tokens_in=COUNTS,
    tokens_out=COUNTS,
    unmetered=st.none() | st.sampled_from(Unmetered),
    credits_micro=COUNTS,
    line=st.text(),
    in_batch=st.booleans(),
    tokens_cached=COUNTS,
    service_tier=TEXTS,
    credits=TEXTS,
    custom_id=st.text(),
)
CHARGES = st.builds(
    Charge,
    model=TEXTS,
    pages=COUNTS,
    pages_annotated=COUNTS,
    doc_bytes=COUNTS,
    tokens_in=COUNTS,
    tokens_out=COUNTS,
    cost_nano=COUNTS,
    cost_source=TEXTS,
    line=st.text(),
    credits_micro=COUNTS,
    in_batch=st.booleans(),
    tokens_cached=COUNTS,
    service_tier=TEXTS,
    credits=TEXTS,
    custom_id=st.text(),
    priced_as=TEXTS,
)
ENTRIES = st.builds(
    Entry,
    id=st.text(),
    began_utc=FLOATS,
    route=TEXTS,
    client=TEXTS,
    label=TEXTS,
    target=TEXTS,
    sandbox=st.booleans(),
    method=st.text(),
    path=st.text(),
    status=COUNTS,
    outcome=st.text(),
    error=TEXTS,
    attempts=st.integers(),
    upstream_request_id=TEXTS,
    bytes_up=st.integers(),
    bytes_down=st.integers(),
    first_byte_s=st.none() | FLOATS,
    total_s=FLOATS,
    unmetered=TEXTS,
    usage=USAGES,
    charges=st.lists(CHARGES, max_size=3).map(tuple),
    account=TEXTS,
    part=st.sampled_from(Part),
    overhead_s=st.none() | FLOATS,
    estimated_pages=COUNTS,
    estimated_nano=COUNTS,
    requests=st.integers(),
    labels=TEXTS,
    priced_as=TEXTS,
    deployment=TEXTS,
    model_group=TEXTS,
    why=TEXTS,
)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    """Every field of an entry, its usage and its charges is the same after the way through a line, and of the same type."""
    text = encode(entry)
    back = decode(text)
    assert entry == back
    assert repr(entry) == repr(back)
    assert (1, True) == (text.count(b"\n"), text.endswith(b"\n"))


@given(ENTRIES, st.data())
def test_a_spoilt_line_is_never_taken_for_an_entry(entry: Entry, data: st.DataObject) -> None:
    """A line with one byte changed, or cut off anywhere, is refused."""
    text = encode(entry)
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    for spoilt in (text[:at], text[:at] + bytes((other,)) + text[at + 1 :]):
        if spoilt[:8].lower() != text[:8] or spoilt[8:] != text[8:]:  # the digits may be spelt otherwise
            with pytest.raises(SpoiltLineError):
                decode(spoilt)


@pytest.mark.parametrize("value", [[], 5, None, "x", {}, [1, 2, 3], list(range(24)), [*range(19), [], [[]], 1, "none", 2]])
def test_a_whole_line_of_something_else_is_refused(value: object) -> None:
    """A line whose sum is right, but which holds no entry, is spoilt too."""
    assert value == value_of(line(value))
    with pytest.raises(SpoiltLineError):
        decode(line(value))


def test_the_format_is_raised_with_the_fields() -> None:
    """Lines have no names: another field in any of the three makes another format, so that no file is read wrongly."""
    names = [[field.name for field in fields(shape)] for shape in (Entry, Usage, Charge)]
    for beside in ("upstream_code", "trace"):  # for the log and for spans alone
        names[0].remove(beside)
    assert (4, [32, 14, 16]) == (FORMAT, [len(found) for found in names])


def test_what_is_for_log_and_spans_alone_is_not_written() -> None:
    """The line is that of an older program, which can read it; the entry that comes back has nothing in that place."""
    plain = booked()
    coded = replace(plain, upstream_code="invalid_model", trace=(b"00-00", b"a=b"))
    assert (encode(plain), plain) == (encode(coded), decode(encode(coded)))


def test_an_entry_is_a_short_line() -> None:
    """An entry of one charge takes some hundreds of bytes."""
    assert 600 > len(encode(booked()))
