"""The scanner, against `json.loads` as the oracle, and at its borders."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passthrough.meter.jsonscan.paths import Mark, PathNode, Value, paths
from passthrough.meter.jsonscan.scanner import MAX_KEPT_BYTES, Scanner

NAMES = ("model", "usage", "pages", "images", "n", "note", "", 'a"b', "us\\age", "ü", "\u2028")
PATHS = ("model", "usage", "usage.n", "pages[].images[].note", "pages[].n", "pages", "note")
WANTED = paths(PATHS)

Found = list[tuple[str, Value]]


def scanned(
    chunks: list[bytes], wanted: PathNode = WANTED, steps: int = 1000, *, peeks: bool = False
) -> tuple[Found, bool, bool]:
    """What is emitted for these chunks, and whether the document is whole, or empty.

    `peeks`: they come in a buffer that still holds something behind them, and only what cannot be peeked at is fed.
    """
    found: Found = []
    scanner = Scanner(wanted, lambda path, value: found.append((path, value)))
    for chunk in chunks:
        at = 0
        if peeks and chunk and scanner.peek(bytearray(chunk + b'"\\'), len(chunk)):
            continue
        while at < len(chunk):
            at = scanner.feed(chunk, at, steps)
    scanner.end()
    scanner.end()
    return found, scanner.whole, scanner.empty


class Members(list[tuple[str, Any]]):
    """An object as the oracle reads it: with its duplicates, in order."""


def oracle(text: bytes | str, wanted: PathNode = WANTED) -> Found:
    """What a scanner must emit for a document, by `json.loads`."""
    found: Found = []

    def walk(node: PathNode, value: Any) -> None:
        is_container = isinstance(value, list)
        if node.emits:
            mark = Mark.OBJECT if isinstance(value, Members) else Mark.ARRAY
            found.append((node.path, mark if is_container else shown(value)))
        if isinstance(value, Members):
            for name, member in value:
                if name.encode("utf-8", "surrogatepass") in node.members:
                    walk(node.members[name.encode()], member)
        elif is_container and node.items:
            for item in value:
                walk(node.items, item)
        if node.emits and is_container:
            found.append((node.path, Mark.END))

    walk(wanted, json.loads(text, object_pairs_hook=Members, parse_float=Decimal))
    return found


def shown(value: Any) -> Value:
    """A scalar as the scanner emits it: long strings are marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if len(value) < 80 else Mark.LONG
    assert value is None or isinstance(value, bool | int | Decimal)
    return value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(
        ['"', "\\", '\\"', "\\\\", '{"usage":{"n":9}}', "]}", "![a](b)", "\\u0041", "\x7f\x00", "x" * 9000, '"[\\' * 700]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=8).map(Members),
    max_leaves=60,
)


