"""What all readers of bodies have in common: chunk borders do not matter, nor how much is read at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.bodies.batch import BatchFile, BatchJob
from passthrough.meter.bodies.document import JsonDocument, Shape, StrictDocument, read, read_strictly
from passthrough.meter.bodies.lines import JsonLines
from passthrough.meter.bodies.sse import EventStream
from passthrough.meter.plan import JsonCounts
from passthrough.meter.shapes.chat import ChatShape
from passthrough.meter.shapes.configured import ConfiguredShape, Documents
from passthrough.meter.shapes.either import EitherShape
from passthrough.meter.shapes.ocr import OcrShape
from passthrough.meter.usage import Unmetered, Usage

COUNTED = JsonCounts(
    pages=("usage.prompt_tokens", "usage_info.pages_processed"),
    count=("outputs", "p"),
    credits=("usage.prompt_tokens",),
    when=(("status", ("ok",)),),
    tokens_in=("usage_info.pages_processed",),
    once=("custom_id",),
)
ITEMS = JsonCounts(distinct=("[].n", "p[]"), tokens_out=("n",), unless=("x",))

READERS: Final[dict[str, Callable[[], BatchFile | BatchJob | EventStream | JsonDocument | StrictDocument | JsonLines]]] = {
    "lines, expected": lambda: BatchFile("f", None, expected=True),
    "lines": lambda: BatchFile("f", None, expected=False),
    "a job": lambda: BatchJob("j", None),
    "events": lambda: EventStream(ChatShape()),
    "chat": lambda: JsonDocument(ChatShape()),
    "either": lambda: JsonDocument(EitherShape()),
    "ocr": lambda: JsonDocument(OcrShape("alias")),
    "counted": lambda: StrictDocument(ConfiguredShape(COUNTED)),
    "counted items": lambda: StrictDocument(ConfiguredShape(ITEMS)),
    "counted lines": lambda: JsonLines(ConfiguredShape(COUNTED, documents=Documents.LINES)),
    "counted items in lines": lambda: JsonLines(ConfiguredShape(ITEMS, documents=Documents.LINES)),
    "counted events": lambda: EventStream(ConfiguredShape(COUNTED, documents=Documents.EVENTS)),
}

RESULT = b'"response":{"status_code":200,"body":{"model":"m","usage_info":{"pages_processed":3}}}'
MEMBERS = (
    b'"id":"b"', b'"custom_id":"c"', RESULT, b'"model":"m"', b'"usage_info":{"pages_processed":3}',
    b'"usage":{"prompt_tokens":3}', b'"outputs":[{"id":"o",' + RESULT + b"}]", b'"error":null', b'"x":"\\u0041\\""',
    b'"status":"ok"', b'"p":[1,[2]]', b'"p":["7",7,8]', b'"n":"3"',
    b'"document_annotation":"x"', b'"usage":null',
)  # fmt: skip
SIGNS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r", b" ", b"1", b"-", b".5", b"e9", b"null", b'"response":{',
    b'"body":{', b'"outputs":[', b"data:", b"data: ", b"event: x", b": c", b"\xef\xbb\xbf", b"\n\n", b"\r\n", b"[DONE]", b"\xff",
    b"\0", b'{"n":2},', b'[{"n":2}]',
)  # fmt: skip

OBJECTS = st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=5, unique=True).map(
    lambda parts: b"{" + b",".join(parts) + b"}"
)
BODIES = st.lists(st.sampled_from(SIGNS + MEMBERS) | OBJECTS | OBJECTS.map(lambda each: each + b"\n"), max_size=25).map(b"".join)

Found = tuple[list[Usage], Unmetered | None, Usage, bool]


def found(name: str, chunks: list[bytes], steps: int) -> Found:
    """What a reader finds in these chunks, with so many steps at once."""
    reader = READERS[name]()
    lines: list[Usage] = []
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            at = reader.feed(chunk, at, steps)
            if isinstance(reader, BatchFile | BatchJob):
                lines += reader.take_usages()
    why = reader.end()
    if isinstance(reader, BatchFile | BatchJob):
        lines += reader.take_usages()
    return lines, why, reader.usage(why), reader.recognised


@pytest.mark.parametrize("name", READERS)
@given(body=BODIES, cuts=st.lists(st.integers(0, 300), max_size=6), steps=st.sampled_from([1, 2, 7, 1000]))
def test_what_is_found_depends_on_the_bytes_alone(name: str, body: bytes, cuts: list[int], steps: int) -> None:
    """For any bytes, sensible ones or not: whole, byte by byte, or cut anywhere, and however often the reading pauses."""
    expected = found(name, [body], 1000)
    borders = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    assert expected == found(name, [body[begin:end] for begin, end in pairwise(borders)], steps)
    assert expected == found(name, [body[at : at + 1] for at in range(len(body))], steps)


SHAPES: Final[dict[str, Callable[[], Shape]]] = {
    "chat": ChatShape,
    "either": EitherShape,
    "ocr": lambda: OcrShape("alias"),
}
STRICT_SHAPES: Final[dict[str, Callable[[], ConfiguredShape]]] = {
    "counted": lambda: ConfiguredShape(COUNTED),
    "counted items": lambda: ConfiguredShape(ITEMS),
}


@pytest.mark.parametrize("name", [*SHAPES, *STRICT_SHAPES])
@given(body=st.tuples(BODIES | OBJECTS, st.sampled_from([b"", b"\n", b" \t\r\n", b"\x0b", b"\xef\xbb\xbf", b"}"])))
def test_what_is_here_whole_is_read_as_what_comes_byte_by_byte(name: str, body: tuple[bytes, bytes]) -> None:
    """For any bytes, with or without blanks and other signs behind them and before them."""
    for whole in (b"".join(body), b"".join(reversed(body))):
        _, expected_why, expected, _ = found(name, [whole[at : at + 1] for at in range(len(whole))], 1000)
        if name in SHAPES:
            shape = SHAPES[name]()
            why = read(shape, whole)
            assert (expected_why, expected) == (why, shape.usage(why))
        else:
            strict = STRICT_SHAPES[name]()
            why = read_strictly(strict, whole)
            assert (expected_why, expected) == (why, strict.usage(why))
