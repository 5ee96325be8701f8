"""A form becomes the JSON that LiteLLM makes of it, whatever its fields hold and however its bytes are cut."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.proxy.ocr.form_request import FormFile, request_of
from passthrough.proxy.transform.multipart import Multipart

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
MODEL = ('name="model"', b"mistral-ocr")
FILE = ('name="file"; filename="a.pdf"', PDF)


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form; each part is what follows `form-data; ` in its head, with further lines, and its content."""
    texts = [f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts]
    return b"".join([*texts, b"--b--\r\n"])


def read(*parts: tuple[str, bytes], step: int = 1000) -> tuple[bytes, FormFile | None]:
    """Read a form in pieces of `step` bytes."""
    body = form(*parts)
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    multipart = Multipart(b"b")
    for piece in pieces:
        multipart.feed(piece)
    multipart.end()
    return request_of(multipart.parts, pieces)


def fields(*parts: tuple[str, bytes]) -> dict[str, Any]:
    """Return what becomes of the fields beside model and document."""
    text, _ = read(FILE, MODEL, *parts)
    members: dict[str, Any] = json.loads(text)
    return {name: value for name, value in members.items() if name not in ("model", "document")}


VALUES = [
    (b"[0,1]", [0, 1]),
    (b"true", True),
    (b"null", None),
    (b"1.50", 1.5),
    (b' {"type": "json_schema"} ', {"type": "json_schema"}),
    (b'"quoted"', "quoted"),
    (b'"\\ud800"', "\ud800"),  # half of a pair, escaped: JSON, but no text that could be encoded again
    (b"plain", "plain"),
    (b'a "quote" \\ and\na line', 'a "quote" \\ and\na line'),
    (b"0,1-2", "0,1-2"),
    (b"True", "True"),
    (b"NaN", "NaN"),  # Python's JSON would take it
    (b"-Infinity", "-Infinity"),
    (b"", ""),
    ("Grüße".encode(), "Grüße"),
    (b"1" * 5000, None),  # more digits than Python makes an integer of: the digits cross
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_field_is_json_where_its_text_is(text: bytes, value: object) -> None:
    """Else it is a text; and JSON crosses as it stands."""
    body, _ = read(FILE, MODEL, ('name="x"', text))
    if len(text) == 5000:
        assert b'"x":' + text in body
    else:
        assert value == json.loads(body)["x"]


@pytest.mark.parametrize(
    ("text", "model"), [(b"mistral-ocr", "mistral-ocr"), (b'"mistral-ocr"', "mistral-ocr"), (b"123", "123"), (b"null", "null")]
)
def test_a_model_is_always_a_text(text: bytes, model: str) -> None:
    """LiteLLM makes a number of one that looks so."""
    body, _ = read(FILE, ('name="model"', text))
    assert model == json.loads(body)["model"]


CHARSETS = [
    ('name="x"\r\nContent-Type: text/plain; charset=ISO-8859-1', "Grüße".encode("latin-1"), "Grüße"),
    ('name="x"\r\nContent-Type: text/plain; charset="utf-8"', "Grüße".encode(), "Grüße"),
    ('name="x"\r\nContent-Type: text/plain;charset=windows-1252', b"5 \x80", "5 €"),
    ('name="x"\r\nContent-Type: application/json', b"[1]", [1]),
]


@pytest.mark.parametrize(("head", "content", "value"), CHARSETS)
def test_charsets(head: str, content: bytes, value: object) -> None:
    """A text is in the charset that its part names."""
    assert {"x": value} == fields((head, content))


def test_a_field_names_the_charset_of_the_others() -> None:
    """`_charset_` (RFC 7578 §4.6) is for texts whose parts name none, wherever it stands, and does not cross itself."""
    assert {"x": "ü"} == fields(('name="x"', b"\xfc"), ('name="_charset_"', b"iso-8859-1"))


TYPES = [
    ('filename="a.bin"\r\nContent-Type: image/png', PDF, "image/png"),
    ('filename="a.pdf"\r\nContent-Type: Image/TIFF; x=y', PDF, "image/tiff"),
    ('filename="a.PDF"\r\nContent-Type: application/octet-stream', PNG, "application/pdf"),
    ('filename="a.pdf"', PNG, "application/pdf"),
    ('filename="a.docx"', b"PK", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ('filename="a.bin"', PDF, "application/pdf"),  # the ending says no more than the type would
    ('filename="scan"', PNG, "image/png"),
    ("filename*=UTF-8''%C3%BC.png; filename=\"u.pdf\"", PDF, "image/png"),
    ('filename="C:\\scans\\a.jpg"', PDF, "image/jpeg"),
    ('filename="a;b\\".gif"', PDF, "image/gif"),
    ('filename=""', PDF, "application/pdf"),
    ('filename="scan"', b"what is this", "application/octet-stream"),
    ('filename="a.png"\r\nContent-Type: image/"quote', PDF, "image/png"),  # no media type: it could end the data URI
    ('x=""\r\nContent-Type: application/pdf', PDF, "application/pdf"),  # a file without a name (RFC 7578 §4.2)
]


@pytest.mark.parametrize(("head", "content", "media_type"), TYPES)
def test_the_media_type_of_a_file(head: str, content: bytes, media_type: str) -> None:
    """The part says it, else the ending of the file's name, else the first bytes; an image is an `image_url`."""
    text, file = read(MODEL, (f'name="file"; {head}', content), step=3)
    kind = "image_url" if media_type.startswith("image/") else "document_url"
    assert file is not None
    assert media_type == file.media_type
    assert {"type": kind, kind: "http://file.invalid/"} == json.loads(text)["document"]


def test_a_document_that_is_a_field() -> None:
    """A URL needs no file: the request is as if it had been sent as JSON."""
    document = {"type": "document_url", "document_url": "https://a.example/b.pdf"}
    text, file = read(MODEL, ('name="document"', json.dumps(document).encode()))
    assert (document, None) == (json.loads(text)["document"], file)


REFUSED = {
    "no 'model'": [FILE],
    "no 'file'": [MODEL],
    "both 'file' and 'document'": [FILE, MODEL, ('name="document"', b"{}")],
    "more than one file": [FILE, MODEL, FILE],
    "a field twice": [FILE, MODEL, MODEL],
    "a field twice: write a list as [0,1]": [FILE, MODEL, ('name="pages"', b"0"), ('name="pages"', b"1")],
    "by another name": [MODEL, ('name="scan"; filename="a.pdf"', PDF)],
    "a text as 'file'": [MODEL, ('name="file"', b"invoice.pdf")],  # `-F file=invoice.pdf`, without the @
    "file is empty": [MODEL, ('name="file"; filename="a.pdf"', b"")],
    "no JSON object": [MODEL, ('name="document"', b"https://a.example/b.pdf")],
    "not text in its charset": [FILE, MODEL, ('name="x"', b"\xff")],
    "a charset that is not read": [FILE, MODEL, ('name="x"\r\nContent-Type: text/plain; charset=undefined', b"a")],
    "nested too deeply": [FILE, MODEL, ('name="x"', b"[" * 200_000)],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str) -> None:
    """Each with its reason, and with how it is done with curl."""
    with pytest.raises(Refusal, match=re.escape(what)) as refused:
        read(*REFUSED[what])
    assert "bad_request" == refused.value.kind.code
    assert "-F file=@" in refused.value.hint


@given(content=st.binary(min_size=1, max_size=300), step=st.integers(1, 80))
async def test_any_file_arrives_whatever_the_borders(content: bytes, step: int) -> None:
    """The base64 is that of the file, as often as it is asked for, and as long as was foreseen."""
    _, file = read(MODEL, ('name="file"; filename="a.pdf"', content.replace(b"\r\n--b", b"")), step=step)
    assert file is not None
    for _ in range(2):
        sent = b"".join([piece async for piece in file.base64()])
        assert content.replace(b"\r\n--b", b"") == b64decode(sent, validate=True)
    assert len(b64decode(sent)) == file.length
