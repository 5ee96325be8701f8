"""Bodies of many short lines: they are read many at once, with the same result as one by one, and for little."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passthrough.meter.bodies.batch import BatchFile
from passthrough.meter.bodies.short_lines import MAX_BYTES
from passthrough.meter.bodies.sse import EventStream
from passthrough.meter.jsonscan.scanner import STEPS
from passthrough.meter.pipeline import Reader
from passthrough.meter.shapes.chat import ChatShape
from passthrough.meter.usage import Unmetered, Usage

RESULT = b'{"custom_id":"c","response":{"status_code":200,"body":{"usage_info":{"pages_processed":1},"model":"m"}}}'
NAMELESS = b'{"id":"","response":{"status_code":200,"body":{"usage_info":{"pages_processed":2},"model":"m"}}}'
SHORT = (
    b"", b" ", b"\r", b"\t \r", b"\xef\xbb\xbf", b"\xef\xbb\xbf ", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb\xbf{}",
    b"x", b"\x0b", b"\x0c", b"1\x0b2", b"1", b"1 2", b"{}", b"[", b"[]", b'"', b"true", b"null", b"tru", b"{}{}", b"NaN", b"-",
    b'{"id":"a"}', b'{"id":"a","id":1}', b'{"id":"","error":0', b'{"id":"","error":0}', b'{"id":"","error":00}',
    b'{"error":null}',
    b"x" * MAX_BYTES, b"x" * (MAX_BYTES + 1), b"1" * MAX_BYTES, b"\\", b'"\\"', b"\x00", b"\xff",
)  # fmt: skip
BODIES = st.lists(st.sampled_from([*SHORT, RESULT, NAMELESS]), max_size=60)


def fed(reader: Reader, chunks: list[bytes]) -> int:
    """Feed all chunks, each as often as it takes; return how often that was."""
    calls = 0
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            at = reader.feed(chunk, at, STEPS)
            calls += 1
    return calls


def read(chunks: list[bytes], *, expected: bool) -> tuple[Unmetered | None, list[Usage], bool, Usage]:
    """Return all that a file of results says."""
    lines = BatchFile("f", None, expected=expected)
    fed(lines, chunks)
    why = lines.end()
    return why, lines.take_usages(), lines.recognised, lines.usage(why)


@settings(max_examples=300)
@given(BODIES, st.booleans(), st.booleans())
@example([b"{}"] * 5, True, True)
@example([b"x", RESULT, b"x"], False, False)
@example([b""] * 200, False, True)
def test_many_at_once_are_what_each_is(lines: list[bytes], expected: bool, ended: bool) -> None:
    """A line whose end comes by itself is read by itself; one whose end is there may be read with others: all the same."""
    by_itself = list(itertools.chain.from_iterable((line, b"\n") for line in lines))
    if by_itself and not ended:
        by_itself.pop()
    chunks = [chunk for chunk in by_itself if chunk]
    whole = b"".join(chunks)
    found = read(chunks, expected=expected)
    assert found == read([whole], expected=expected)
    assert found == read([whole[at : at + 37] for at in range(0, len(whole), 37)], expected=expected)


def test_one_hundred_short_lines_are_another_file() -> None:
    """Where nothing need be a result, a file of short lines is left alone as one of long ones is."""
    for line in (b"x\n", b'{"a":1}\n'):
        lines = BatchFile("f", None, expected=False)
        fed(lines, [line * 99])
        assert not lines.gave_up
        fed(lines, [line])
        assert lines.gave_up


STREAM = (b"data:", b"data:{", b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}', b"data", b"date", b":", b"d", b"x",
          b"id: 5", b"event: a", b"\xef\xbb\xbfdata: 1", b"\xef\xbb\xbf", b"\xef", b"data: ]", b"data: {}", b"", b"")  # fmt: skip


def event(body: list[bytes]) -> tuple[Unmetered, Usage]:
    """Return all that a stream of events says."""
    events = EventStream(ChatShape(None))
    fed(events, [chunk for chunk in body if chunk])
    why = events.end()
    return why, events.usage(why)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(STREAM), st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=40))
def test_lines_without_data_are_passed_over(lines: list[tuple[bytes, bytes]]) -> None:
    """A stream is what it is, byte by byte and whole, whichever way its lines end."""
    whole = b"".join(line + end for line, end in lines)
    found = event([bytes([byte]) for byte in whole])
    assert found == event([whole])
    assert found == event([whole[at : at + 7] for at in range(0, len(whole), 7)])


MEGABYTE = 1_000_000
JUNK = (
    b"x\n",
    b"\n",
    b"\r\n",
    b" \n",
    b"1\n",
    b"{}\n",
    b"[\n",
    b'"\n',
    b":\n",
    b"\xef\xbb\xbf\n",
    b"true\n",
    b"d\n",
    b"\r",
    b"{\n",
)


@pytest.mark.parametrize("junk", JUNK)
def test_a_megabyte_of_junk_is_few_turns(junk: bytes) -> None:
    """It was ten thousand turns of a thousand steps each, more than a second: one for every fifty lines."""
    body = junk * (MEGABYTE // len(junk))
    for reader in (BatchFile("f", None, expected=True), EventStream(ChatShape(None))):
        assert 200 > fed(reader, [body])
    open_event = EventStream(ChatShape(None))
    fed(open_event, [b"data: {\n"])
    assert 200 > fed(open_event, [body])
