"""What the scan finds in a body, what it refuses, and what it lets pass: each oddity has a defined outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passthrough.errors import Refusal
from passthrough.proxy.transform.document_source import MAX_URL_BYTES, SourceKind
from passthrough.proxy.transform.request_scan import MAX_MEMBERS, MAX_MODEL_CHARACTERS, RequestScan

WATCHED = frozenset({"pages", "id"})
DATA, URL, FILE, OTHER = SourceKind.DATA, SourceKind.URL, SourceKind.FILE, SourceKind.OTHER


def scan_of(body: bytes, size: int, *, needs_model: bool = True) -> RequestScan:
    """The scan of a whole body in pieces of this size."""
    scan = RequestScan(WATCHED, needs_model=needs_model)
    for at in range(0, len(body), size):
        scan.feed(body[at : at + size])
    scan.end()
    return scan


def scanned(body: bytes, *, needs_model: bool = True) -> RequestScan:
    """The scan of a whole body, the same whole and byte by byte."""
    scans = [scan_of(body, size, needs_model=needs_model) for size in (len(body) + 1, 1, 7)]
    facts = [
        (scan.model, scan.model_span, scan.source, scan.annotated, scan.present, scan.closing, scan.lost, scan.is_empty)
        for scan in scans
    ]
    assert facts[0] == facts[1] == facts[2]
    assert all(scan.position == len(body) for scan in scans)
    return scans[0]


def refused(body: bytes, *, needs_model: bool = True) -> str:
    """Why a body is refused, the same whole and byte by byte."""
    messages = []
    for size in (len(body) + 1, 1, 7):
        with pytest.raises(Refusal) as refusal:
            scan_of(body, size, needs_model=needs_model)
        assert "bad_request" == refusal.value.kind.code
        messages.append(refusal.value.message)
    assert messages[0] == messages[1] == messages[2]
    return messages[0]


@pytest.mark.parametrize(
    ("spelt", "expected"),
    [
        (b'"mistral-ocr"', "mistral-ocr"),
        (b'"mistral\\/ocr"', "mistral/ocr"),
        (b'"\\u006D\\u00e4"', "mä"),
        ('"ocr-ü-\U0001f600"'.encode(), "ocr-ü-\U0001f600"),
        (b'"\\ud83d\\uDE00"', "\U0001f600"),
        (b'"a\\"b\\\\"', 'a"b\\'),
        (b'" "', " "),
        (b'"' + b"x" * MAX_MODEL_CHARACTERS + b'"', "x" * MAX_MODEL_CHARACTERS),
        (b'"' + b"\\ud83d\\ude00" * MAX_MODEL_CHARACTERS + b'"', "\U0001f600" * MAX_MODEL_CHARACTERS),
    ],
)
def test_the_models_text_and_place_are_found(spelt: bytes, expected: str) -> None:
    """Wherever it stands, whatever stands around it, and however its key is spelt."""
    for before, key, behind in (
        (b"{", b'"model":', b"}"),
        (b"{", b'"mod\\u0065l":', b"}"),
        (b"\xef\xbb\xbf \r\n{\t", b'"\\u006d\\u006F\\u0064\\u0065\\u006c" \n: ', b' , "x":1 } \n'),
        (b'{"metadata":{"model":"no","x":[{"model":1},"]}\\""]},"Model":"no","model ":"no",', b'"model":', b',"y":[[]]}'),
        (b'{"document":{"model":"no","type":"x"},"a":' + b"[" * 5000 + b"]" * 5000 + b",", b'"model":', b"}tail"),
        (b'{"' + b"k" * 5000 + b'":1,"k\\q":-1.5e9,"n":NaN,"s":"' + b"x" * 9000 + b'\\"",', b'"model":', b"}{}"),
    ):
        scan = scanned(before + key + spelt + behind)
        begin = len(before + key)
        assert (expected, (begin, begin + len(spelt)), False) == (scan.model, scan.model_span, scan.lost)
        assert scan.closing == begin + len(spelt) + behind.index(b"}")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "The body is empty."),
        (b"\xef\xbb\xbf \n", "The body is empty."),
        (b'[{"model":"a"}]', "The body is not a JSON object."),
        (b'"model"', "The body is not a JSON object."),
        (b"-1", "The body is not a JSON object."),
        (b"null", "The body is not a JSON object."),
        (b"--boundary", "The body is not a JSON object."),
        (b"model=a", "The body is not well-formed JSON at byte 0."),
        (b"\xef\xbb{}", "The body is not well-formed JSON at byte 2."),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "The body is not well-formed JSON at byte 3."),
        ('{"model":"a"}'.encode("utf-16"), "The body is in UTF-16 or UTF-32."),
        ('{"model":"a"}'.encode("utf-16-le"), "The body is in UTF-16 or UTF-32."),
        (' {"model":"a"}'.encode("utf-16-be"), "The body is in UTF-16 or UTF-32."),
        ('{"model":"a"}'.encode("utf-32"), "The body is in UTF-16 or UTF-32."),
        ('{"model":"a"}'.encode("utf-32-be"), "The body is in UTF-16 or UTF-32."),
        (b"{}", "The body has no 'model'."),
        (b'{"x":{"model":"a"}}', "The body has no 'model'."),
        (b'{"x":1', "The body ends before its JSON object does."),
        (b'{"x":"\\', "The body ends before its JSON object does."),
        (b'{"model":"mistr', "The body ends before its JSON object does."),
        (b"{x:1}", "The body is not well-formed JSON at byte 1."),
        (b"{'model':'a'}", "The body is not well-formed JSON at byte 1."),
        (b'{"x" 1}', "The body is not well-formed JSON at byte 5."),
        (b'{"x":,"model":"a"}', "The body is not well-formed JSON at byte 5."),
        (b'{"x":1 "model":"a"}', "The body is not well-formed JSON at byte 7."),
        (b'{"x":1,}', "The body is not well-formed JSON at byte 7."),
        (b'{"x":1]', "The body is not well-formed JSON at byte 6."),
        (b'{"x":[\\],"model":"a"}', "The body is not well-formed JSON at byte 5."),
        (b'{/**/"model":"a"}', "The body is not well-formed JSON at byte 1."),
        (b'{"model":null}', "'model' is not a text."),
        (b'{"model":7}', "'model' is not a text."),
        (b'{"model":["a"]}', "'model' is not a text."),
        (b'{"model":{"name":"a"}}', "'model' is not a text."),
        (b'{"model":""}', "'model' is empty."),
        (b'{"model":"' + b"x" * 257 + b'"}', "'model' has more than 256 characters."),
        (b'{"model":"' + b"x" * 9000, "'model' has more than 256 characters."),
        (b'{"model":"' + b"\\u0041" * 600 + b'"}', "'model' has more than 256 characters."),
        (b'{"model":"a\\ud800"}', "'model' is not a well-formed text."),
        (b'{"model":"\\udc00\\ud800"}', "'model' is not a well-formed text."),
        (b'{"model":"a\\x"}', "'model' is not a well-formed text."),
        (b'{"model":"a\nb"}', "'model' is not a well-formed text."),
        (b'{"model":"\xff"}', "'model' is not a well-formed text."),
        (b'{"model":"\xed\xa0\x80"}', "'model' is not a well-formed text."),
        (b'{"model":"a","model":"a"}', "The body has two 'model' keys."),
        (b'{"model":"a","x":[1,{"y":[]}],"\\u006dodel":null}', "The body has two 'model' keys."),
        (b'{"api_key":"sk","model":"a"}', "The body has 'api_key', which would replace the deployment's own."),
        (b'{"model":"a","api_b\\u0061se":null}', "The body has 'api_base', which would replace the deployment's own."),
        (b'{"model":"a","base_url":{}}', "The body has 'base_url', which would replace the deployment's own."),
        (b'{"model":"a"' + b',"a":1' * MAX_MEMBERS + b"}", "The body has more than 1000 keys."),
        (b'{"document":{"":1' + b',"a":[[]]' * MAX_MEMBERS + b"}", "The body has more than 1000 keys."),
    ],
)
def test_what_cannot_be_sent_is_refused(body: bytes, expected: str) -> None:
    """Before its model is known a body must be one JSON object in UTF-8; a second model and a foreign credential never pass."""
    assert expected == refused(body)


@pytest.mark.parametrize("second", [b'"model":"b"}', b'"api_key":"sk"}'])
def test_what_is_refused_is_refused_after_a_part_has_gone_up(second: bytes) -> None:
    """The first piece has made the request routable, so it may be at the provider already."""
    scan = RequestScan()
    scan.feed(b'{"model":"a","document":{"document_url":"data:,' + b"QUJD" * 12)
    assert (True, True) == (scan.model_known, scan.source_known)
    scan.feed(b"QUJD" * 5000)
    scan.feed(b'"},')
    with pytest.raises(Refusal):
        scan.feed(second)


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        b",",
        b",}",
        b',"x"',
        b',"x":[1',
        b',"x":"',
        b',"x":\\}',
        b',"x":[\\],"model":"b"}',
        b"]",
        b"\x00",
        b',x:1,"model":"b"}',
    ],
)
def test_what_is_malformed_behind_the_model_crosses(behind: bytes) -> None:
    """The provider says what is wrong with it; the object has no end, and nothing behind the flaw is looked at."""
    scan = scanned(b'{"model":"a"' + behind)
    assert ("a", None, behind not in (b"", b",", b',"x"', b',"x":[1', b',"x":"')) == (scan.model, scan.closing, scan.lost)


@pytest.mark.parametrize("behind", [b"", b" \n", b"}", b'{"model":"b"}', b',"model":"b","api_key":1', b"\x00\xff"])
def test_bytes_behind_the_object_are_not_looked_at(behind: bytes) -> None:
    """They cross as they are, and nothing is `lost`."""
    scan = scanned(b'{"model":"a"}' + behind)
    assert ("a", 12, False) == (scan.model, scan.closing, scan.lost)


def test_a_body_may_lack_the_model_where_the_path_has_it() -> None:
    """It is known at the object's end that it does; all else is refused as elsewhere."""
    scan = scanned(b'{"id":"x"}', needs_model=False)
    assert (None, True, 9, False, {"id"}) == (scan.model, scan.model_known, scan.closing, scan.is_empty, scan.present)
    assert scanned(b" {} ", needs_model=False).is_empty
    assert "a" == scanned(b'{"model":"a"}', needs_model=False).model
    assert "The body ends before its JSON object does." == refused(b'{"id":1', needs_model=False)
    assert "The body is not well-formed JSON at byte 8." == refused(b'{"id":1,}', needs_model=False)
    assert "'model' is not a text." == refused(b'{"model":null}', needs_model=False)


