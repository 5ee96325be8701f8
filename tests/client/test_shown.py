"""Names as they are shown."""

from __future__ import annotations

import os
from pathlib import PurePath

import pytest

from passthrough.client.shown import shown, shown_url

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b c.pdf", "a/b c.pdf"),
        (PurePath("a/Übersicht 日本語.pdf"), "a/Übersicht 日本語.pdf"),
        ("a\nb\r\t.pdf", "a\\nb\\r\\t.pdf"),
        ("\x1b[31m\x7f\x9b", "\\x1b[31m\\x7f\\x9b"),
        (os.fsdecode(b"b\xe9c\xff\x80"), "b\\xe9c\\xff\\x80"),
        ("\ud800\udc7f", "\\ud800\\udc7f"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("Screenshot 5.00\u202fPM\xa0.png", "Screenshot 5.00\u202fPM\xa0.png"),
        ("x" * 300, "x" * 300),
        ("x" * 150 + "y" * 151, "x" * 140 + "…" + "y" * 140),
    ],
)
def test_a_name_is_shown_on_one_line(name: str | PurePath, expected: str) -> None:
    """Nothing in it moves the terminal's cursor, or turns the direction of what follows."""
    assert expected == shown(name)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@a.example/x@y.pdf", "https://a.example/x@y.pdf"),
        ("https://a@b@c.example", "https://c.example"),
        ("https://a.example?x=y@z", "https://a.example?x=y@z"),
        ("https://a.example#x@z", "https://a.example#x@z"),
        ("https://a.example/a\x1bb", "https://a.example/a\\x1bb"),
    ],
)
def test_a_url_is_shown_without_its_user(url: str, expected: str) -> None:
    """A password in it does not reach the terminal."""
    assert expected == shown_url(url)
