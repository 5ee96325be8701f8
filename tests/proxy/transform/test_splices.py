"""What goes out for a body, against a splice that `json` makes by positions."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from json.decoder import scanstring
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.proxy.transform.document_source import SourceKind
from passthrough.proxy.transform.request_scan import RequestScan
from passthrough.proxy.transform.splices import DOCUMENT, InlinedDocument, Part, Slot, Splices

MODEL = "mistral-document-ai-2512"
DEFAULTS = (("include_image_base64", b"true"), ("pages", b"[0,1]"), ('tä"g', b'"\xc3\xa4"'))
WATCHED = frozenset(key for key, _ in DEFAULTS)
PDF = b"%PDF-1.7 \xff\x00"
INLINED = InlinedDocument("application/pdf", len(PDF))


def scanned(body: bytes, cuts: tuple[int, ...] = (), *, needs_model: bool = True) -> RequestScan:
    """The scan of a whole body, cut there."""
    scan = RequestScan(WATCHED, needs_model=needs_model)
    for piece in pieces_of(body, cuts):
        scan.feed(piece)
    scan.end()
    return scan


def pieces_of(body: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    """The body in pieces, cut at these offsets."""
    borders = sorted(min(cut, len(body)) for cut in cuts)
    return [body[begin:end] for begin, end in zip([0, *borders], [*borders, len(body)], strict=True)]


def spelt(parts: list[Part | Slot]) -> bytes:
    """The bytes of these parts, with the document where its place is."""
    return b"".join(b64encode(PDF) if isinstance(part, Slot) else bytes(part) for part in parts)


def spliced(body: bytes, cuts: tuple[int, ...] = (), *, model: str = MODEL, follows: bool = False) -> bytes:
    """What goes out for a body, inlining a document by its URL; `follows`: the splices run right behind the scan."""
    scan = RequestScan(WATCHED)
    held: list[bytes] = []
    splices: Splices | None = None
    sent = b""
    for piece in pieces_of(body, cuts):
        scan.feed(piece)
        held.append(piece)
        if splices is None and scan.model_known and scan.source_known and follows:
            splices = opened(scan, len(body), model)
        if splices is not None:
            for each in held:
                sent += each if splices.passes(len(each)) else spelt(splices.feed(each))
            held.clear()
    scan.end()
    splices = splices or opened(scan, len(body), model)
    for each in held:
        sent += spelt(splices.feed(memoryview(each)))
    sent += splices.end()
    assert splices.length == len(sent)
    return sent


def opened(scan: RequestScan, length: int, model: str) -> Splices:
    """The splices of a deployment that inlines documents."""
    is_link = scan.source is not None and scan.source.kind is SourceKind.URL
    return Splices(scan, length, model, DEFAULTS, INLINED if is_link else None)


# ── the other splice ──


BLANKS = re.compile(r"[ \t\n\r]*").match
DECODER = json.JSONDecoder()


def blanks(text: str, at: int) -> int:
    """The offset behind blanks."""
    found = BLANKS(text, at)
    assert found is not None
    return found.end()


def members(text: str, at: int) -> Iterator[tuple[str, int, int, Any]]:
    """The members of the object at `at`, as (name, begin, end, value); at last its closing brace as ("", offset, 0, None)."""
    at = blanks(text, at + 1)
    while text[at] != "}":
        name, at = scanstring(text, at + 1, False)
        begin = blanks(text, blanks(text, at) + 1)
        value, at = DECODER.raw_decode(text, begin)
        yield name, begin, at, value
        at = blanks(text, at)
        if text[at] == ",":
            at = blanks(text, at + 1)
    yield "", at, 0, None


def independent(body: bytes) -> bytes:
    """The same as `spliced`, all at once and from behind. Offsets are of characters."""
    text = body.decode()
    found = list(members(text, blanks(text, text.startswith("\ufeff"))))
    *top, (_, closing, _, _) = found
    keys = {name for name, *_ in top}
    added = "".join(f",{json.dumps(key, ensure_ascii=False)}:{value.decode()}" for key, value in DEFAULTS if key not in keys)
    room = sum(len(f",{json.dumps(key, ensure_ascii=False)}:".encode() + value) for key, value in DEFAULTS)
    changes = [(closing, closing, added + " " * (room - len(added.encode())))]
    begin, end, model = next((begin, end, value) for name, begin, end, value in top if name == "model")
    if model != MODEL:
        changes.append((begin, end, json.dumps(MODEL)))
    document = next(((begin, value) for name, begin, _, value in top if name == "document"), None)
    link = link_in(text, document[0]) if document and isinstance(document[1], dict) else None
    if link:
        changes.append((*link, f'"data:application/pdf;base64,{b64encode(PDF).decode()}"'))
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new + text[end:]
    return text.encode()


def link_in(text: str, at: int) -> tuple[int, int] | None:
    """Where the http URL of the document at `at` stands, if its first source is one."""
    for name, *value in members(text, at):
        if value[-1] is None or name not in ("document_url", "image_url", "file_id", "file"):
            continue
        if name.startswith("file"):
            return None
        inner = (found for key, *found in members(text, value[0]) if key == "url" and found[-1] is not None)
        begin, end, url = next(inner, (0, 0, None)) if isinstance(value[-1], dict) else value
        return (begin, end) if isinstance(url, str) and url.lower().startswith(("https:", "http:")) else None
    return None


# ── bodies ──


class Members(list[tuple[str, Any]]):
    """An object with its duplicates, in order."""


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(['"', "\\", '\\"', "\\\\", '{"model":"x"}', "]},", "x" * 9000, '"[\\' * 700, "\U0001f600", "\x7f\x00"]),
)
URLS = st.one_of(
    st.sampled_from(
        ["https://a.b/c.pdf?d=1&e=%20", "HTTP://a", "http:", "data:application/pdf;base64,QUJD", "Data:" + "QUJD" * 3000]
    ),
    st.sampled_from(["gs://b/o", "ftp://a/b", "JVBERi0xLjc=", "JVBE" * 5000, "", "https", " https://a", "x:https://a"]),
    TEXTS,
    TEXTS.map(lambda text: "https://ü.b/" + text),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(st.tuples(st.sampled_from(["model", "document", "url", "api_key", "x", 'a"b', ""]), inner), max_size=6).map(
            Members
        )
    ),
    max_leaves=30,
)
LINKS = st.lists(st.tuples(st.sampled_from(["url", "detail", "model"]), st.one_of(URLS, VALUES)), max_size=3).map(Members)
DOCUMENTS = st.lists(
    st.tuples(
        st.sampled_from(["type", "document_url", "image_url", "file_id", "file", "document_name", "url"]),
        st.one_of(URLS, URLS, LINKS, VALUES),
    ),
    max_size=5,
).map(Members)
OTHERS = st.tuples(
    st.sampled_from(["document", *sorted(WATCHED), "id", "document_annotation_format", "Model", "model ", ""]),
    st.one_of(VALUES, DOCUMENTS),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body with one `model`, and how it is spelt: blanks, escapes, duplicates, a byte order mark, bytes behind it."""
    gaps = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"]) if draw(st.booleans()) else st.just("")
    ascii_only, escaped, slashes = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def text(value: str) -> str:
        if escaped and value.isascii() and len(value) < 40:
            return '"' + "".join(f"\\u{ord(letter):04X}" for letter in value) + '"'
        written = json.dumps(value, ensure_ascii=ascii_only)
        return written.replace("/", "\\/") if slashes else written

    def write(value: Any) -> str:
        if isinstance(value, Members):
            written = (f"{draw(gaps)}{text(key)}{draw(gaps)}:{draw(gaps)}{write(member)}{draw(gaps)}" for key, member in value)
            return "{" + (",".join(written) or draw(gaps)) + "}"
        if isinstance(value, list):
            return f"[{','.join(draw(gaps) + write(item) + draw(gaps) for item in value) or draw(gaps)}]"
        return text(value) if isinstance(value, str) else json.dumps(value)

    top = [*draw(st.lists(OTHERS, max_size=5)), *draw(st.lists(DOCUMENTS.map(lambda value: ("document", value)), max_size=1))]
    name = draw(st.one_of(st.just(MODEL), st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)))
    top.insert(draw(st.integers(0, len(top))), ("model", name))
    behind = draw(st.sampled_from(["", "", "\n", "}", "garbage"]))
    return (draw(st.sampled_from(["", "", "\ufeff"])) + draw(gaps) + write(Members(top)) + behind).encode()