@st.composite
def spelt(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """A JSON document spelt in some way: blanks anywhere, escapes or none, duplicated keys."""
    blanks = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"])
    rare = draw(st.booleans())
    ascii_only = draw(st.booleans())
    escaped_names = draw(st.booleans())

    def blank() -> str:
        return draw(blanks) if rare else ""

    def name(text: str) -> str:
        if escaped_names and text.isascii():
            return '"' + "".join(f"\\u{ord(letter):04X}" for letter in text) + '"'
        return json.dumps(text, ensure_ascii=ascii_only)

    def spell(value: Any) -> str:
        if isinstance(value, Members):
            inner = ",".join(f"{blank()}{name(key)}{blank()}:{blank()}{spell(member)}{blank()}" for key, member in value)
            return f"{{{inner or blank()}}}"
        if isinstance(value, list):
            return f"[{','.join(f'{blank()}{spell(item)}{blank()}' for item in value) or blank()}]"
        return json.dumps(value, ensure_ascii=ascii_only)

    return f"{blank()}{spell(draw(values))}{blank()}".encode()


def documents() -> st.SearchStrategy[bytes]:
    """Any document."""
    return spelt(VALUES)


@st.composite
def cut(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """`body` in chunks, with borders anywhere."""
    borders = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    return [body[begin:end] for begin, end in zip([0, *borders], [*borders, len(body)], strict=True)]


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(documents(), st.data())
@example(b'{"usage":{"n":1}}', None)
def test_what_is_emitted_is_what_json_loads_finds(body: bytes, data: st.DataObject | None) -> None:
    """For every document, whole, byte by byte and cut anywhere, with few steps at a time and with many."""
    expected = oracle(body), True, False
    assert expected == scanned([body])
    assert expected == scanned([body], steps=1)
    assert expected == scanned([body[at : at + 1] for at in range(len(body))])
    assert expected == scanned([body[at : at + 1] for at in range(len(body))], peeks=True)
    if data is not None:
        assert expected == scanned(data.draw(cut(body)), steps=data.draw(st.integers(1, 30)), peeks=data.draw(st.booleans()))


def test_only_the_inside_of_an_unwanted_string_is_peeked_at() -> None:
    """What stands in such a string, at the top or deep in something unwanted, is peeked at; what could change anything is not."""
    inside, outside = bytearray(b"QUJD}],:"), [b'QU"D', b"QUJ\\", b'QU\\"D']
    for begin, expected in (
        (b'{"x":"', True),
        (b'{"x":{"y":[["', True),
        (b'{"x":["a","b', True),
        (b'{"x":"\\', False),
        (b'{"x":{"y":"\\', False),
        (b'{"note":"', False),
        (b'{"note', False),
        (b'{"x":{', False),
        (b'{"x":1', False),
        (b"", False),
        (b"oops", False),
    ):
        scanner = Scanner(WANTED, lambda path, value: None)
        assert len(begin) == scanner.feed(begin)
        assert [False] * len(outside) == [scanner.peek(bytearray(each), len(each)) for each in outside]
        assert (expected, expected) == (scanner.peek(inside, len(inside)), scanner.peek(inside, 1))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(documents(), st.data())
def test_a_document_that_is_cut_is_not_whole(body: bytes, data: st.DataObject) -> None:
    """What stands before the cut is emitted as in the whole document; only numbers and blanks can end anywhere."""
    length = data.draw(st.integers(0, len(body)))
    found, whole, empty = scanned([body[:length]])
    assert (body[:length].strip() == b"") == empty
    try:
        oracle(body[:length])
    except ValueError:
        assert not whole
    else:
        assert whole
    assert oracle(body)[: len(found)] == found


TREES = (
    WANTED,
    paths(("pages[].images[].note", "model")),
    paths(("", "pages[]", "pages[].images[].n", "usage[].n")),
    paths(("pages[].images", "pages[].images[].note", "usage.pages[].n", "usage.images[].pages[].n")),
    paths(("[].n", "[].images[].n")),
    paths(("[][].n", "pages[][].n", 'a"b[].n', "us\\age[].n", "ü[].images[].ü")),
)
SHORT = st.sampled_from([None, True, 1, -2.5, "", "x", "x" * 64, "x" * 65, "\n", 'a"b', [], Members(), [1, "a", "]"], [[]]])


@st.composite
def shaped(draw: st.DrawFn, node: PathNode) -> Any:
    """A value in which much stands where it is wanted: arrays of objects that are alike, and short members beside."""
    if node.items is not None and draw(st.integers(0, 5)):
        return [draw(shaped(node.items)) for _ in range(draw(st.integers(0, 4)))]
    if node.members and draw(st.integers(0, 7)):
        names = st.sampled_from([*(name.decode() for name in node.members), *NAMES])
        several = draw(st.sampled_from([0, 1, 2, 3, 5, 26]))
        return Members((name, draw(member(node, name))) for name in (draw(names) for _ in range(several)))
    return draw(SHORT)


def member(node: PathNode, name: str) -> st.SearchStrategy[Any]:
    """What stands under a name: mostly what is wanted there, else something short."""
    below = node.members.get(name.encode())
    return SHORT if below is None else st.one_of(shaped(below), shaped(below), SHORT)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TREES), st.data())
def test_objects_of_an_array_are_read_alike_whole_and_byte_by_byte(wanted: PathNode, data: st.DataObject) -> None:
    """Where one match crosses ends and begins of arrays and of their objects, nothing is found otherwise than step by step."""
    body = b" " + data.draw(spelt(shaped(wanted)))
    expected = oracle(body, wanted), True, False
    assert expected == scanned([body], wanted)
    assert expected == scanned([body[at : at + 1] for at in range(len(body))], wanted)
    assert expected == scanned(data.draw(cut(body)), wanted, data.draw(st.integers(1, 30)))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TREES), st.data())
