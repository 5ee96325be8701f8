"""Names of picture files are safe on every system, and apart."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.rendering.picture_names import PictureNames, link

JPEG, PNG = (".jpeg", ".jpg"), (".png",)


@pytest.mark.parametrize(
    ("id", "ends", "expected"),
    [
        ("img-0.jpeg", JPEG, "img-0.jpeg"),
        ("img-0.jpg", JPEG, "img-0.jpg"),
        ("IMG.JPG", JPEG, "IMG.JPG"),
        ("img-0.jpeg", PNG, "img-0.png"),
        ("img-0", PNG, "img-0.png"),
        ("../../x", PNG, "x.png"),
        ("..\\..\\x.png", PNG, "x.png"),
        ("/etc/passwd", PNG, "passwd.png"),
        ("C:\\x", PNG, "x.png"),
        ("a:b", PNG, "a-b.png"),
        ("a/b/", PNG, "b.png"),
        ("..", PNG, "image.png"),
        ("", PNG, "image.png"),
        (".", PNG, "image.png"),
        ("/", PNG, "image.png"),
        (".png", PNG, "image.png"),
        ("a\0b", PNG, "a-b.png"),
        ("a b\nc", PNG, "a-b-c.png"),
        ("x" * 300, PNG, "x" * 80 + ".png"),
        ("a" * 90 + "b" * 300, PNG, "a" * 80 + ".png"),
        ("x" * 400 + "\\y", PNG, "y.png"),
        ("/" + "x" * 3000 + "/" + "y" * 90 + ".png", PNG, "y" * 80 + ".png"),
        ("Übersicht 1.png", PNG, "Ubersicht-1.png"),
        ("图.png", PNG, "image.png"),
        ("\ud800", PNG, "image.png"),
        ("-rf", PNG, "rf.png"),
        ("~", PNG, "image.png"),
        ("](x)", PNG, "x.png"),
        ("CON", PNG, "image-CON.png"),
        ("nul.png", PNG, "image-nul.png"),
        ("com1.x.png", PNG, "com1-x.png"),
        ("COM¹", PNG, "image-COM1.png"),
        ("page.html", (".bin",), "page.bin"),
        ("run.exe", JPEG, "run.jpeg"),
    ],
)
def test_a_name_is_safe(id: str, ends: tuple[str, ...], expected: str) -> None:
    """It has no path, no sign that a system or a shell reads as its own, no end that the bytes are not of."""
    assert expected == PictureNames().new(id, ends)


def test_names_are_apart() -> None:
    """Also in the eyes of a file system that does not tell upper from lower case."""
    names = PictureNames()
    ids = ["a.png", "a.png", "A.PNG", "a-2.png", "a", "../a.png", "a-2.png"]
    assert ["a.png", "a-2.png", "A-3.PNG", "a-2-2.png", "a-4.png", "a-5.png", "a-2-3.png"] == [names.new(id, PNG) for id in ids]


def test_ten_thousand_of_one_name() -> None:
    """Each is found a name for at once."""
    names = PictureNames()
    assert 10_000 == len({names.new("same", PNG) for _ in range(10_000)})


@given(st.lists(st.text(max_size=40), max_size=20))
def test_any_names(ids: list[str]) -> None:
    """Whatever the ids, the names are plain and apart."""
    names = PictureNames()
    found = [names.new(id, PNG) for id in ids]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,90}\.(?i:png)", name) for name in found)
    assert len(found) == len({name.lower() for name in found})


@pytest.mark.parametrize(
    "folder", ["report_images", "Müller & Söhne (1) [a] #2 50%_images", "a\nb", "javascript:x", "\udcff_images", "a?b"]
)
def test_a_link_says_the_folder(folder: str) -> None:
    """In characters of URLs alone, which neither Markdown nor HTML reads as its own."""
    found = link(folder, "img-0.jpeg")
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+/img-0\.jpeg", found)
    assert os.fsencode(folder) + b"/img-0.jpeg" == unquote_to_bytes(found)
