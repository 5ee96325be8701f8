"""Base64 in all its spellings becomes the bytes of a picture, whose type is read off them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import pytest

from passthrough.client.rendering.pictures import OTHER, decode_into, ends_of
from tests.harness.documents import jpeg, png

PICTURE = png(20, 10)
TEXT = base64.b64encode(PICTURE)
URL_SAFE = b"\xff\xd8\xff" + b"\xfb\xef\xbe" * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, PICTURE),
        (b"data:image/png;base64," + TEXT, PICTURE),
        (b"data:image/jpeg;charset=x;base64," + TEXT, PICTURE),
        (b" \nDATA:IMAGE/PNG;BASE64,\r\n" + TEXT, PICTURE),
        (b"data:," + TEXT, PICTURE),
        (base64.encodebytes(PICTURE), PICTURE),
        (TEXT.rstrip(b"="), PICTURE),
        (TEXT + b"\n", PICTURE),
        (TEXT.rstrip(b"=") + b"=====", PICTURE),
        (base64.urlsafe_b64encode(URL_SAFE), URL_SAFE),
        (base64.b64encode(URL_SAFE + b"1"), URL_SAFE + b"1"),
        (base64.b64encode(URL_SAFE + b"12").rstrip(b"="), URL_SAFE + b"12"),
    ],
)
def test_base64_is_decoded(tmp_path: Path, text: bytes, expected: bytes) -> None:
    """With or without a head, blanks, padding; whole, and cut into pieces of any length."""
    path = tmp_path / "picture"
    for size in (len(text), 1, 3, 64):
        pieces = [text[at : at + size] for at in range(0, len(text), size)] if size > 1 or b":" not in text else [text]
        pieces = [text[:60], *(text[at : at + size] for at in range(60, len(text), size))] if b":" in text else pieces
        assert None is not decode_into(path, pieces)
        assert expected == path.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        [],
        [b""],
        [b"data:image/png;base64,"],
        [b"..."],
        [b"@@@"],
        [b"QUJDR"],
        [b"QUI=QUI="],
        [b"QUI=", b"QUI="],
        ["ü".encode() * 4],
        [b"===="],
        [b"Q"],
        [b"data:image/png;base64,..."],
    ],
)
def test_what_is_no_base64_is_no_picture(tmp_path: Path, text: Iterable[bytes]) -> None:
    """Nor is nothing."""
    assert None is decode_into(tmp_path / "picture", text)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PICTURE, ".png"),
        (jpeg(20, 10), ".jpeg"),
        (b"GIF89a", ".gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"II*\0", ".tiff"),
        (b"MM\0*", ".tiff"),
        (b"BM\0\0", ".bmp"),
        (b"\0\0\0\x20ftypavif", ".avif"),
        (b"\0\0\0\x20ftypheic", ".heic"),
        (b"\xff\x0a", ".jxl"),
        (b"\0\0\0\x0cjP  \r\n", ".jp2"),
        (b"<svg onload=alert(1)>", ".bin"),
        (b"<html>", ".bin"),
        (b"MZ", ".bin"),
    ],
)
def test_the_type_is_that_of_the_bytes(head: bytes, expected: str) -> None:
    """Bytes of an unknown type get a name that no program opens."""
    assert expected == ends_of(head)[0]


def test_the_type_is_that_of_the_first_bytes(tmp_path: Path) -> None:
    """Of a picture that comes in pieces."""
    assert (".png",) == decode_into(tmp_path / "picture", [TEXT[:40], TEXT[40:80], TEXT[80:]])


def test_unknown_bytes_are_kept(tmp_path: Path) -> None:
    """They are paid for."""
    assert OTHER == decode_into(tmp_path / "picture", [base64.b64encode(b"no picture")])
    assert b"no picture" == (tmp_path / "picture").read_bytes()
