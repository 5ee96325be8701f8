"""The names of outputs: bases, and which names are this command's own."""

from __future__ import annotations

import os
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.output.names import MAX_BASE, SUFFIXES, folded, is_output_of, safe_base, stem_of, work_name

ANY = st.text(st.characters(), max_size=300)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("report.pdf", "report"),
        ("report.PDF", "report"),
        ("a.b.pdf", "a.b"),
        ("2201.04234", "2201.04234"),
        ("v1.2 final", "v1.2 final"),
        ("no end", "no end"),
        (".pdf", ".pdf"),
        ("..pdf", "."),
        ("a.", "a."),
        ("a.numbers", "a"),
        ("Rechnung März (2).pdf", "Rechnung März (2)"),
        ("two\nlines.pdf", "two\nlines"),
    ],
)
def test_a_stem_is_a_name_without_the_end_of_its_type(name: str, stem: str) -> None:
    """What follows the last dot goes where it may be a type's end: it begins with a letter."""
    assert stem == stem_of(name)


@pytest.mark.parametrize(
    ("name", "of_url", "base"),
    [
        ("Rechnung März", False, "Rechnung März"),
        (os.fsdecode(b"caf\xe9"), False, "caf%E9"),
        ("a\nb\x1b[2J\x7f", False, "a%0Ab%1B[2J%7F"),
        ("a\ud800b\u2028c", False, "a_b_c"),
        ("../../etc/passwd", False, ".._.._etc_passwd"),
        ("../../etc/passwd", True, "_.._etc_passwd"),
        ('a<b>c:d"e|f?g*h\\i', True, "a_b_c_d_e_f_g_h_i"),
        ("a?b", False, "a?b"),
        ("..", True, "document"),
        ("", False, "document"),
        ("a\u202f1\u200d", False, "a\u202f1\u200d"),
    ],
)
def test_a_base_is_one_safe_component(name: str, of_url: bool, base: str) -> None:
    """Bytes that are no UTF-8 and control characters are written out; a URL's name is safe on every system."""
    assert base == safe_base(name, of_url=of_url)


def test_a_long_name_is_cut_between_characters_and_stays_apart_from_another() -> None:
    """A name longer than a file system takes ends in its hash; the longest suffix still fits behind it."""
    long = ["ü" * 200 + end for end in ("a", "b")]
    bases = [safe_base(name) for name in long]
    assert [True, True] == [len((base + end).encode()) <= 255 for base in bases for end in (max(SUFFIXES, key=len),)]
    assert bases[0] != bases[1]
    assert bases[0].startswith("ü" * 100)
    assert "x" * MAX_BASE == safe_base("x" * MAX_BASE)


@given(ANY, st.booleans())
def test_every_text_becomes_a_component(text: str, of_url: bool) -> None:
    """Whatever a name is, its base is one component of a path, valid UTF-8, and fits."""
    base = safe_base(text, of_url=of_url)
    assert 0 < len(base.encode()) <= MAX_BASE
    assert not {"/", "\0", "\n", "\x1b"} & set(base)
    assert all(is_output_of(base, base + end) for end in SUFFIXES)
    assert base + ".md" == PurePath(base + ".md").name


@pytest.mark.parametrize(
    ("base", "name", "expected"),
    [
        ("a", "a.md", True),
        ("a", "a.annotation.json", True),
        ("a", "a_images/img-0.jpeg", True),
        ("a", "a_images/a b.png", True),
        ("a", "a.pdf", False),
        ("a", "b.md", False),
        ("a", "a_images/", False),
        ("a", "a_images/..", False),
        ("a", "a_images/x/y.png", False),
        ("a", "a_images/x\\y.png", False),
        ("a", "b_images/x.png", False),
        ("a", "/etc/passwd", False),
        ("../a", "../a.md", False),
        ("..", "../x.md", False),
        ("../a", "../a_images/x.png", False),
        ("a\0", "a\0.md", False),
        ("", "", False),
    ],
)
def test_which_names_a_document_may_have(base: str, name: str, expected: bool) -> None:
    """A document's outputs are beside it, or in its folder of pictures: never elsewhere."""
    assert expected is is_output_of(base, name)


def test_names_that_a_file_system_takes_for_one_are_folded_to_one() -> None:
    """Case and composition do not tell two names apart; the folder of work is the same for both."""
    assert folded("MÄRZ") == folded("ma\u0308rz")
    assert work_name("MÄRZ") == work_name("ma\u0308rz")
    assert work_name("a") != work_name("b")
