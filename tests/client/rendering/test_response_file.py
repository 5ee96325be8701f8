"""A response is read without its pictures, whatever its JSON looks like and wherever a block of it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.rendering import response_file
from passthrough.client.rendering.response_file import read_response

REFERENCE = re.compile(r"[0-9a-f]{32}:[0-9]+:[0-9]+:\\?")


def stored(path: Path, raw: bytes) -> Path:
    """Write a response into a file of a folder."""
    file = path / "response.json"
    file.write_bytes(raw)
    return file


def with_picture(content: object) -> dict[str, Any]:
    """Return a response with one picture."""
    return {"pages": [{"images": [{"id": "a", "image_base64": content}]}]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "QUJD",
        "data:image/png;base64,QUJD",
        "QUJD\nREVG",
        'a"b\\',
        "\\",
        "\\\\",
        '\\"',
        "ü" * 3,
        "\ud800",
        "x" * 600_000,
        "/+=" * 9,
    ],
)
def test_the_text_of_a_picture_stays_in_the_file(tmp_path: Path, content: str) -> None:
    """The tree has a reference, behind which the text is what JSON says, whatever was escaped in it."""
    response = read_response(stored(tmp_path, json.dumps(with_picture(content)).encode()))
    found = response.tree["pages"][0]["images"][0]["image_base64"]
    assert REFERENCE.fullmatch(found)
    assert content.encode("utf-8", "replace") == b"".join(response.text_of(found))


def test_slashes_may_be_escaped(tmp_path: Path) -> None:
    """As programs in PHP and .NET do it."""
    raw = rb'{"pages": [{"images": [{"image_base64" : "data:image\/png;base64,a\u002Bb\/"}]}]}'
    response = read_response(stored(tmp_path, raw))
    found = response.tree["pages"][0]["images"][0]["image_base64"]
    assert b"data:image/png;base64,a+b/" == b"".join(response.text_of(found))
    assert rb"data:image\/png;base64,a\u002Bb\/" == b"".join(response.spelt(found))


def test_a_block_may_end_anywhere(tmp_path: Path) -> None:
    """A key, an escape, a text that a block's end cuts are found all the same."""
    texts = [f'{name}\\"{"Q" * 30}/' for name in "abc"]
    images = [{"id": name, "image_base64": text} for name, text in zip("abc", texts, strict=True)]
    for cut in range(250):
        pad = "p" * (response_file._BLOCK - cut - 20)
        response = read_response(stored(tmp_path, json.dumps({"pad": pad, "pages": [{"images": images}]}).encode()))
        found = [b"".join(response.text_of(image["image_base64"])).decode() for image in response.tree["pages"][0]["images"]]
        assert (pad, texts) == (response.tree["pad"], found), cut


def test_what_only_looks_like_a_picture_stays_as_it_is(tmp_path: Path) -> None:
    """The key's name in a text, as a value, at the end of another key; a picture that is no text."""
    tree = {
        "pages": [{"markdown": '"image_base64": "x"', "images": [{"image_base64": None}, {"image_base64": ["QUJD"]}]}],
        "a": "image_base64",
        "b": '"image_base64":',
        'c"image_base64': "kept",
    }
    response = read_response(stored(tmp_path, json.dumps(tree).encode()))
    kept = {key: "".join(b.decode() for b in response.text_of(value)) for key, value in response.tree.items() if key != "pages"}
    assert {key: value for key, value in tree.items() if key != "pages"} == kept
    assert tree["pages"] == response.tree["pages"]


@pytest.mark.parametrize("text", ["0123456789abcdef0123456789abcdef:0:5:", "", ":", "1:2:3:"])
def test_no_text_of_a_response_is_a_reference(tmp_path: Path, text: str) -> None:
    """What looks like one is the text that it is."""
    response = read_response(stored(tmp_path, json.dumps({"pages": [], "text": text}).encode()))
    assert [text.encode()] == list(response.text_of(response.tree["text"]))


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"",
            b"null",
            b"[]",
            b"<html>",
            b'"pages"',
            b"{}",
            b'{"pages": null}',
            b'{"pages": {}}',
            b'{"pages": []',
            b"[" * 100_000,
        ),
        *(b'{"pages": [{"images": [{"image_base64": "QUJD', b'{"pages": [], "n": ' + b"1" * 5000 + b"}", b"\xff\xfe{"),
    ],
)
def test_what_is_no_response_is_a_failed_document(tmp_path: Path, raw: bytes) -> None:
    """Also one that breaks off in a picture."""
    with pytest.raises(DocumentError, match="response"):
        read_response(stored(tmp_path, raw))


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_response_that_was_stored_by_other_programs_is_read(tmp_path: Path, coding: str) -> None:
    """Windows' PowerShell writes UTF-16, and Windows' editors begin UTF-8 with a mark."""
    tree = with_picture("QUJD") | {"model": "ü"}
    response = read_response(stored(tmp_path, json.dumps(tree, ensure_ascii=False).encode(coding)))
    assert "ü" == response.tree["model"]
    assert b"QUJD" == b"".join(response.text_of(response.tree["pages"][0]["images"][0]["image_base64"]))


def test_a_byte_that_is_no_utf_8_does_not_lose_the_rest(tmp_path: Path) -> None:
    """It is paid for."""
    response = read_response(stored(tmp_path, b'{"pages": [{"markdown": "a\xffb\x01"}]}'))
    assert "a\ufffdb\x01" == response.tree["pages"][0]["markdown"]


def test_a_response_of_many_pictures_has_a_small_tree(tmp_path: Path) -> None:
    """What is in memory is the rest of it, and a block."""
    count, size = 200, response_file._BLOCK // 4
    raw = b'{"pages":[{"images":[' + b",".join(b'{"image_base64":"%b"}' % (b"Q" * size) for _ in range(count)) + b"]}]}"
    response = read_response(stored(tmp_path, raw))
    assert len(json.dumps(response.tree)) < count * 100
    assert [size] * count == [
        sum(map(len, response.text_of(image["image_base64"]))) for image in response.tree["pages"][0]["images"]
    ]