SCHEME_WHY = "the document's URL must begin with https:, http: or data:"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"type":"document_url","document_url":@"https://a.b/c.pdf?d=%20"@}', (URL, "https://a.b/c.pdf?d=%20")),
        (b'{"image_url":@"HTTP://a/\\u00e4"@,"document_url":"data:,"}', (URL, "HTTP://a/ä")),
        (b'{"type":"image_url","image_url":{"detail":"x","url":@"https:\\/\\/a.b\\/c"@}}', (URL, "https://a.b/c")),
        (b'{"document_url" : { "url" : null , "\\u0075rl" : @"http:"@ , "url" : "data:,"} }', (URL, "http:")),
        (b'{"document_url":@"\\u0068\\u0074\\u0074\\u0070\\u0073\\u003a\\u002f/x"@}', (URL, "https://x")),
        (b'{"document_url":null,"image_url":@"https://a"@}', (URL, "https://a")),
        (b'{"document_url":@"data:application/pdf;base64,JVBERi0xLjc="}', (DATA, "")),
        (b'{"document_url":@"DATA:,x"}', (DATA, "")),
        (b'{"document_url":@"d\\u0061ta:,x"}', (DATA, "")),
        (b'{"document_url":@"data:' + b"QUJD" * 9000 + b'\\"","image_url":"https://a"}', (DATA, "")),
        (b'{"image_url":{"url":@"data:image/png;base64,' + b"QUJD" * 9000 + b'"}}', (DATA, "")),
        (b'{"type":"file","file_id":@"00edaf84-95b0"}', (FILE, "")),
        (b'{"file":@{"file_id":"x","document_url":"https://a"},"document_url":"https://a"}', (FILE, "")),
        (b'{"file":@["x"]}', (FILE, "")),
        (b'{"file":@"/etc/passwd"}', (FILE, "")),
        (b'{"file_id":null,"file":@7}', (FILE, "")),
        (b'{"document_url":@"gs://bucket/o.pdf"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"ftp://a/b"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"file:///etc/passwd"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@" https://a"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"https"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@""}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"JVBERi0xLjc' + b"JVBE" * 9000 + b'"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"http\\s://a"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"' + b"\\u0041" * 9 + b'"}', (OTHER, SCHEME_WHY)),
        (b'{"document_url":@"https://a\\ud800"}', (OTHER, "the document's URL must be a well-formed text")),
        (b'{"document_url":@"https://a\\xq' + b"q" * 99 + b'"}', (OTHER, "the document's URL must be a well-formed text")),
        (
            b'{"document_url":@"https://' + b"q" * MAX_URL_BYTES + b'"}',
            (OTHER, "the document's URL must have at most 16384 bytes"),
        ),
        (b'{"document_url":@7}', (OTHER, "the document's URL must be a text")),
        (b'{"document_url":@["https://a"]}', (OTHER, "the document's URL must be a text")),
        (b'{"document_url":{"url":@{"url":"https://a"}}}', (OTHER, "the document's URL must be a text")),
        (b'{"document_url":{"detail":"x"}}', (OTHER, "the document's link must have a 'url'")),
        (b'{"document_url":{"url":null}}', (OTHER, "the document's link must have a 'url'")),
        (b'{"type":"document_url"}', None),
        (b'{"x":{"document_url":"https://a"}}', None),
        (b"{}", None),
        (b"null", None),
        (b'"https://a"', None),
        (b'[{"document_url":"https://a"}]', None),
        (b"7", None),
    ],
)
def test_the_documents_source_is_found(document: bytes, expected: tuple[SourceKind, str] | None) -> None:
    """The first one that is not null, of the first document; `@` shows where it begins, and a URL's end."""
    plain = document.replace(b"@", b"")
    for before, behind in (
        (b'{"model":"a","document":', b"}"),
        (b'{"x":{"document":{"file":1}},"document" : ', b',"model":"a"}'),
    ):
        second = b',"document":{"document_url":"https://second"}' + behind
        for body in (before + plain + behind, before + plain + second):
            source = scanned(body).source
            if expected is None:
                assert source is None
                continue
            assert source is not None
            kind, text = expected
            assert (kind, text) == (source.kind, source.url or source.why)
            if b"@" in document:
                first, *_ = places(document)
                assert len(before) + first == source.begin
            assert (len(before) + places(document)[1] if kind is URL else None) == source.end