def test_a_flaw_among_such_objects_is_found_whole_and_byte_by_byte(wanted: PathNode, data: st.DataObject) -> None:
    """A byte that is wrong, missing or too much anywhere has one result, wherever the borders are."""
    body = b" " + data.draw(spelt(shaped(wanted)))
    at = data.draw(st.integers(0, len(body)))
    flawed = body[:at] + data.draw(st.sampled_from([b"", *(bytes([byte]) for byte in b'"\\{}[],: 1')])) + body[at + 1 :]
    step_by_step = scanned([flawed[at : at + 1] for at in range(len(flawed))], wanted)
    assert step_by_step == scanned([flawed], wanted)
    assert step_by_step == scanned(data.draw(cut(flawed)), wanted)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"pages":[{"a":1},{"images":[{"b":2},{"note":3}],"n":4}]}', ["note", 3, "n", 4]),
        (b'{"pages":[{"a":1},{"images":[{"b":2}]},{"images":[{"note":3}]}],"n":4}', ["note", 3]),
        (b'{"pages":[{"images":[],"a":1},{"images":null,"n":4},{"images":{},"n":5}]}', ["n", 4, "n", 5]),
        (b'{"pages":[{"images":[{"a":"]}],{"},{"b":1}],"x":{"n":9}},{"n":4}]}', ["n", 4]),
        (b'{"pages":[{"images":[{"a":{"note":9}},{"a":[{"note":9}]}]}],"pages":[{"n":4}]}', ["n", 4]),
        (b'{"pages" : [ {"images" : [ {"a" : 1} , {"note" : 3} ] , "a" : 1} , {"n" : 4} ] }', ["note", 3, "n", 4]),
        (b'{"pages":[{"images":[{"' + b'a":1,"' * 60 + b'note":3}]}]}', ["note", 3]),
        (b'{"pages":[' + b'{"images":[{"a":1}]},' * 60 + b'{"images":[{"note":3}]}]}', ["note", 3]),
        (b'{"pages":[{"images":[{"a":1}],"i\\u006dages":[{"note":3}]}]}', ["note", 3]),
    ],
)
def test_what_stands_behind_an_arrays_border_belongs_where_it_is(body: bytes, expected: list[Value]) -> None:
    """The same name means another thing in the object, in the array's next one, and behind the array."""
    wanted = paths(("pages[].images[].note", "pages[].n"))
    for chunks in ([b" " + body], [body[at : at + 1] for at in range(len(body))]):
        found, whole, _ = scanned(chunks, wanted)
        assert (expected, True) == ([part for path, value in found for part in (path.rpartition(".")[2], value)], whole)