CUTS = st.lists(st.integers(0, 2000), max_size=8).map(tuple)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(bodies(), CUTS)
@example(b'{"model":"a"}', ())
def test_what_goes_out_is_what_an_independent_splice_makes(body: bytes, cuts: tuple[int, ...]) -> None:
    """Whole, byte by byte and cut anywhere; with the body in hand, and right behind the scan."""
    expected = independent(body)
    assert expected == spliced(body)
    assert expected == spliced(body, cuts)
    assert expected == spliced(body, cuts, follows=True)
    if len(body) < 3000:
        assert expected == spliced(body, tuple(range(1, len(body))), follows=True)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(bodies(), st.integers(0, 3000), st.sampled_from([b"", *(bytes([byte]) for byte in b'"\\{}[],: 1\x00\xff')]), CUTS)
def test_a_flawed_body_has_one_outcome(body: bytes, at: int, flaw: bytes, cuts: tuple[int, ...]) -> None:
    """A byte that is wrong, missing or too much anywhere: the same bytes, or the same refusal, wherever the borders are."""
    body = body[:at] + flaw + body[at + 1 :]
    expected = outcome(body, ())
    assert expected == outcome(body, cuts)
    if len(body) < 3000:
        assert expected == outcome(body, tuple(range(1, len(body))))


