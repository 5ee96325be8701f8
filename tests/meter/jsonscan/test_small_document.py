"""Small documents, read at once: what is found is what the scanner finds byte by byte, or it is left to the scanner."""

from __future__ import annotations

import pytest

from passthrough.meter.jsonscan.paths import ANY, Mark, Value, paths
from passthrough.meter.jsonscan.scanner import MAX_KEPT_BYTES, Scanner
from passthrough.meter.jsonscan.small_document import MAX_BYTES, found

WANTED = paths(("model", "usage", "usage.n", "pages", "pages[].note"))

PLAIN = (
    b"{}",
    b'{"model":"m"}',
    b'{ "usage" : {"n": 12, "x": 1.50, "y": 1E5}, "model": "m" }',
    b'{"usage":{"n":-0}}',
    b'{"usage":[1],"pages":{"note":1}}',
    b'{"usage":3,"model":{}}',
    b'{"pages":[{"note":"a"},{"note":null},{"note":{"x":[1]}},5,[{"note":1}],{"x":"\\n"}]}',
    b'{"mod\\u0065l":"\\u006d","x":"\\ud83d\\udcc4","y":"\xc3\xbc","z":"\\"\\/"}',
    b'{"x":"\\"model\\":\\"n\\"","model":"m"}',
    b'{"model":"' + b"a" * 170 + b'"}',
    b'{"model":"' + b"\\u0061" * 170 + b'"}',
    b'{"model":"' + b"a" * (MAX_KEPT_BYTES + 1) + b'"}',
    b'{"usage":{"n":999999999999999}}',
)

SPECIAL = (
    b'{"model":"m","model":null,"model":"n"}',
    b'{ "usage" : {"n": 12, "n": 13}, "usage": {"n": -0} }',
    b'{"model":"m","mod\\u0065l":"n"}',
    b'{"x":1,"model":"m","x":1}',
    b'{"pages":[{"x":{"y":1,"y":1}}]}',
    b'{"a":"m","a":1,"\\u0022":"\\u0022"}',
    b'{"model":"m","model":"n", "x":"\\u0022\\u0022\\u0022\\u0022"}',
    b'{"model":"m","x":"\\u0022"}',
    b'{"usage":[1],"usage":3,"pages":{"note":1}}',
    b'{"mod\\ud800el":"m"}',
    b'{"x":"\\ud800"}',
    b'{"model":1.5}',
    b'{"usage":{"n":1e400}}',
    b'{"usage":{"n":1000000000000000}}',
    b'{"usage":{"n":' + b"9" * 5000 + b"}}",
    b'{"model":"\\ud800"}',
    b'{"model":"\xc3\xbc"}',
    b'{"model":"' + b"a" * 171 + b'"}',
    b'{"x":NaN,"model":"m"}',
    b'{"model":NaN,"usage":{"n":1}}',
    b'{"x":"\xff","model":"m"}',
    b'{"x":"\t","model":"m"}',
    b'{"x":[1 2},"model":"m"}',
    b'{"x":"\\x","model":"m"}',
    b'{"model":"m"}{"model":"n"}',
    b'{"model":"m"]}',
    b'{"model":"m",}',
)

DEEP = b'{"x":' + b"[" * 3000 + b"]" * 3000 + b',"model":"m"}'
"""orjson does not go so deep."""


def scanned(chunks: list[bytes], steps: int = 1000) -> tuple[list[tuple[str, Value]], bool, bool]:
    """What a scanner emits for chunks, whether the document is whole, and whether it is none."""
    emitted: list[tuple[str, Value]] = []
    scanner = Scanner(WANTED, lambda path, value: emitted.append((path, value)))
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            at = scanner.feed(chunk, at, steps)
    scanner.end()
    return emitted, scanner.whole, scanner.lost


def single(document: bytes) -> list[bytes]:
    """Return a document's bytes, each for itself: so the scanner does not see it whole."""
    return [document[at : at + 1] for at in range(len(document))]


@pytest.mark.parametrize("document", PLAIN)
def test_what_is_plain_is_found_as_the_scanner_finds_it(document: bytes) -> None:
    """In the document's order."""
    assert scanned(single(document))[0] == found(document, WANTED)


@pytest.mark.parametrize("document", SPECIAL)
def test_what_is_not_plain_is_left_to_the_scanner(document: bytes) -> None:
    """Where a name comes twice, the spelling matters, or orjson and the scanner are not of one mind."""
    assert found(document, WANTED) is None


@pytest.mark.parametrize("steps", [1, 1000])
@pytest.mark.parametrize("behind", [b"", b" ", b"\n{}", b"x"])
@pytest.mark.parametrize("document", [*PLAIN, *SPECIAL, DEEP, b'{"x":"' + b"y" * MAX_BYTES + b'","model":"m"}'])
def test_a_whole_document_is_read_as_one_that_comes_byte_by_byte(document: bytes, behind: bytes, steps: int) -> None:
    """Whatever comes behind it, at once or later, and however little work is to be done at once."""
    expected = scanned(single(document + behind))
    assert expected == scanned([document, behind], steps)
    assert expected == scanned([document + behind], steps)


EVERY = paths(("model", "fees", f"fees.{ANY}", "fees[]"))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"fees":{"a":1,"b c":null,"model":"x"},"model":"m"}', [1, None, "x"]),
        (b'{"fees" : { "a" : 1 , "b" : 0 } , "other":{"a":2}}', [1, 0]),
        (b'{"fees":{"a\\u0020\\"b":true,"\xc3\xa9":2}}', [True, 2]),
        (b'{"fees":{"a":{"b":1},"c":[2],"d":{}}}', [Mark.OBJECT, Mark.END, Mark.ARRAY, Mark.END, Mark.OBJECT, Mark.END]),
        (b'{"fees":{"a":1,"a":2}}', [1, 2]),
        (b'{"fees":{}}', []),
        (b'{"fees":{"":1}}', []),
        (b'{"fees":{"' + b"n" * 170 + b'":1,"' + b"n" * 171 + b'":2,"' + b"\xc3\xa9" * 86 + b'":3}}', [1]),
        (b'{"fees":{"' + b"\\u006e" * 170 + b'":1}}', [1]),
        (b'{"fees":["a",1]}', ["a", 1]),
        (b'{"fees":null,"model":{"a":1}}', []),
    ],
)
def test_every_member_of_an_object_can_be_wanted(document: bytes, expected: list[Value]) -> None:
    """Whatever its name, short, escaped or long, as far as a name is kept; whole, byte by byte, and parsed at once."""

    def members(chunks: list[bytes]) -> list[Value]:
        emitted: list[tuple[str, Value]] = []
        scanner = Scanner(EVERY, lambda path, value: emitted.append((path, value)))
        for chunk in chunks:
            at = 0
            while at < len(chunk):
                at = scanner.feed(chunk, at)
        return [value for path, value in emitted if path in {f"fees.{ANY}", "fees[]"}]

    assert expected == members([document])
    assert expected == members(single(document))
    assert expected == members([document + b" ", b" "])
    assert expected == members([document[:1], document[1:]])


@pytest.mark.parametrize("mark", [b"\xef", b"\xef\xbb", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_counts_before_a_small_document(mark: bytes) -> None:
    """Half of one makes it no document; a whole one is passed by."""
    document = b'{"model":"m"}'
    assert scanned(single(mark + document)) == scanned([mark, document])