FRAGMENTS = st.sampled_from(
    [bytes([byte]) for byte in b'"\\{}[],: \n1x\x01\xff'] + [b"null", b'"usage"', b'"n":', b'"pages":[', b'\\"', b'"a":"b",']
)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(FRAGMENTS, max_size=60).map(b"".join),
    st.sampled_from([b"", b'{"usage":', b'{"x":[', b'{"pages":[{', b'{"x":[' + b"[]," * 200]),
    st.data(),
)
def test_garbage_gives_one_result_however_it_is_cut(garbage: bytes, begin: bytes, data: st.DataObject) -> None:
    """For every sequence of bytes the result does not depend on the borders; what `json.loads` takes is whole."""
    body = begin + garbage
    expected = scanned([body])
    assert expected == scanned(data.draw(cut(body)), steps=data.draw(st.integers(1, 30)))
    assert expected == scanned([body[at : at + 1] for at in range(len(body))])
    try:
        json.loads(body.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return
    assert expected[1]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1,2",
        b'{"usage":{"n":1}',
        b'{"usage":{"n":1]}',
        b'{"usage":{"n":1}]',
        b'{"pages":[1,]}x',
        b'{"a" 1}',
        b'{"a"::1}',
        b"{1:2}",
        b'{"a":1 "b":2}',
        b'{"a":1,}',
        b"{,}",
        b'{"pages":[1 2]}',
        b'{"model":"\\x"}',
        b'{"model":01}',
        b'{"model":+1}',
        b'{"model":NaN}',
        b'{"model":1.}',
        b'{"model":}',
        b'{"model"=1}',
        b'{"model";"m"}',
        b'{"model" 1}',
        b'{"x"=1}',
        b'{"x":1,"model"=1}',
        b'{"model":nul}',
        b'{"x":[\\"]}',
        b'{"x":[\\',
        b'{"x":[' + b"{}," * 90 + b'\\"]}',
        b"nul",
        b"-",
        b"{}{}",
        b"{} x",
        b"\xef\xbb{}",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\xef",
        b"<html>",
        b"'a'",
    ],
)
def test_what_is_not_json_is_not_whole(body: bytes) -> None:
    """A document that is malformed on the way to a wanted path, or around everything, is neither whole nor empty."""
    for chunks in ([body], [body[at : at + 1] for at in range(len(body))]):
        _, whole, empty = scanned(chunks)
        assert (False, False) == (whole, empty)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"' + b"m" * MAX_KEPT_BYTES + b'"}', "m" * MAX_KEPT_BYTES),
        (b'{"model":"' + b"m" * (MAX_KEPT_BYTES + 1) + b'"}', Mark.LONG),
        (b'{"model":"' + b"\\u0041" * 170 + b'"}', "A" * 170),
        (b'{"model":' + b"9" * 64 + b"}", 10**64 - 1),
        (b'{"model":' + b"9" * 65 + b"}", Mark.LONG),
        (b'{"model":' + b"9" * 100_000 + b"}", Mark.LONG),
        (b'{"model":"\xff"}', "\ufffd"),
        (b'{"model":"a\nb"}', "a\nb"),
        (b'{"model":"\\ud83d\\ude00 \\ud83d"}', "😀 ?"),
        (b'{"model":-0.0}', 0.0),
        (b'{"' + b"k" * 100_000 + b'":{"model":3},"model":1}', 1),
        (b'{"\\x":2,"model":1}', 1),
        (b'{"' + b"\\u006d\\u006f\\u0064\\u0065\\u006c" + b'":1}', 1),
        (b"{" + b" " * 100_000 + b'"model"' + b"\n" * 5000 + b":" + b"\t" * 5000 + b"1 \r\n}", 1),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":1}', 1),
        (b'{"x":"' + b"\\" * 100_000 + b'","model":1}', 1),
        (b'{"x":"' + b"\\" * 4095 + b'"' * 1 + b"\\" * 4098 + b'","model":1}', 1),
        (b'{"x":"' + b'\\"' * 50_000 + b'","model":1}', 1),
        (b'{"x":[[1],[]' + b" " * 16 + b'],"model":1}', 1),
        (b'{"x":"\\"' + b"a" * 4095 + b'\\"","model":1}', 1),
        (b'{"x":["' + b'\\\\\\"]' * 20_000 + b'"],"model":1}', 1),
        (b'{"x":[' + b'"[","}",' * 20_000 + b'0],"model":1}', 1),
        (b'{"x":{"y":[' + b'{"a":"[\\n","b":[1,2]},' * 9000 + b'{}]},"model":1}', 1),
    ],
)
def test_long_and_odd_documents_are_read(body: bytes, expected: Value) -> None:
    """Bounds are on what is kept, not on what passes."""
    for size in (len(body), 65536, 1000, 997, 19):
        found, whole, _ = scanned([body[at : at + size] for at in range(0, len(body), size)])
        assert ([("model", expected)], True) == (found, whole)


def test_memory_is_bounded_in_a_document_that_never_ends() -> None:
    """Depth, strings, names, numbers and blanks without end are counted, not kept."""
    for begin, more in (
        (b"[", b"["),
        (b'{"model":"', b"m"),
        (b'{"', b"k"),
        (b'{"model":', b"9"),
        (b"", b" "),
        (b'{"x":"', b"\\"),
    ):
        found: Found = []
        scanner = Scanner(WANTED, lambda path, value, found=found: found.append((path, value)))  # type: ignore[misc]
        scanner.feed(begin)
        for _ in range(10):
            at = 0
            while at < 65536:
                at = scanner.feed(more * 65536, at)
        kept = [getattr(scanner, name, None) for name in Scanner.__slots__]
        assert sum(len(value) for value in kept if isinstance(value, bytearray | list)) <= 2 * MAX_KEPT_BYTES
        assert [] == found


def test_feed_returns_early_when_its_steps_are_spent() -> None:
    """The work of one call is bounded by steps, whatever the bytes."""
    for dense in (b'{"pages":[' + b"1," * 9999, b'{"usage":{' + b'"a":1,' * 9999, b'{"x":[' + b"[" * 9999 + b"]" * 9999):
        scanner = Scanner(WANTED, lambda path, value: None)
        first = scanner.feed(dense, 0, 50)
        assert 0 < first < len(dense)
        assert first < scanner.feed(dense, first, 50) < len(dense)