def places(marked: bytes) -> list[int]:
    """The offsets of what stands behind each `@`, without them."""
    return [len(b"".join(marked.split(b"@")[: number + 1])) for number in range(marked.count(b"@"))]


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (b'"data:application/pdf;base64,' + b"Q" * 30, DATA),
        (b'"JVBERi0xLjcKJeLjz9MKMSAwIG9iago8PC9UeXBlL0NhdGFsb2c+PgplbmRvYmoK', OTHER),
        (b'{"url":"gs://bucket/' + b"Q" * 40, OTHER),
        (b'"https://' + b"Q" * 60, None),
        (b'"data:', None),
    ],
)
def test_a_long_sources_kind_is_known_by_its_first_bytes(begun: bytes, expected: SourceKind | None) -> None:
    """So a request is routable before its document has come; a URL is known at its end, for it must be whole."""
    scan = RequestScan()
    scan.feed(b'{"model":"a","document":{"document_url":' + begun)
    assert (expected, expected is not None) == (scan.source and scan.source.kind, scan.source_known)


@pytest.mark.parametrize(
    "behind", [b'{"model":"a"}', b'{"model":"a","document":{}', b'{"model":"a","document":7,', b'{"model":"a"x']
)
def test_that_there_is_no_source_is_known(behind: bytes) -> None:
    """Where the object has ended, the document has, or the body is malformed."""
    scan = RequestScan()
    scan.feed(behind[:-1])
    assert not scan.source_known or behind.endswith(b",")
    scan.feed(behind[-1:])
    assert (True, None) == (scan.source_known, scan.source)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"document_annotation_format": {"type": "json_schema"}}, True),
        ({"bbox_annotation_format": "x"}, True),
        ({"bbox_annotation_format": [1]}, True),
        ({"bbox_annotation_format": 1}, True),
        ({"document_annotation_format": None}, False),
        ({"x": {"document_annotation_format": 1}}, False),
        ({}, False),
    ],
)
def test_annotations_are_asked_for_by_what_is_not_null(members: dict[str, Any], expected: bool) -> None:
    """At the top; of a duplicated key the last counts, as for the meter."""
    body = json.dumps({"model": "a", **members}).encode()
    assert expected == scanned(body).annotated
    assert not scanned(body[:-1] + b',"document_annotation_format":null,"bbox_annotation_format":null}').annotated