def outcome(body: bytes, cuts: tuple[int, ...]) -> bytes | str:
    """What goes out, or why nothing does."""
    try:
        return spliced(body, cuts)
    except Refusal as refusal:
        return refusal.message


def test_what_is_not_touched_goes_out_as_it_is() -> None:
    """A piece without a change is the same object; of a long one with a change, the rest is a view and not a copy."""
    begin, middle, end = b'{"model":"a","document":{"document_url":"data:,' + b"Q" * 200_000, b"Q" * 200_000, b'"}}'
    scan = RequestScan(WATCHED)
    scan.feed(begin)
    splices = Splices(scan, len(begin + middle + end), MODEL, DEFAULTS)
    head, rest = splices.feed(begin)
    assert (b'{"model":"' + MODEL.encode() + b'"', begin[12:]) == (head, rest)
    assert isinstance(rest, memoryview)
    assert rest.obj is begin
    scan.feed(middle)
    assert [True] == [part is middle for part in splices.feed(middle)]
    scan.feed(end)
    (last,) = splices.feed(end)
    assert splices.length == sum(map(len, (head, rest, middle, last)))


def test_pieces_pass_uncounted_up_to_the_next_change() -> None:
    """The rest of a long body goes past the parser: only pieces with a change in them are fed."""
    pieces = [b'{"x":"', b"Q" * 50, b'","model":"a"', b',"y":"', b"Q" * 50, b'"', b"}"]
    scan = scanned(b"".join(pieces))
    passed = []
    splices = Splices(scan, scan.position, MODEL, DEFAULTS)
    for piece in pieces:
        passed.append(splices.passes(len(piece)) or splices.feed(piece) == [piece])
    assert [True, True, False, True, True, True, False] == passed
    splices = Splices(scan, scan.position, "a")
    assert [True] * len(pieces) == [splices.passes(len(piece)) for piece in pieces]
    assert (b"", scan.position) == (splices.end(), splices.length)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"mod\\u0065l" : "\\u0061"}', b'{"mod\\u0065l" : "\\u0061","n":1}'),  # the same text: its spelling stays
        (b'{"model":"b"}', b'{"model":"a","n":1}'),
        (b'{"model":"b"}}x', b'{"model":"a","n":1}}x'),
        (b'\xef\xbb\xbf{"model":"b" }\n', b'\xef\xbb\xbf{"model":"a" ,"n":1}\n'),
        (b'{"model":"b","\\u006e":null}', b'{"model":"a","\\u006e":null      }'),
        (b'{"model":"b","x":{"n":2}}', b'{"model":"a","x":{"n":2},"n":1}'),
        (b'{"model":"b"', b'{"model":"a"      '),
        (b'{"model":"b",]}', b'{"model":"a",]}      '),
        (b'{"model":"b","x":"\\', b'{"model":"a","x":"\\      '),
        (b'{"id":1}', b'{"id":1,"model":"a","n":1}'),
        (b" { } ", b' { "model":"a","n":1 } '),
    ],
)
def test_model_and_defaults_are_put_in_their_places(body: bytes, expected: bytes) -> None:
    """Room for a default is blanks where the body has the key, and stands behind a body whose object has no end."""
    for size in (1, 5, len(body)):
        scan = RequestScan(frozenset({"n"}), needs_model=False)
        scan.feed(body)
        scan.end()
        splices = Splices(scan, len(body), "a", (("n", b"1"),))
        sent = b"".join(spelt(splices.feed(body[at : at + size])) for at in range(0, len(body), size)) + splices.end()
        assert (expected, len(expected)) == (sent, splices.length)


def test_another_try_has_splices_of_its_own() -> None:
    """The same body, the same scan, another deployment: one inlines the document, the other does not."""
    body = b'{"document":{"image_url":{"url":"https://a/b.png"}},"model":"ocr"}'
    scan = scanned(body)
    inlining = Splices(scan, len(body), "a", document=InlinedDocument("image/png", len(PDF)))
    passing = Splices(scan, len(body), "b")
    url = b"data:image/png;base64," + b64encode(PDF)
    assert body.replace(b"https://a/b.png", url).replace(b"ocr", b"a") == spelt(inlining.feed(body))
    assert body.replace(b'"ocr"', b'"b"') == spelt(passing.feed(body))
    parts = Splices(scan, len(body), "a", document=InlinedDocument("image/png", 10)).feed(body)
    assert [bytes, Slot, bytes] == [type(part) for part in parts]
    assert DOCUMENT is parts[1]
