"""Pages that a user chooses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.page_ranges import PageRanges, ranges_of

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0", "0"),
        ("0,2-4", "0,2-4"),
        ("4-4", "4"),
        (" 1 - 3 , 7 ", "1-3,7"),
        ("3,1,2", "1-3"),  # any order, and what adjoins is one
        ("0-5,2-3", "0-5"),
        ("5,5,5", "5"),
        ("0-999999999", "0-999999999"),
    ],
)
def test_ranges_are_read_and_written(text: str, written: str) -> None:
    """They come in order, apart, and each page once."""
    assert written == str(PageRanges.parse(text))


@pytest.mark.parametrize("text", ["", ",", "1,", "a", "-1", "1-", "2-1", "1.5", "1--2", "٣", "1;2", "9" * 10])
def test_what_is_no_range_says_so(text: str) -> None:
    """The message names the wrong part."""
    with pytest.raises(ValueError, match=r"no page and no range|ends before it begins"):
        PageRanges.parse(text)


def test_pages_beyond_the_end_are_left_out() -> None:
    """Also where a range has a million million of them."""
    ranges = PageRanges.parse("1,3-999999999")
    assert [1, 3, 4] == ranges.of(5)
    assert [] == ranges.of(1)
    assert [] == ranges.of(0)


@given(st.sets(st.integers(0, 60)))
def test_pages_and_ranges_are_the_same(pages: set[int]) -> None:
    """What ranges are made of comes out of them."""
    assert sorted(pages) == ranges_of([*pages]).of(61)
