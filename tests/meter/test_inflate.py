"""gzip and deflate by isal and by zlib: the same bytes and the same verdict."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from passthrough.meter.decode import chain
from passthrough.meter.false_coding import Undecodable
from passthrough.meter.inflate import BROKEN, GZIP_BITS, RAW_BITS, ZLIB_BITS, Member, member

PLAIN = b'{"pages": [' + b'{"index": 1, "markdown": "# Title"}, ' * 400 + b"{}]}"
NAMED, COMMENTED, EXTRA, CHECKED = 8, 16, 4, 2
WITHOUT_ISAL = """
import sys
sys.modules["isal"] = None
import gzip, zlib
from passthrough.meter.decode import chain
from passthrough.meter.inflate import BROKEN
assert BROKEN == (zlib.error,)
decoded = chain(b"gzip", 1000)
assert b"".join(decoded.pieces(gzip.compress(b"plain"))) == b"plain"
assert decoded.whole
"""


def headed(plain: bytes, flags: int, *, check: int = 0) -> bytes:
    """A gzip member whose head has what the flags say; `check` is added to the head's own checksum."""
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\x03"
    head += b"\x05\x00hello" * bool(flags & EXTRA) + b"a.json\0" * bool(flags & NAMED) + b"said\0" * bool(flags & COMMENTED)
    if flags & CHECKED:
        head += ((zlib.crc32(head) + check) & 0xFFFF).to_bytes(2, "little")
    tail = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    return head + zlib.compress(plain)[2:-4] + tail


def read(inflating: Member, coded: bytes, step: int, most: int) -> tuple[bytes, bool]:
    """What comes out of a member, given a number of bytes at a time, and whether it ended."""
    plain = []
    for at in range(0, len(coded), step):
        left, full = coded[at : at + step], False
        while (left or full) and not inflating.eof:
            piece = inflating.decompress(left, most)
            left, full = inflating.unconsumed_tail, len(piece) == most
            plain.append(piece)
    return b"".join(plain), inflating.eof


def verdict(inflating: Member, coded: bytes, step: int, most: int) -> bytes | None:
    """What a whole member says; None for one that is broken, or not whole."""
    try:
        plain, whole = read(inflating, coded, step, most)
    except BROKEN:
        return None
    return plain if whole else None


@pytest.mark.parametrize("step", [1, 3, 100, 10**6])
@pytest.mark.parametrize("flags", [0, NAMED, COMMENTED, EXTRA, CHECKED, NAMED | COMMENTED | EXTRA | CHECKED])
def test_a_member_is_read_whatever_its_head_holds(flags: int, step: int) -> None:
    """A file's name, a comment, extra bytes and the head's own checksum are crossed wherever the borders are."""
    coded = headed(PLAIN, flags)
    decoded = chain(b"gzip", 10**6)
    assert decoded is not None
    assert b"".join(piece for at in range(0, len(coded), step) for piece in decoded.pieces(coded[at : at + step])) == PLAIN
    assert decoded.whole


@pytest.mark.parametrize("coded", [headed(PLAIN, CHECKED, check=1), headed(PLAIN, 0x20), headed(PLAIN, 0xE0)])
def test_a_head_that_is_wrong_is_reported(coded: bytes) -> None:
    """A head whose checksum is wrong, or that has unknown flags, is not taken for gzip."""
    decoded = chain(b"gzip", 10**6)
    assert decoded is not None
    with pytest.raises(Undecodable):
        b"".join(decoded.pieces(coded))


@pytest.mark.parametrize(
    ("bits", "coded", "quick"),
    [
        (GZIP_BITS, headed(PLAIN, 0), True),
        (GZIP_BITS, headed(PLAIN, NAMED), False),
        (GZIP_BITS, b"\x1f", False),
        (ZLIB_BITS, zlib.compress(PLAIN), True),
        (ZLIB_BITS, b"\x78\x20\x00\x00\x00\x01", False),
        (ZLIB_BITS, b"\x68\x05", False),
        (RAW_BITS, zlib.compress(PLAIN)[2:-4], False),
    ],
)
def test_isal_reads_what_is_usual_and_zlib_the_rest(bits: int, coded: bytes, quick: bool) -> None:
    """Heads that nearly all senders make go the quick way; what isal reads in another way than zlib does not."""
    assert isinstance(member(bits, coded), type(isal_zlib.decompressobj(bits))) == quick


@settings(deadline=None, max_examples=300)
@given(
    level=st.tuples(st.integers(0, 9), st.integers(0, 4)),
    size=st.integers(0, 3000),
    seed=st.integers(0, 2**16),
    alphabet=st.sampled_from([b"a", b"abc ", bytes(range(256))]),
    bits=st.sampled_from([GZIP_BITS, ZLIB_BITS]),
    by=st.tuples(st.sampled_from([1, 2, 7, 1000, 10**6]), st.sampled_from([64, 1000, 65536])),
    spoilt=st.one_of(st.none(), st.tuples(st.integers(0, 10**6), st.integers(0, 7))),
    cut=st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_isal_and_zlib_agree(
    level: tuple[int, int],
    size: int,
    seed: int,
    alphabet: bytes,
    bits: int,
    by: tuple[int, int],
    spoilt: tuple[int, int] | None,
    cut: int | None,
) -> None:
    """Whole, cut or with a bit turned: what one takes for whole the other does too, and both read the same bytes in it."""
    compressor = zlib.compressobj(level[0], zlib.DEFLATED, bits, 9, level[1])
    coded = bytearray(compressor.compress(bytes(random.Random(seed).choices(alphabet, k=size))) + compressor.flush())
    if spoilt is not None:
        coded[4 + spoilt[0] % (len(coded) - 4)] ^= 1 << spoilt[1]  # behind what `member` itself looks at
    if cut is not None:
        del coded[cut % len(coded) :]
    both = (zlib.decompressobj(bits), isal_zlib.decompressobj(bits))
    by_zlib, by_isal = (verdict(inflating, bytes(coded), *by) for inflating in both)
    assert by_isal == by_zlib


@pytest.mark.parametrize("level", [1, 6, 9])
def test_of_what_was_cut_nothing_but_the_last_symbol_may_be_missing(level: int) -> None:
    """Where a response breaks off, isal gives out what zlib does, or all of it but the last symbol."""
    coded = gzip.compress(bytes(random.Random(7).choices(b"abcdefgh {}", k=3000)), level)
    for cut in range(20, len(coded) - 8, 7):
        by_zlib, _ = read(zlib.decompressobj(GZIP_BITS), coded[:cut], cut, 65536)
        by_isal, _ = read(isal_zlib.decompressobj(GZIP_BITS), coded[:cut], cut, 65536)
        assert by_zlib.startswith(by_isal)
        assert len(by_zlib) - len(by_isal) <= 258  # RFC 1951 §3.2.5: the longest match


@pytest.mark.process
def test_without_isal_zlib_reads_all() -> None:
    """On a machine for which there is no isal everything is read as well."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_ISAL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
