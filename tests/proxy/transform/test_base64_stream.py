"""Base64 that is made piece by piece is the base64 of the whole, whatever the borders of the pieces."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.proxy.transform.base64_stream import Base64Stream, encoded_length


@given(pieces=st.lists(st.binary(max_size=40)), as_views=st.booleans())
def test_pieces_and_their_length(pieces: list[bytes], as_views: bool) -> None:
    """However the bytes are cut, the characters are those of the whole, and as many as were foreseen."""
    stream, whole = Base64Stream(), b"".join(pieces)
    encoded = b"".join([*(stream.feed(memoryview(piece) if as_views else piece) for piece in pieces), stream.end()])
    assert b64encode(whole) == encoded
    assert encoded_length(len(whole)) == len(encoded)


@pytest.mark.parametrize("size", range(9))
def test_no_byte_waits_longer_than_for_its_group(size: int) -> None:
    """All whole groups are there as soon as their last byte is."""
    stream, document = Base64Stream(), bytes(range(size))
    encoded = b"".join([stream.feed(document[at : at + 1]) for at in range(size)])
    assert b64encode(document[: size // 3 * 3]) == encoded
    assert b64encode(document)[len(encoded) :] == stream.end()


def test_a_stream_is_new_after_its_end() -> None:
    """A second document has nothing of the first in it."""
    stream = Base64Stream()
    assert (b"", b"YQ==", b"", b"Yg==") == (stream.feed(b"a"), stream.end(), stream.feed(b"b"), stream.end())