def test_only_watched_keys_at_the_top_are_noted() -> None:
    """By their text, however it is spelt."""
    assert {"pages"} == scanned(b'{"model":"a","x":{"id":1},"p\\u0061ges":null,"document":{"id":1}}').present
    assert set() == scanned(b'{"model":"a","Pages":1}').present


PEEKED = [
    (b"", False),
    (b'{"x":"', True),
    (b'{"x":"\\', False),
    (b'{"x":{"y":["', True),
    (b'{"x":[1,[', False),
    (b'{"x', False),
    (b'{"model":"', False),
    (b'{"document":{"document_url":"', False),
    (b'{"document":{"document_url":"https://' + b"Q" * 50, False),
    (b'{"document":{"document_url":"data:' + b"Q" * 50, True),
    (b'{"document":{"document_url":"' + b"Q" * 50, True),
    (b'{"document":{"file_id":"', True),
    (b'{"model":"a"}', True),
    (b'{"model":"a"?', True),
]


@pytest.mark.parametrize(("begun", "expected"), PEEKED)
def test_only_what_changes_nothing_is_peeked_at(begun: bytes, expected: bool) -> None:
    """Inside a long string, behind the object, and where the body is lost; the position counts on."""
    scan = RequestScan()
    scan.feed(begun)
    inside, size = bytearray(b'QUJD}],:"'), 8
    assert expected == scan.peek(inside, size)
    assert len(begun) + expected * size == scan.position
    is_over = begun.startswith(b'{"model":"a"')
    assert [is_over] * 3 == [scan.peek(bytearray(each), len(each)) for each in (b'QU"D', b"QUJ\\", b'QU\\"D')]


def test_dense_bytes_are_more_work() -> None:
    """So that one body's brackets do not hold up the others: the caller lets them go on in between."""
    usual, dense = RequestScan(), RequestScan()
    usual.feed(b'{"x":"')
    dense.feed(b'{"x":[')
    assert 60_000 == usual.feed(b"QUJD" * 15_000)
    assert 200_000 < dense.feed(b"[][[]]" * 10_000)
