"""The parts of a form are found whatever the borders of the pieces, in what real clients send and in what they should not."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.proxy.transform.multipart import MAX_PARTS, MAX_TEXT_BYTES, FormPart, Multipart, boundary_of, is_form

TYPE = b"multipart/form-data; boundary=b"
NAMED = b'Content-Disposition: form-data; name="a"\r\n\r\n'


def read(body: bytes, content_type: bytes = TYPE, step: int = 10**9) -> list[FormPart]:
    """Return the parts of a form that comes in pieces of `step` bytes."""
    multipart = Multipart(boundary_of(content_type))
    for at in range(0, len(body), step):
        multipart.feed(body[at : at + step])
    multipart.end()
    return multipart.parts


def contents(body: bytes, content_type: bytes = TYPE) -> list[bytes]:
    """Return the contents, which are the same for a body that comes whole, byte by byte and in between."""
    whole = read(body, content_type)
    for step in (1, 2, 7):
        assert whole == read(body, content_type, step)
    return [body[part.begin : part.end] for part in whole]


def recorded(boundary: str, text: str = "", file: str = "", disposition: str = "r\u00fc.pdf") -> tuple[bytes, bytes]:
    """Return the Content-Type and the body of a form with three parts, as clients differ in them."""
    fields = "".join(
        f'--{boundary}\r\n{text}Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("model", "mistral-ocr"), ("pages", "[0]"))
    )
    last = f'Content-Disposition: form-data; name="file"; filename="{disposition}"\r\n'
    last = f"{file}{last}" if text else f"{last}{file}"
    body = f"{fields}--{boundary}\r\n{last}\r\n%PDF-\r\n--{boundary}--\r\n"
    return f"multipart/form-data; boundary={boundary}".encode(), body.encode()


PDF_TYPE = "Content-Type: application/pdf\r\n"
CLIENTS = {
    "curl -F": recorded("------------------------d1d1c27293894bc2", file=PDF_TYPE),
    "requests": recorded("0d6e47a78f989bdbc31e07e6c3bccc31"),
    "httpx": recorded("537e54e1f59c5f9d150e1ce3bf7d5477", file=PDF_TYPE),
    "aiohttp": recorded(
        "084835ba0c49413888581f305c30c1a6",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: application/octet-stream\r\n",
        "r%C3%BC.pdf",
    ),
    "undici, and axios with it": recorded("----formdata-undici-014567890123", file=PDF_TYPE),
    "browsers": recorded("----WebKitFormBoundary7MA4YWxkTrZu0gW", file=PDF_TYPE),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_clients_send(client: str) -> None:
    """The three parts of each, as the client's own library wrote them."""
    content_type, body = CLIENTS[client]
    assert is_form(content_type)
    assert [b"mistral-ocr", b"[0]", b"%PDF-"] == contents(body, content_type)
    parts = read(body, content_type)
    assert [("model", False), ("pages", False), ("file", True)] == [(part.name, part.is_file) for part in parts]
    assert parts[2].file_name in ("r\u00fc.pdf", "r%C3%BC.pdf")


BODIES = {
    "a preamble": (b"not\r\n--bb\r\n a part\r\n--b\r\n" + NAMED + b"x\r\n--b--", [b"x"]),
    "an epilogue": (b"--b\r\n" + NAMED + b"x\r\n--b--\r\nnot\r\n--b\r\n a part", [b"x"]),
    "padding behind delimiters": (b"--b \t\r\n" + NAMED + b"x\r\n--b-- \r\n", [b"x"]),
    "nothing behind the closing one": (b"--b\r\n" + NAMED + b"x\r\n--b--", [b"x"]),
    "an empty content": (b"--b\r\n" + NAMED + b"\r\n--b--\r\n", [b""]),
    "a head that ends with the delimiter": (b"--b\r\n" + NAMED + b"--b--\r\n", [b""]),
    "a boundary within a line": (b"--b\r\n" + NAMED + b"x--b--\r\n--b--\r\n", [b"x--b--"]),
    "a longer word": (b"--b\r\n" + NAMED + b"\r\n--bb\r\n--b-\r\n--b--x\r\n--b--\r\n", [b"\r\n--bb\r\n--b-\r\n--b--x"]),
    "line ends alone": (b"--b\r\n" + NAMED + b"\r\n--\r\n\n--b\r\r\n--b--\r\n", [b"\r\n--\r\n\n--b\r"]),
    "one delimiter behind another's start": (b"--b\r\n" + NAMED + b"\r\n--\r\n--b--\r\n", [b"\r\n--"]),
    "too much padding": (b"--b\r\n" + NAMED + b"\r\n--b" + b" " * 300 + b"\r\n--b--\r\n", [b"\r\n--b" + b" " * 300]),
    "a folded line": (b'--b\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\nx\r\n--b--', [b"x"]),
    "names of fields in any case": (b'--b\r\nCONTENT-disposition: Form-Data; NAME="a"\r\n\r\nx\r\n--b--', [b"x"]),
    "a latin-1 name of a file": (b'--b\r\nContent-Disposition: form-data; name=a; filename="\xfc"\r\n\r\nx\r\n--b--', [b"x"]),
}


@pytest.mark.parametrize("case", BODIES)
def test_delimiters(case: str) -> None:
    """What begins as a delimiter and is none is content."""
    body, expected = BODIES[case]
    assert expected == contents(body)


@given(
    content=st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"b", b"\r\n--b", b"\r\n", b" ", b"x"]), max_size=12),
    step=st.integers(1, 9),
)
def test_contents_like_delimiters(content: list[bytes], step: int) -> None:
    """The first part ends where an expression over the whole body finds the first line that is a delimiter."""
    head = b"--b\r\n" + NAMED
    body = head + b"".join(content) + b"\r\n--b--\r\n"
    first = re.compile(rb"\r\n--b(--)?[ \t]*\r\n").search(body, len(head) - 2)
    assert first is not None
    multipart = Multipart(b"b")
    with suppress(Refusal):  # What follows may be no part.
        for at in range(0, len(body), step):
            multipart.feed(body[at : at + step])
    assert body[len(head) : first.start()] == body[multipart.parts[0].begin : multipart.parts[0].end]


REFUSED = {
    "names no boundary": (b"multipart/form-data", b""),
    "or more than one": (b"multipart/form-data; boundary=a; boundary=b", b""),
    "1 to 70": (b"multipart/form-data; boundary=" + b"a" * 71, b""),
    "printable": (b'multipart/form-data; boundary="a\tb"', b""),
    "no line with the boundary": (TYPE, b"--other\r\n" + NAMED + b"x\r\n--other--"),
    "cut short": (TYPE, b"--b\r\n" + NAMED + b"x\r\n--b"),
    "its closing delimiter has not come": (TYPE, b"--b\r\n" + NAMED + b"x\r\n--b-"),
    "has no Content-Disposition": (TYPE, b"--b\r\n\r\nx\r\n--b--"),
    "Part 1 of the form has no name": (TYPE, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
    "has no name": (TYPE, b'--b\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n--b--'),
    "no name": (TYPE, b"--b\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nx\r\n--b--"),
    "form has no name": (TYPE, b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--"),
    "not one Content-Disposition": (TYPE, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--"),
    "is malformed": (TYPE, b"--b\r\nContent-Disposition: form-data; name=a\nX: y\r\n\r\nx\r\n--b--"),
    "of part 1 of the form is malformed": (TYPE, b"--b\r\nno field\r\n\r\nx\r\n--b--"),
    "Content-Transfer-Encoding": (TYPE, b"--b\r\nContent-Transfer-Encoding: base64\r\n" + NAMED + b"x\r\n--b--"),
    "multipart itself": (TYPE, b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n" + NAMED + b"x\r\n--b--"),
    "longer than 16384 bytes": (TYPE, b"--b\r\nX: " + b"x" * 17000),
    "more than 100 parts": (TYPE, (b"--b\r\n" + NAMED + b"x\r\n") * (MAX_PARTS + 1) + b"--b--"),
    "texts are longer": (TYPE, b"--b\r\n" + NAMED + b"x" * (MAX_TEXT_BYTES + 1)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str) -> None:
    """Each with its reason, also where it comes in small pieces."""
    content_type, body = REFUSED[what]
    for step in (10**9, 1000 if len(body) > 5000 else 1):
        with pytest.raises(Refusal, match=what) as refused:
            read(body, content_type, step)
        assert "bad_request" == refused.value.kind.code


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"Multipart/Form-Data;boundary=b", True),
        (b"multipart/mixed; boundary=b", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_what_is_a_form(content_type: bytes, form: bool) -> None:
    """Only its own media type."""
    assert form == is_form(content_type)
